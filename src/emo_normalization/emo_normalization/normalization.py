"""Node: landmarks -> robot_landmarks: a human's face in the robot's proportions.

Runs once for each pipeline, in its namespace (`lipsync`, `mimic`).
"""

from __future__ import annotations

from emo_interfaces.msg import FaceLandmarks
from rclpy.node import Node
from std_msgs.msg import Header

from emo_core.face.alignment import canonical_face
from emo_core.face.static_face import load_face
from emo_core.face.topology import NUM_LANDMARKS
from emo_core.robot.description import RobotDescription
from emo_core.robot.inverse_model import load_profile
from emo_core.robot.normalization import DEFAULT_ALPHA, Normalizer
from emo_nodekit import qos
from emo_nodekit.kit import Kit, placed
from emo_nodekit.messages import floats, landmark_points, nanoseconds, stages, static_points
from emo_nodekit.parameters import ROBOT, Parameter, Value
from emo_nodekit.running import run

PARAMETERS = (
    ROBOT,
    Parameter(
        "static_face",
        "",
        "the human's resting face (.npz of `emo track`) where the frames do not tell it; "
        "empty: the canonical face",
        dynamic=True,
    ),
    Parameter("alpha", DEFAULT_ALPHA, "scale of all displacements", 0.0, 2.0, dynamic=True),
)


class NormalizationNode(Node):
    """Subscribes `landmarks` (478 x 3), publishes `robot_landmarks` (113 x 2)."""

    event_driven = True  # see `emo_nodekit.running`

    def __init__(
        self,
        namespace: str = "",
        parameters: dict[str, Value] | None = None,
        remappings: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__("normalization", **placed(namespace, parameters, remappings))
        self._kit = Kit(self, PARAMETERS)
        robot = RobotDescription.load(self._kit.text("robot"))
        self._profile = load_profile(robot)
        self._change()
        self._publisher = self.create_publisher(FaceLandmarks, "robot_landmarks", qos.FRAMES)
        self._kit.subscribe(FaceLandmarks, "landmarks", self._on_landmarks, qos.FRAMES)
        self._kit.on_change(self._change)

    def _change(self) -> None:
        """At the start, and when a parameter changes."""
        face = self._kit.text("static_face")
        self._own_static = load_face(face) if face else canonical_face()
        self._normalize = Normalizer(self._own_static, self._profile, self._kit.number("alpha"))
        self._static = b""  # as the frames tell it; they have not yet

    def _follow_person(self, source: FaceLandmarks) -> None:
        """Take the face at rest over where it is another than the last frame's."""
        told = bytes(source.static_points)
        if told == self._static:
            return
        static = static_points(source, NUM_LANDMARKS, 3)
        self._normalize.set_static(self._own_static if static is None else static)
        self._static = told

    def _on_landmarks(self, source: FaceLandmarks) -> None:
        self._kit.health.follow(source.frame)
        points = floats([])
        if len(source.points):
            self._follow_person(source)
            points = floats(self._normalize(landmark_points(source, NUM_LANDMARKS, 3)))
        now = self._kit.now()
        message = FaceLandmarks(
            header=Header(stamp=source.header.stamp, frame_id="robot_face"),
            frame=source.frame,
            target_time=source.target_time,
            dim=2,
            points=points,
            valid=source.valid,
            active=source.active,
            end_of_stream=source.end_of_stream,
            stage_ms=stages(source, now),
        )
        self._publisher.publish(message)
        self._kit.health.done((now - nanoseconds(source.header.stamp)) * 1e-6)


def create_nodes(
    namespace: str = "",
    parameters: dict[str, Value] | None = None,
    remappings: tuple[tuple[str, str], ...] = (),
) -> list[Node]:
    """The nodes of this process."""
    return [NormalizationNode(namespace, parameters, remappings)]


def main() -> int:
    """Run the node."""
    return run(create_nodes)


if __name__ == "__main__":
    raise SystemExit(main())
