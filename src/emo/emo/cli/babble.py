"""Motor babbling: the robot tries its face out, and FaceMesh writes down what that looks like.

The eye and brow motors babble first, then those of mouth and jaw. What comes out is what
`./emo train inverse` learns the robot's inverse model from. Started again after an interruption,
it goes on where it was: then robot and camera must still stand as they did.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from emo.cli import add_json, add_robot
from emo.cli._bench import add_camera, has_camera, real_bench

if TYPE_CHECKING:
    from emo_core.robot.description import RobotDescription
    from emo_core.robot.looking import Look

QUIET_NATIVE = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_robot(parser)
    add_camera(parser)
    parser.add_argument(
        "--frames", type=int, help="poses for each of the two groups (default: 800; --compare: 60)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of poses and camera (default: 0)")
    parser.add_argument(
        "--preprocess",
        choices=("colour", "grayscale", "equalizeHist"),
        help="of each picture before FaceMesh (default: colour)",
    )
    parser.add_argument(
        "--compare", action="store_true", help="compare the ways to preprocess; writes no file"
    )
    parser.add_argument(
        "-o", "--out", type=Path, help="data file (default: data/babble_<robot>.npz)"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Babble, write the file, say what was seen; or compare."""
    from tqdm import tqdm

    from emo_core.errors import EmoError
    from emo_core.robot.babbling import DEFAULT_FRAMES, babble, default_path
    from emo_core.robot.description import RobotDescription
    from emo_core.robot.looking import DEFAULT_PREPROCESS

    robot = RobotDescription.load(args.robot)
    if args.frames is not None and args.frames < 1:
        raise EmoError(f"--frames {args.frames}: give at least 1")
    if args.compare:
        return _compare(args, robot)
    out: Path = args.out or default_path(robot)
    frames: int = args.frames or DEFAULT_FRAMES
    parts = out.with_name(f".{out.stem}.parts")
    with (
        _looking(args, robot) as look,
        tqdm(total=2 * frames, unit="pose", disable=not sys.stderr.isatty()) as bar,
    ):
        data = babble(
            robot,
            frames,
            args.seed,
            lambda done, _total: bar.update(done - bar.n),
            args.preprocess or DEFAULT_PREPROCESS,
            parts,
            look,
        )
    data.save(out)
    shutil.rmtree(parts, ignore_errors=True)  # another run may be writing there
    report = {
        "robot": robot.name,
        "file": str(out),
        "frames": data.frames(),
        "lost": data.lost,
        "preprocess": data.preprocess,
    }
    if args.json:
        print(json.dumps(report))
    else:
        kept = " + ".join(f"{count} {group}" for group, count in data.frames().items())
        print(f"{out}: {kept} frames of robot '{robot.name}', {data.lost} without a face")
    return 0


@contextmanager
def _looking(args: argparse.Namespace, robot: RobotDescription) -> Iterator[Look]:
    from emo_core.robot.looking import look_at, look_through

    if not has_camera(args, robot):
        yield look_at
        return
    with real_bench(robot, args.camera) as bench:
        yield look_through(bench)


def _compare(args: argparse.Namespace, robot: RobotDescription) -> int:
    from tqdm import tqdm

    from emo_core.robot.babbling import compare
    from emo_core.robot.looking import PREPROCESSES

    frames = args.frames or 60
    total = 2 * frames * len(PREPROCESSES)
    with (
        _looking(args, robot) as look,
        tqdm(total=total, unit="pose", disable=not sys.stderr.isatty()) as bar,
    ):
        rows = compare(robot, frames, args.seed, lambda _done, _total: bar.update(1), look)
    if args.json:
        print(json.dumps({"robot": robot.name, "poses": 2 * frames, "rows": [*map(asdict, rows)]}))
    else:
        print("preprocess     face found   shakiness (mm)")
        for row in rows:
            print(f"{row.preprocess:14s} {100 * row.found:8.1f} %   {row.shake_mm:10.2f}")
    return 0
