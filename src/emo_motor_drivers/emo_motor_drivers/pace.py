"""When a servo line is written to, and when there is time to ask its servos something. No ROS."""

from __future__ import annotations

import math
import time

from emo_core.robot.bus import ServoBus

#: Period of the steps between two commands, where the line is fast enough.
STEP_S = 0.01
#: Of the time on a slow line, this share is for writing: the rest is for reading, and for commands.
WRITE_SHARE = 0.5
#: Questions to the servos after each write, at most.
LOOKS = 4
#: Left of the time between two writes, for publishing.
SPARE_S = 0.002


class Pace:
    """The time line of one bus, in monotonic seconds.

    Args:
        bus: how long it takes to write and to read.

    Attributes:
        due_s: when the next step is to be written, if no command comes before.
    """

    def __init__(self, bus: ServoBus) -> None:
        self._bus = bus
        self.due_s = self._written_s = 0.0
        self._looks = 0  # questions left until the next write

    @property
    def period_s(self) -> float:
        """Time between two steps, where no command comes."""
        return max(STEP_S, self._bus.write_s / WRITE_SHARE)

    def begin(self) -> float:
        """A write begins; returns when that is."""
        now_s = time.monotonic()
        self.due_s, self._looks = now_s + self.period_s, LOOKS
        return now_s

    def written(self, began_s: float) -> None:
        """The write that began then was taken over by the system."""
        self._written_s = began_s

    def looked(self, more: bool) -> None:
        """A servo was asked; whether there is more to ask."""
        self._looks = self._looks - 1 if more else 0

    def look_at(self, now_s: float) -> float:
        """When the servos may be asked something; never, where no time is left before a step."""
        if self._looks == 0:
            return math.inf
        # A write that the system has taken over is still on the wire for a while.
        look_s = max(self._written_s + self._bus.write_s, now_s)
        cost_s = 1.5 * self._bus.read_s + SPARE_S if self._bus.read_s > 0.0 else 0.0
        return look_s if look_s + cost_s <= self.due_s else math.inf
