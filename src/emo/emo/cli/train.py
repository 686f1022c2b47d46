"""Train the models: APC, Audio2Landmark, inverse, predictive. Torch is installed at first use.

`docs/training.md` has the commands that made the shipped models, their times and their results.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emo.cli import add_json, add_robot, ensure
from emo_core.errors import EmoError

if TYPE_CHECKING:
    from emo_core.robot.description import RobotDescription


def count(text: str) -> int:
    """A whole number from 1, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: give at least 1")
    return number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    models = parser.add_subparsers(
        dest="model", required=True, metavar="apc|audio2landmark|inverse|predictive"
    )
    apc = models.add_parser("apc", help="the speech representation")
    apc.add_argument("--speech", type=Path, nargs="+", required=True, help="folders of recordings")
    apc.add_argument("--clips", type=Path, nargs="+", default=[], help="prepared folders")
    apc.add_argument("--epochs", type=count, help="passes over the speech (default: the recipe's)")
    apc.add_argument("-o", "--out", type=Path, help="model folder (default: models/apc)")
    a2l = models.add_parser("audio2landmark", help="speech features to facial landmarks")
    a2l.add_argument("--clips", type=Path, nargs="+", required=True, help="prepared folders")
    a2l.add_argument(
        "--strangers", type=Path, nargs="+", default=[],
        help="prepared clips (npz) of people not trained on, who help to select",
    )  # fmt: skip
    a2l.add_argument("--lookahead", type=int, default=240, metavar="MS", help="default: 240")
    a2l.add_argument(
        "--architecture", choices=["stream", "slice"], default="stream",
        help="slice: the published network, to compare with; scored, but not exported",
    )  # fmt: skip
    a2l.add_argument(
        "--inputs", choices=["apc+mel", "mel", "apc"], default="apc+mel",
        help="a part of the features, to compare with: the graph runs models of all of them",
    )  # fmt: skip
    a2l.add_argument("--epochs", type=count, help="passes over the clips (default: the recipe's)")
    a2l.add_argument("--seeds", type=count, default=1, help="networks to average (default: 1)")
    a2l.add_argument("-o", "--out", type=Path, required=True, help="model folder")
    inverse = models.add_parser("inverse", help="landmarks to motor commands, for one robot")
    add_robot(inverse)
    inverse.add_argument("--data", type=Path, help="babbling (default: ./emo babble's)")
    inverse.add_argument(
        "--recipe", choices=["imagined", "published", "residual"], default="imagined",
        help="published, residual: networks to compare with, learned from the frames as they are",
    )  # fmt: skip
    inverse.add_argument("--seed", type=int, default=0)
    inverse.add_argument("-o", "--out", type=Path, help="model folder (default: models/<name>)")
    predictive = models.add_parser("predictive", help="a face's last frames to the coming peak")
    predictive.add_argument(
        "--clips", type=Path, nargs="+", required=True, metavar="DIR",
        help="a folder for each person: prepared clips, or videos, with sound or without",
    )  # fmt: skip
    predictive.add_argument("--steps", type=count, help="training steps (default: the recipe's)")
    predictive.add_argument("--seed", type=int, default=0)
    predictive.add_argument("--threads", type=count, default=1, help="default: 1")
    predictive.add_argument("-o", "--out", type=Path, help="folder (default: models/predictive)")
    for sub in (apc, a2l):
        sub.add_argument(
            "--work", type=Path, help="checkpoints and logs (default: runs/<model folder's name>)"
        )
        sub.add_argument("--threads", type=count, default=os.cpu_count(), help="default: all cores")
    for sub in (a2l, inverse, predictive):
        add_json(sub)


def run(args: argparse.Namespace) -> int:
    """Train, and say what came of it."""
    ensure("train", "./emo train")
    trainers = {
        "apc": _apc,
        "audio2landmark": _audio2landmark,
        "inverse": _inverse,
        "predictive": _predictive,
    }
    return trainers[args.model](args)


def _apc(args: argparse.Namespace) -> int:
    import torch

    from emo_core.paths import models_dir
    from emo_core.training.apc import ApcConfig
    from emo_core.training.recipe import make_apc

    torch.set_num_threads(args.threads)
    out = args.out or models_dir() / "apc"
    config = ApcConfig() if args.epochs is None else replace(ApcConfig(), epochs=args.epochs)
    work = args.work or Path("runs") / out.name
    make_apc(args.speech, args.clips, out, work, config)
    print(f"{out}: trained; log in {work}")
    return 0


