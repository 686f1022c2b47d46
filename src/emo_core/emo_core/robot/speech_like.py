"""A motion as lively as speech, for any robot and all of its motors at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo_core.robot.description import RobotDescription

Array = NDArray[np.float64]


class SpeechLikeCurve:
    """A sum of sines between 0.5 and 5 Hz, louder below; mean 0, standard deviation 1."""

    def __init__(self, seed: int, waves: int = 8) -> None:
        rng = np.random.default_rng(seed)
        self._hertz = rng.uniform(0.5, 5.0, waves)
        self._phase = rng.uniform(0.0, 2.0 * np.pi, waves)
        self._size = self._hertz**-0.5
        self._size *= np.sqrt(2.0 / np.sum(self._size**2))

    def __call__(self, times_s: ArrayLike) -> Array:
        """(T,) times -> (T,)."""
        times = np.asarray(times_s, dtype=np.float64)
        turns = 2.0 * np.pi * np.multiply.outer(times, self._hertz) + self._phase
        return np.asarray(np.sin(turns) @ self._size)

    def commands(self, robot: RobotDescription, times_s: ArrayLike, size: float = 0.1) -> Array:
        """(..., M) commands, near neutral and within limits: `size` is the standard deviation."""
        span = np.minimum(1.0, (robot.upper - robot.lower) / (6.0 * size))
        room = 3.0 * size * span
        centre = np.clip(robot.neutral, robot.lower + room, robot.upper - room)
        return np.asarray(centre + np.multiply.outer(self(times_s), size * span))
