"""Opening a camera: of this machine through OpenCV, on the network through PyAV."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any, Protocol

import av
import cv2
from av.container import InputContainer

from emo_core.media import reason

#: A network camera may take so long to answer, and from picture to picture, in s.
_TIMEOUT_S = 3.0
#: FFmpeg keeps nothing back.
_AT_ONCE = {"fflags": "nobuffer", "rtsp_transport": "tcp"}


class Grabber(Protocol):
    """What is needed of an open camera, as `cv2.VideoCapture` has it."""

    def grab(self) -> bool: ...
    def retrieve(self) -> tuple[bool, Any]: ...
    def get(self, prop: int) -> float: ...
    def release(self) -> None: ...


@dataclass(frozen=True)
class Mode:
    """What a camera is asked for; it may give something else."""

    width: int = 640
    height: int = 480
    fps: float = 30.0


class NetworkCamera:
    """A stream at a URL as a `Grabber`.

    OpenCV's way to one shows the last picture for ever once pictures of another size come.

    Raises:
        OSError: nobody answers, or what comes is no video.
    """

    def __init__(self, url: str) -> None:
        try:
            self._container: InputContainer = av.open(
                url, "r", timeout=_TIMEOUT_S, options=_AT_ONCE
            )
            self._frames = self._container.decode(video=0)
        except (av.error.FFmpegError, OSError, IndexError) as error:
            raise OSError(
                f"camera {url}: no pictures ({reason(error)}). Is it on, and the address right?"
            ) from None
        self._frame: av.VideoFrame | None = None

    def grab(self) -> bool:
        """Wait for the next picture; False: there is none."""
        try:
            self._frame = next(self._frames, None)
        except av.error.InvalidDataError:  # one damaged picture is not the end
            self._frames, self._frame = self._container.decode(video=0), None
        except (av.error.FFmpegError, OSError):
            self._frame = None
        return self._frame is not None

    def retrieve(self) -> tuple[bool, Any]:
        """The picture that was grabbed, BGR."""
        if self._frame is None:
            return False, None
        return True, self._frame.to_ndarray(format="bgr24")

    def get(self, prop: int) -> float:
        """Nothing is known: 0."""
        return 0.0

    def release(self) -> None:
        """Close the line."""
        self._container.close()


def open_device(name: str, mode: Mode) -> Grabber:
    """An open camera.

    Args:
        name: a number, a path (`/dev/video2`) or a URL.
        mode: what a camera of this machine is asked for.

    Raises:
        OSError: there is none.
    """
    if "://" in name:
        return NetworkCamera(name)
    if name.startswith("/") and not os.path.exists(name):
        raise OSError(f"camera {name}: no such device. Plug it in, or name another one")
    cv2.setLogLevel(2)  # errors only: what is wrong is told by us
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")  # s; 10 without
    backend = cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY
    camera = cv2.VideoCapture(int(name) if name.isdigit() else name, backend)
    if not camera.isOpened():
        camera.release()
        raise OSError(
            f"camera {name}: cannot be opened. Plug it in, end who else uses it, or name another "
            "one (./emo doctor lists them)"
        )
    # First the format: over USB 2 most cameras give 640 x 480 at 30 pictures/s only as MJPG.
    camera.set(cv2.CAP_PROP_FOURCC, float(cv2.VideoWriter.fourcc(*"MJPG")))
    camera.set(cv2.CAP_PROP_FRAME_WIDTH, mode.width)
    camera.set(cv2.CAP_PROP_FRAME_HEIGHT, mode.height)
    camera.set(cv2.CAP_PROP_FPS, mode.fps)
    return camera
