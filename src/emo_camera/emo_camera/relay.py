"""Somebody else's pictures: a topic of raw or compressed images, whichever is there."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from emo_core.camera.device import NO_PICTURE_S
from emo_core.errors import EmoError
from emo_nodekit.kit import Kit
from emo_nodekit.pictures import Message

_KINDS: dict[str, type[Message]] = {
    "sensor_msgs/msg/Image": Image,
    "sensor_msgs/msg/CompressedImage": CompressedImage,
}
_LOOK_S = 0.2
_STEADY = ClockType.STEADY_TIME


class Relay:
    """Subscribes a topic, or the one below it that ends in `/compressed`, as soon as there is one.

    Of both, the compressed one is taken. The kind of a topic and its reliability are its
    publishers': a camera's driver may offer best effort only.

    Args:
        callback: called with each message.

    Raises:
        EmoError: the node publishes there itself; its publishers are made before.
    """

    def __init__(
        self, node: Node, kit: Kit, topic: str, callback: Callable[[Message], None]
    ) -> None:
        self._node, self._kit, self._callback = node, kit, callback
        self._topics = (f"{topic}/compressed", topic)
        own = {publisher.topic_name for publisher in node.publishers}
        for resolved in map(node.resolve_topic_name, self._topics):
            if resolved in own:
                raise EmoError(
                    f"camera: {resolved} is where this node publishes: give another topic of images"
                )
        self._source = ""
        self._last_s = time.monotonic()
        self._timer = node.create_timer(_LOOK_S, self._look, clock=Clock(clock_type=_STEADY))

    def _on_message(self, message: Message) -> None:
        self._last_s = time.monotonic()
        self._kit.health.warning = ""
        self._callback(message)

    def _look(self) -> None:
        if not self._source:
            self._kit.health.warning = self._subscribe()
        elif (silent_s := time.monotonic() - self._last_s) > NO_PICTURE_S:
            self._kit.health.warning = f"camera: no image on {self._source} for {silent_s:.0f} s"

    def _subscribe(self) -> str:
        """Subscribe what is there; returns what is wrong if nothing is."""
        for topic in self._topics:
            resolved = self._node.resolve_topic_name(topic)
            found = self._node.get_publishers_info_by_topic(resolved)
            if not found:
                continue
            kind = _KINDS.get(found[0].topic_type)
            if kind is None:
                return f"camera: {resolved} is of {found[0].topic_type}: give a topic of images"
            offered = {one.qos_profile.reliability for one in found}
            effort = ReliabilityPolicy.BEST_EFFORT
            reliability = effort if effort in offered else ReliabilityPolicy.RELIABLE
            qos = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=reliability)
            self._kit.subscribe(kind, topic, self._on_message, qos)
            self._source, self._last_s = resolved, time.monotonic()
            return ""
        return f"camera: nobody publishes {self._node.resolve_topic_name(self._topics[1])}"
