"""How fast, how much memory, how steady: one command, one report.

Measures the live graphs (lip-sync, mimicry, both; in one process and in several) as an operator
starts them: latency by stage, drops, start-up, CPU, memory; what a frame costs in each stage, next
to the usual ways of doing the same, timed in turns; how cost grows with motors, robots and length;
and what the dashboard costs the pipelines. Leaves report.md, report.json and plots. --hours runs
both pipelines for so long instead, and says how much memory grew and whose, what was lost, and how
far sound and lips drifted apart. Linux.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from emo.cli import EXIT_ERROR, add_json, ensure
from emo_core.errors import EmoError

PARTS = ("live", "costs", "growth", "dashboard")
#: Turns of each way, of `--seconds` each.
DASHBOARD_ROUNDS = 5
QUIET_NATIVE = True  # MediaPipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--speech", metavar="SPEECH", help="a recording (default: the bundled one)")
    parser.add_argument(
        "--video", metavar="VIDEO", help="a face (default: the simulated robot's, which moves)"
    )
    parser.add_argument(
        "--seconds", type=float, default=60.0, metavar="S", help="of each live run (default 60)"
    )
    parser.add_argument("--quick", action="store_true", help="6 s of each, few repetitions")
    parser.add_argument(
        "--only", choices=PARTS, action="append", help="this part (may be given several times)"
    )
    parser.add_argument(
        "--hours", type=float, metavar="H", help="instead: both pipelines for so long"
    )
    parser.add_argument(
        "--processes",
        action="store_true",
        help="with --hours and for the dashboard's part: a process for each node",
    )
    parser.add_argument("--out", default="out/bench", metavar="DIR", help="default: out/bench")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, write the report."""
    import emo_nodekit  # noqa: F401 (before numpy: it sets the number of BLAS threads)

    if not sys.platform.startswith("linux"):
        raise EmoError("processes are watched through Linux's /proc: run emo bench on Linux")
    if not (args.seconds if args.hours is None else args.hours) > 0:
        raise EmoError("give a time above 0 with --seconds or --hours")
    from emo.bench import dashboard
    from emo.bench import report as pages
    from emo.bootstrap import SetupError

    folder = Path(args.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmoError(f"cannot write to {folder} ({error.strerror}): choose --out") from None
    parts = [part for part in PARTS if part in (args.only or PARTS)]
    if args.hours:
        parts = ["hours"]
    seconds = 3600.0 * args.hours if args.hours else 6.0 if args.quick else args.seconds
    if "dashboard" in parts and dashboard.BROWSER is None:
        _say(f"left out: the dashboard {dashboard.SEEN} ({dashboard.NO_BROWSER})")
    report: dict[str, Any] = {"machine": pages.machine(), "seconds": seconds}
    paths: list[Path] = []
    with tempfile.TemporaryDirectory(dir=folder, prefix="inputs-") as inputs:
        films = _inputs(args, seconds, Path(inputs))
        for part in parts:
            try:
                for _ in _measured(part, args, folder, films, report):
                    paths = _write(report, folder)  # whatever becomes of the next
            except (EmoError, SetupError) as error:
                report.setdefault("failed", {})[part] = str(error)
                _say(f"{part} failed: {error}")
                if paths:  # else an older report stays
                    paths = _write(report, folder)
            except KeyboardInterrupt:
                if paths:
                    _say(f"what was measured so far: {paths[0]}")
                raise
    if not paths:
        return EXIT_ERROR
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        print(pages.markdown(report))
        for path in paths:
            print(f"  {path}")
    return EXIT_ERROR if "failed" in report else 0


def _write(report: dict[str, Any], folder: Path) -> list[Path]:
    from emo.bench import report as pages
    from emo.bench.plots import plot

    texts = {
        folder / "report.md": pages.markdown(report),
        folder / "report.json": json.dumps(report, indent=2) + "\n",
    }
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return [*texts, *plot(report, folder)]


def _say(text: str) -> None:
    print(f"emo: bench: {text}", file=sys.stderr, flush=True)


def _inputs(args: argparse.Namespace, seconds: float, folder: Path) -> tuple[Path, Path, Path]:
    """The recording as given, and speech and video of the wanted length."""
    from emo.bench import live

    given = Path(args.speech or Path(__file__).parents[1] / "data" / "hello.flac")
    speech, video = folder / "speech.wav", folder / "video.mp4"
    live.write_speech(given, seconds, speech)
    live.write_video(Path(args.video) if args.video else None, seconds, video)
    return given, speech, video


def _measured(
    part: str,
    args: argparse.Namespace,
    folder: Path,
    films: tuple[Path, Path, Path],
    report: dict[str, Any],
) -> Iterator[None]:
    """Measures a part with what `_inputs` made; yields whenever there is more in the report."""
    from emo.bench import dashboard, growth, live
    from emo.options import BOTH
    from emo_core.audio.sources import load_audio
    from emo_core.evaluation import speed
    from emo_core.pipelines import LIPSYNC, MIMIC

    given, speech, video = films
    if part == "live":
        for processes in (False, True):
            for pipeline in (LIPSYNC, MIMIC, BOTH):
                name = f"{pipeline}, {'processes' if processes else 'composed'}"
                _say(name)
                out = folder / name.replace(", ", "_")
                result = live.run(pipeline, speech, video, out, processes)
                report.setdefault("runs", {})[name] = result
                yield
    elif part == "costs":
        _say("what a frame costs")
        costs = speed.measure(load_audio(given), args.quick)
        report["costs"] = [asdict(cost) for cost in costs]
        yield
    elif part == "growth":
        _say("how cost grows")
        report["motors"] = speed.growth_with_motors(args.quick)
        yield
        lengths = (4, 16) if args.quick else (15, 60, 240)
        report["length"] = growth.with_length(given, lengths, speech.parent)
        yield
        if not args.quick:
            report["robots"] = growth.with_robots((1, 2), speech, video, folder)
            yield
    elif part == "dashboard":
        _say("what the dashboard costs")
        ensure("dashboard", "./emo bench --only dashboard")
        rounds = 2 if args.quick else DASHBOARD_ROUNDS
        for figures in dashboard.measure(speech, video, folder, rounds, args.processes):
            report["dashboard"] = figures
            yield
    else:
        name = f"{BOTH}, {'processes' if args.processes else 'composed'}"
        _say(f"{name}: {args.hours:g} h")
        period_s = min(10.0, report["seconds"] / 60)
        result = live.run(BOTH, speech, video, folder / "hours", args.processes, period_s)
        report["runs"] = {name: result}
        yield
        report["hours"] = growth.with_hours(result, folder / "hours" / "robot.mp4")
        yield
