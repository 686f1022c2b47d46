"""Node: image -> mimic/landmarks, mimic/gaze: one person's face, as a robot is to follow it."""

from __future__ import annotations

from emo_interfaces.msg import FaceLandmarks, Gaze
from rclpy.node import Node
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from emo_core.camera.image import Image
from emo_core.errors import EmoError
from emo_core.face.person import PersonFrame, PersonStream
from emo_core.face.static_face import Array as Face
from emo_core.face.static_face import KeptFace
from emo_core.face.tracking import FaceTracker
from emo_face_tracking.outgoing import messages_of
from emo_nodekit import qos
from emo_nodekit.kit import Kit, placed
from emo_nodekit.messages import BadMessageError, nanoseconds
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
#: What seconds as a float tell apart, even of a stream that began at time 0.
_NEWER_NS = 1_000


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
        self._person = PersonStream(self._tracker)
        self._change()
        self._begin()
        self._landmarks = self.create_publisher(FaceLandmarks, "mimic/landmarks", qos.FRAMES)
        self._gaze = self.create_publisher(Gaze, "mimic/gaze", qos.FRAMES)
        self.create_service(Trigger, "~/capture", self._on_capture)
        packed = self._kit.text("transport") == "compressed"
        self._pictures = Pictures(self, self._kit, "image", packed, self._on_picture)
        self._kit.on_change(self._change)

    def _change(self) -> None:
        """At the start, and when a parameter changes."""
        kept = KeptFace(self._kit.text("faces"), self._kit.text("person"))
        self._person.expect(kept.load())
        self._kept = kept
        self._kit.health.warning = f"no {kept.path} yet: call ~/capture" if kept.missing else ""

    def _begin(self, eyes_rest: bool = True) -> None:
        """A new stream; the last one's gaze is at rest only where its end was told."""
        self._tracker.reset()
        (self._person.reset if eyes_rest else self._person.restart)()
        self._start_ns: int | None = None
        self._last_ns = 0
        self._number = 0

    def _on_picture(self, image: Image | None, header: Header, step: int) -> None:
        stamp_ns = nanoseconds(header.stamp)
        if self._start_ns is not None and stamp_ns <= self._last_ns - _LATE_NS:
            self._kit.health.fault("restarts", "face_tracking: the images' time went back")
            self._begin(eyes_rest=False)
        if image is None:
            self._publish(header, self._number + 1, None)
            self._begin()
            return
        if self._start_ns is None:
            self._start_ns = stamp_ns
        elif stamp_ns < self._last_ns + _NEWER_NS:
            raise BadMessageError("an image that is no newer than the last one")
        else:
            self._number += step
            if step > 1:
                self._kit.health.fault("dropped", f"image: {step - 1} lost on the way", step - 1)
        self._last_ns = stamp_ns
        frame = self._person.feed(image, (stamp_ns - self._start_ns) * 1e-9)
        self._publish(header, self._number, frame)
        if frame.captured is not None:
            self._keep(frame.captured)
        self._kit.health.values["faces"] = str(frame.seen.faces)
        if frame.seen.blurred:
            self._kit.health.fault("blurred", "image: too blurred, or too dark, to trust")

    def _publish(self, image: Header, number: int, frame: PersonFrame | None) -> None:
        """A frame's messages; None: the stream's end."""
        now = self._kit.now()
        landmarks, gaze = messages_of(image, number, frame, now)
        self._landmarks.publish(landmarks)
        self._gaze.publish(gaze)
        self._kit.health.done((now - nanoseconds(image.stamp)) * 1e-6)

    def _on_capture(self, request: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        self._person.capture()
        answer.success, where = True, self._kept.path
        answer.message = "look neutral for a second: that face is taken for rest"
        answer.message += f", and kept as {where}" if where else "; name a person to keep it"
        return answer

    def _keep(self, face: Face) -> None:
        """The face at rest that was asked for."""
        try:
            self.get_logger().info(f"face at rest taken, {self._kept.save(face)}")
            self._kit.health.warning = ""
        except EmoError as error:
            self._kit.health.fault("not_kept", str(error))

    def destroy_node(self) -> None:
        """Release FaceMesh, too; by now no image is on its way."""
        super().destroy_node()
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
