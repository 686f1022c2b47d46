"""The topics between drivers and a robot that is moved over ROS, and their messages.

As topic-based ros2_control and simulators have them: goals and measured positions are
sensor_msgs/JointState in rad. Torque, which neither has, is a std_msgs/Bool.
"""

from __future__ import annotations

import array
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState

from emo_core.robot.description import FAKE_PORT, RobotDescription
from emo_nodekit.messages import BadMessageError

#: Of the topics of a robot whose port says "fake".
FAKE_PREFIX = "robot"

#: Goals and measured positions: only the newest counts. Who listens takes any reliability, since
#: simulators and micro-controllers often publish with best effort.
SEND = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1)
LISTEN = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT
)
#: Torque: who comes later is told as well.
LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL
)


def topic(robot: RobotDescription, name: str) -> str:
    """`joint_command`, `joint_states`, `torque` or `image` of a robot, below its port."""
    over_topics = robot.bus.kind == "ros" and robot.bus.port != FAKE_PORT
    return f"{robot.bus.port if over_topics else FAKE_PREFIX}/{name}"


def joint_state(names: Iterable[str], radians: NDArray[np.float64]) -> JointState:
    """A message, its stamp still to be set."""
    return JointState(name=list(names), position=array.array("d", radians.tobytes()))


def joint_angles(message: JointState) -> dict[str, float]:
    """Joint -> rad. Raises BadMessageError."""
    if len(message.name) != len(message.position) or not np.isfinite(message.position).all():
        raise BadMessageError("names and positions do not match, or are not finite")
    return dict(zip(message.name, message.position, strict=False))
