"""A node's common half: parameters, diagnostics, and subscriptions that survive bad messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

from emo_core.errors import EmoError
from emo_nodekit.health import Health
from emo_nodekit.messages import BadMessageError
from emo_nodekit.parameters import TRACE_DIR, Parameter, Value, check, declare, overrides

Message = TypeVar("Message")

#: Humble's rclpy hands a callback the message alone, and nothing about it.
TOLD_ABOUT = hasattr(Subscription, "CallbackType")


def placed(
    namespace: str = "",
    parameters: dict[str, Value] | None = None,
    remappings: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Arguments of `Node` for one place in the graph (what a launch file gives a process)."""
    arguments: dict[str, Any] = {"parameter_overrides": overrides(parameters or {})}
    if namespace:
        arguments["namespace"] = namespace
    if remappings:
        rules = [text for old, new in remappings for text in ("-r", f"{old}:={new}")]
        arguments["cli_args"] = ["--ros-args", *rules]
    return arguments


class Kit:
    """What a node is given beside rclpy. A helper it holds, not a class it inherits."""

    def __init__(self, node: Node, table: Sequence[Parameter]) -> None:
        self._node = node
        self._table = table
        self._values = declare(node, table)
        self.health = Health(node)
        self.trace_dir = self.text(TRACE_DIR)

    def text(self, name: str) -> str:
        """A parameter that is a text."""
        return str(self._values[name])

    def number(self, name: str) -> float:
        """A parameter that is a number."""
        value = self._values[name]
        assert isinstance(value, (int, float))  # declared so
        return float(value)

    def flag(self, name: str) -> bool:
        """A parameter that is true or false."""
        return bool(self._values[name])

    def texts(self, name: str) -> list[str]:
        """A parameter that is a list of texts."""
        value = self._values[name]
        assert isinstance(value, list)  # declared so
        return value

    def on_change(self, apply: Callable[[], None]) -> None:
        """Let the table's dynamic parameters change while the node runs.

        Args:
            apply: takes over the values that `text`, `number`, ... tell then, in the node's thread,
                between two messages. It raises EmoError to refuse them, and leaves everything as
                it was; whoever set them is told why.
        """
        known = {parameter.name for parameter in self._table}

        def callback(parameters: list[RosParameter]) -> SetParametersResult:
            old = self._values
            self._values = {**old, **{p.name: p.value for p in parameters if p.name in known}}
            try:
                check(self._values, self._table, self._node.get_name())
                apply()
            except EmoError as error:
                self._values = old
                self._node.get_logger().warning(f"refused, all stays as it was: {error}")
                return SetParametersResult(successful=False, reason=str(error))
            return SetParametersResult(successful=True)

        self._node.add_on_set_parameters_callback(callback)

    def now(self) -> int:
        """ROS time in nanoseconds (simulated with use_sim_time)."""
        return int(self._node.get_clock().now().nanoseconds)

    def subscribe(
        self,
        kind: type[Message],
        topic: str,
        callback: Callable[[Message], None],
        qos: QoSProfile,
        group: CallbackGroup | None = None,
    ) -> Subscription:
        """Subscribe; a message the callback cannot use is counted and reported, no more."""

        def guarded(message: Message) -> None:
            try:
                callback(message)
            except (BadMessageError, EmoError) as error:
                self.health.fault("bad_messages", f"{topic}: {error}")

        return self._node.create_subscription(kind, topic, guarded, qos, callback_group=group)
