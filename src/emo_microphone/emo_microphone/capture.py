"""A microphone through sounddevice that may be unplugged at any time and comes back."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emo_microphone.sound_card import (
    FIRST_DELAY_S,
    LONGEST_DELAY_S,
    SILENT_DEVICE_S,
    Reports,
    started,
)

#: A stamp may differ by so much from the one that counting samples gives, before it is believed:
#: beyond it, samples were lost.
TOLERANCE_S = 0.1
#: A sound card's clock and ours come apart, as a rule by 0.0001 of the time. So much of it is
#: followed: a block that comes late, or samples that are lost, are far more at once.
MOST_DRIFT = 0.003
#: A device that claims more latency than this is not believed.
MOST_LATENCY_S = 0.5


class Pace(Protocol):
    """What is needed of a `Pacer`."""

    @property
    def stopped(self) -> bool: ...
    def elapsed(self) -> int: ...
    def pause(self, seconds: float) -> bool: ...


@dataclass(frozen=True)
class Block:
    """Samples with their place in the stream, and when the last one was captured (pacer's ns)."""

    first_sample: int
    samples: NDArray[np.float32]
    end_ns: int


class Capture:
    """One microphone. Time without a device is a gap in the stream's sample numbers.

    Args:
        device: name or number, empty for the system's default.
        rate: samples per second.
        size: samples in a block.
        pace: the time line.
        open_stream: makes a started input stream (tests give their own).
    """

    def __init__(
        self,
        device: str,
        rate: int,
        size: int,
        pace: Pace,
        open_stream: Callable[..., Any] | None = None,
    ) -> None:
        self._device: str | int | None = int(device) if device.isdigit() else device or None
        self._rate, self._size, self._pace = rate, size, pace
        self._open = open_stream or _open_input
        self._next = 0
        self._origin: float | None = None

    def blocks(self, reports: Reports) -> Iterator[Block]:
        """Blocks until the pace is stopped, through any number of lost devices."""
        delay, again = FIRST_DELAY_S, False
        while not self._pace.stopped:
            heard: queue.SimpleQueue[tuple[NDArray[np.float32], int]] = queue.SimpleQueue()

            def on_sound(
                data: NDArray[np.float32],
                frames: int,
                times: Any,
                status: object,
                heard: queue.SimpleQueue[tuple[NDArray[np.float32], int]] = heard,
            ) -> None:
                if status:
                    reports.fault("overruns", f"microphone: {status}")
                age = _age_ns(times, frames, self._rate)
                heard.put((data[:, 0].copy(), self._pace.elapsed() - age))

            try:
                stream = self._open(self._device, self._rate, self._size, on_sound, again)
            except (OSError, ValueError) as error:
                again = True
                reports.error = f"microphone: {error}. Plug it in, or name another device"
                reports.fault("no_device", f"microphone: {error}; next attempt in {delay:g} s")
                self._pace.pause(delay)
                delay = min(2 * delay, LONGEST_DELAY_S)
                continue
            reports.error, again = "", True
            try:
                while not self._pace.stopped:
                    try:
                        samples, now = heard.get(timeout=SILENT_DEVICE_S)
                    except queue.Empty:
                        reports.fault("lost_device", "microphone: no sound, opening it again")
                        break
                    delay = FIRST_DELAY_S
                    yield self._placed(samples, now)
            finally:
                _close(stream)

    def _placed(self, samples: NDArray[np.float32], end_ns: int) -> Block:
        """Number the samples by counting, and by the clock after a hole.

        The clock's line follows the sound card's drift: else an hour of it would be a hole.
        """
        by_clock = end_ns * self._rate * 1e-9
        if self._origin is None:
            self._origin = by_clock - len(samples)
        ahead = by_clock - self._origin - (self._next + len(samples))
        if ahead > TOLERANCE_S * self._rate:
            self._next += round(ahead)
        else:
            most = MOST_DRIFT * len(samples)
            self._origin += min(max(ahead, -most), most)
        block = Block(self._next, samples, end_ns)
        self._next += len(samples)
        return block


def _age_ns(times: Any, frames: int, rate: int) -> int:
    """How long ago the last of `frames` was captured, by PortAudio's clocks; 0 if they are odd."""
    age = times.currentTime - times.inputBufferAdcTime - frames / rate
    return int(age * 1e9) if 0.0 < age < MOST_LATENCY_S else 0


def _open_input(
    device: str | int | None, rate: int, size: int, callback: Callable[..., None], again: bool
) -> Any:
    return started(
        "InputStream", again, samplerate=rate, blocksize=size, device=device, callback=callback
    )


def _close(stream: Any) -> None:
    """Close a stream whose device may be gone."""
    try:
        stream.close(ignore_errors=True)
    except OSError:
        return
