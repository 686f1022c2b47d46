"""One driver's share of a robot: its part of a command, and what is told of its motors. No ROS."""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emo_core.robot.safety import Reason
from emo_motor_drivers.head import Head, Written


def words(reasons: NDArray[np.int64]) -> str:
    """Bits of `Reason` of several motors -> "speed acceleration"; empty for none."""
    return _words(int(np.bitwise_or.reduce(reasons)))


@functools.lru_cache(maxsize=1024)
def _words(bits: int) -> str:
    return " ".join(flag.name.lower() for flag in Reason if flag & bits and flag.name)


@dataclass(frozen=True)
class Seen:
    """Where motors were seen.

    Attributes:
        names: of the motors.
        radians: (len(names),).
        age_s: of the newest of them.
    """

    names: list[str]
    radians: NDArray[np.float64]
    age_s: float


class Share:
    """The motors of one group.

    Args:
        head: of the robot.
        group: "eye" or "mouth".
    """

    def __init__(self, head: Head, group: str) -> None:
        self._head = head
        self._motors = head.description.group(group)
        self._names = [head.description.names[i] for i in self._motors]
        self._known = set(head.description.names)
        self._shown_s = np.full(len(self._motors), -np.inf)
        self._telling = threading.Lock()
        self._tell: Callable[[], None] | None = None
        self._every, self._steps = 1, 0

    def listen(self, tell: Callable[[], None], every: int) -> None:
        """Call `tell` after every n-th step of the head, and after each that failed."""
        self._tell, self._every, self._steps = tell, every, 0
        self._head.listeners.append(self._on_step)

    def leave(self) -> None:
        """Call it no more."""
        with self._telling:
            if self._on_step in self._head.listeners:
                self._head.listeners.remove(self._on_step)

    def _on_step(self, written: Written | None) -> None:
        """Called by the head's own thread, which may be about to when the driver leaves."""
        with self._telling:
            if self._on_step in self._head.listeners:
                self._steps += 1
                due = self._steps % self._every == 0 or self._head.fault
                if due and self._tell is not None:
                    self._tell()

    def strangers(self, names: Iterable[str]) -> list[str]:
        """Names that no motor of the robot has."""
        return sorted(set(names) - self._known)

    def concerned(self, names: Iterable[str]) -> bool:
        """Whether any of these motors is of the group."""
        return not set(names).isdisjoint(self._names)

    def limits(self, written: Written) -> str:
        """Why the group's positions are not the command's, in words."""
        return words(written.reasons[self._motors]) or "nothing"

    def fresh(self) -> Seen | None:
        """Those that were seen since the last call: a slow line tells of a few at a time."""
        positions, all_times_s = self._head.measured()
        times_s = all_times_s[self._motors]
        new = np.flatnonzero(times_s > self._shown_s)
        if new.size == 0:
            return None
        self._shown_s = times_s
        radians = self._head.description.to_radians(positions)[self._motors]
        age_s = time.monotonic() - float(times_s[new].max())
        return Seen([self._names[i] for i in new], radians[new], age_s)

    def state(self) -> dict[str, str]:
        """Torque ("on", "off", "not known"), watchdog and temperature, for diagnostics."""
        head = self._head
        # Servos of a lost line may well hold on.
        torque = "on" if head.torque_on else "off" if head.limp else "not known"
        values = {"torque": torque, "own_watchdog": head.own_watchdog}
        told = [head.care.protector.told(motor).temperature_c for motor in self._motors]
        known = [(t, name) for t, name in zip(told, self._names, strict=True) if math.isfinite(t)]
        if known:
            temperature, values["hottest"] = max(known)
            values["temperature_c"] = f"{temperature:.0f}"
        return values

    def rests(self) -> str:
        """Which of the motors rest, and why; "" if none does."""
        return "; ".join(
            f"{self._head.description.names[motor]} rests: {why}"
            for motor, why in self._head.care.rested.items()
            if motor in self._motors
        )
