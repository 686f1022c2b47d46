"""Node: topics of a recording -> the same topics again, in real time, as if it happened now."""

from __future__ import annotations

import threading
from typing import Any

from rclpy._rclpy_pybind11 import RMWError
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.serialization import deserialize_message

from emo_core.bag import Bag, Raw
from emo_core.errors import EmoError
from emo_nodekit import qos
from emo_nodekit.kit import Kit, placed
from emo_nodekit.messages import BadMessageError, nanoseconds, stamp
from emo_nodekit.pacing import WAITING, Pacer, wait_for_graph
from emo_nodekit.parameters import Parameter, Value
from emo_nodekit.running import run
from emo_recorder.offered import message_class

PARAMETERS = (
    Parameter("bag", "", "the recording's folder"),
    Parameter("topics", [""], "what to play, by full names"),
    *WAITING,
)


class PlayerNode(Node):
    """Publishes recorded messages; all their times are moved by as much, and nothing else.

    What the stages make of them is what they made then: they go by differences of stamps. What is
    damaged is counted and left out.
    """

    def __init__(
        self,
        namespace: str = "",
        parameters: dict[str, Value] | None = None,
        remappings: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__("player", **placed(namespace, parameters, remappings))
        self._kit = Kit(self, PARAMETERS)
        self._bag = Bag(self._kit.text("bag"))
        self._pacer = Pacer(self)
        self._outlets: dict[str, tuple[Publisher, Any]] = {}
        for topic in self._kit.texts("topics"):
            if topic not in self._bag.log_ns:
                raise EmoError(f"{self._bag.path} does not hold {topic}")
            kind = message_class(self._bag.types[topic])
            if "header" not in kind.get_fields_and_field_types():
                raise EmoError(f"{self._bag.path}: {topic} holds no message of emo's graph")
            self._outlets[topic] = self.create_publisher(kind, topic, qos.STREAM), kind
        self._thread = threading.Thread(target=self._run, name="player", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._pacer.stop()
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        try:
            self._play()
        except EmoError as error:
            self._kit.health.error = str(error)
            self.get_logger().error(str(error))

    def _play(self) -> None:
        if not wait_for_graph(self, self._kit, self._pacer):
            return
        first_ns = min(int(self._bag.log_ns[topic][0]) for topic in self._outlets)
        self._pacer.start()
        moved_ns = self._pacer.stamp(0) - first_ns
        for raw in self._bag.messages(self._outlets):
            if not self._pacer.wait(raw.log_ns - first_ns):
                return
            try:
                self._publish(raw, moved_ns)
            except (RMWError, BadMessageError) as error:
                self._kit.health.fault("bad_messages", f"{raw.topic}, damaged, left out: {error}")

    def _publish(self, raw: Raw, moved_ns: int) -> None:
        """Send a message, moved. Raises RMWError, BadMessageError: it is damaged."""
        publisher, kind = self._outlets[raw.topic]
        message = deserialize_message(raw.data, kind)
        message.header.stamp = stamp(nanoseconds(message.header.stamp) + moved_ns)
        if hasattr(message, "target_time"):
            message.target_time = stamp(nanoseconds(message.target_time) + moved_ns)
        publisher.publish(message)
        self._kit.health.done()


def create_nodes(
    namespace: str = "",
    parameters: dict[str, Value] | None = None,
    remappings: tuple[tuple[str, str], ...] = (),
) -> list[Node]:
    """The nodes of this process."""
    return [PlayerNode(namespace, parameters, remappings)]


def main() -> int:
    """Run the node."""
    return run(create_nodes)


if __name__ == "__main__":
    raise SystemExit(main())
