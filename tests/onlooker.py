"""What tests of the whole graph look at: who drives the face, where it is, what its nodes say."""

from __future__ import annotations

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from emo_interfaces.msg import ArbiterState
from rclpy.node import Node
from sensor_msgs.msg import JointState

from emo_core.robot.description import RobotDescription
from emo_nodekit import qos
from emo_nodekit.messages import nanoseconds

#: Of a servo that was measured over a slow line: share of its stroke.
NEAR = 0.05
#: A message's stamp is of the servo that was read last; the others were read so much earlier.
ROUND_S = 0.05


class Onlooker(Node):
    """Listens to the end of the graph.

    Attributes:
        driven: the sources that drive some part of the face, at each change.
        path: after each message, when every motor was measured last, in s of ROS time, and where
            (share of its stroke; NaN: never yet).
        errors: node -> what its diagnostics call an error now.
        told: node -> every error that they told.
    """

    def __init__(self, robot: RobotDescription) -> None:
        super().__init__("onlooker")
        self._robot = robot
        self.driven: list[set[str]] = [set()]
        unknown = np.full(len(robot.motors), np.nan)
        self.path: list[tuple[np.ndarray, np.ndarray]] = [(unknown, unknown)]
        self.errors: dict[str, str] = {}
        self.told: dict[str, list[str]] = {}
        self.create_subscription(ArbiterState, "arbiter_state", self._on_state, qos.FRAMES)
        self.create_subscription(JointState, "joint_states", self._on_joints, qos.STATES)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 100)

    def _on_state(self, message: ArbiterState) -> None:
        self.driven.append({source for source in message.sources if source})

    def _on_joints(self, message: JointState) -> None:
        when, where = (values.copy() for values in self.path[-1])
        for name, angle in zip(message.name, message.position, strict=True):
            motor = self._robot.names.index(name)
            low, high = self._robot.motors[motor].range_rad
            when[motor] = 1e-9 * nanoseconds(message.header.stamp)
            where[motor] = (angle - low) / (high - low)
        self.path.append((when, where))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.errors.pop(status.name, None)
            if status.level == DiagnosticStatus.ERROR:
                self.errors[status.name] = status.message
                self.told.setdefault(status.name, []).append(status.message)

    def rested(self, since: int) -> bool:
        """Whether all motors were at neutral at once, in a measurement after the first `since`."""
        _, where = self._since(since)
        return bool(np.any(np.all(np.abs(where - self._robot.neutral) < NEAR, axis=1)))

    def moved(self, since: int) -> float:
        """The longest way of any motor since then, share of its stroke."""
        _, where = self._since(since)
        return float(np.ptp(where, axis=0).max()) if len(where) else 0.0

    def excess(self, since: int) -> float:
        """How much further than the limits allow a motor went at most, from one to the next."""
        when, where = self._since(since)
        allowed = self._robot.max_speed * (np.diff(when, axis=0) + ROUND_S)
        return float(np.nanmax(np.abs(np.diff(where, axis=0)) - allowed))

    def _since(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Times and places, each (n, motors), after all messages but the first `count`."""
        path = self.path[count:]
        shape = (-1, len(self._robot.motors))
        when, where = (np.array([each[k] for each in path]).reshape(shape) for k in (0, 1))
        return when, where
