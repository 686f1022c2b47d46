"""Pictures in, RGB, and how many were lost on the way; and out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from emo_core.camera.image import Image as Picture
from emo_core.camera.image import decode, to_rgb
from emo_nodekit import qos
from emo_nodekit.kit import TOLD_ABOUT, Kit
from emo_nodekit.messages import BadMessageError, stamp

Message: TypeAlias = Image | CompressedImage


def picture_of(message: Message) -> Picture | None:
    """RGB uint8 (H, W, 3) of a message; None: the stream's end.

    Raises:
        BadMessageError: there is no picture in it.
    """
    if not len(message.data):
        return None
    try:
        if isinstance(message, CompressedImage):
            return decode(memoryview(message.data))
        return to_rgb(
            memoryview(message.data), message.height, message.width, message.step, message.encoding
        )
    except ValueError as error:
        raise BadMessageError(str(error)) from None


class Pictures:
    """Subscribes a topic's pictures, compressed ones or raw.

    Args:
        topic: `image`; compressed ones are on `image/compressed`.
        callback: called with a picture (None: the stream's end), its header, and how many images
            after the last one it is: 1, or more where some were lost on the way.
    """

    def __init__(
        self,
        node: Node,
        kit: Kit,
        topic: str,
        compressed: bool,
        callback: Callable[[Picture | None, Header, int], None],
    ) -> None:
        self._kit, self._callback = kit, callback
        self._topic = f"{topic}/compressed" if compressed else topic
        self._last = 0
        kind, depth = (CompressedImage, qos.PACKED) if compressed else (Image, qos.IMAGE)
        heard: Callable[..., None] = self._on_message if TOLD_ABOUT else self._on_bare
        self._subscription = node.create_subscription(kind, self._topic, heard, depth)

    def _on_bare(self, message: Message) -> None:
        self._on_message(message, {})

    def _on_message(self, message: Message, info: Any) -> None:
        # The publisher's own count, where this ROS tells it. A new publisher begins again.
        number = info.get("publication_sequence_number") or self._last + 1
        step = number - self._last if 0 < self._last < number else 1
        self._last = number
        try:
            self._callback(picture_of(message), message.header, step)
        except BadMessageError as error:
            self._kit.health.fault("bad_messages", f"{self._topic}: {error}")


def rendered(picture: Picture, stamp_ns: int) -> Image:
    """A drawn picture, BGR (H, W, 3), as the simulated robot's camera image."""
    height, width = picture.shape[:2]
    message = Image(height=height, width=width, encoding="bgr8", step=3 * width)
    message.header.stamp = stamp(stamp_ns)
    message.header.frame_id = "sim_camera"
    message.data.frombytes(np.ascontiguousarray(picture).tobytes())
    return message