def _audio2landmark(args: argparse.Namespace) -> int:
    import torch

    from emo_core.training.audio2landmark import A2LConfig
    from emo_core.training.recipe import make_audio2landmark

    if args.lookahead < 0 or args.lookahead % 40:
        raise EmoError(f"--lookahead {args.lookahead}: give a multiple of 40 (ms)")
    torch.set_num_threads(args.threads)
    config = replace(
        A2LConfig(),
        architecture=args.architecture,
        inputs=args.inputs,
        lookahead_ms=args.lookahead,
    )
    if args.epochs is not None:
        config = replace(config, epochs=args.epochs)
    work = args.work or Path("runs") / args.out.name
    report = make_audio2landmark(
        args.clips, args.strangers, args.out, work, config, seeds=args.seeds
    )
    text = f"{args.out}: validation score {report['score']}; log in {work}"
    print(json.dumps(report) if args.json else text)
    return 0


def _inverse(args: argparse.Namespace) -> int:
    from emo_core.evaluation.inverse import evaluate_inverse
    from emo_core.robot.babbling import Babble, default_path
    from emo_core.robot.description import RobotDescription
    from emo_core.training.inverse import RECIPES, train_inverse

    robot = RobotDescription.load(args.robot)
    out = args.out or _own_model(robot)
    data = Babble.load(args.data or default_path(robot))

    def progress(step: int, steps: int, error: float) -> None:
        print(f"step {step} of {steps}: validation L1 {error:.4f}", file=sys.stderr)

    validation = train_inverse(robot, data, out, args.seed, RECIPES[args.recipe], progress)
    scores = evaluate_inverse(robot, data, out, torch=False).as_json()
    figures: dict[str, Any] = {"recipe": args.recipe, "validation_l1": validation, **scores}
    baselines = figures["baselines"]
    rest = ", ".join(f"{name} {error['l1']:.4f}" for name, error in baselines.items())
    text = f"{out}: L1 {figures['l1']:.4f} on held-out babbling; {rest}"
    print(json.dumps(figures) if args.json else text)
    return 0


def _own_model(robot: RobotDescription) -> Path:
    """The folder that the robot's file names.

    Raises:
        EmoError: another robot's model is there, as where a file `extends` that robot's.
    """
    from emo_core.models import read_config
    from emo_core.paths import models_dir

    folder = models_dir() / robot.inverse_model
    if (folder / "config.json").is_file():
        owner = read_config(folder, "Remove the folder, or give --out").get("robot")
        if owner != robot.name:
            raise EmoError(
                f"{folder} is the robot {owner}'s: write inverse_model: inverse_{robot.name} in "
                f"{robot.file}, or give --out"
            )
    return folder


def _predictive(args: argparse.Namespace) -> int:
    import torch

    from emo_core.data.faces import load_faces, prepared, training_id
    from emo_core.mimic.predictive import NAME
    from emo_core.paths import models_dir
    from emo_core.training.predictive import PredictiveConfig, train_predictive

    torch.set_num_threads(args.threads)
    config = replace(PredictiveConfig(), seed=args.seed)
    if args.steps is not None:
        config = replace(config, steps=args.steps)
    people: dict[str, str] = {}
    trained, held_out = [], []
    for given in args.clips:
        name = given.resolve().name
        place, work = prepared(given, Path("data/expressions") / name)
        for _, why in work:
            if why is not None:
                print(f"skipped {why}", file=sys.stderr)
        people[name] = training_id(place)
        trained.append(load_faces(place, "train"))
        held_out += load_faces(place, "val")
    out = args.out or models_dir() / NAME

    def progress(step: int, steps: int, figures: dict[str, float]) -> None:
        print(
            f"step {step} of {steps}: validation error / hold-current error: "
            f"filmed {figures['filmed']:.3f}, composed {figures['composed']:.3f}",
            file=sys.stderr,
        )

    figures = train_predictive(trained, held_out, out, config, {"people": people}, progress)
    text = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
    print(json.dumps(figures) if args.json else f"{out}: {text}")
    return 0
