"""A real camera before a real robot, for babbling and calibration."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from emo_core.camera.device import Device
from emo_core.camera.image import decode, encode, fit
from emo_core.camera.opening import Mode
from emo_core.errors import EmoError
from emo_core.robot.bench import Bench, Picture, RealClock
from emo_core.robot.bus import make_bus
from emo_core.robot.description import RobotDescription

#: A camera may take so long to give its first picture, or to come back.
PATIENCE_S = 8.0
#: The bench looks for new pictures so often: their times are the camera's, so it need not hurry.
_POLL_S = 0.008
#: Pictures of a motion are kept until it is over: as JPEG of this quality, a twelfth of the memory.
_QUALITY = 95


class Troubles:
    """What is wrong with the camera now, and a line for everything that went wrong.

    Args:
        tell: is given each line.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.error = self.warning = ""
        self._tell = tell

    def fault(self, kind: str, text: str, count: int = 1) -> None:
        """Something went wrong."""
        self._tell(text)


class BenchCamera:
    """A device as the bench's camera.

    Args:
        device: that looks at the robot. troubles: what it reports to.
        latency_s: of the camera, if it is known.
    """

    def __init__(self, device: Device, troubles: Troubles, latency_s: float | None) -> None:
        self.latency_s = latency_s
        self._device, self._troubles = device, troubles
        self._seen_s = time.monotonic()

    def wait(self) -> None:
        """Return when there is a picture.

        Raises:
            EmoError: the camera gives none.
        """
        if self._device.newest(PATIENCE_S) is None:  # it is opened again meanwhile, if need be
            raise EmoError(self._troubles.error or "the camera gives no pictures")
        self._seen_s = time.monotonic()

    def next_s(self) -> float:
        return time.monotonic() + _POLL_S

    def poll(self, now_s: float) -> Picture | None:
        """The newest picture, if there is a new one.

        Raises:
            EmoError: the camera does not come back, or is frozen.
        """
        if self._troubles.warning:
            raise EmoError(self._troubles.warning)
        shot = self._device.newest(0.0)
        if shot is None:
            if time.monotonic() - self._seen_s > PATIENCE_S:
                raise EmoError(self._troubles.error or "the camera gives no pictures any more")
            return None
        self._seen_s = time.monotonic()
        packed = encode(fit(shot.image), _QUALITY)
        return Picture(shot.taken_ns * 1e-9, lambda: decode(packed))


@contextmanager
def camera_bench(
    robot: RobotDescription,
    camera: str,
    latency_s: float | None = None,
    tell: Callable[[str], None] = print,
) -> Iterator[Bench]:
    """A robot on its bus before a real camera, ready to move; its torque is off afterwards.

    Args:
        robot: its bus is opened, so no graph may be running on it.
        camera: a number, a path (`/dev/video2`) or a URL.
        latency_s: from an exposure to its time stamp; None: not known.
        tell: is given a line for everything that goes wrong with the camera.

    Raises:
        EmoError: no pictures. BusError: no servos.
    """
    troubles = Troubles(tell)
    with Device(camera, troubles, Mode()) as device:
        eyes = BenchCamera(device, troubles, latency_s)
        eyes.wait()
        with Bench(robot, make_bus(robot), eyes, RealClock()) as bench:
            yield bench
