"""Motor babbling: the robot tries its face out, and FaceMesh writes down what that looks like.

The eye and brow motors babble first, then those of mouth and jaw. What comes out is what
`./emo train inverse` learns the robot's inverse model from.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from emo.cli import add_json, add_robot


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_robot(parser)
    parser.add_argument(
        "--frames", type=int, help="frames for each of the two groups (default: 3000)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random poses (default: 0)")
    parser.add_argument(
        "-o", "--out", type=Path, help="data file (default: data/babble_<robot>.npz)"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Babble, write the file, say what was seen."""
    from tqdm import tqdm

    from emo_core.errors import EmoError
    from emo_core.robot.babbling import DEFAULT_FRAMES, babble, default_path
    from emo_core.robot.description import RobotDescription

    robot = RobotDescription.load(args.robot)
    out: Path = args.out or default_path(robot)
    frames: int = DEFAULT_FRAMES if args.frames is None else args.frames
    if frames < 1:
        raise EmoError(f"--frames {frames}: give at least 1")
    with tqdm(total=2 * frames, unit="frame", disable=not sys.stderr.isatty()) as bar:
        data = babble(robot, frames, args.seed, lambda _done, _total: bar.update(1))
    data.save(out)
    report = {
        "robot": robot.name,
        "file": str(out),
        "frames": data.frames(),
        "lost": data.lost,
    }
    if args.json:
        print(json.dumps(report))
    else:
        kept = " + ".join(f"{count} {group}" for group, count in data.frames().items())
        print(f"{out}: {kept} frames of robot '{robot.name}', {data.lost} without a face")
    return 0
