"""A recording in equal chunks, with the silence after it. No clock, no ROS."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from emo_core.audio.sources import AudioFile, open_audio
from emo_core.rates import SAMPLE_RATE

Samples = NDArray[np.float32]


class Recording:
    """A recording, opened and begun, so that what is wrong with it shows at once.

    Args:
        path: whatever PyAV decodes.
        size: samples in a chunk.

    Raises:
        EmoError: no such file, not a recording, empty.
    """

    def __init__(self, path: str, size: int) -> None:
        self._file: AudioFile = open_audio(path)
        self._size = size
        blocks = self._file.blocks(size)
        self._blocks = itertools.chain([next(blocks)], blocks)
        self.total = 0  # samples of the recording, once its end is known

    def faults(self) -> dict[str, str]:
        """What was wrong with the recording so far: kind -> in words."""
        found = {}
        if self._file.non_finite:
            count = self._file.non_finite
            found["not_finite"] = f"{count} samples are not numbers: taken as silence"
        if self._file.damaged:
            found["damaged"] = f"{self._file.damaged} damaged pieces were left out"
        return found

    def chunks(self, tail_s: float) -> Iterator[tuple[Samples, int]]:
        """Each chunk (size,) once, and the stream's length (0 while unknown).

        The last chunk of the recording is filled up with silence, and `tail_s` of silence follow.

        Raises:
            EmoError: the file is damaged half-way.
        """
        count = 0
        ahead = next(self._blocks)
        for following in self._blocks:
            count += len(ahead)
            yield ahead, 0
            ahead = following
        self.total = count + len(ahead)
        padded = np.zeros(self._size, np.float32)
        padded[: len(ahead)] = ahead
        yield padded, self.total
        for _ in range(round(tail_s * SAMPLE_RATE / self._size)):
            yield np.zeros(self._size, np.float32), self.total
        self._file.close()
