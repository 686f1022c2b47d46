"""What went to the bus, and when: sent.csv; and how old it was: latency.csv."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
from emo_interfaces.msg import MotorCommand
from numpy.typing import NDArray

from emo_core.robot.safety import Reason
from emo_motor_drivers.head import Written
from emo_nodekit.messages import nanoseconds
from emo_nodekit.records import Record, seconds

#: A pipeline's stages, in the order in which they add to `stage_ms`.
STAGES = ("speech_features", "audio2landmark", "normalization", "inverse_model", "arbiter")


def words(reasons: NDArray[np.int64]) -> str:
    """Bits of `Reason` of several motors -> "speed acceleration"; empty for none."""
    return _words(int(np.bitwise_or.reduce(reasons)))


@functools.lru_cache(maxsize=1024)
def _words(bits: int) -> str:
    return " ".join(flag.name.lower() for flag in Reason if flag & bits and flag.name)


def _row(time_ns: int, about: str, written: Written) -> str:
    positions = ",".join(f"{value:.6g}" for value in written.positions.tolist())
    return f"{seconds(time_ns)},{about},{words(written.reasons)},{positions}"


class Journal:
    """Two CSV files in `folder` (none if empty), written by both drivers.

    sent.csv has a row for each write; `source`, `frame`, `stamp` and `target_time` are empty where
    the head went on towards the command before. latency.csv has a row for each command and driver:
    milliseconds from `stamp` to each stage's publication, to the arrival at the driver and to the
    end of the write.
    """

    def __init__(self, folder: str, motors: Sequence[str], now: Callable[[], int]) -> None:
        self._now = now  # ROS time, ns
        head = ["time", "source", "frame", "stamp", "target_time", "limited_by"]
        self._sent = Record(folder, "sent.csv", [*head, *motors])
        stages = ["frame", "stamp", "driver", "source", *STAGES, "received", "written"]
        self._latency = Record(folder, "latency.csv", stages)
        self._lock = threading.Lock()
        self._written_s = -1.0

    def step(self, written: Written | None) -> None:
        """A write between commands, if there was one."""
        if self._sent and written is not None:
            with self._lock:
                self._sent.write(_row(self._ros_time(written), ",,,", written))

    def command(
        self, driver: str, written: Written, message: MotorCommand, received_ns: int
    ) -> None:
        """The write of a command, as one driver received it; both tell of the same write."""
        if not self._sent:
            return
        time_ns = self._ros_time(written)
        stamp, target = nanoseconds(message.header.stamp), nanoseconds(message.target_time)
        about = f"{message.source},{message.frame},{seconds(stamp)},{seconds(target)}"
        ages = [*message.stage_ms[: len(STAGES)]]
        ages += [float("nan")] * (len(STAGES) - len(ages))
        ages += [(received_ns - stamp) * 1e-6, (time_ns - stamp) * 1e-6]
        times = ",".join(f"{age:.4f}" for age in ages)
        with self._lock:
            if written.time_s > self._written_s:  # not of a command the other driver told of
                self._written_s = written.time_s
                self._sent.write(_row(time_ns, about, written))
            self._latency.write(
                f"{message.frame},{seconds(stamp)},{driver},{message.source},{times}"
            )

    def _ros_time(self, written: Written) -> int:
        return self._now() + int((written.time_s - time.monotonic()) * 1e9)

    def flush(self) -> None:
        """Put everything on disk."""
        with self._lock:
            self._sent.flush()
            self._latency.flush()
