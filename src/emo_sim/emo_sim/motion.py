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
#: A motor not heard of for so long, while others are, is not waited for; and what is older by so
#: much than what was told before begins anew.
GONE_NS = 1_000_000_000
#: No servo is further from where its commands can be.
FURTHEST = 1.0


class Motion:
    """The robot's motors over time, in commands [0, 1], from joint states in rad.

    Each motor has a past of its own: a slow servo line tells of a few at a time. Motors nobody
    reports stay at neutral.
    """

    def __init__(self, description: RobotDescription) -> None:
        low, high = np.array([motor.range_rad for motor in description.motors]).T
        self._low, self._span = low, high - low
        self._index = {name: i for i, name in enumerate(description.names)}
        self._neutral = description.neutral
        self._past: dict[int, deque[tuple[int, float]]] = {}
        self._lock = threading.Lock()

    def add(self, time_ns: int, radians: Mapping[str, float]) -> None:
        """Positions of some motors, measured at `time_ns`. Names of other robots are ignored."""
        known = {self._index[name]: angle for name, angle in radians.items() if name in self._index}
        with self._lock:
            for motor, angle in known.items():
                past = self._past.setdefault(motor, deque())
                if past and past[-1][0] - GONE_NS <= time_ns <= past[-1][0]:
                    continue
                if past and time_ns < past[-1][0]:
                    past.clear()
                position = (angle - self._low[motor]) / self._span[motor]
                past.append((time_ns, min(max(position, -FURTHEST), 1.0 + FURTHEST)))
                while past[0][0] < time_ns - KEPT_NS:
                    past.popleft()

    def known_until(self) -> int | None:
        """The time up to which every motor in touch is known; None before the first report."""
        with self._lock:
            last = [past[-1][0] for past in self._past.values()]
        return min((time for time in last if time > max(last) - GONE_NS), default=None)

    def at(self, time_ns: int) -> NDArray[np.float64]:
        """(M,) at `time_ns`; the first or last known value outside what is known."""
        out = self._neutral.copy()
        with self._lock:
            for motor, past in self._past.items():
                later = past[-1]
                for when, value in reversed(past):
                    if when <= time_ns:
                        break
                    later = when, value
                span = later[0] - when
                share = min(max((time_ns - when) / span, 0.0), 1.0) if span > 0 else 0.0
                out[motor] = value + share * (later[1] - value)
        return out
