"""MediaPipe without what it says of its own affairs, whatever its log level, at every start."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from emo_core.face.alignment import canonical_face
from emo_core.face.topology import (
    BROW_OUTLINES,
    FACE_OVAL,
    LEFT_EYE,
    LEFT_IRIS,
    LIPS_OUTER,
    RIGHT_EYE,
    RIGHT_IRIS,
)

#: Its lines: of TensorFlow Lite, and glog's of levels I and W.
_ITS_OWN = re.compile(
    rb"INFO: Created TensorFlow Lite|WARNING: All log messages before absl|[IW]\d{4} [\d:.]+ +\d+ "
)
_ONE_AT_A_TIME = threading.Lock()


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """While the block lasts, MediaPipe's lines on file descriptor 2 are left out; others pass."""
    with _ONE_AT_A_TIME:
        try:
            stderr = os.dup(2)
        except OSError:  # a process without one
            yield
            return
        if sys.stderr is not None:
            sys.stderr.flush()
        read, write = os.pipe()
        os.dup2(write, 2)
        os.close(write)

        def pass_on() -> None:
            with os.fdopen(read, "rb") as lines, os.fdopen(stderr, "wb", buffering=0) as out:
                for line in lines:
                    if not _ITS_OWN.match(line):
                        out.write(line)

        thread = threading.Thread(target=pass_on, name="hush", daemon=True)
        back = os.dup(stderr)
        thread.start()
        try:
            yield
        finally:
            os.dup2(back, 2)  # and so the pipe ends
            os.close(back)
            thread.join(timeout=1.0)  # a child process may have it still


@lru_cache(maxsize=1)
def drawn_face() -> NDArray[np.uint8]:
    """A picture, RGB (192, 192, 3), that FaceMesh takes for a face: its first one takes longer."""
    size = 192
    face = canonical_face()[:, :2] * [1.0, -1.0] * (size / 230) + size / 2
    picture = np.full((size, size, 3), 90, np.uint8)

    def fill(points: NDArray[np.intp], colour: tuple[int, int, int]) -> None:
        cv2.fillPoly(picture, [np.round(16 * face[points]).astype(np.int32)], colour, shift=4)

    fill(FACE_OVAL, (225, 180, 150))
    for brow in BROW_OUTLINES:
        fill(brow, (70, 45, 30))
    for eye, iris in ((RIGHT_EYE, RIGHT_IRIS), (LEFT_EYE, LEFT_IRIS)):
        fill(eye, (245, 245, 245))
        x, y = face[iris[0]]
        cv2.circle(picture, (round(x), round(y)), 5, (60, 40, 30), -1)
    fill(LIPS_OUTER, (180, 80, 80))
    picture.setflags(write=False)
    return picture
