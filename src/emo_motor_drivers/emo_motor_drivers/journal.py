"""What went to the bus, and when: sent.csv; and how old it was: latency.csv."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from emo_interfaces.msg import MotorCommand

from emo_core.pipelines import MIMIC, PIPELINES, readers
from emo_motor_drivers.arbitration import GAZE
from emo_motor_drivers.head import Written
from emo_motor_drivers.share import words
from emo_nodekit.messages import nanoseconds
from emo_nodekit.records import Record, seconds

#: Each source's stages, in the order in which they add to `stage_ms`.
STAGES = {
    **{name: (*readers(name).values(), "arbiter") for name in PIPELINES},
    GAZE: ("face_tracking", "arbiter"),
}
#: Their streams end with a message of its own, which is no frame (lipsync's last frame says so).
_END_APART = (MIMIC, GAZE)
#: Columns of latency.csv: the stages of all sources, those that only one has first.
COLUMNS = tuple(
    sorted(
        dict.fromkeys(stage for stages in STAGES.values() for stage in stages),
        key=lambda stage: sum(stage in STAGES[name] for name in PIPELINES),
    )
)


def _row(time_ns: int, about: str, written: Written) -> str:
    positions = ",".join(f"{value:.6g}" for value in written.positions.tolist())
    return f"{seconds(time_ns)},{about},{words(written.reasons)},{positions}"


class Journal:
    """Two CSV files in `folder` (none if empty), written by both drivers.

    sent.csv has a row for each write; `source`, `frame`, `stamp` and `target_time` are empty where
    the head went on towards the command before. latency.csv has a row for each command and driver:
    milliseconds from `stamp` to the publication by each stage of its source, to the arrival at the
    driver and to the end of the write; `written` is empty where the command had nothing for the
    driver's motors, since others drive them.
    """

    def __init__(self, folder: str, motors: Sequence[str], now: Callable[[], int]) -> None:
        self._now = now  # ROS time, ns
        head = ["time", "source", "frame", "stamp", "target_time", "limited_by"]
        self._sent = Record(folder, "sent.csv", [*head, *motors])
        stages = ["frame", "stamp", "driver", "source", *COLUMNS, "received", "written"]
        self._latency = Record(folder, "latency.csv", stages)
        self._lock = threading.Lock()
        self._written_s = -1.0

    def step(self, written: Written | None) -> None:
        """A write between commands, if there was one."""
        if self._sent and written is not None:
            with self._lock:
                self._sent.write(_row(self._ros_time(written), ",,,", written))

    def command(
        self, driver: str, written: Written | None, message: MotorCommand, received_ns: int
    ) -> None:
        """A command as one driver received it, and its write; both drivers tell of the same one."""
        if not self._sent:
            return
        stamp = nanoseconds(message.header.stamp)
        ages = dict(zip(STAGES.get(message.source, ()), message.stage_ms, strict=False))
        ages["received"] = (received_ns - stamp) * 1e-6
        row = f"{message.frame},{seconds(stamp)},{driver},{message.source}"
        with self._lock:
            if written is not None:
                time_ns = self._ros_time(written)
                ages["written"] = (time_ns - stamp) * 1e-6
                if written.time_s > self._written_s:  # not of a command the other driver told of
                    self._written_s = written.time_s
                    target = nanoseconds(message.target_time)
                    about = f"{message.source},{message.frame},{seconds(stamp)},{seconds(target)}"
                    self._sent.write(_row(time_ns, about, written))
            if message.end_of_stream and message.source in _END_APART:
                return
            columns = (*COLUMNS, "received", "written")
            times = (f"{ages[column]:.4f}" if column in ages else "" for column in columns)
            self._latency.write(f"{row},{','.join(times)}")

    def _ros_time(self, written: Written) -> int:
        return self._now() + int((written.time_s - time.monotonic()) * 1e9)

    def flush(self) -> None:
        """Put everything on disk."""
        with self._lock:
            self._sent.flush()
            self._latency.flush()
