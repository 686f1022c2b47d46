"""Joint states of several publishers, looked up at any time by interpolation. No ROS."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from emo_core.robot.description import RobotDescription

#: Memory of the past.
KEPT_NS = 60_000_000_000


class Motion:
    """The robot's motors over time, in commands [0, 1], from joint states in rad.

    Motors nobody reports stay at neutral.
    """

    def __init__(self, description: RobotDescription) -> None:
        low, high = np.array([motor.range_rad for motor in description.motors]).T
        self._low, self._span = low, high - low
        self._index = {name: i for i, name in enumerate(description.names)}
        self._neutral = description.neutral
        self._past: dict[tuple[int, ...], deque[tuple[int, NDArray[np.float64]]]] = {}
        self._lock = threading.Lock()

    def add(self, time_ns: int, radians: Mapping[str, float]) -> None:
        """Positions of some motors, measured at `time_ns`. Names of other robots are ignored."""
        known = {self._index[name]: angle for name, angle in radians.items() if name in self._index}
        if not known:
            return
        motors = tuple(known)
        picked = list(motors)
        values = (np.array(list(known.values())) - self._low[picked]) / self._span[picked]
        with self._lock:
            past = self._past.setdefault(motors, deque())
            if past and time_ns <= past[-1][0]:
                return
            past.append((time_ns, values))
            while past[0][0] < time_ns - KEPT_NS:
                past.popleft()

    def known_until(self) -> int | None:
        """The time up to which every reported motor is known; None before the first report."""
        with self._lock:
            return min((past[-1][0] for past in self._past.values()), default=None)

    def at(self, time_ns: int) -> NDArray[np.float64]:
        """(M,) at `time_ns`; the first or last known value outside what is known."""
        out = self._neutral.copy()
        with self._lock:
            for motors, past in self._past.items():
                later = past[-1]
                for when, values in reversed(past):
                    if when <= time_ns:
                        break
                    later = when, values
                span = later[0] - when
                share = min(max((time_ns - when) / span, 0.0), 1.0) if span > 0 else 0.0
                out[list(motors)] = values + share * (later[1] - values)
        return out
