"""When the robot's own sound is to be heard, so that it meets the lips. No clock, no ROS.

All times are ROS time in nanoseconds. A chunk captured at time c is played at c + delay. The
delay is measured while the graph runs: look-ahead + pipeline (a command is sent for what was heard
at its target_time) + the servos' lag.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

#: Commands whose median is believed.
WINDOW = 25
#: A delay that is wrong by less is left alone; by more, it is mended in the next silence; by more
#: than `URGENT_NS`, at once.
TOLERATED_NS, URGENT_NS = 3_000_000, 40_000_000
#: Planned chunks that are kept for a sound card that does not take them.
MOST_CHUNKS = 500
#: A chunk that is due only so much later was planned by a clock that was set since: nobody waits.
FAR_NS = 5_000_000_000
#: Below this peak amplitude (-50 dBFS) nobody hears a cut.
SILENCE = 0.003


@dataclass(frozen=True)
class Chunk:
    """Samples, their index in the stream, and when the first is to be heard."""

    first_sample: int
    samples: Samples
    start_ns: int


class Playout:
    """Holds sound until the delay is known, then says when each chunk is to be heard.

    Args:
        rate: samples per second.
        lag_ns: from a command to half of the motion.
        keep: whether a sound card will `pull` what was planned.
    """

    def __init__(self, rate: int, lag_ns: int, keep: bool = True) -> None:
        self._ns = 1_000_000_000 / rate
        self._lag_ns = lag_ns
        self._seen: deque[int] = deque(maxlen=WINDOW)
        self._held: list[tuple[int, Samples, int]] = []
        self.delay_ns: int | None = None
        self._queue: deque[Chunk] = deque(maxlen=MOST_CHUNKS if keep else 0)
        self._playing = False
        self._lock = threading.Lock()

    def measure(self, target_ns: int, sent_ns: int) -> None:
        """A command for what was heard at `target_ns` was sent to the motors at `sent_ns`."""
        self._seen.append(sent_ns - target_ns + self._lag_ns)

    @property
    def measured_ns(self) -> int | None:
        """The delay that would be right now."""
        return int(np.median(self._seen)) if self._seen else None

    def give_up(self) -> None:
        """No commands come: play without delay."""
        if self.delay_ns is None and not self._seen:
            self._seen.append(self._lag_ns)

    def push(self, first_sample: int, samples: Samples, captured_ns: int) -> list[Chunk]:
        """Sound whose last sample was captured at `captured_ns` -> chunks that may be planned."""
        self._held.append((first_sample, samples, captured_ns))
        measured = self.measured_ns
        if measured is None:
            return []
        chunks = []
        for first, held, end_ns in self._held:
            self._adjust(measured, held)
            assert self.delay_ns is not None  # _adjust sets it
            start = end_ns - round(len(held) * self._ns) + self.delay_ns
            chunks.append(Chunk(first, held, start))
        self._held = []
        with self._lock:
            self._queue.extend(chunks)
        return chunks

    def _adjust(self, measured: int, samples: Samples) -> None:
        if self.delay_ns is None:
            self.delay_ns = measured
        error = abs(measured - self.delay_ns)
        silent = len(samples) == 0 or float(np.abs(samples).max()) < SILENCE
        if error > URGENT_NS or (error > TOLERATED_NS and silent):
            self.delay_ns = measured

    def pull(self, heard_ns: int, count: int) -> Samples:
        """The next `count` samples for a sound card whose first will be heard at `heard_ns`.

        The card's clock is not ours: a chunk is cut or preceded by silence where they have come
        apart by more than is tolerated, and in silence only, unless it is urgent.
        """
        out = np.zeros(count, np.float32)
        filled = 0
        with self._lock:
            while filled < count and self._queue:
                chunk = self._queue.popleft()
                early = chunk.start_ns - (heard_ns + round(filled * self._ns))
                silent = len(chunk.samples) == 0 or float(np.abs(chunk.samples).max()) < SILENCE
                bound = TOLERATED_NS if silent or not self._playing else URGENT_NS
                samples = chunk.samples
                if early > FAR_NS:
                    continue
                if early > bound:
                    wait = round(early / self._ns)
                    if wait >= count - filled:
                        self._queue.appendleft(chunk)
                        self._playing = False
                        break
                    filled += wait
                elif early < -bound:
                    samples = samples[round(-early / self._ns) :]
                taken = samples[: count - filled]
                out[filled : filled + len(taken)] = taken
                filled += len(taken)
                self._playing = True
                if len(rest := samples[len(taken) :]):
                    done = len(chunk.samples) - len(rest)
                    start = chunk.start_ns + round(done * self._ns)
                    self._queue.appendleft(Chunk(chunk.first_sample + done, rest, start))
            else:
                self._playing = filled == count and self._playing
        return out
