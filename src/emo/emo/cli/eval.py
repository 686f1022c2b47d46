"""Measure the models against real recordings, beside what they have to beat."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from emo.cli import add_json, add_robot, eval_inverse, eval_mimic, eval_precision, quiet_native


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Lipsync, apc, skew, predictive, inverse, mimic, precision: with what each is measured on."""
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    lipsync = what.add_parser(
        "lipsync",
        help="landmarks from sound against filmed faces",
        description="Score the lip-sync model on a folder of talking faces: videos, or clips that "
        "'emo data prepare' made. Videos are tracked once and kept in a cache.",
    )
    lipsync.add_argument("dir", type=Path, metavar="DIR", help="videos or prepared clips")
    lipsync.add_argument("--variant", default="full", help="full (default), live, or a folder")
    which = lipsync.add_mutually_exclusive_group()
    which.add_argument(
        "--split", help="part of DIR's splits.json (default test; without splits.json: all clips)"
    )
    which.add_argument("--clips", nargs="+", metavar="NAME", help="only these clips")
    lipsync.add_argument(
        "--train", type=Path, metavar="DIR", help="fit the baselines here (default: DIR's 'train')"
    )
    lipsync.add_argument(
        "--train-clips", type=int, default=200, metavar="N", help="at most N of them (default 200)"
    )
    lipsync.add_argument(
        "--closed-loop",
        type=int,
        default=0,
        metavar="N",
        help="also drive the simulated robot with N clips, spread evenly, and track its picture",
    )
    add_robot(lipsync)
    lipsync.add_argument("--cache", type=Path, metavar="DIR", help="where tracked videos are kept")
    lipsync.add_argument(
        "--out", type=Path, metavar="DIR", help="write report.md, plots, clips.csv"
    )
    apc = what.add_parser(
        "apc",
        help="the speech representation's prediction of coming frames",
        description="L1 error of the APC's predictions over that of repeating the last frame.",
    )
    apc.add_argument("dir", type=Path, metavar="DIR", help="recordings, in any depth of folders")
    skew = what.add_parser(
        "skew",
        help="sound-to-lip skew of a film of the robot",
        description="Compare the robot's mouth in a film such as robot.mp4, as FaceMesh sees it, "
        "with what its sound asks for. Positive: lips late. Noticed beyond +45 / -125 ms "
        "(ITU-R BT.1359).",
    )
    skew.add_argument("film", type=Path, metavar="FILM", help="video of the robot, with sound")
    skew.add_argument(
        "speech",
        type=Path,
        nargs="?",
        metavar="SPEECH",
        help="the recording it speaks (default: the film's own sound)",
    )
    skew.add_argument("--variant", default="full", help="model that animates (default full)")
    skew.add_argument(
        "--window", type=float, default=3.0, metavar="S", help="length of a window in s (default 3)"
    )
    predictive = what.add_parser(
        "predictive",
        help="the face that is coming, from the last frames",
        description="Error against the coming peak, lead over plain mimicry, and false alarms. "
        "Of people the model was trained on, the test clips are scored; expressions are composed "
        "on the faces of the others.",
    )
    predictive.add_argument(
        "dirs", type=Path, nargs="+", metavar="DIR",
        help="a folder for each group of people: prepared clips, or videos",
    )  # fmt: skip
    predictive.add_argument("--model", type=Path, help="folder (default: models/predictive)")
    predictive.add_argument(
        "--composed", type=int, default=400, metavar="N", help="expressions (default: 400)"
    )
    predictive.add_argument(
        "--calm-minutes", type=float, default=10.0, metavar="M", help="default: 10"
    )
    predictive.add_argument("--out", type=Path, metavar="DIR", help="write plots")
    inverse = what.add_parser(
        "inverse",
        help="landmarks to motor commands, on babbling held out",
        description="Error of the robot's inverse model on babbling it was not trained on, beside "
        "baselines; faces executed again on the simulated robot; and how fast it is.",
    )
    eval_inverse.add_arguments(inverse)
    mimic = what.add_parser(
        "mimic",
        help="people mimicked by the simulated robot, both seen by FaceMesh",
        description="The closed loop: a film of a person, the pipeline, safety layer, simulated "
        "servos, the robot's picture, FaceMesh. How alike both faces move, and how far ahead of "
        "plain mimicry the robot is. As it is by default, a quarter of an hour of one core; for a "
        "glimpse, --takes 1 --composed 0.",
    )
    eval_mimic.add_arguments(mimic)
    precision = what.add_parser(
        "precision",
        help="half precision, and TensorRT where there is one, against the CPU in full",
        description="Every network on the same speech, frame by frame: how far its answers are "
        "from those of the CPU in full, and how long a frame takes. Half precision is emulated; "
        "where ONNX Runtime has TensorRT, that is measured, too, in full and in half.",
    )
    eval_precision.add_arguments(precision)
    for command in (lipsync, apc, skew, predictive, inverse, mimic, precision):
        add_json(command)
        # Also after WHAT, where it is typed; without a default, which would undo the one before.
        command.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )


