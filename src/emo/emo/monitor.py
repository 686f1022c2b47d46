"""What the command line watches of a running graph: did it begin, is it over, is it well?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from emo_interfaces.msg import MotorCommand
from rclpy.node import Node
from rclpy.qos import qos_profile_system_default
from rclpy.subscription import Subscription
from sensor_msgs.msg import JointState

from emo_core.robot.description import RobotDescription
from emo_nodekit import qos

#: A motor this near to neutral (share of its stroke) is there.
NEAR = 0.02


@dataclass
class Stream:
    """What was heard of one pipeline, in monotonic seconds.

    Attributes:
        began: time of its first command, or None.
        ended: time of its last command, or None while it goes on.
        heard: time of the newest.
        active: whether there was ever any speech, or a face.
    """

    began: float | None = None
    ended: float | None = None
    heard: float = 0.0
    active: bool = False


class Monitor(Node):
    """Listens to the end of the graph.

    Attributes:
        streams: of each pipeline.
        errors: node of this robot -> what its diagnostics call an error now.
    """

    def __init__(self, robot: RobotDescription, namespace: str, pipelines: Sequence[str]) -> None:
        super().__init__("monitor", namespace=namespace)
        self._robot = robot
        self._place = f"{namespace.strip('/')}/" if namespace.strip("/") else ""
        self._low, high = np.array([motor.range_rad for motor in robot.motors]).T
        self._span = high - self._low
        self._positions = np.full(len(robot.motors), np.nan)
        self._joints: Subscription | None = None
        self.streams = {pipeline: Stream() for pipeline in pipelines}
        self.errors: dict[str, str] = {}
        self.create_subscription(MotorCommand, "motor_command", self._on_command, qos.FRAMES)
        self.create_subscription(
            DiagnosticArray, "/diagnostics", self._on_diagnostics, qos_profile_system_default
        )

    @property
    def neutral(self) -> bool:
        """Whether the measured pose is the neutral one."""
        return bool(np.all(np.abs(self._positions - self._robot.neutral) < NEAR))

    def _on_command(self, message: MotorCommand) -> None:
        stream = self.streams.get(message.source)
        if stream is None:
            return
        stream.heard = time.monotonic()
        stream.began = stream.heard if stream.began is None else stream.began
        stream.active = stream.active or message.active
        stream.ended = stream.heard if message.end_of_stream else None
        if stream.ended is not None and self._joints is None:  # 100 messages a second, not before
            self._joints = self.create_subscription(
                JointState, "joint_states", self._on_joints, qos.STATES
            )

    def _on_joints(self, message: JointState) -> None:
        names = self._robot.names
        for name, angle in zip(message.name, message.position, strict=False):
            if name in names:
                i = names.index(name)
                self._positions[i] = (angle - self._low[i]) / self._span[i]

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.hardware_id != "emo" or not status.name.startswith(self._place):
                continue
            if status.level == DiagnosticStatus.ERROR:
                self.errors[status.name] = status.message
            else:
                self.errors.pop(status.name, None)
