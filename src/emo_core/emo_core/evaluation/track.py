"""What one run of the graph made, as arrays: the thing that runs are compared by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emo_core.robot.description import RobotDescription

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Track:
    """What one run made, at the times of the input it belongs to.

    Attributes:
        name: of the run, for people.
        robot: whose motors these are.
        times_s: (T,) of the commands, increasing, from the beginning of the input.
        motors: (T, M) commands.
        names: of the motors.
        face_times_s: (F,) of the human landmarks, increasing.
        faces: (F, 478, 3) human landmarks, mm; F may be 0.
    """

    name: str
    robot: RobotDescription
    times_s: Array
    motors: Array
    names: tuple[str, ...]
    face_times_s: Array
    faces: NDArray[np.float32]

    def pose(self, time_s: float) -> Array:
        """(M,) of the robot at a time; motors that the run does not name are at neutral."""
        pose = self.robot.neutral.copy()
        for column, name in enumerate(self.names):
            if name in self.robot.names:
                at = np.interp(time_s, self.times_s, self.motors[:, column])
                pose[self.robot.names.index(name)] = at
        return pose
