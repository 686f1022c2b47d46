"""Node: image -> mimic/landmarks, mimic/gaze: one person's face, as a robot is to follow it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from emo_interfaces.msg import FaceLandmarks, Gaze
from rclpy.node import Node
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from emo_core.camera.image import Image
from emo_core.errors import EmoError
from emo_core.face.person import PersonFrame, PersonStream
from emo_core.face.static_face import face_path, save_static_face
from emo_core.face.tracking import FaceTracker, load_face
from emo_nodekit import qos
from emo_nodekit.kit import Kit, placed
from emo_nodekit.messages import BadMessageError, floats, nanoseconds
from emo_nodekit.parameters import Parameter, Value
from emo_nodekit.pictures import Pictures
from emo_nodekit.running import run

PARAMETERS = (
    Parameter("transport", "compressed", "pictures as", choices=("compressed", "raw")),
    Parameter("faces", "", "folder of the faces kept by name"),
    Parameter(
        "person",
        "",
        "who is followed, by name: the face at rest is read from `faces`, and ~/capture keeps a "
        "new one there; empty: found out by looking, and not kept",
        dynamic=True,
    ),
)

#: Images that come later than they should; a clock that goes back further begins a new stream, ns.
_LATE_NS = 1_000_000_000


class FaceTrackingNode(Node):
    """Subscribes `image/compressed`; a message on each topic for every image.

    `~/capture` (std_srvs/Trigger) takes the next calm second as the person's face at rest.
    """

    def __init__(
        self,
        namespace: str = "",
        parameters: dict[str, Value] | None = None,
        remappings: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__("face_tracking", **placed(namespace, parameters, remappings))
        self._kit = Kit(self, PARAMETERS)
        self._tracker = FaceTracker(max_faces=2)
        self._tracker.faces(np.zeros((480, 640, 3), np.uint8))  # the first call is slow
        self._person = PersonStream(self._tracker, self._known())
        self._begin()
        self._landmarks = self.create_publisher(FaceLandmarks, "mimic/landmarks", qos.FRAMES)
        self._gaze = self.create_publisher(Gaze, "mimic/gaze", qos.FRAMES)
        self.create_service(Trigger, "~/capture", self._on_capture)
        packed = self._kit.text("transport") == "compressed"
        self._pictures = Pictures(self, self._kit, "image", packed, self._on_picture)
        self._kit.on_change(lambda: self._person.expect(self._known()))

    def _known(self) -> np.ndarray | None:
        """The face at rest of the person named, if there is one yet."""
        name = self._kit.text("person")
        path = self._file(name) if name else None
        missing = path is not None and not path.exists()
        self._kit.health.warning = f"no {path} yet: call ~/capture to make it" if missing else ""
        return None if path is None or missing else load_face(path)

    def _file(self, name: str) -> Path:
        folder = self._kit.text("faces")
        if not folder:
            raise EmoError(f"where is {name}'s face? Give the parameter faces, a folder")
        return face_path(folder, name)

    def _begin(self) -> None:
        """A new stream."""
        self._tracker.reset()
        self._person.reset()
        self._start_ns = self._last_ns = -1
        self._number = 0

    def _on_picture(self, image: Image | None, header: Header, step: int) -> None:
        stamp_ns = nanoseconds(header.stamp)
        if self._start_ns >= 0 and stamp_ns <= self._last_ns - _LATE_NS:
            self._kit.health.fault("restarts", "face_tracking: the images' time went back")
            self._begin()
        if image is None:
            self._publish(header, None)
            self._begin()
            return
        if self._start_ns < 0:
            self._start_ns = stamp_ns
        elif stamp_ns <= self._last_ns:
            raise BadMessageError("an image that is no newer than the last one")
        else:
            self._number += step
            if step > 1:
                self._kit.health.fault("dropped", f"image: {step - 1} lost on the way", step - 1)
        self._last_ns = stamp_ns
        frame = self._person.feed(image, (stamp_ns - self._start_ns) * 1e-9)
        self._publish(header, frame)
        if frame.captured is not None:
            self._keep(frame.captured)
        self._kit.health.values["faces"] = str(frame.seen.faces)
        if frame.seen.blurred:
            self._kit.health.fault("blurred", "image: too blurred, or too dark, to trust")

    def _publish(self, header: Header, frame: PersonFrame | None) -> None:
        """A frame's messages; None: the stream's end."""
        now, stamp_ns = self._kit.now(), nanoseconds(header.stamp)
        landmarks = FaceLandmarks(
            header=Header(stamp=header.stamp, frame_id="metric_face"),
            frame=self._number + (frame is None),
            target_time=header.stamp,
            dim=3,
            end_of_stream=frame is None,
            stage_ms=floats([(now - stamp_ns) * 1e-6]),
        )
        gaze = Gaze(
            header=Header(stamp=header.stamp, frame_id="gaze"),
            frame=landmarks.frame,
            target_time=header.stamp,
            end_of_stream=frame is None,
            stage_ms=landmarks.stage_ms,
        )
        if frame is not None:
            if frame.points is not None:
                landmarks.points = floats(frame.points)
            if frame.static is not None:
                landmarks.static_points = floats(frame.static)
            landmarks.valid = landmarks.active = frame.valid
            gaze.yaw, gaze.pitch, gaze.valid = frame.gaze.yaw, frame.gaze.pitch, frame.gaze.valid
        self._landmarks.publish(landmarks)
        self._gaze.publish(gaze)
        self._kit.health.done((now - stamp_ns) * 1e-6)

    def _on_capture(self, request: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        self._person.capture()
        name = self._kit.text("person")
        kept = f"kept as {self._file(name)}" if name else "not kept: no person is named"
        answer.success = True
        answer.message = f"look neutral for a second: that face is taken for rest, {kept}"
        return answer

    def _keep(self, face: np.ndarray) -> None:
        name = self._kit.text("person")
        if not name:
            self.get_logger().info("face at rest taken")
            return
        self.get_logger().info(
            f"face at rest kept as {save_static_face(self._kit.text('faces'), name, face)}"
        )
        self._kit.health.warning = ""

    def stop(self) -> None:
        """Release FaceMesh."""
        self._tracker.close()


def create_nodes(
    namespace: str = "",
    parameters: dict[str, Value] | None = None,
    remappings: tuple[tuple[str, str], ...] = (),
) -> list[Node]:
    """The nodes of this process."""
    return [FaceTrackingNode(namespace, parameters, remappings)]


def main() -> int:
    """Run the node."""
    return run(create_nodes)


if __name__ == "__main__":
    raise SystemExit(main())
