"""`emo eval precision`: half precision, and TensorRT where it is, against the CPU in full."""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from emo.cli import add_robot, ensure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments, `--json` apart."""
    parser.add_argument(
        "speech", nargs="?", metavar="SPEECH", help="a recording (default: the bundled one)"
    )
    add_robot(parser)


def run(args: argparse.Namespace) -> int:
    """Run every network in every way; print."""
    from emo_core.audio.sources import load_audio
    from emo_core.evaluation.precision import measure
    from emo_core.robot.description import RobotDescription

    speech = load_audio(args.speech or Path(__file__).parents[1] / "data" / "hello.flac")
    robot = RobotDescription.load(args.robot)
    ensure("train", "./emo eval precision")
    with tempfile.TemporaryDirectory(prefix="emo-half-") as folder:
        rows = measure(speech, robot, Path(folder))
    if args.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return 0
    print(f"{'network':22}{'run':28}{'mean':>10}{'most':>10}{'spread':>10}  unit")
    for row in rows:
        figures = "".join(f"{value:10.5f}" for value in (row.mean, row.most, row.spread))
        print(f"{row.network:22}{row.way:28}{figures}  {row.unit or 'a feature'}")
    print("\nms a frame, beside the CPU in full, in turns")
    for row in rows:
        print(f"{row.network:22}{row.way:28}{row.ms:10.3f}{row.cpu_ms:10.3f}")
    return 0
