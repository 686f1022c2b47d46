"""A flood on every topic that the graph listens to: dropped and counted, in bounded memory."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not set up: the first ./emo lipsync installs it")
pytest.importorskip("emo_interfaces.msg", reason="emo's messages are not built: ./emo lipsync")

from diagnostic_msgs.msg import DiagnosticArray
from emo_interfaces.msg import AudioChunk, FaceLandmarks, MotorCommand, SpeechFeatures
from floods import huge, kind_of, malformed
from probing import ALL, Probe, spinning
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage
from sounds import speech_like
from std_msgs.msg import Header
from videos import film_a_face
from waiting import until

from emo.graph import build_graph
from emo.middleware import profile_environment
from emo.options import GraphOptions
from emo_audio2landmark.audio2landmark import Audio2LandmarkNode
from emo_core.camera.image import encode
from emo_core.face.alignment import canonical_face
from emo_core.face.tracking import VideoFile
from emo_inverse_model.inverse_model import InverseModelNode
from emo_microphone.microphone import MicrophoneNode
from emo_motor_drivers.arbiter import ArbiterNode
from emo_nodekit import qos
from emo_nodekit.messages import floats, stamp
from emo_normalization.normalization import NormalizationNode
from emo_predictive_model.predictive_model import PredictiveModelNode
from emo_speech_features.speech_features import SpeechFeaturesNode

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("ros")]

OPTIONS = {"pipeline": "both", "source": "topic", "camera": "topic"}
#: Each topic, small messages and huge ones, s.
SMALL_S, HUGE_S = 2.0, 1.0
#: A node's word for what it did not take.
REFUSED = {"bad_messages", "unknown_motors", "dropped", "gaps", "jumps", "restarts", "repeated"}
#: Queues keep their depth, and give back what was in them; the allocator keeps some of it for what
#: comes next: so much, MB, for each reader on average; and when it comes again hardly more.
QUEUES_MB, AGAIN_MB = 50.0, 300.0


def chunk(number: int) -> AudioChunk:
    """Sound of 40 ms."""
    samples = speech_like(0.04) + 0.01 * np.sin(np.arange(640))
    audio = AudioChunk(first_sample=640 * number, sample_rate=16_000, data=floats(samples))
    audio.header.stamp = stamp(1_700_000_000_000_000_000 + 40_000_000 * number)
    return audio


def face(number: int) -> FaceLandmarks:
    """The face at rest, as a tracker gives it."""
    points = floats(canonical_face())
    header, target = Header(stamp=chunk(number).header.stamp), chunk(number).header.stamp
    return FaceLandmarks(
        header=header, frame=number, target_time=target, dim=3, points=points,
        static_points=points, valid=True, active=True, stage_ms=floats([1.0]),
    )  # fmt: skip


def features(number: int) -> SpeechFeatures:
    """Two rows of features."""
    rows = floats(np.full(2 * 592, 0.1))
    header = chunk(number).header
    return SpeechFeatures(header=header, first_frame=2 * number, dim=592, data=rows, active=True)


def robot_face(number: int) -> FaceLandmarks:
    """A robot's face."""
    message = face(number)
    message.dim, message.points = 2, floats(np.linspace(-30.0, 30.0, 226))
    return message


