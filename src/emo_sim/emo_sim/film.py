"""robot.mp4: what one would see and hear in the room, each at its time. No ROS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emo_core.rates import FPS
from emo_core.viz.mimic_film import BEGUN
from emo_core.viz.video import VideoWriter

PERIOD_NS = 1_000_000_000 // FPS
#: Sound that is due this close to the end of the sound before is its continuation.
JITTER_S = 0.004


class Film:
    """Pictures on a grid of 25 a second, and sound where it was heard.

    Time 0 is when it begins; the file's comment tells it (`emo_core.viz.mimic_film.begun_at`).

    Args:
        path: the file.
        size: of the pictures, (width, height).
        rate: of the sound; None: a silent film.
        draw: time (ns) -> picture at that time.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        rate: int | None,
        draw: Callable[[int], NDArray[np.uint8]],
    ) -> None:
        self._writer = VideoWriter(path, size, FPS, rate, threads=1, preset="ultrafast")
        self._rate = rate
        self._draw = draw
        self._start_ns: int | None = None
        self._frames = 0

    @property
    def next_ns(self) -> int | None:
        """Time of the next picture; None before the film begins."""
        if self._start_ns is None:
            return None
        return self._start_ns + self._frames * PERIOD_NS

    def begin(self, time_ns: int) -> None:
        """Begin here, unless it has begun: there is something to see from now on."""
        if self._start_ns is None:
            self._start_ns = time_ns
            self._writer.comment(BEGUN.format(time_ns * 1e-9))

    def sound(self, samples: NDArray[np.float32], end_ns: int) -> None:
        """Samples whose last one is heard at `end_ns`; the film begins with them."""
        if self._rate is None:
            return
        first_ns = end_ns - round(len(samples) * 1e9 / self._rate)
        self.begin(first_ns)
        assert self._start_ns is not None
        before = max(round((self._start_ns - first_ns) * 1e-9 * self._rate), 0)
        samples = samples[before:]
        if not len(samples):
            return
        at_s = max((first_ns - self._start_ns) * 1e-9, 0.0)
        # Stamps jitter by some microseconds: what follows on stays whole.
        follows = abs(at_s - self._writer.audio_s) < JITTER_S
        self._writer.add_audio(samples, None if follows else at_s)

    def advance(self, known_until_ns: int) -> tuple[NDArray[np.uint8], int] | None:
        """Take the next picture if its time is known by now; returns it and its time."""
        due = self.next_ns
        if due is None or due > known_until_ns:
            return None
        picture = self._draw(due)
        self._writer.add_frame(picture, self._frames / FPS)
        self._frames += 1
        return picture, due

    def close(self) -> None:
        """Finish the file; one without a picture is removed."""
        self._writer.close()
        if self._frames == 0:
            self._writer.path.unlink(missing_ok=True)
