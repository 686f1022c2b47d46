"""A flood on every topic that the graph listens to: dropped and counted, in bounded memory."""

from __future__ import annotations

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
from emo_interfaces.msg import AudioChunk, MotorCommand
from floods import huge, kind_of, malformed
from probing import ALL, Probe, spinning
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage
from sounds import speech_like
from videos import film_a_face
from waiting import until

from emo.graph import build_graph
from emo.options import GraphOptions
from emo_core.camera.image import encode
from emo_core.face.tracking import VideoFile
from emo_nodekit.messages import floats, stamp

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("ros"), pytest.mark.slow]

OPTIONS = {"pipeline": "both", "source": "topic", "camera": "topic"}
#: Each topic, small messages and huge ones, s.
SMALL_S, HUGE_S = 2.0, 1.0
#: A node's word for what it did not take.
REFUSED = {"bad_messages", "unknown_motors", "dropped", "gaps", "jumps", "restarts", "repeated"}
#: What the queues of one topic's readers and writers may keep of huge messages, MB.
PER_TOPIC_MB = 120.0


class Outside(Probe):
    """Talks to the robot as a microphone and a camera do, and hears what it does."""

    def __init__(self, faces: Path) -> None:
        super().__init__()
        self.moved = {"lipsync": 0, "mimic": 0}
        self.told: dict[str, dict[str, str]] = {}
        for source in self.moved:
            self.create_subscription(MotorCommand, f"{source}/motor_command", self._on_command, ALL)
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
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
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


def test_a_flood_on_every_topic(graph: Graph, tmp_path: Path) -> None:
    outside = Outside(film_a_face(tmp_path / "face.mp4"))
    sender = Probe()
    with ExitStack() as stack:
        stack.enter_context(spinning(outside))
        outside.works()
        topics = listened_to(outside)
        real: dict[str, Any] = {}
        for topic, (type_name, _) in topics.items():
            keep = lambda message, topic=topic: real.__setitem__(topic, message)  # noqa: E731
            outside.create_subscription(kind_of(type_name), topic, keep, ALL)
        until(lambda: len(real) >= len(topics) - 1)  # nobody commands by hand
        outside.works()
        before, sent = graph.megabytes(), {}
        for topic, (type_name, _) in sorted(topics.items()):
            kind = kind_of(type_name)
            for made, seconds in ((malformed, SMALL_S), (huge, HUGE_S)):
                messages = [serialize_message(each) for each in made(kind, real.get(topic))]
                sent[topic] = sent.get(topic, 0) + flood(sender, topic, kind, messages, seconds)
            graph.alive()
            print(topic, sent[topic], round(graph.megabytes() - before))
        outside.works()
        graph.alive()
        grown = graph.megabytes() - before
    sender.destroy_node()
    assert grown < PER_TOPIC_MB * len(topics), f"{grown:.0f} MB more"
    for topic, (_, nodes) in topics.items():
        for node in nodes:
            assert REFUSED & outside.told[node].keys(), f"{node} does not tell what came on {topic}"
