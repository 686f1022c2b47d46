"""Node: joint_states -> the simulated robot's picture (sim/image), and robot.mp4 with sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from emo_interfaces.msg import AudioChunk, Gaze
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState

from emo_core.errors import EmoError
from emo_core.rates import SAMPLE_RATE
from emo_core.robot.description import RobotDescription
from emo_core.robot.sim.render import Renderer
from emo_nodekit import qos
from emo_nodekit.joints import joint_angles
from emo_nodekit.kit import Kit, placed
from emo_nodekit.messages import audio_samples, nanoseconds
from emo_nodekit.pacing import Timeline
from emo_nodekit.parameters import ROBOT, Parameter, Value
from emo_nodekit.pictures import rendered
from emo_nodekit.records import unused
from emo_nodekit.running import PATIENT, run
from emo_sim.drawing import Drawing
from emo_sim.film import Film
from emo_sim.motion import Motion
from emo_sim.web import Web

PARAMETERS = (
    ROBOT,
    Parameter("port", 0, "of a web page (this machine only) with the picture; 0: none", 0, 65535),
    Parameter("record", "robot.mp4", "file in trace_dir for picture and sound; empty: none"),
    Parameter("sound", True, "whether there will be sound: the film has a track for it"),
)

#: Drawing what is left takes no longer than this: whoever ends the process has patience for 10 s.
FINISH_S = 7.0


class RobotViewNode(Node):
    """Subscribes `joint_states`, `audio_played`, `mimic/gaze`; publishes `sim/image` (bgr8, 25 Hz).

    The film begins with the first sound or the first image, whichever it hears of first.
    """

    def __init__(
        self,
        namespace: str = "",
        parameters: dict[str, Value] | None = None,
        remappings: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__("robot_view", **placed(namespace, parameters, remappings))
        self._kit = Kit(self, PARAMETERS)
        description = RobotDescription.load(self._kit.text("robot"))
        self._motion = Motion(description)
        self._line = Timeline(self._kit.now)
        render = Renderer(description)
        first = render(description.neutral)
        size = (first.shape[1], first.shape[0])
        film = None
        if self._kit.trace_dir and self._kit.text("record"):
            path = unused(Path(self._kit.trace_dir) / self._kit.text("record"))
            rate = SAMPLE_RATE if self._kit.flag("sound") else None
            film = Film(path, size, rate, lambda time_ns: render(self._motion.at(time_ns)))
        port = int(self._kit.number("port"))
        self._web = Web(port) if port else None
        self._publisher = self.create_publisher(Image, "sim/image", qos.IMAGE)
        self._drawing = Drawing(self._motion, render, film, self._show, self._lost)
        self._kit.subscribe(AudioChunk, "audio_played", self._on_audio, qos.STREAM)
        self._kit.subscribe(Gaze, "mimic/gaze", self._on_gaze, qos.FRAMES)
        self._kit.subscribe(JointState, "joint_states", self._on_joints, qos.STATES)

    def stop(self) -> None:
        """Draw what is left, as far as there is time, and finish the film."""
        self._drawing.finish(FINISH_S)
        if self._web is not None:
            self._web.close()

    def _on_joints(self, message: JointState) -> None:
        time_ns = self._line.place(nanoseconds(message.header.stamp))
        self._motion.add(time_ns, joint_angles(message))

    def _on_audio(self, message: AudioChunk) -> None:
        samples = audio_samples(message, SAMPLE_RATE)
        self._drawing.sound(samples, self._line.place(nanoseconds(message.header.stamp)))

    def _on_gaze(self, message: Gaze) -> None:
        """There is one for every image."""
        self._drawing.image(self._line.place(nanoseconds(message.header.stamp)))

    def _show(self, picture: NDArray[np.uint8], placed_ns: int) -> None:
        time_ns = self._line.stamp(placed_ns)
        if self._web is not None:
            self._web.show(picture)
        if self._publisher.get_subscription_count():
            self._publisher.publish(rendered(picture, time_ns))
        self._kit.health.done((self._kit.now() - time_ns) * 1e-6)

    def _lost(self, error: EmoError) -> None:
        """The film ends before its time: the disk is full, say."""
        self._kit.health.error = str(error)
        self.get_logger().error(str(error))


def create_nodes(
    namespace: str = "",
    parameters: dict[str, Value] | None = None,
    remappings: tuple[tuple[str, str], ...] = (),
) -> list[Node]:
    """The nodes of this process."""
    return [RobotViewNode(namespace, parameters, remappings)]


def main() -> int:
    """Run the node."""
    return run(create_nodes, niceness=PATIENT)


if __name__ == "__main__":
    raise SystemExit(main())
