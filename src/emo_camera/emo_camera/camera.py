"""Node: a camera, a video file paced in real time, or another topic -> image."""

from __future__ import annotations

import math
import threading
import time

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage

from emo_camera.outlet import Outlet
from emo_camera.relay import Relay
from emo_core.camera.device import Device
from emo_core.camera.image import JPEG_QUALITY, MAX_SIDE
from emo_core.camera.opening import Mode
from emo_core.camera.video import Video
from emo_core.errors import EmoError
from emo_nodekit.kit import Kit, placed
from emo_nodekit.messages import nanoseconds
from emo_nodekit.pacing import WAITING, Pacer, wait_for_graph
from emo_nodekit.parameters import Parameter, Value
from emo_nodekit.pictures import Message, picture_of
from emo_nodekit.running import run
from emo_nodekit.worker import start_worker

PARAMETERS = (
    Parameter("source", "device", "where images come from", choices=("device", "file", "topic")),
    Parameter("path", "", "the video, for source file"),
    Parameter("loop", False, "play the video again and again"),
    Parameter(
        "device", "", "camera's number, path (/dev/video2) or URL (rtsp://...); empty: the first"
    ),
    Parameter("width", 640, "asked of the device, px", 16, 8192),
    Parameter("height", 480, "asked of the device, px", 16, 8192),
    Parameter("fps", 30.0, "asked of the device, images/s", 1.0, 500.0),
    Parameter("max_side", MAX_SIDE, "longer images are made smaller, px", 64, 4096),
    Parameter("jpeg_quality", JPEG_QUALITY, "of image/compressed, 1 to 100", 1, 100),
    *WAITING,
)

FIRST = "0"
#: A video's image that could not be shown for so long after its time is left out.
LATE_S = 0.25
#: But one is shown so often all the same: a machine that never catches up still gives a picture.
AT_LEAST_S = 1.0


class CameraNode(Node):
    """Publishes `image/compressed`, and `image` while somebody listens; stamps are of capture.

    Source `topic` passes `image_in` on. A file's end is an image with nothing in it.
    """

    def __init__(
        self,
        namespace: str = "",
        parameters: dict[str, Value] | None = None,
        remappings: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__("camera", **placed(namespace, parameters, remappings))
        self._kit = Kit(self, PARAMETERS)
        number = self._kit.number
        self._out = Outlet(self, self._kit, int(number("max_side")), int(number("jpeg_quality")))
        self._pacer = Pacer(self)
        self._device: Device | None = None
        source, work = self._kit.text("source"), None
        if source == "file":
            self._video = Video(self._kit.text("path"), self._kit.flag("loop"))
            work = self._play
        elif source == "topic":
            self._relay = Relay(self, self._kit, "image_in", self._pass_on)
        else:
            mode = Mode(int(number("width")), int(number("height")), number("fps"))
            self._device = Device(self._kit.text("device") or FIRST, self._kit.health, mode)
            work = self._capture
        self._thread: threading.Thread | None = None
        if work is not None:
            self._thread = start_worker(self, "camera", work)

    def stop(self) -> None:
        """End the stream."""
        self._pacer.stop()
        if self._device is not None:
            self._device.close()
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    def _play(self) -> None:
        """The video at its own pace, then the stream's end."""
        if not wait_for_graph(self, self._kit, self._pacer):
            return
        self._pacer.start()
        end, shown = 0, -math.inf
        try:
            for due_s, image in self._video.pictures():
                due = round(due_s * 1e9)
                if not self._pacer.wait(due):
                    return
                end = due + round(self._video.period_s * 1e9)
                now = self._pacer.elapsed()
                late_s = 1e-9 * (now - due)
                if late_s > LATE_S:
                    text = f"camera: the video is decoded too slowly, and {late_s:.1f} s late"
                    self._kit.health.fault("late", text)
                    if now - shown < AT_LEAST_S * 1e9:
                        continue
                shown = now
                self._out.publish(image, self._pacer.stamp(due))
        except EmoError as error:  # damaged half-way: what was seen so far is the stream
            self._kit.health.error = str(error)
            self.get_logger().error(str(error))
        if self._pacer.wait(end):
            self._out.end(self._pacer.stamp(end))

    def _capture(self) -> None:
        """The device's newest images; `Device` opens it again whenever it was lost."""
        assert self._device is not None
        if not wait_for_graph(self, self._kit, self._pacer):
            return
        self._pacer.start()
        expected: int | None = None
        while not self._pacer.stopped:
            shot = self._device.newest(timeout_s=0.5)
            if shot is None:
                continue
            age = time.monotonic_ns() - shot.taken_ns
            self._out.publish(shot.image, self._pacer.stamp(self._pacer.elapsed() - age))
            missed = 0 if expected is None else shot.number - expected
            if missed:
                text = (
                    f"camera: {missed} images came while this machine was busy, and were left out"
                )
                self._kit.health.fault("skipped", text, missed)
            expected = shot.number + 1

    def _pass_on(self, message: Message) -> None:
        picture, stamp_ns = picture_of(message), nanoseconds(message.header.stamp)
        if picture is None:
            self._out.end(stamp_ns)
        else:
            packed = message.data.tobytes() if isinstance(message, CompressedImage) else b""
            self._out.publish(picture, stamp_ns, packed)


def create_nodes(
    namespace: str = "",
    parameters: dict[str, Value] | None = None,
    remappings: tuple[tuple[str, str], ...] = (),
) -> list[Node]:
    """The nodes of this process."""
    return [CameraNode(namespace, parameters, remappings)]


def main() -> int:
    """Run the node."""
    return run(create_nodes)


if __name__ == "__main__":
    raise SystemExit(main())
