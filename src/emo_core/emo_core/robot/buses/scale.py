"""Motor commands in [0, 1] and the servos' own units."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo_core.errors import EmoError
from emo_core.robot.description import RobotDescription

Array = NDArray[np.float64]


class Scale:
    """Maps all motors of a robot at once.

    Args:
        description: its motors' `raw` give the units at command 0 and 1.
        whole: both for motors without.
        allowed: lowest and highest units that the servos take.
        ids: lowest and highest id or channel on this bus.
        steps: what the servo resolves, for each unit.

    Raises:
        EmoError: a motor's `raw` or `id` is not of this bus; names file, key and remedy.
    """

    def __init__(
        self,
        description: RobotDescription,
        whole: tuple[float, float],
        allowed: tuple[float, float],
        ids: tuple[int, int],
        steps: int = 1,
    ) -> None:
        kind = description.bus.kind
        for n, motor in enumerate(description.motors):
            where = f"{description.file}: motors[{n}] ({motor.name})"
            if not ids[0] <= motor.id <= ids[1]:
                raise EmoError(
                    f"{where}: id is {motor.id}: bus.kind {kind} has {ids[0]} to {ids[1]}"
                )
            for value in motor.raw or ():
                if not allowed[0] <= value <= allowed[1]:
                    raise EmoError(
                        f"{where}: raw has {value:g}: bus.kind {kind} takes {allowed[0]:g} to "
                        f"{allowed[1]:g}"
                    )
        ends = np.array([motor.raw or whole for motor in description.motors], dtype=np.float64)
        self._zero, self._one = ends.T
        self._steps = steps

    def to_raw(self, commands: ArrayLike) -> Array:
        """(M,) commands, clipped to [0, 1] -> (M,) units, rounded to what the servo resolves.

        Raises:
            ValueError: a command is not finite: the safety layer lets none through.
        """
        given = np.asarray(commands, dtype=np.float64)
        if given.shape != self._zero.shape or not np.isfinite(given).all():
            raise ValueError(f"{len(self._zero)} finite commands are needed, not {given}")
        raw = self._zero + np.clip(given, 0.0, 1.0) * (self._one - self._zero)
        return np.asarray(np.round(raw * self._steps) / self._steps)

    def to_commands(self, raw: ArrayLike) -> Array:
        """(M,) units -> (M,) commands, which lie outside [0, 1] where a servo does."""
        units = np.asarray(raw, dtype=np.float64)
        return np.asarray((units - self._zero) / (self._one - self._zero))
