"""/diagnostics of a node: rate, latency, drops, what was wrong, what it uses, once a second."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from emo_nodekit import CRASHES
from emo_nodekit.usage import Usage

_PERIOD_S = 1.0
#: A fault is reported as a warning this long after it was last seen.
_MEMORY_S = 5.0
#: A kind of fault is logged not more often.
_LOG_S = 1.0
#: Longer texts are cut: they may hold what came in a message.
_LETTERS = 300
#: A stream whose numbers go further ahead did not lose what is between: it is another, or damaged.
_FAR = 100_000


class Health:
    """Counts what a node does and reports it on /diagnostics (absolute, as is the custom).

    Call `done` for each message handled, `follow` for each frame that should follow the one
    before, `fault` for each thing that went wrong.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._name = node.get_fully_qualified_name().lstrip("/")
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._latencies: list[float] = []
        self._done = 0
        self._since = time.monotonic()
        self._frames: dict[str, int] = {}
        self._faults: dict[str, int] = {}
        self._last_fault = ("", -float("inf"))
        self._logged_s: dict[str, float] = {}  # each kind, when last
        self._error = self._warning = ""
        self._usage = Usage()
        self.values: dict[str, str] = {}  # whatever else is worth showing
        self._timer = node.create_timer(
            _PERIOD_S, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._telling = threading.Lock()
        self._untold = os.environ.get(CRASHES, "")

    @property
    def error(self) -> str:
        """A lasting state that somebody must mend; empty: none. A new one is reported at once."""
        return self._error

    @error.setter
    def error(self, text: str) -> None:
        if text != self._error:
            self._error = text
            self._report()

    @property
    def warning(self) -> str:
        """A lasting state worth a look; empty: none. A new one is reported at once."""
        return self._warning

    @warning.setter
    def warning(self, text: str) -> None:
        if text != self._warning:
            self._warning = text
            self._report()

    @property
    def faults(self) -> dict[str, int]:
        """What went wrong since the start: kind -> times; a copy, as other threads count, too."""
        return dict(self._faults)

    def done(self, latency_ms: float | None = None) -> None:
        """One message handled; `latency_ms` since its stamp."""
        self._done += 1
        if latency_ms is not None:
            self._latencies.append(latency_ms)

    def follow(self, number: int, stream: str = "") -> None:
        """Frame `number` of a stream arrived: those that should have come before it are lost."""
        last = self._frames.get(stream)
        self._frames[stream] = number
        if last is not None and number - last > _FAR:
            self.fault("jumps", f"from frame {last} to frame {number}")
        elif last is not None and number > last + 1:
            missing = number - last - 1
            self.fault("dropped", f"{missing} frames before frame {number} are missing", missing)

    def fault(self, kind: str, text: str, count: int = 1) -> None:
        """Something went wrong `count` times: counted, logged (a kind once a second)."""
        text = text if len(text) <= _LETTERS else f"{text[:_LETTERS]}..."
        self._faults[kind] = self._faults.get(kind, 0) + count
        now = time.monotonic()
        self._last_fault = (text, now)
        # Not rclpy's throttle, which is one for this line: a flood of one kind would hide others.
        if now - self._logged_s.get(kind, -float("inf")) >= _LOG_S:
            self._logged_s[kind] = now
            self._node.get_logger().warning(text)

    def _on_timer(self) -> None:
        if self._untold:  # not before: a busy machine takes long to come so far
            times, _, how = self._untold.partition(":")
            self._untold = ""
            self.fault("crashes", f"its process ended ({how}) and was started again", int(times))
        self._report()

    def _report(self) -> None:
        with self._telling:  # the node's thread at each second, any thread at a new state
            self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        rate = self._done / max(now - self._since, 1e-3)
        recent = now - self._last_fault[1] < _MEMORY_S
        status = DiagnosticStatus(name=self._name, hardware_id="emo")
        status.level = DiagnosticStatus.WARN if recent else DiagnosticStatus.OK
        status.message = self._last_fault[0] if recent else f"{rate:.1f} messages/s"
        if self.warning:
            status.level, status.message = DiagnosticStatus.WARN, self.warning
        if self.error:
            status.level, status.message = DiagnosticStatus.ERROR, self.error
        facts = {"rate_hz": f"{rate:.2f}"}
        if self._latencies:
            p50, p95 = np.percentile(self._latencies, [50, 95])
            facts.update(latency_p50_ms=f"{p50:.2f}", latency_p95_ms=f"{p95:.2f}")
        facts.update({kind: str(count) for kind, count in self.faults.items()}, **self.values)
        facts.update(self._usage())
        status.values = [KeyValue(key=key, value=value) for key, value in facts.items()]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
        self._latencies, self._done, self._since = [], 0, now
