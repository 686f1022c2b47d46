"""`emo eval mimic`: people mimicked by the simulated robot, both looked at by FaceMesh."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emo.cli import add_robot

_NAMES = {
    "mouth_opening": "mouth opening",
    "mouth_width": "mouth width",
    "eye_opening": "eye opening",
    "brow_height": "brow height",
}
_TOLD = (("r", 3), ("slope", 2))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments, `--json` apart."""
    parser.add_argument(
        "dirs", type=Path, nargs="+", metavar="DIR",
        help="a folder for each group of people: videos, or prepared clips",
    )  # fmt: skip
    parser.add_argument(
        "--split", help="part of each DIR's splits.json (default: test; without one: all clips)"
    )
    parser.add_argument(
        "--clips", type=int, default=20, metavar="N",
        help="of each DIR, spread evenly (default: 20; 0: all)",
    )  # fmt: skip
    parser.add_argument(
        "--composed", type=int, default=40, metavar="N",
        help="expressions composed on the faces of people not trained on (default: 40; 0: none)",
    )  # fmt: skip
    parser.add_argument(
        "--takes", type=int, default=5, metavar="N",
        help="the robot does everything N times, and the mean of what is seen counts (default: 5)",
    )  # fmt: skip
    parser.add_argument("--no-predict", action="store_true", help="talking faces: plain mimicry")
    add_robot(parser)
    parser.add_argument("--cache", type=Path, metavar="DIR", help="where tracked videos are kept")


def run(args: argparse.Namespace, progress: Callable[[int, int, str], None]) -> int:
    """Mimic, look, score; print."""
    from emo_core.data.faces import training_id
    from emo_core.data.prepare import videos_in
    from emo_core.errors import EmoError
    from emo_core.evaluation.clips import load_clips
    from emo_core.evaluation.mimic import Talker, talking
    from emo_core.evaluation.mimic_lead import expressions
    from emo_core.mimic.predictive import NAME, REMEDY
    from emo_core.models import read_config
    from emo_core.paths import models_dir
    from emo_core.robot.description import RobotDescription

    if args.clips < 0 or args.composed < 0 or args.takes < 1:
        raise EmoError("--clips and --composed must not be negative, --takes at least 1")
    robot = RobotDescription.load(args.robot)
    if robot.simulator is None:
        raise EmoError(
            f"{robot.file}: simulator is missing: the loop is closed on a simulated robot. "
            "Give --robot sim, or a file that extends it"
        )
    provenance = read_config(models_dir() / NAME, REMEDY).get("provenance", {})
    trained_on = provenance.get("people", {}).values()
    groups: dict[str, list[Talker]] = {}
    strangers: list[str] = []
    for folder in args.dirs:
        name = folder.resolve().name
        split = args.split if (folder / "splits.json").is_file() else None
        clips = load_clips(
            folder,
            split=split,
            most=args.clips or None,
            max_training=0,
            cache=args.cache,
            progress=progress,
        )
        prepared = any(folder.glob("*.npz"))
        films = {} if prepared else {path.stem: path for path in videos_in(folder)}
        groups[name] = [Talker(clip, films.get(clip.name)) for clip in clips.clips]
        if training_id(folder) not in trained_on:
            strangers.append(name)
        for lost, why in sorted(clips.skipped.items()):
            print(f"skipped {lost}: {why}", file=sys.stderr)
    figures: dict[str, Any] = {
        "robot": robot.name,
        "predict": not args.no_predict,
        "takes": args.takes,
        "servo_lag_ms": 1000 * float(robot.servo_lag_s),
        "talking": talking(robot, groups, not args.no_predict, args.takes, progress),
    }
    if args.composed:
        everyone = [talker.clip for talkers in groups.values() for talker in talkers]
        faces = [talker.clip.static for name in strangers or groups for talker in groups[name]]
        figures["strangers"] = strangers
        figures["composed"] = expressions(
            robot, everyone, faces, args.composed, args.takes, progress
        )
    figures = _finite(figures)
    if args.json:
        print(json.dumps(figures, indent=1))
    else:
        _print(figures)
    return 0


def _finite(value: Any) -> Any:
    """Rounded; what is not a number as null, which JSON can say."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value


def _print(figures: dict[str, Any]) -> None:
    print(
        f"robot '{figures['robot']}' against the person, both as FaceMesh sees them "
        f"(mean of {figures['takes']} takes; frames about their clip's mean)\n\n{'':24}"
        f"{'r':>8}{'slope':>8}{'one take':>12}{'skin':>16}{'person sd':>20}"
    )
    for group, row in figures["talking"].items():
        print(f"{group}: {row['clips']} clips, lag {_cell(row['lag_ms'], 0, 0)} ms")
        _rows(row)
    if "composed" not in figures:
        return
    composed = figures["composed"]
    whom = ", ".join(figures["strangers"]) or "no people but those trained on: give others' clips"
    print(f"{composed['expressions']} expressions composed on {whom}")
    _rows(composed)
    print("half of an expression earlier than plain mimicry, the same robot and camera:")
    for of, what in (("seen", "as FaceMesh sees it"), ("skin", "on the skin itself")):
        lead = composed["lead"][of]
        ends = lead["final_error_mm"]
        print(
            f"  {what}: median {_cell(lead['median_ms'], 0, 0)} ms (p10 "
            f"{_cell(lead['p10_ms'], 0, 0)}, p90 {_cell(lead['p90_ms'], 0, 0)}); error when "
            f"complete {_cell(ends['ahead'], 0, 2)} mm, plain {_cell(ends['plain'], 0, 2)} mm"
        )


def _rows(row: dict[str, Any]) -> None:
    for key, name in _NAMES.items():
        if key not in row:
            continue
        of = row[key]
        cells = [_cell(by[what], 8, n) for by in (of, of["once"], of["skin"]) for what, n in _TOLD]
        print(f"  {name:22}" + "".join(cells) + _cell(of["person_sd_mm"], 9, 2) + " mm")


def _cell(value: float | None, width: int, digits: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:>{width}.{digits}f}"
