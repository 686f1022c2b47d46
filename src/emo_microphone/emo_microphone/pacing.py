"""Waiting for the time a piece of audio is due, on the monotonic clock or on simulated time."""

from __future__ import annotations

import threading
import time

from rclpy.node import Node
from rclpy.time import Time

#: Two clocks read within this time of each other are taken to be read at once.
TIGHT_NS = 50_000
_ATTEMPTS = 5


class Pacer:
    """A time line that starts at 0 with `start()`.

    Stamps are ROS time. The difference to the monotonic clock is measured anew for each stamp, so
    that a clock which is set in mid-run moves them and never the pace.
    """

    def __init__(self, node: Node) -> None:
        self._clock = node.get_clock()
        self._simulated = bool(node.get_parameter("use_sim_time").value)
        self._stop = threading.Event()
        self._origin = 0
        self._offset: int | None = None

    def start(self) -> None:
        """Now is 0."""
        self._origin = self._now()

    def stop(self) -> None:
        """End every wait, now and later."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    def pause(self, seconds: float) -> bool:
        """Wait in real time, whatever the clock; False if stopped meanwhile."""
        return not self._stop.wait(seconds)

    def _now(self) -> int:
        return int(self._clock.now().nanoseconds) if self._simulated else time.monotonic_ns()

    def wait(self, due_ns: int) -> bool:
        """Wait until `due_ns` after the start; False if stopped meanwhile."""
        while (left := self._origin + due_ns - self._now()) > 0 and not self.stopped:
            if self._simulated:
                until = self._now() + min(left, 50_000_000)
                self._clock.sleep_until(Time(nanoseconds=until, clock_type=self._clock.clock_type))
            else:
                time.sleep(min(left * 1e-9, 0.1))  # wakes within 0.1 ms, which an Event does not
        return not self.stopped

    def elapsed(self) -> int:
        """Nanoseconds since the start."""
        return self._now() - self._origin

    def stamp(self, due_ns: int) -> int:
        """ROS time (ns) of the moment `due_ns` after the start."""
        if self._simulated:
            return self._origin + due_ns
        for _ in range(_ATTEMPTS):
            before = time.monotonic_ns()
            ros = int(self._clock.now().nanoseconds)
            after = time.monotonic_ns()
            if after - before < TIGHT_NS or self._offset is None:
                self._offset = ros - (before + after) // 2
            if after - before < TIGHT_NS:
                break
        assert self._offset is not None  # the first attempt sets it
        return self._offset + self._origin + due_ns
