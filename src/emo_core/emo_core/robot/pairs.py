"""A robot's babbling as pairs of a face and the commands that made it.

Eyes and mouth babbled apart, so any face of the one goes with any of the other: 800 frames of each
are 640,000 pairs. They are cut into training, validation and test stretches first and combined
within a split only: no pose that is tested was ever trained on, not even in another combination.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emo_core.errors import EmoError
from emo_core.face.topology import EYES_BROWS, ROBOT_LANDMARKS
from emo_core.robot.babbling import Babble
from emo_core.robot.description import GROUPS, RobotDescription

Array = NDArray[np.float64]

#: Each split's part of the frames, in the order of time.
SPLITS = {"train": (0.0, 0.8), "val": (0.8, 0.9), "test": (0.9, 1.0)}
#: Frames left out between two splits: neighbouring frames of smooth babbling are alike.
GAP = 12
_FEWEST = 20
#: The places of each group's points among the 113.
POINTS = {
    "eye": slice(0, len(EYES_BROWS)),
    "mouth": slice(len(EYES_BROWS), len(ROBOT_LANDMARKS)),
}


@dataclass(frozen=True)
class Half:
    """One group's frames of a split.

    Attributes:
        faces: (T, 2 P) mm, x then y of each of the group's own points.
        commands: (T, m) of the group's motors, those of gaze left out.
        columns: (m,) places of these motors among the robot's expressive ones.
        low, high: (m,) their limits.
    """

    faces: Array
    commands: Array
    columns: NDArray[np.intp]
    low: Array
    high: Array


class Split:
    """One split of a robot's babbling.

    Attributes:
        halves: group -> its frames.
        motors: E, how many motors the pairs' commands have.
    """

    def __init__(self, data: Babble, robot: RobotDescription, name: str) -> None:
        """Cut `name` ("train", "val", "test") out of `data`.

        Raises:
            EmoError: another robot's babbling, or too few frames.
        """
        if data.signature != robot.signature():
            raise EmoError(
                f"the babbling is of robot '{data.robot}' as it was described then: "
                f"{robot.file} has changed. Run ./emo babble --robot {robot.name} again"
            )
        driven = robot.expressive
        self.motors = len(driven)
        self.halves: dict[str, Half] = {}
        first, last = SPLITS[name]
        for group in GROUPS:
            count = len(data.commands[group])
            frames = slice(int(first * count) + (GAP if first else 0), int(last * count))
            columns = np.flatnonzero(np.isin(driven, robot.group(group)))
            motors = driven[columns]
            faces = data.landmarks[group][frames, POINTS[group]]
            if len(faces) < _FEWEST:
                raise EmoError(
                    f"the babbling of robot '{data.robot}' has {count} frames of group '{group}': "
                    "too few. Run ./emo babble with more --frames"
                )
            self.halves[group] = Half(
                faces.reshape(len(faces), -1),
                data.commands[group][frames][:, motors],
                columns,
                robot.lower[motors],
                robot.upper[motors],
            )

    def __len__(self) -> int:
        return int(np.prod([len(half.faces) for half in self.halves.values()]))

    def pairs(self, chosen: NDArray[np.intp]) -> tuple[Array, Array]:
        """Pairs by their numbers, (N,) each below `len`: (N, 226) mm and (N, E) commands."""
        rows = np.unravel_index(chosen, [len(half.faces) for half in self.halves.values()])
        commands = np.zeros((len(chosen), self.motors))
        faces = []
        for half, row in zip(self.halves.values(), rows, strict=True):
            faces.append(half.faces[row])
            commands[:, half.columns] = half.commands[row]
        return np.concatenate(faces, axis=1), commands

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Array, Array]:
        """`count` random pairs."""
        return self.pairs(rng.integers(len(self), size=count))
