"""A robot on the far side of ROS topics, as a servo bus: a simulator, or somebody else's driver."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np
import rclpy
from numpy.typing import ArrayLike, NDArray
from rclpy.context import Context
from rclpy.duration import Duration
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

from emo_core.robot.bus import BusError, ServoBus
from emo_core.robot.description import RobotDescription
from emo_nodekit.joints import LATCHED, LISTEN, SEND, joint_angles, joint_state, topic
from emo_nodekit.messages import BadMessageError, stamp
from emo_nodekit.running import Spinner

#: `open` waits so long for the robot's first word, discovery included.
PATIENCE_S = 2.0
#: A robot (or a motor) that says nothing for so long is cut off.
SILENT_S = 0.4
_LOOK_S = 0.005
#: The robot has so long to hear of torque before who said it leaves.
LAST_WORD_S = 0.2

Array = NDArray[np.float64]


class RosBus(ServoBus):
    """Publishes goals on `<port>/joint_command`, hears of the motors on `<port>/joint_states`.

    Both are sensor_msgs/JointState in rad, joints named as the motors; `range_rad` says what is 0
    and 1. `<port>/torque` (std_msgs/Bool, latched) is of all motors: one alone is not switched.

    It works with the process's ROS, or brings its own where there is none.

    Args:
        description: the robot.
        namespace: for topics whose port does not begin with a slash.
    """

    guarantee = "what the robot behind the topics does when goals cease"

    def __init__(self, description: RobotDescription, namespace: str = "") -> None:
        super().__init__(description)
        self.namespace = namespace
        self._index = {name: i for i, name in enumerate(description.names)}
        self._lock = threading.Lock()
        self._radians = np.full(len(self._index), np.nan)
        self._heard_s = np.full(len(self._index), -np.inf)
        self._on = False
        self._node: Node | None = None
        self._spinner: Spinner | None = None
        self._own: Context | None = None
        self._said = topic(description, "joint_states")

    def open(self) -> None:
        self.close()
        try:
            self._meet()
        except BusError:
            self.close()
            raise

    def _meet(self) -> None:
        """Find the robot; nobody else may command it."""
        context = rclpy.utilities.get_default_context()
        if not context.ok():
            self._own = context = Context()
            rclpy.init(args=[], context=context)
        self._node = node = Node("servo_bus", namespace=self.namespace or None, context=context)
        node.create_subscription(JointState, self._said, self._on_state, LISTEN)
        commands = topic(self.description, "joint_command")
        self._commands = node.create_publisher(JointState, commands, SEND)
        self._torque = node.create_publisher(Bool, topic(self.description, "torque"), LATCHED)
        self._spinner = Spinner([node])
        self._spinner.start(freeze=False)  # a robot that is away is looked for again and again
        give_up_s = time.monotonic() + PATIENCE_S
        while not np.isfinite(self._heard_s).any() or not self._commands.get_subscription_count():
            if time.monotonic() > give_up_s:
                raise BusError(self._silence())
            time.sleep(_LOOK_S)
        if node.count_publishers(commands) > 1:
            raise BusError(
                f"{self.description.file}: bus.port {self.description.bus.port}: another node "
                f"publishes {node.resolve_topic_name(commands)}: stop that one first"
            )

    def close(self) -> None:
        self._on = False  # first: who still writes must not find the publisher gone
        if self._spinner is not None:
            self._torque.wait_for_all_acked(Duration(seconds=LAST_WORD_S))
            self._spinner.stop()
        if self._own is not None:
            self._own.try_shutdown()
        self._spinner = self._node = self._own = None
        self._heard_s[:] = -np.inf

    def torque(self, on: bool, motors: Sequence[int] | None = None) -> None:
        """As `ServoBus.torque`, but of all motors only."""
        if motors is None or len(motors) == len(self._index):
            self._fresh()
            self._on = on
            self._torque.publish(Bool(data=on))

    def write(self, positions: ArrayLike) -> Array:
        self._fresh()
        sent = np.clip(np.asarray(positions, dtype=np.float64), 0.0, 1.0)
        if not self._on:
            return np.full_like(sent, np.nan)
        message = joint_state(self._index, self.description.to_radians(sent))
        message.header.stamp = stamp(self._time())
        self._commands.publish(message)
        return np.asarray(sent)

    def read(self, motors: Sequence[int] | None = None) -> Array:
        known = self._fresh()
        if motors is not None:
            known &= np.isin(np.arange(len(known)), motors)
        with self._lock:
            commands = self.description.to_commands(self._radians)
        return np.where(known, commands, np.nan)

    def _on_state(self, message: JointState) -> None:
        """Where the motors are; in the node's thread."""
        assert self._node is not None
        try:
            angles = joint_angles(message)
        except BadMessageError as error:
            self._node.get_logger().warning(f"{self._said}: {error}", throttle_duration_sec=1.0)
            return
        now_s = time.monotonic()
        with self._lock:
            for name, angle in angles.items():
                motor = self._index.get(name)
                if motor is not None:
                    self._radians[motor], self._heard_s[motor] = angle, now_s

    def _fresh(self) -> NDArray[np.bool_]:
        """(M,) the motors that were heard of lately. Raises BusError if there is none."""
        with self._lock:
            fresh = np.asarray(time.monotonic() - self._heard_s <= SILENT_S)
        if self._node is None or not fresh.any():
            raise BusError(self._silence())
        return fresh

    def _time(self) -> int:
        assert self._node is not None
        return int(self._node.get_clock().now().nanoseconds)

    def _silence(self) -> str:
        said = self._said if self._node is None else self._node.resolve_topic_name(self._said)
        return (
            f"{self.description.file}: bus.port {self.description.bus.port}: no answer on {said}: "
            "start the robot, or mend the prefix"
        )
