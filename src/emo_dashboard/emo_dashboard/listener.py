"""A node that fills a `Board`: what `./emo top` hears."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from emo_interfaces.msg import ArbiterState, MotorCommand
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from emo_dashboard.board import Board
from emo_nodekit import qos

#: Nodes report once a second; none new for this long: all are known.
QUIET_S = 2.0
#: Nobody is waited for longer than this.
LONGEST_S = 10.0


class Listener(Node):
    """Subscribes `/diagnostics`, `motor_command` and `arbiter_state`."""

    def __init__(self, namespace: str = "") -> None:
        super().__init__(f"top_{os.getpid()}", namespace=namespace, start_parameter_services=False)
        self.board = Board(namespace)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.GLANCE)
        self.create_subscription(MotorCommand, "motor_command", self._on_command, qos.GLANCE)
        self.create_subscription(ArbiterState, "arbiter_state", self.board.arbiter, qos.GLANCE)

    def spin(self, duration_s: float) -> None:
        """Listen for so long."""
        deadline_s = time.monotonic() + duration_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)

    def gather(self) -> None:
        """Listen until every node has been heard, as far as one can tell: none new for a while."""
        count, began_s = -1, time.monotonic()
        while len(nodes := self.board.nodes(time.monotonic())) > count or not nodes:
            if time.monotonic() - began_s > LONGEST_S:
                return
            count = len(nodes)
            self.spin(QUIET_S)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.board.diagnostics(message, time.monotonic())

    def _on_command(self, message: MotorCommand) -> None:
        self.board.command(message, time.monotonic())


@contextlib.contextmanager
def listening(namespace: str) -> Iterator[Listener]:
    """A listener, and rclpy, while the block lasts."""
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        yield Listener(namespace)
    finally:
        rclpy.try_shutdown()
