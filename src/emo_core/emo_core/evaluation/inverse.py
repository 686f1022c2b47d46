"""The inverse model on babbling that it has never seen, beside what it has to beat.

All figures are over every combination of a held-out face of the eyes with one of the mouth. What
a baseline does to the one does not depend on the other, so its error over all pairs is exact.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emo_core.robot.babbling import Babble
from emo_core.robot.description import RobotDescription
from emo_core.robot.inverse_model import INPUTS, InverseModel
from emo_core.robot.pairs import POINTS, Half, Split

Array = NDArray[np.float64]

#: Hidden layers of the published network, timed in PyTorch.
PUBLISHED_HIDDEN = (1024, 512)
_TIMED_FRAMES, _TIMED_ROUNDS = 400, 15
_PUBLISHED_FACES, _PUBLISHED_NEAREST, _DRAWS = 100, 3, 200


@dataclass(frozen=True)
class InverseScores:
    """L1 on commands in [0, 1], and times.

    Attributes:
        names: the E motors.
        l1: "model" and each baseline -> (E,) mean absolute error.
        seconds: "model" and what it is compared with -> for one frame on one core.
        pairs: how many were scored.
    """

    robot: str
    names: tuple[str, ...]
    l1: Mapping[str, Array]
    seconds: Mapping[str, float]
    pairs: int

    def as_json(self) -> dict[str, object]:
        """Every figure, by name."""
        model, own = self.l1["model"], self.seconds["model"]
        baselines = {name: error for name, error in self.l1.items() if name != "model"}
        return {
            "robot": self.robot,
            "pairs": self.pairs,
            "l1": rounded(model.mean()),
            "l1_per_motor": self._by_motor(model),
            "baselines": {
                name: {"l1": rounded(error.mean()), "l1_per_motor": self._by_motor(error)}
                for name, error in baselines.items()
            },
            "over_model": {
                name: rounded(error.mean() / model.mean()) for name, error in baselines.items()
            },
            "commands_per_s": round(1.0 / own),
            "microseconds": {name: rounded(1e6 * each) for name, each in self.seconds.items()},
            "times_faster_than": {
                name: rounded(each / own) for name, each in self.seconds.items() if name != "model"
            },
        }

    def _by_motor(self, error: Array) -> dict[str, float]:
        return {name: rounded(value) for name, value in zip(self.names, error, strict=True)}


def evaluate_inverse(
    robot: RobotDescription, data: Babble, folder: Path | None = None, torch: bool = True
) -> InverseScores:
    """Score and time a model on the test split.

    Args:
        robot: whose babbling it is.
        folder: the model's; `models/<robot.inverse_model>` if not given.
        torch: also time the published network in PyTorch, where that is installed.

    Raises:
        EmoError: no model, or the data or the model are another robot's.
    """
    model = InverseModel.load(robot, folder)
    known, held_out = Split(data, robot, "train"), Split(data, robot, "test")
    faces, commands = held_out.pairs(np.arange(len(held_out)))
    error = np.abs(model(faces) - commands).mean(axis=0)
    l1 = {"model": error}
    for name, by_group in BASELINES.items():
        l1[name] = np.zeros(held_out.motors)
        for group, half in held_out.halves.items():
            l1[name][half.columns] = by_group[group](known.halves[group], half)
    frames = held_out.draw(np.random.default_rng(0), _TIMED_FRAMES)[0].astype(np.float32)
    contestants: dict[str, Callable[[NDArray[np.float32]], object]] = {
        "model": model,
        "nearest_neighbour": _Neighbours(data),
    }
    network = published_network(held_out.motors) if torch else None
    if network is not None:
        contestants["published_network_pytorch"] = network
    return InverseScores(robot.name, model.names, l1, _time(contestants, frames), len(held_out))


def nearest_neighbour(known: Half, asked: Half) -> Array:
    """(m,) error of the commands of the known face nearest to each asked one (Euclidean)."""
    squares = (known.faces**2).sum(axis=1) - 2.0 * asked.faces @ known.faces.T
    found = known.commands[squares.argmin(axis=1)]
    return np.asarray(np.abs(found - asked.commands).mean(axis=0))


def published_neighbour(known: Half, asked: Half) -> Array:
    """(m,) error of the mean command of the three nearest of a hundred known faces, expected.

    As the authors of the published figures search (`select_nearest_lmks` of `test_model.py` in
    github.com/H-Y-H-Y-H/HR_Facial_Coexpression, sums of absolute differences), over 200 draws.
    """
    apart = np.abs(asked.faces[:, None] - known.faces[None]).sum(axis=2)
    rng, errors = np.random.default_rng(0), []
    for _ in range(_DRAWS):
        drawn = rng.permutation(len(known.faces))[:_PUBLISHED_FACES]
        nearest = drawn[np.argsort(apart[:, drawn], axis=1)[:, :_PUBLISHED_NEAREST]]
        found = known.commands[nearest].mean(axis=1)
        errors.append(np.abs(found - asked.commands).mean(axis=0))
    return np.asarray(np.mean(errors, axis=0))


def random_face(known: Half, asked: Half) -> Array:
    """(m,) error of the commands of any known face, expected."""
    apart = np.abs(known.commands[:, None] - asked.commands[None])
    return np.asarray(apart.mean(axis=(0, 1)))


def random_commands(_known: Half, asked: Half) -> Array:
    """(m,) error of commands drawn evenly between the limits, expected."""
    below, above = asked.commands - asked.low, asked.high - asked.commands
    return np.asarray(((below**2 + above**2) / (2.0 * (asked.high - asked.low))).mean(axis=0))


Baseline = Callable[[Half, Half], Array]
#: What is done to each half. The hundred faces of the authors' search share their eyes, as pairs
#: in a row do: the eyes found are a random face's.
BASELINES: dict[str, dict[str, Baseline]] = {
    "nearest_neighbour": dict.fromkeys(POINTS, nearest_neighbour),
    "published_neighbour": {"eye": random_face, "mouth": published_neighbour},
    "random_face": dict.fromkeys(POINTS, random_face),
    "random_commands": dict.fromkeys(POINTS, random_commands),
}


class _Neighbours:
    """Nearest neighbour over the babbled halves, for one frame: what the speed is compared with."""

    def __init__(self, data: Babble) -> None:
        self._halves = []
        for group, points in POINTS.items():
            faces = data.landmarks[group][:, points].astype(np.float32)
            faces = np.ascontiguousarray(faces.reshape(len(faces), -1))
            columns = slice(2 * points.start, 2 * points.stop)
            self._halves.append((columns, faces, (faces**2).sum(axis=1), data.commands[group]))

    def __call__(self, frame: NDArray[np.float32]) -> list[Array]:
        return [
            commands[(squares - 2.0 * (faces @ frame[columns])).argmin()]
            for columns, faces, squares, commands in self._halves
        ]


def published_network(motors: int) -> Callable[[NDArray[np.float32]], object] | None:
    """226-1024-512-motors in plain PyTorch on one thread; None where there is no PyTorch."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    first, second = PUBLISHED_HIDDEN
    network = torch.nn.Sequential(
        torch.nn.Linear(INPUTS, first),
        torch.nn.ReLU(),
        torch.nn.Linear(first, second),
        torch.nn.ReLU(),
        torch.nn.Linear(second, motors),
        torch.nn.Sigmoid(),
    ).eval()

    def call(frame: NDArray[np.float32]) -> object:
        with torch.inference_mode():
            return network(torch.from_numpy(frame)[None])[0].numpy()

    return call


def _time(
    contestants: Mapping[str, Callable[[NDArray[np.float32]], object]],
    frames: NDArray[np.float32],
) -> dict[str, float]:
    """Seconds for one frame: the median of rounds in which they take turns."""
    rounds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(_TIMED_ROUNDS):
        for name, call in contestants.items():
            start = time.perf_counter()
            for frame in frames:
                call(frame)
            rounds[name].append((time.perf_counter() - start) / len(frames))
    return {name: float(np.median(each)) for name, each in rounds.items()}


def rounded(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")
