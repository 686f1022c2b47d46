"""Node: topics of a recording -> the same topics again, in real time, as if it happened now."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.serialization import deserialize_message

from emo_core.bag import Bag, Raw
from emo_core.errors import EmoError
from emo_nodekit import qos
from emo_nodekit.kit import Kit, placed
from emo_nodekit.messages import nanoseconds, stamp
from emo_nodekit.pacing import WAITING, Pacer, wait_for_graph
from emo_nodekit.parameters import Parameter, Value
from emo_nodekit.running import run
from emo_nodekit.worker import start_worker
from emo_recorder.offered import message_class

PARAMETERS = (
    Parameter("bag", "", "the recording's folder"),
    Parameter("topics", [""], "what to play, by full names"),
    *WAITING,
)

#: A message stamped so far from when it was received has the time of another clock (use_sim_time).
OTHER_CLOCK_NS = 60_000_000_000


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
        self._thread = start_worker(self, "player", self._run)

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
        began_ns = self._pacer.stamp(0)
        moved_ns: int | None = None
        for raw in self._bag.messages(self._outlets):
            due_ns = raw.log_ns - first_ns
            if not self._pacer.wait(due_ns):
                return
            publisher, kind = self._outlets[raw.topic]
            try:
                message = deserialize_message(raw.data, kind)
                if moved_ns is None:
                    moved_ns = began_ns + due_ns - _recorded_ns(raw, message)
                _move(message, moved_ns)
            except (RuntimeError, ValueError) as error:
                self._kit.health.fault("bad_messages", f"{raw.topic}, damaged, left out: {error}")
                continue
            publisher.publish(message)
            self._kit.health.done()


def _recorded_ns(raw: Raw, message: Any) -> int:
    """When a message was recorded, by the clock of its stamp, ns. Raises BadMessageError."""
    stamp_ns = nanoseconds(message.header.stamp)
    return raw.log_ns if abs(stamp_ns - raw.log_ns) < OTHER_CLOCK_NS else stamp_ns


def _move(message: Any, by_ns: int) -> None:
    """Change a message's times. Raises BadMessageError: no message has such."""
    message.header.stamp = stamp(nanoseconds(message.header.stamp) + by_ns)
    if hasattr(message, "target_time"):
        message.target_time = stamp(nanoseconds(message.target_time) + by_ns)


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