def run(args: argparse.Namespace) -> int:
    """Run the evaluation asked for."""
    if not args.debug:
        quiet_native()
    commands = {
        "lipsync": _lipsync,
        "apc": _apc,
        "skew": _skew,
        "predictive": _predictive,
        "inverse": eval_inverse.run,
        "mimic": lambda args: eval_mimic.run(args, _progress),
        "precision": eval_precision.run,
    }
    return commands[args.what](args)


def _progress(done: int, total: int, what: str) -> None:
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r{what}: {done} of {total} clips ", end=end, file=sys.stderr, flush=True)


def _lipsync(args: argparse.Namespace) -> int:
    from emo_core.errors import EmoError
    from emo_core.evaluation.clips import load_clips, spread
    from emo_core.evaluation.lipsync import evaluate
    from emo_core.evaluation.predictors import LipsyncPredictor

    if args.train_clips < 1:
        raise EmoError(f"--train-clips must be at least 1, not {args.train_clips}")
    if args.out is not None and args.out.exists() and not args.out.is_dir():
        raise EmoError(f"{args.out} is not a folder: --out takes the folder of the report")
    predict = LipsyncPredictor(args.variant)
    clips = load_clips(
        args.dir,
        split=args.split,
        names=args.clips,
        train=args.train,
        max_training=args.train_clips,
        cache=args.cache,
        progress=_progress,
    )
    result = evaluate(clips, predict, _progress)
    figures: dict[str, object] = {
        "variant": args.variant,
        "lookahead_ms": predict.lookahead_ms,
        "split": clips.split,
        **result.as_json(),
    }
    if args.closed_loop > 0:
        from emo_core.evaluation.closed_loop import closed_loop

        chosen = spread(list(range(len(result.clips))), args.closed_loop)
        loop = closed_loop(
            [result.clips[i] for i in chosen],
            [result.predictions[i] for i in chosen],
            args.robot,
            _progress,
        )
        figures["closed_loop"] = loop.as_json()
    if args.out is not None:
        from emo_core.evaluation.plots import write_report

        for path in write_report(result, args.out, figures):
            print(f"wrote {path}", file=sys.stderr)
    if args.json:
        print(json.dumps(figures, indent=1))
    else:
        _print_lipsync(figures)
    for name, why in sorted(clips.skipped.items()):
        print(f"skipped {name}: {why}", file=sys.stderr)
    return 0


def _print_lipsync(figures: dict[str, Any]) -> None:
    from emo_core.evaluation.plots import COLUMNS, LABELS, PUBLISHED

    rows = {"model": figures["model"], **figures["baselines"]}
    print(
        f"{figures['clips']} clips, variant {figures['variant']} "
        f"(look-ahead {figures['lookahead_ms']:g} ms); "
        f"baselines fitted on {figures['baseline_training']}"
    )
    for columns in (COLUMNS, PUBLISHED):
        print(f"\n{'':29}" + "".join(f"{heading:>20}" for _, heading, _ in columns))
        for name, scores in rows.items():
            cells = "".join(_cell(scores, key, digits) for key, _, digits in columns)
            print(f"{LABELS.get(name, name):29}{cells}")
    ratio = figures["error_over_static"]
    print("\nlips+jaw error / static face's error: " + ("-" if ratio is None else f"{ratio:.3f}"))
    for name, why in figures["baselines_unavailable"].items():
        print(f"no {LABELS.get(name, name)}: {why}")
    if figures["sync"] is not None:
        _print_sync(figures["sync"])
    if "closed_loop" in figures:
        loop = figures["closed_loop"]
        print(f"\nclosed loop, {loop['clips']} clips, servo lag {loop['servo_lag_ms']:.0f} ms")
        for who in ("model", "film"):
            line = ", ".join(
                f"{key} {'-' if value is None else format(value, '.3f')}"
                for key, value in loop[who].items()
            )
            print(f"  driven by the {who}: {line}")


def _print_sync(sync: dict[str, float | None]) -> None:
    keys = ("offset_abs_ms", "offset_sd_ms", "model_lag_ms", "model_abs_lag_ms")
    off, spread, lag, absolute = (_number(sync[key], 0, 1) for key in keys)
    print(
        f"the clips' own sound is off their picture by {off} ms (mean of absolute values; a "
        f"deviation of {spread} ms without chance); less that, the model's lag is {lag} ms, "
        f"absolute {absolute} ms"
    )


def _cell(scores: dict[str, float | None] | None, key: str, digits: int) -> str:
    return _number(None if scores is None else scores[key], 20, digits)


def _number(value: float | None, width: int, digits: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:>{width}.{digits}f}"


