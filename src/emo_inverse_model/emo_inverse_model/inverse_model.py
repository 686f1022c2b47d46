"""Node: robot_landmarks -> motor_command: which motors make the face look so.

Runs once for each pipeline, in its namespace (`lipsync`, `mimic`).
"""

from __future__ import annotations

import numpy as np
from emo_interfaces.msg import FaceLandmarks, MotorCommand
from rclpy.node import Node

from emo_core.face.topology import ROBOT_LANDMARKS
from emo_core.robot.description import RobotDescription
from emo_core.robot.inverse_model import InverseModel
from emo_nodekit import qos
from emo_nodekit.kit import Kit, placed
from emo_nodekit.messages import floats, landmark_points, nanoseconds, stages
from emo_nodekit.parameters import ROBOT, Parameter, Value
from emo_nodekit.records import Record, seconds
from emo_nodekit.running import run

PARAMETERS = (
    ROBOT,
    Parameter("source", "lipsync", "the pipeline's name, as the arbiter knows it"),
    Parameter("record", "commands.csv", "file in trace_dir for the commands as they are published"),
)

POINTS = len(ROBOT_LANDMARKS)


class InverseModelNode(Node):
    """Subscribes `robot_landmarks` (113 x 2), publishes `motor_command` (all but gaze)."""

    event_driven = True  # see `emo_nodekit.running`

    def __init__(
        self,
        namespace: str = "",
        parameters: dict[str, Value] | None = None,
        remappings: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__("inverse_model", **placed(namespace, parameters, remappings))
        self._kit = Kit(self, PARAMETERS)
        robot = RobotDescription.load(self._kit.text("robot"))
        self._model = InverseModel.load(robot)
        self._names = list(self._model.names)
        self._model(np.zeros(2 * POINTS, np.float32))  # the first call is slow
        self._source = self._kit.text("source")
        self._record = Record(
            self._kit.trace_dir,
            self._kit.text("record"),
            ["stamp", "target_time", *self._names],
        )
        self._publisher = self.create_publisher(MotorCommand, "motor_command", qos.FRAMES)
        self._kit.subscribe(FaceLandmarks, "robot_landmarks", self._on_landmarks, qos.FRAMES)

    def _on_landmarks(self, source: FaceLandmarks) -> None:
        self._kit.health.follow(source.frame)
        message = MotorCommand(
            header=source.header,
            frame=source.frame,
            target_time=source.target_time,
            source=self._source,
            valid=bool(len(source.points)),
            active=source.active,
            end_of_stream=source.end_of_stream,
        )
        positions = np.zeros(0, np.float32)
        if message.valid:
            points = landmark_points(source, POINTS, 2)
            positions = self._model(points.reshape(-1))
            message.names = self._names
            message.positions = floats(positions)
        now = self._kit.now()
        message.stage_ms = stages(source, now)
        self._publisher.publish(message)
        stamp_ns = nanoseconds(source.header.stamp)
        self._kit.health.done((now - stamp_ns) * 1e-6)
        if self._record and message.valid:
            row = ",".join(f"{value:.7g}" for value in positions.tolist())
            times = f"{seconds(stamp_ns)},{seconds(nanoseconds(source.target_time))}"
            self._record.write(f"{times},{row}")
        if source.end_of_stream:
            self._record.flush()

    def stop(self) -> None:
        """Put the record on disk."""
        self._record.close()


def create_nodes(
    namespace: str = "",
    parameters: dict[str, Value] | None = None,
    remappings: tuple[tuple[str, str], ...] = (),
) -> list[Node]:
    """The nodes of this process."""
    return [InverseModelNode(namespace, parameters, remappings)]


def main() -> int:
    """Run the node."""
    return run(create_nodes)


if __name__ == "__main__":
    raise SystemExit(main())
