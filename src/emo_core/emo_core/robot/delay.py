"""Motors of different latency, moving together: the quick ones wait for the slowest."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class DelayLine:
    """Goals on their way to M motors, each held back by (largest latency - its own).

    Deterministic: time is passed in.

    Args:
        latency_s: (M,) from a write to the motion, as calibrated.
    """

    def __init__(self, latency_s: ArrayLike) -> None:
        latency = np.asarray(latency_s, dtype=np.float64)
        self._wait = latency.max() - latency
        self._longest = float(self._wait.max())
        self._line: deque[tuple[float, Array]] = deque()

    def clear(self, motor: int | None = None) -> None:
        """Forget the goals that are still on their way, of all motors or of one."""
        if motor is None:
            self._line.clear()
        for _, waiting in self._line:
            waiting[motor] = np.nan

    def feed(self, goals: Array, from_s: float) -> None:
        """Goals (M,), NaN for motors not spoken to, that the slowest motor follows from `from_s`.

        Times do not run backwards from call to call.
        """
        self._line.append((from_s, goals.copy()))

    def due(self, now_s: float) -> tuple[Array, Array]:
        """What has come out since the last call: the newest goal for each motor, and since when.

        Returns:
            goals (M,), NaN where nothing new; times (M,) in s, each at most `now_s`, NaN likewise.
        """
        goals = np.full(len(self._wait), np.nan)
        times = goals.copy()
        for from_s, waiting in self._line:
            when = from_s + self._wait
            out = np.isfinite(waiting) & (when <= now_s)
            goals[out], times[out] = waiting[out], when[out]
            waiting[out] = np.nan
        while self._line and self._line[0][0] + self._longest <= now_s:
            self._line.popleft()
        return goals, times
