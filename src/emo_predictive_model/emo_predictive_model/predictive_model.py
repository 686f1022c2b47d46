"""Node: landmarks -> predicted: the face a person is about to make, in the namespace `mimic`."""

from __future__ import annotations

from emo_interfaces.msg import FaceLandmarks
from rclpy.node import Node
from std_msgs.msg import Header

from emo_core.face.alignment import canonical_face
from emo_core.face.topology import NUM_LANDMARKS
from emo_core.mimic.predictive import Foresight, PredictiveModel
from emo_nodekit import qos
from emo_nodekit.kit import Kit, placed
from emo_nodekit.messages import floats, landmark_points, nanoseconds, stages, stamp, static_points
from emo_nodekit.parameters import Parameter, Value
from emo_nodekit.running import run

PARAMETERS = (
    Parameter(
        "predict",
        True,
        "head for the expression that is coming; false: plain mimicry",
        dynamic=True,
    ),
)


class PredictiveModelNode(Node):
    """Subscribes `landmarks`, publishes `predicted` (both 478 x 3): a frame for each."""

    event_driven = True  # see `emo_nodekit.running`

    def __init__(
        self,
        namespace: str = "",
        parameters: dict[str, Value] | None = None,
        remappings: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__("predictive_model", **placed(namespace, parameters, remappings))
        self._kit = Kit(self, PARAMETERS)
        self._foresight = Foresight(PredictiveModel.load(), self._kit.flag("predict"))
        for frame in range(10):  # the first calls are slow
            self._foresight.feed(canonical_face(), canonical_face(), True, 0.04 * frame)
        self._begin()
        self._publisher = self.create_publisher(FaceLandmarks, "predicted", qos.FRAMES)
        self._kit.subscribe(FaceLandmarks, "landmarks", self._on_landmarks, qos.FRAMES)
        self._kit.on_change(self._change)

    def _change(self) -> None:
        self._foresight.enabled = self._kit.flag("predict")

    def _begin(self) -> None:
        """A new stream."""
        self._foresight.reset()
        self._start_ns: int | None = None
        self._last_ns = 0

    def _on_landmarks(self, source: FaceLandmarks) -> None:
        self._kit.health.follow(source.frame)
        points = static = None
        if len(source.points):
            points = landmark_points(source, NUM_LANDMARKS, 3)
            static = static_points(source, NUM_LANDMARKS, 3)
        stamp_ns = nanoseconds(source.header.stamp)
        if source.frame == 0 or stamp_ns < self._last_ns:
            self._begin()
        if self._start_ns is None:
            self._start_ns = stamp_ns
        self._last_ns = stamp_ns
        time_s = (stamp_ns - self._start_ns) * 1e-9
        foreseen = self._foresight.feed(points, static, source.valid, time_s)
        now = self._kit.now()
        message = FaceLandmarks(
            header=Header(stamp=source.header.stamp, frame_id="metric_face"),
            frame=source.frame,
            target_time=source.target_time,
            dim=3,
            static_points=source.static_points,
            valid=source.valid,
            active=source.active,
            end_of_stream=source.end_of_stream,
            stage_ms=stages(source, now),
        )
        if foreseen is not None:
            message.points = floats(foreseen.landmarks)
            ahead_ns = round(foreseen.seconds * 1e9)
            message.target_time = stamp(nanoseconds(source.target_time) + ahead_ns)
            self._kit.health.values["trust"] = f"{foreseen.trust:.2f}"
        self._publisher.publish(message)
        self._kit.health.done((now - stamp_ns) * 1e-6)
        if source.end_of_stream:
            self._begin()


def create_nodes(
    namespace: str = "",
    parameters: dict[str, Value] | None = None,
    remappings: tuple[tuple[str, str], ...] = (),
) -> list[Node]:
    """The nodes of this process."""
    return [PredictiveModelNode(namespace, parameters, remappings)]


def main() -> int:
    """Run the node."""
    return run(create_nodes)


if __name__ == "__main__":
    raise SystemExit(main())