def command(number: int) -> MotorCommand:
    """Of two motors."""
    header = chunk(number).header
    return MotorCommand(
        header=header, frame=number, target_time=header.stamp, source="mimic",
        names=["jaw", "brow_left"], positions=floats([0.3, 0.6]), valid=True, active=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "good", "parameters"),
    [
        (MicrophoneNode, chunk, {"source": "topic"}),
        (SpeechFeaturesNode, chunk, {}),
        (Audio2LandmarkNode, features, {}),
        (PredictiveModelNode, face, {}),
        (NormalizationNode, face, {}),
        (InverseModelNode, robot_face, {}),
        (ArbiterNode, command, {"greet": False}),
    ],
)
def test_no_message_ends_a_node_or_spoils_what_follows(
    make: Any, good: Any, parameters: dict[str, Any]
) -> None:
    node = make(parameters=parameters)
    subscription = next(each for each in node.subscriptions if each.msg_type is type(good(0)))
    published: list[Any] = []

    class Collector:
        def publish(self, message: Any) -> None:
            published.append(deserialize_message(serialize_message(message), type(message)))

    node._publisher = Collector()
    for number in range(30):
        subscription.callback(good(number))
    before = max(np.abs(floats_of(each)).max() for each in published)
    assert np.isfinite(before)
    count = 0
    for message in [*malformed(type(good(0)), good(30)), *huge(type(good(0)), good(30))]:
        subscription.callback(message)
        count += 1
    assert count > 50 and sum(node._kit.health.faults.values()) > 10
    del published[:]
    for number in range(100, 160):
        subscription.callback(good(number))
    assert len(published) > 20
    after = max(np.abs(floats_of(each)).max() for each in published)
    assert after < 1.5 * before + 0.1, "no state keeps what was in them"
    if hasattr(node, "stop"):
        node.stop()
    node.destroy_node()


def floats_of(message: Any) -> np.ndarray:
    """The numbers that a message is about."""
    fields = ("data", "points", "positions")
    return np.asarray(next(getattr(message, each) for each in fields if hasattr(message, each)))


class Outside(Probe):
    """Talks to the robot as a microphone and a camera do, and hears what it does."""

    def __init__(self, faces: Path) -> None:
        super().__init__()
        self.moved = {"lipsync": 0, "mimic": 0}
        self.told: dict[str, dict[str, str]] = {}
        for source in self.moved:
            topic = f"{source}/motor_command"
            self.create_subscription(MotorCommand, topic, self._on_command, qos.FRAMES)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, ALL)
        self._audio = self.create_publisher(AudioChunk, "audio_in", ALL)
        self._images = self.create_publisher(CompressedImage, "image_in/compressed", ALL)
        self._speech = speech_like(20.0).reshape(-1, 640)
        with VideoFile(faces) as video:
            self._faces = [encode(image) for image in video.frames()]
        self._tick = 0
        self.create_timer(0.04, self._say_and_show)

    def _say_and_show(self) -> None:
        samples, face = self._speech[self._tick % 500], self._faces[self._tick % len(self._faces)]
        audio = AudioChunk(first_sample=640 * self._tick, sample_rate=16_000, data=floats(samples))
        image = CompressedImage(format="jpeg")
        image.data.frombytes(face)
        audio.header.stamp = image.header.stamp = stamp(time.time_ns())
        self._audio.publish(audio)
        self._images.publish(image)
        self._tick += 1

    def _on_command(self, message: MotorCommand) -> None:
        good = message.valid and np.isfinite(message.positions).all() and len(message.names) == 11
        if good and abs(message.header.stamp.sec - time.time()) < 5.0:
            self.moved[message.source] = self.moved.get(message.source, 0) + 1

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            assert len(status.message) < 1000
            self.told[status.name] = {each.key: each.value for each in status.values}

    def works(self) -> None:
        """Wait until both pipelines make commands of what is heard and seen now."""
        before = dict(self.moved)
        until(lambda: all(self.moved[each] > before[each] + 10 for each in before), 60.0)


class Graph:
    """The graph's processes, as the launch files start them composed."""

    def __init__(self, folder: Path) -> None:
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._folder = folder
        arguments = [f"--{name}={value}" for name, value in OPTIONS.items()]
        self._start("composed", "-m", "emo.composed", *arguments)
        for entry in build_graph(GraphOptions(**OPTIONS)):
            if entry.isolated:
                code = f"import sys; from {entry.module} import main; sys.exit(main())"
                self._start(entry.name, "-c", code, *entry.ros_args())

    def _start(self, name: str, *arguments: str) -> None:
        with (self._folder / f"{name}.txt").open("w") as said:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *arguments], stderr=said, cwd=self._folder,
                env={
                    **os.environ, **profile_environment(os.environ, None),
                    "PYTHONPATH": os.pathsep.join(sys.path),
                },
            )  # fmt: skip

    def alive(self) -> None:
        for name, process in self.processes.items():
            said = (self._folder / f"{name}.txt").read_text()
            assert process.poll() is None, f"{name} died: {said[-3000:]}"
            assert "Traceback" not in said, said[said.index("Traceback") :][:3000]

    def megabytes(self) -> float:
        """Resident memory of all processes."""
        pages = 0
        for process in self.processes.values():
            pages += int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[Graph]:
    made = Graph(tmp_path)
    yield made
    made.close()


