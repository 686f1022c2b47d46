"""Where images leave: packed for everybody, raw for those who ask."""

from __future__ import annotations

import array

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from emo_core.camera.image import Image as Picture
from emo_core.camera.image import encode, fit
from emo_nodekit import qos
from emo_nodekit.kit import Kit
from emo_nodekit.messages import stamp

_JPEG = b"\xff\xd8"


class Outlet:
    """Publishes `image/compressed`, and `image` while somebody subscribes.

    Args:
        max_side: longer pictures are made smaller, px.
        quality: of the JPEG, 1..100.
    """

    def __init__(self, node: Node, kit: Kit, max_side: int, quality: int) -> None:
        self._kit, self._max_side, self._quality = kit, max_side, quality
        self._packed = node.create_publisher(CompressedImage, "image/compressed", qos.PACKED_KEPT)
        self._raw = node.create_publisher(Image, "image", qos.IMAGE)

    def publish(self, picture: Picture, stamp_ns: int, packed: bytes = b"") -> None:
        """Send one picture (RGB) on, taken at `stamp_ns`.

        Args:
            packed: what `picture` was unpacked from; a JPEG whose size allows is sent on as it
                is, and not packed twice.
        """
        small = fit(picture, self._max_side)
        if small is not picture or not packed.startswith(_JPEG):
            packed = encode(small, self._quality)
        height, width = small.shape[:2]
        self._kit.health.values["size"] = f"{width} x {height}"
        raw = Image(height=height, width=width, encoding="rgb8", step=3 * width)
        self._send(CompressedImage(data=_bytes(packed)), stamp_ns, raw, small)

    def end(self, stamp_ns: int) -> None:
        """The stream is over: an image with nothing in it."""
        self._send(CompressedImage(), stamp_ns, Image(), None)

    def _send(
        self, packed: CompressedImage, stamp_ns: int, raw: Image, picture: Picture | None
    ) -> None:
        packed.format = "jpeg"
        packed.header = raw.header = Header(stamp=stamp(stamp_ns), frame_id="camera")
        self._packed.publish(packed)
        if self._raw.get_subscription_count():
            if picture is not None:
                raw.data = _bytes(picture.tobytes())
            self._raw.publish(raw)
        self._kit.health.done((self._kit.now() - stamp_ns) * 1e-6)


def _bytes(raw: bytes) -> array.array[int]:
    """For a uint8[] field: the one type that rclpy copies as a block."""
    return array.array("B", raw)
