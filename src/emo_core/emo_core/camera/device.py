"""A camera that may be unplugged at any time and comes back.

A thread empties the driver's buffers, so that whoever asks gets the newest picture; the ones that
nobody asked for are gone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import av
import cv2
import numpy as np

from emo_core.camera.image import Image
from emo_core.camera.opening import Grabber, Mode, open_device
from emo_core.errors import EmoError
from emo_core.media import reason

#: No picture for so long: the camera is gone, or hangs.
NO_PICTURE_S = 1.0
#: The same picture for so long: no sensor is that quiet.
FROZEN_S = 2.0
#: Pauses between attempts to open it again.
FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 8.0
#: So many reads in a row that bring nothing: the camera is gone.
_FAILURES = 5
#: What OpenCV, PyAV and NumPy raise at a picture that they cannot take or unpack.
_TROUBLE = (cv2.error, av.error.FFmpegError, OSError, ValueError)
#: The driver's stamp is believed if it is no older than this.
_MOST_AGE_S = 1.0
_STRIDE = 8


class Reports(Protocol):
    """What is needed of a `Health`."""

    error: str
    warning: str

    def fault(self, kind: str, text: str, count: int = 1) -> None: ...


@dataclass(frozen=True)
class Shot:
    """One picture.

    Attributes:
        number: counted since the camera was first opened; a gap: nobody asked in between.
        image: RGB (H, W, 3); the size may change from one to the next.
        taken_ns: when, on `time.monotonic_ns`.
    """

    number: int
    image: Image
    taken_ns: int


class Device:
    """One camera, opened again whenever it was lost, until it is closed.

    Args:
        name: a number, a path (`/dev/video2`) or a URL (`rtsp://...`, `http://...`).
        reports: is told of what goes wrong.
        mode: what to ask for.
        open_camera: opens it (tests give their own). Raises OSError.

    Raises:
        EmoError: `name` is none of these.
    """

    def __init__(
        self,
        name: str,
        reports: Reports,
        mode: Mode | None = None,
        open_camera: Callable[[str, Mode], Grabber] | None = None,
    ) -> None:
        if not (name.isdigit() or name.startswith("/dev/") or "://" in name):
            raise EmoError(
                f"camera '{name}': give a number, a path such as /dev/video0, or a URL "
                "(./emo doctor lists the cameras)"
            )
        self._name, self._reports = name, reports
        self._mode = mode or Mode()
        self._open = open_camera or open_device
        self._ended = threading.Event()
        self._news = threading.Condition()
        self._shot: Shot | None = None  # the newest that nobody took
        self._taken = 0  # pictures from the camera so far
        self._still: tuple[bytes, int] | None = None  # what it looks like, since when
        self._seen_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"camera {name}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def newest(self, timeout_s: float) -> Shot | None:
        """The newest picture that was not asked for before; None if none comes in time."""
        with self._news:
            self._news.wait_for(lambda: self._shot is not None or self._ended.is_set(), timeout_s)
            shot, self._shot = self._shot, None
        silent_s = time.monotonic() - self._seen_s
        if shot is None and silent_s > NO_PICTURE_S and not self._ended.is_set():
            text = f"camera {self._name}: no picture for {silent_s:.0f} s. Check its cable"
            self._reports.error = self._reports.error or text
        return shot

    def close(self) -> None:
        """Let the camera go. Where its driver hangs, it goes when that comes back."""
        self._ended.set()
        with self._news:
            self._news.notify_all()
        self._thread.join(timeout=3.0)

    # -- the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        delay = FIRST_DELAY_S
        while not self._ended.is_set():
            try:
                camera = self._open(self._name, self._mode)
            except OSError as error:
                self._reports.error = str(error)
                self._reports.fault("no_device", f"{error}; next attempt in {delay:g} s")
            else:
                before = self._taken
                try:
                    self._drain(camera)
                finally:
                    camera.release()
                if self._taken > before:
                    delay = FIRST_DELAY_S
                if not self._ended.is_set():
                    text = f"camera {self._name}: gives no pictures any more. Is it plugged in?"
                    self._reports.error = text
                    self._reports.fault("lost_device", f"{text}; next attempt in {delay:g} s")
            self._ended.wait(delay)
            delay = min(2 * delay, LONGEST_DELAY_S)

    def _drain(self, camera: Grabber) -> None:
        """Take every picture as it comes, until there are no more."""
        failures = 0
        while failures < _FAILURES and not self._ended.is_set():
            try:
                if not camera.grab():
                    failures += 1
                    self._ended.wait(0.02)
                    continue
                taken_ns = _taken_ns(camera)
                good, bgr = camera.retrieve()
                if not good or bgr is None or bgr.size == 0:
                    raise ValueError("nothing in it")
                image = _as_rgb(bgr)
            except _TROUBLE as error:  # one now and then is usual
                failures += 1
                text = f"camera {self._name}: a damaged picture ({reason(error)})"
                self._reports.fault("damaged", text)
                self._ended.wait(0.02)
                continue
            failures = 0
            self._watch(image, taken_ns)
            with self._news:
                self._taken += 1
                self._shot = Shot(self._taken - 1, image, taken_ns)
                self._seen_s = time.monotonic()
                self._news.notify_all()

    def _watch(self, image: Image, taken_ns: int) -> None:
        """Notice a camera that goes on sending one picture."""
        look = image[::_STRIDE, ::_STRIDE].tobytes()
        self._reports.error = ""
        if self._still is None or look != self._still[0]:
            self._still = look, taken_ns
            self._reports.warning = ""
        elif taken_ns - self._still[1] > FROZEN_S * 1e9 and not self._reports.warning:
            text = f"camera {self._name}: the same picture for {FROZEN_S:g} s: is it frozen?"
            self._reports.warning = text
            self._reports.fault("frozen", text)


def _taken_ns(camera: Grabber) -> int:
    """When the picture just grabbed was taken: the driver's stamp where it can be true."""
    now_ns = time.monotonic_ns()
    driver_ns = int(camera.get(cv2.CAP_PROP_POS_MSEC) * 1e6)  # V4L2: of CLOCK_MONOTONIC
    return driver_ns if 0 <= now_ns - driver_ns < _MOST_AGE_S * 1e9 else now_ns


def _as_rgb(bgr: Any) -> Image:
    if bgr.ndim == 2 or bgr.shape[2] == 1:
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