def listened_to(probe: Probe) -> dict[str, tuple[str, set[str]]]:
    """Topic -> its type, and the nodes of the graph that subscribe it."""
    found: dict[str, tuple[str, set[str]]] = {}
    for name, place in probe.get_node_names_and_namespaces():
        if name == probe.get_name():
            continue
        for topic, types in probe.get_subscriber_names_and_types_by_node(name, place):
            found.setdefault(topic, (types[0], set()))[1].add(f"{place}/{name}".lstrip("/"))
    return found


def flood(probe: Probe, topic: str, kind: Any, messages: list[bytes], seconds: float) -> int:
    """Send as fast as this machine can; returns how many."""
    publisher = probe.create_publisher(kind, topic, ALL)
    until(publisher.get_subscription_count)
    ends, sent = time.monotonic() + seconds, 0
    while sent < len(messages) or time.monotonic() < ends:
        publisher.publish(messages[sent % len(messages)])
        sent += 1
    probe.destroy_publisher(publisher)
    return sent


def tell(
    outside: Outside, sender: Probe, topic: str, kind: Any, good: Any, nodes: set[str]
) -> None:
    """Wait until nodes have told what came: busy ones heard little of the flood, and more now."""
    publisher = sender.create_publisher(kind, topic, ALL)
    messages = itertools.cycle([*malformed(kind, good), *huge(kind, good)])

    def told() -> bool:
        publisher.publish(next(messages))
        return all(REFUSED & outside.told[node].keys() for node in nodes)

    until(told, 60.0, 0.05)
    sender.destroy_publisher(publisher)


@pytest.mark.slow
def test_a_flood_on_every_topic(graph: Graph, tmp_path: Path) -> None:
    outside = Outside(film_a_face(tmp_path / "face.mp4"))
    sender = Probe()
    with ExitStack() as stack:
        stack.enter_context(spinning(outside))
        outside.works()
        topics = listened_to(outside)
        real: dict[str, Any] = {}
        ears = []
        for topic, (type_name, _) in topics.items():
            keep = lambda message, topic=topic: real.__setitem__(topic, message)  # noqa: E731
            ears.append(outside.create_subscription(kind_of(type_name), topic, keep, qos.FRAMES))
        until(lambda: len(real) >= len(topics) - 1)  # nobody commands by hand
        for ear in ears:  # they need not hear the flood
            outside.destroy_subscription(ear)
        outside.works()
        before, sent = graph.megabytes(), {}
        for topic, (type_name, _) in sorted(topics.items()):
            kind = kind_of(type_name)
            for made, seconds in ((malformed, SMALL_S), (huge, HUGE_S)):
                messages = [serialize_message(each) for each in made(kind, real.get(topic))]
                sent[topic] = sent.get(topic, 0) + flood(sender, topic, kind, messages, seconds)
            graph.alive()
        outside.works()
        grown = graph.megabytes() - before
        for topic, (type_name, _) in sorted(topics.items()):
            kind = kind_of(type_name)
            messages = [serialize_message(each) for each in huge(kind, real.get(topic))]
            flood(sender, topic, kind, messages, HUGE_S)
        outside.works()
        graph.alive()
        again = graph.megabytes() - before - grown
        for topic, (type_name, nodes) in topics.items():
            tell(outside, sender, topic, kind_of(type_name), real.get(topic), nodes)
    sender.destroy_node()
    readers = sum(len(nodes) for _, nodes in topics.values())
    print(
        f"{sum(sent.values())} messages on {len(topics)} topics, {readers} readers: "
        f"{grown:.0f} MB, {again:.0f} MB"
    )
    assert grown < QUEUES_MB * readers, f"{grown:.0f} MB more"
    assert again < AGAIN_MB, f"{again:.0f} MB more the second time: something is kept"
