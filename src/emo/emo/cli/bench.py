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
from dataclasses import asdict
from pathlib import Path
from typing import Any

from emo.cli import add_json, ensure
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
    from emo.bench import report as pages
    from emo.bench.plots import plot

    folder = Path(args.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmoError(f"cannot write to {folder} ({error.strerror}): choose --out") from None
    report: dict[str, Any] = {"machine": pages.machine()}
    with tempfile.TemporaryDirectory(dir=folder, prefix="inputs-") as inputs:
        report |= _hours(args, folder, Path(inputs)) if args.hours else (
            _parts(args, folder, Path(inputs)))  # fmt: skip
    plots = plot(report, folder)
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    text = pages.markdown(report)
    (folder / "report.md").write_text(text, encoding="utf-8")
    if args.json:
        print(json.dumps(report, indent=2))
        return 0
    print(text)
    for path in (folder / "report.md", folder / "report.json", *plots):
        print(f"  {path}")
    return 0


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


def _parts(args: argparse.Namespace, folder: Path, inputs: Path) -> dict[str, Any]:
    from emo.bench import dashboard, growth, live
    from emo.options import BOTH, LIPSYNC, MIMIC
    from emo_core.audio.sources import load_audio
    from emo_core.evaluation import speed

    parts = args.only or PARTS
    seconds = 6.0 if args.quick else args.seconds
    given, speech, video = _inputs(args, seconds, inputs)
    report: dict[str, Any] = {"seconds": seconds}
    if "live" in parts:
        report["runs"] = {}
        for processes in (False, True):
            for pipeline in (LIPSYNC, MIMIC, BOTH):
                name = f"{pipeline}, {'processes' if processes else 'composed'}"
                _say(name)
                out = folder / name.replace(", ", "_")
                report["runs"][name] = live.run(pipeline, speech, video, out, processes)
    if "costs" in parts:
        _say("what a frame costs")
        costs = speed.measure(load_audio(given), args.quick)
        report["costs"] = [asdict(cost) for cost in costs]
    if "growth" in parts:
        _say("how cost grows")
        report["motors"] = speed.growth_with_motors(args.quick)
        lengths = (4, 16) if args.quick else (15, 60, 240)
        report["length"] = growth.with_length(given, lengths, inputs)
        if not args.quick:
            report["robots"] = growth.with_robots((1, 2), speech, video, folder)
    if "dashboard" in parts:
        _say("what the dashboard costs")
        ensure("dashboard", "./emo bench --only dashboard")
        rounds = 2 if args.quick else DASHBOARD_ROUNDS
        report["dashboard"] = dashboard.measure(speech, video, folder, rounds, args.processes)
    return report


def _hours(args: argparse.Namespace, folder: Path, inputs: Path) -> dict[str, Any]:
    from emo.bench import growth, live
    from emo.options import BOTH

    seconds = 3600.0 * args.hours
    _, speech, video = _inputs(args, seconds, inputs)
    name = f"{BOTH}, {'processes' if args.processes else 'composed'}"
    _say(f"{name}: {args.hours:g} h")
    result = live.run(
        BOTH, speech, video, folder / "hours", args.processes, min(10.0, seconds / 60)
    )
    return {
        "seconds": seconds,
        "runs": {name: result},
        "hours": growth.with_hours(result, folder / "hours" / "robot.mp4"),
    }
