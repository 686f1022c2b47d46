"""A video file as a camera: its pictures and when they are due. No clock, no thread."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from emo_core.camera.image import Image
from emo_core.errors import EmoError
from emo_core.face.tracking import VideoFile
from emo_core.rates import FPS

#: A file whose time leaps by more than this between two pictures is wrong about time.
_LEAP_S = 5.0
#: And so is one that says another rate.
_SLOWEST_HZ, _QUICKEST_HZ = 1.0, 1000.0


class Video:
    """Whatever PyAV decodes, opened and begun, so that what is wrong with it shows at once.

    Portrait videos are turned upright as the file says, grey ones are RGB with equal channels.

    Args:
        path: a video, or a picture (one frame).
        loop: begin again at the end, for ever.

    Raises:
        EmoError: no such file, not a video, or nothing in it can be decoded.
    """

    def __init__(self, path: str | Path, loop: bool = False) -> None:
        self._path, self._loop = path, loop
        self._file, self._frames = self._open()
        fps = self._file.fps
        self.period_s = 1.0 / (fps if _SLOWEST_HZ <= fps <= _QUICKEST_HZ else FPS)

    def _open(self) -> tuple[VideoFile, Iterator[tuple[float, Image]]]:
        file = VideoFile(self._path)
        frames = file.timed_frames()
        first = next(frames, None)
        if first is None:
            file.close()
            raise EmoError(f"{self._path} holds no picture that can be decoded: it is damaged")
        return file, itertools.chain([first], frames)

    def pictures(self) -> Iterator[tuple[float, Image]]:
        """Each picture (RGB) and when it is due, in s from the first; times always advance.

        Raises:
            EmoError: the file is damaged half-way.
        """
        due_s, before_s = -self.period_s, 0.0
        while True:
            for time_s, image in self._frames:
                ahead = time_s - before_s
                due_s += ahead if 0.0 < ahead < _LEAP_S else self.period_s
                before_s = time_s
                yield due_s, image
            self._file.close()
            if not self._loop:
                return
            self._file, self._frames = self._open()

    def close(self) -> None:
        """Release the file."""
        self._file.close()