def _apc(args: argparse.Namespace) -> int:
    from emo_core.evaluation.apc import evaluate_apc

    figures = evaluate_apc(args.dir, _progress)
    if args.json:
        print(json.dumps(figures, indent=1))
        return 0
    print(f"{figures['recordings']} recordings, {figures['minutes']:.1f} minutes of sound")
    print(f"{'shift':>6}{'ahead, ms':>12}{'APC, L1':>12}{'last frame':>12}{'ratio':>10}")
    for shift, row in figures["shifts"].items():
        print(
            f"{shift:>6}{20 * int(shift):>12}{row['error']:>12.4f}{row['last_frame']:>12.4f}"
            + _number(row["ratio"], 10, 3)
        )
    for name, why in figures["skipped"].items():
        print(f"skipped {name}: {why}", file=sys.stderr)
    return 0


def _skew(args: argparse.Namespace) -> int:
    from emo_core.errors import EmoError
    from emo_core.evaluation.skew import skew_of_film

    if args.window < 1.5:
        raise EmoError(f"--window must be at least 1.5 s, not {args.window:g}")
    figures = skew_of_film(args.film, args.speech, args.variant, args.window).as_json()
    if args.json:
        print(json.dumps(figures, indent=1))
        return 0
    print(
        f"lips against sound in {args.film} (positive: lips late)\n"
        f"  median {figures['median_ms']:+.1f} ms; absolute p50 {figures['abs_p50_ms']:.1f}, "
        f"p95 {figures['abs_p95_ms']:.1f}, largest {figures['max_abs_ms']:.1f} ms\n"
        f"  {figures['windows']} windows judged, {figures['windows_unjudged']} not; as a whole "
        f"{figures['whole_ms']:+.1f} ms, r {figures['r']:.3f}, face found in "
        f"{figures['face_found']:.0%} of the frames\n"
        f"  beyond what viewers notice (ITU-R BT.1359, +45 / -125 ms): "
        f"{figures['noticed_share']:.0%} of the windows"
    )
    return 0


def _predictive(args: argparse.Namespace) -> int:
    from emo_core.data.faces import load_faces, prepared, training_id
    from emo_core.errors import EmoError
    from emo_core.evaluation.predictive import evaluate_predictive
    from emo_core.mimic.predictive import NAME, REMEDY, PredictiveModel
    from emo_core.models import read_config
    from emo_core.paths import models_dir

    if args.composed < 1 or not args.calm_minutes >= 0.5:
        raise EmoError("--composed must be at least 1, --calm-minutes at least 0.5")
    folder = args.model or models_dir() / NAME
    model = PredictiveModel.load(folder)
    trained_on = read_config(folder, REMEDY).get("provenance", {}).get("people", {})
    groups, strangers = {}, []
    for given in args.dirs:
        name = given.resolve().name
        place, work = prepared(given, Path("data/expressions") / name)
        for _, why in work:
            if why is not None:
                print(f"skipped {why}", file=sys.stderr)
        known = training_id(place) in trained_on.values()
        groups[name] = load_faces(place, "test" if known else None)
        if not known:
            strangers.append(name)
    figures = evaluate_predictive(
        model,
        groups,
        strangers or list(groups),
        args.composed,
        args.calm_minutes,
        _progress,
    )
    figures = {"trained_on": list(trained_on), "strangers": strangers, **figures}
    if args.out is not None:
        from emo_core.evaluation.predictive_plots import plot_predictive

        args.out.mkdir(parents=True, exist_ok=True)
        for path in plot_predictive(figures, args.out):
            print(f"wrote {path}", file=sys.stderr)
    if args.json:
        print(json.dumps(figures, indent=1))
    else:
        _print_predictive(figures)
    return 0


def _print_predictive(figures: dict[str, Any]) -> None:
    whom = ", ".join(figures["strangers"]) or "no people but those trained on: give others' clips"
    print(f"{'error at the peak, mean of 113 points':40}{'onsets':>8}{'hold, mm':>10}", end="")
    names = {"model": "model", "answer": "answer", "linear": "linear", "random": "random"}
    print("".join(f"{heading:>9}" for heading in names.values()) + "  over hold")
    rows = {"filmed, talking": figures["filmed"]}
    rows |= {f"  {name}": row for name, row in figures["filmed_by_group"].items()}
    rows[f"composed on {whom}"] = figures["composed"]
    for label, row in rows.items():
        if not row["onsets"]:
            print(f"{label:40}{0:>8}")
            continue
        cells = "".join(_number(row["over_hold"][name], 9, 3) for name in names)
        print(f"{label:40}{row['onsets']:>8}{row['error_mm']['hold']:>10.2f}{cells}")
    lead = figures["lead"]
    ends = lead["final_error_mm"]
    print(
        f"\nhalf of a composed expression earlier than plain mimicry: median "
        f"{lead['median_ms']:.0f} ms (p10 {lead['p10_ms']:.0f}, p90 {lead['p90_ms']:.0f}); error "
        f"when complete {ends['answer']:.2f} mm, mimicry {ends['mimicry']:.2f} mm"
    )
    print("\nalarms: the answer 1 mm ahead of the face. False: the face does not follow")
    for name, row in figures["false_alarms"].items():
        print(
            f"  {name.replace('_', ', '):14}{row['minutes']:>7.1f} min {row['alarms']:>6} alarms, "
            f"{row['false_per_minute']:.2f} false a minute"
        )
