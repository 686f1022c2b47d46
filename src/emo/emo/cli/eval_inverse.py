"""`emo eval inverse`: a robot's inverse model on babbling that it has never seen."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from emo.cli import add_robot

_LABELS = {
    "model": "inverse model",
    "nearest_neighbour": "nearest neighbour",
    "published_neighbour": "3 nearest of 100, as published",
    "random_face": "a random face's commands",
    "random_commands": "random commands",
    "published_network_pytorch": "226-1024-512 network, PyTorch",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments, `--json` apart."""
    add_robot(parser)
    parser.add_argument("--data", type=Path, help="babbling (default: ./emo babble's)")
    parser.add_argument("--model", type=Path, help="folder (default: models/<its name>)")
    parser.add_argument(
        "--faces", type=int, default=200, metavar="N",
        help="to execute again on the simulated robot (default: 200; 0: none)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="DIR", help="write plots")


def run(args: argparse.Namespace) -> int:
    """Score, execute, time; print."""
    from emo_core.errors import EmoError
    from emo_core.evaluation.executed import execute
    from emo_core.evaluation.inverse import evaluate_inverse
    from emo_core.robot.babbling import Babble, default_path
    from emo_core.robot.description import RobotDescription

    if args.faces < 0:
        raise EmoError(f"--faces {args.faces}: give at least 0")
    if args.out is not None and args.out.exists() and not args.out.is_dir():
        raise EmoError(f"{args.out} is not a folder: --out takes the folder of the plots")
    robot = RobotDescription.load(args.robot)
    data = Babble.load(args.data or default_path(robot))
    scores = evaluate_inverse(robot, data, args.model)
    figures = scores.as_json()
    executed = None
    if args.faces and robot.simulator is not None:
        executed = execute(robot, data, args.model, args.faces)
        figures["executed"] = executed.as_json()
    if args.out is not None:
        from emo_core.evaluation.inverse_plots import write_plots

        for path in write_plots(scores, executed, args.out):
            print(f"wrote {path}", file=sys.stderr)
    if args.json:
        print(json.dumps(figures, indent=1))
    else:
        _print(figures)
    return 0


def _print(figures: dict[str, Any]) -> None:
    print(f"robot '{figures['robot']}', {figures['pairs']} held-out pairs of eyes and mouth")
    print(f"\n{'':32}{'L1':>8}{'/ model':>9}{'us/frame':>10}{'/ model':>9}")
    rows = {"model": {"l1": figures["l1"]}, **figures["baselines"], "published_network_pytorch": {}}
    for name, row in rows.items():
        cells = [row.get("l1"), figures["over_model"].get(name)]
        cells += [figures["microseconds"].get(name), figures["times_faster_than"].get(name)]
        if any(cell is not None for cell in cells):
            formats = zip(cells, (8, 9, 10, 9), (".4f", ".2f", ".1f", ".1f"), strict=True)
            line = (f"{'-' if cell is None else format(cell, f):>{w}}" for cell, w, f in formats)
            print(f"{_LABELS[name]:32}" + "".join(line))
    print(f"\n{figures['commands_per_s']} single frames/s on one core; L1 by motor:")
    for name, error in figures["l1_per_motor"].items():
        print(f"  {name:24}{error:.4f}")
    if "executed" in figures:
        executed = figures["executed"]
        errors, ratios = executed["error_mm"], executed["over_random_face"]
        print(
            f"\n{executed['faces']} faces executed again ({executed['lost']} not seen): "
            f"{errors['true']:.2f} mm from the face asked for on the skin itself, a random face "
            f"{errors['true_random']:.2f} mm: ratio {ratios['true']:.3f}\n"
            f"  seen by FaceMesh: {errors['seen']:.2f} mm, ratio {ratios['seen']:.3f}; "
            f"the same commands executed once more: {errors['seen_repeated']:.2f} mm, "
            f"ratio {ratios['seen_repeated']:.3f}"
        )
