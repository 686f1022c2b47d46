"""Recording and replay: nothing lost, and the same commands bit for bit at any speed."""

from __future__ import annotations

import array
import csv
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS is not set up: the first ./emo lipsync installs it")
pytest.importorskip("emo_interfaces.msg", reason="emo's messages are not built: ./emo lipsync")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from probing import Probe, spinning
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from std_msgs.msg import String
from waiting import until

from emo import consumed, replay
from emo.composed import Composed
from emo.graph import build_graph, kept_files
from emo.latency import summarize
from emo.options import GraphOptions
from emo.outcome import Outcome, outcome
from emo_core.audio.sources import load_audio
from emo_core.bag import Bag, BagWriter, Limits, Topic, complete
from emo_core.bag.repair import repair
from emo_core.errors import EmoError
from emo_core.robot.description import RobotDescription
from emo_core.robot.portable import is_same
from emo_core.robot.sim.render import Renderer
from emo_core.viz.video import VideoWriter
from emo_recorder.offered import message_class
from emo_recorder.player import PlayerNode
from emo_recorder.sink import Sink

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("ros")]

ROOT = Path(__file__).resolve().parents[2]
HELLO = ROOT / "src" / "emo" / "emo" / "data" / "hello.flac"


class Ends(Node):
    """Knows which pipelines have ended."""

    def __init__(self) -> None:
        from emo_interfaces.msg import MotorCommand

        super().__init__("ends")
        self.ended: set[str] = set()
        for pipeline in replay.COMMANDS:
            topic = replay.COMMANDS[pipeline]
            self.create_subscription(MotorCommand, topic, self._on_command, 100)

    def _on_command(self, message: Any) -> None:
        if message.end_of_stream:
            self.ended.add(message.source)


def record(options: GraphOptions) -> Bag:
    """Run a graph with its recorder in this process until its streams end."""
    ends = Ends()
    with spinning(ends), Composed(build_graph(options)):
        until(lambda: ends.ended == set(options.pipelines))
        time.sleep(0.3)  # the last messages are on their way
    return Bag(options.bag)


def write_wav(path: Path, samples: np.ndarray) -> Path:
    import wave

    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="module")
def sentence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a real sentence."""
    return write_wav(tmp_path_factory.mktemp("wav") / "short.wav", load_audio(HELLO)[:32_500])


@pytest.fixture(scope="module")
def speech(sentence: Path, tmp_path_factory: pytest.TempPathFactory) -> Bag:
    """The sentence, recorded."""
    bag = tmp_path_factory.mktemp("speech") / "bag"
    options = GraphOptions(
        source="file", speech=str(sentence), view=False, record=True, bag=str(bag)
    )
    return record(options)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Bag:
    """A face that opens and closes its mouth (the simulated robot's own picture), recorded."""
    pytest.importorskip("mediapipe", reason="FaceMesh is not installed")
    folder = tmp_path_factory.mktemp("seen")
    robot = RobotDescription.load("sim")
    render = Renderer(robot)
    with VideoWriter(folder / "face.mp4", render.size, 25) as film:
        for frame in range(75):
            motors = np.array(robot.neutral, np.float64)
            if frame > 40:
                motors[robot.names.index("jaw")] += 0.3 * (1 - np.cos(0.3 * (frame - 40)))
            film.add_frame(render(np.clip(motors, 0, 1)))
    options = GraphOptions(
        pipeline="mimic", camera="file", video=str(folder / "face.mp4"), view=False, record=True,
        bag=str(folder / "bag"),
    )  # fmt: skip
    return record(options)


def again(
    bag: Bag, start: str = "", rate: float = 0.0, folder: Path | None = None
) -> replay.Results:
    options = replay.recorded_options(bag)
    options = replace(options, robot=replay.recorded_robot(bag, options))
    chosen = replay.plan(bag, options, start, "")
    results = replay.Results(bag, chosen, folder)
    replay.run(chosen, replay.inputs(bag, chosen), bag, results, rate, lambda: False)
    results.close()
    return results


def compared(bag: Bag, results: replay.Results) -> Outcome:
    (topic,) = results.commands
    recorded = [bag.decode(raw) for raw in bag.messages([topic])]
    return outcome(recorded, results.commands[topic])


def test_a_recording_holds_every_message_of_the_graph(speech: Bag) -> None:
    assert speech.damage == "" and complete(speech.path)
    assert set(speech.types) >= {
        "/audio", "/speech_features", "/lipsync/landmarks", "/lipsync/robot_landmarks",
        "/lipsync/motor_command", "/motor_command", "/joint_states", "/diagnostics",
    }  # fmt: skip
    counts = {name: len(times) for name, times in speech.log_ns.items()}
    chunks = [speech.decode(raw) for raw in speech.messages(["/audio"])]
    assert [chunk.first_sample for chunk in chunks] == [320 * i for i in range(len(chunks))]
    assert len(chunks) >= 102, "the recorder was there from the first chunk on: ceil(32500 / 320)"
    # ceil(32500 / 640) frames.
    for topic in ("/lipsync/landmarks", "/lipsync/robot_landmarks", "/lipsync/motor_command"):
        assert counts[topic] == 51
    assert counts["/motor_command"] == 51
    assert speech.lost["/audio"] == speech.lost["/lipsync/motor_command"] == 0
    assert json.loads(speech.info["graph"])["lookahead"] == "full"


#: Keys of a profile in rosbag2_storage/qos.cpp.
PROFILE = {
    "history", "depth", "reliability", "durability", "deadline", "lifespan", "liveliness",
    "liveliness_lease_duration", "avoid_ros_namespace_conventions",
}  # fmt: skip


def same(decoded: Any, message: Any) -> bool:
    """Whether a message read by its definition in the recording is what rclpy reads."""
    if hasattr(message, "get_fields_and_field_types"):
        names = message.get_fields_and_field_types()
        return all(same(getattr(decoded, name), getattr(message, name)) for name in names)
    if isinstance(message, (list, tuple)):
        return len(decoded) == len(message) and all(map(same, decoded, message))
    if isinstance(message, bytes):  # one byte
        return decoded in (message, message[0])
    if isinstance(decoded, bytes):
        return decoded == bytes(message)
    if isinstance(message, (np.ndarray, array.array)):
        one, two = (np.asarray(each, np.float64) for each in (decoded, message))
        return bool(np.array_equal(one, two, equal_nan=True))
    return bool(decoded == message)


@pytest.mark.parametrize("recorded", ["speech", "seen"])
def test_other_readers_read_the_same(recorded: str, request: pytest.FixtureRequest) -> None:
    """MCAP's own reader, which goes by the index, and rclpy, which has the messages compiled in."""
    bag: Bag = request.getfixturevalue(recorded)
    (path,) = bag.files
    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True, decoder_factories=[DecoderFactory()])
        assert reader.get_header().profile == "ros2"
        index = reader.get_summary()
        assert index is not None and index.statistics is not None
        counts = index.statistics.channel_message_counts
        assert {each.topic: counts[each.id] for each in index.channels.values()} == {
            topic: len(times) for topic, times in bag.log_ns.items()
        }
        assert {each.encoding for each in index.schemas.values()} == {"ros2msg"}
        assert all(each.message_index_length > 0 for each in index.chunk_indexes)
        for channel in index.channels.values():
            profiles = yaml.safe_load(channel.metadata["offered_qos_profiles"])
            assert channel.message_encoding == "cdr" and profiles
            assert all(set(profile) == PROFILE for profile in profiles)
        assert {each.name for each in reader.iter_attachments()} == set(bag.attached)
        read = 0
        for schema, _, message, decoded in reader.iter_decoded_messages():
            assert schema is not None
            official = deserialize_message(message.data, message_class(schema.name))
            assert same(decoded, official), schema.name
            read += 1
    assert read == index.statistics.message_count > 100


@pytest.mark.parametrize("rate", [0.0, 1.0])
@pytest.mark.parametrize("start", ["", "lipsync/landmarks"])
def test_replayed_speech_is_equal_bit_for_bit(speech: Bag, start: str, rate: float) -> None:
    result = compared(speech, again(speech, start, rate))
    assert result == Outcome(equal=51)
    assert result.same


@pytest.mark.parametrize("start", ["", "mimic/predicted"])
def test_replayed_mimicry_is_equal_bit_for_bit(seen: Bag, start: str) -> None:
    commands = [seen.decode(raw) for raw in seen.messages(["/mimic/motor_command"])]
    moving = np.array([c.positions for c in commands if len(c.positions)])
    assert len(moving) > 30 and np.ptp(moving, axis=0).max() > 0.1, "a face that moves"
    result = compared(seen, again(seen, start))
    assert result == Outcome(equal=len(commands))


def test_only_images_that_were_tracked_are_fed_again(seen: Bag, tmp_path: Path) -> None:
    tracked = {seen.decode(raw).header.stamp.nanosec for raw in seen.messages(["/mimic/landmarks"])}
    writer = BagWriter(tmp_path / "bag", seen.info)
    for raw in seen.messages():
        writer.write(seen.topic(raw.topic), *raw[1:])
        if raw.topic == "/image/compressed":  # one more, which nobody came to track
            stamp = int.from_bytes(raw.data[8:12], "little") + 1000
            assert stamp not in tracked
            data = raw.data[:8] + stamp.to_bytes(4, "little") + raw.data[12:]
            writer.write(seen.topic(raw.topic), raw.log_ns, raw.publish_ns, 0, data)
    writer.close()
    crowded = Bag(tmp_path / "bag")
    images = len(seen.log_ns["/image/compressed"])
    assert len(crowded.log_ns["/image/compressed"]) == 2 * images
    result = compared(crowded, again(crowded))
    assert result.same and result.equal == len(seen.log_ns["/mimic/motor_command"])


def test_a_replay_is_itself_a_recording(speech: Bag, tmp_path: Path) -> None:
    again(speech, folder=tmp_path / "first")
    first = Bag(tmp_path / "first")
    result = compared(first, again(first, folder=tmp_path / "second"))
    assert result == Outcome(equal=51)
    second = Bag(tmp_path / "second")
    assert [raw[:4] for raw in first.messages()] == [raw[:4] for raw in second.messages()]


def test_a_robot_given_by_path_is_replayed_where_it_is_not(speech: Bag, tmp_path: Path) -> None:
    options = {**json.loads(speech.info["graph"]), "robot": str(tmp_path / "mine.yaml")}
    writer = BagWriter(
        tmp_path / "bag", {**speech.info, "graph": json.dumps(options)}, files=speech.attached
    )
    for raw in speech.messages():
        writer.write(speech.topic(raw.topic), *raw[1:])
    writer.close()
    elsewhere = Bag(tmp_path / "bag")
    results = again(elsewhere, folder=tmp_path / "again")
    assert compared(elsewhere, results) == Outcome(equal=51)
    # The replay keeps what it was made with, too.
    assert is_same(Bag(tmp_path / "again").attached, "sim")


def test_another_configuration_is_told_apart(speech: Bag) -> None:
    options = replay.changed(replay.recorded_options(speech), ["mouth_gain=1.5"])
    chosen = replay.plan(speech, options, "", "")
    results = replay.Results(speech, chosen, None)
    messages = replay.inputs(speech, chosen)
    replay.run(chosen, messages, speech, results, 0.0, lambda: False)
    result = compared(speech, results)
    assert result.different > 30 and not result.same
    assert result.first.endswith("differs in positions")


def test_why_a_replay_may_differ(speech: Bag, tmp_path: Path) -> None:
    chosen = replay.plan(speech, replay.recorded_options(speech), "", "")
    assert replay.reasons(speech, chosen) == []
    models = json.loads(speech.info["models"])
    models["audio2landmark_full/model.onnx"] = "another"
    info = {**speech.info, "models": json.dumps(models), "code": "another"}
    writer = BagWriter(tmp_path / "bag", info)
    for raw in speech.messages(["/audio"]):
        writer.write(speech.topic(raw.topic), *raw[1:])
    writer.close()
    assert replay.reasons(Bag(tmp_path / "bag"), chosen) == [
        "models changed since: audio2landmark_full/model.onnx",
        "the code of emo_core changed since",
    ]


def test_what_cannot_be_replayed_is_one_line(speech: Bag, tmp_path: Path) -> None:
    options = replay.recorded_options(speech)
    with pytest.raises(EmoError, match=r"does not hold image/compressed .*give --from one of"):
        replay.plan(speech, options, "image/compressed", "")
    with pytest.raises(EmoError, match="give OPTION=VALUE"):
        replay.changed(options, ["nonsense=1"])
    with pytest.raises(EmoError, match="predict=yes: yes is neither true nor false"):
        replay.changed(options, ["predict=yes"])
    assert replay.changed(options, ["predict=False"]).predict is False
    with pytest.raises(EmoError, match="lookahead=lve: give one of full, live"):
        replay.changed(options, ["lookahead=lve"])
    with pytest.raises(EmoError, match="much is no float"):
        replay.changed(options, ["mouth_gain=much"])
    writer = BagWriter(tmp_path / "bag", speech.info)
    for raw in speech.messages(["/audio"]):
        topic = speech.topic(raw.topic)
        older = topic.definition.replace("uint32 sample_rate", "uint16 sample_rate")
        writer.write(type(topic)(topic.name, topic.type, older), *raw[1:])
    writer.close()
    with pytest.raises(EmoError, match=r"recorded with another emo_interfaces/msg/AudioChunk"):
        replay.check_types(Bag(tmp_path / "bag"), ["/audio"])
    replay.check_types(speech, ["/audio"])


# -- the recorder as a process


class Ear(Node):
    """Hears what the recorder complains of."""

    def __init__(self, name: str = "ear") -> None:
        super().__init__(name)
        self.errors: list[str] = []
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            if status.name == "recorder" and status.level == DiagnosticStatus.ERROR:
                self.errors.append(status.message)


class Talker(Ear):
    """Publishes numbers."""

    def __init__(self) -> None:
        super().__init__("talker")
        self.publisher = self.create_publisher(String, "numbers", 100)
        self.sent = 0
        self.create_timer(0.005, self._say)

    def _say(self) -> None:
        self.publisher.publish(String(data=f"{self.sent} " + 2000 * "x"))
        self.sent += 1


@pytest.fixture
def talker() -> Iterator[Talker]:
    node = Talker()
    with spinning(node):
        yield node


def recorder(
    folder: Path, prelude: str = "", within: Sequence[str] = (), **parameters: object
) -> subprocess.Popen[str]:
    """The recorder as the supervisor starts it; `within`: a command that runs another."""
    values = {"path": str(folder), "free_mb": 0, **parameters}
    arguments = [text for name, value in values.items() for text in ("-p", f"{name}:={value}")]
    code = f"import sys\n{prelude}\nfrom emo_recorder.recorder import main\nsys.exit(main())"
    return subprocess.Popen(
        [*within, sys.executable, "-c", code, "--ros-args", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def numbers(bag: Bag) -> list[int]:
    found = [int(bag.decode(raw).data.split()[0]) for raw in bag.messages(["/numbers"])]
    assert found == list(range(found[0], found[0] + len(found))), "nothing is missing"
    return found


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.mcap"))


def test_a_killed_recorder_leaves_a_readable_recording(talker: Talker, tmp_path: Path) -> None:
    process = recorder(tmp_path / "bag")
    try:
        until(lambda: size(tmp_path / "bag") > 20_000)
        process.kill()
    finally:
        process.kill()
        process.communicate()
    bag = Bag(tmp_path / "bag")
    assert "cut off" in bag.damage
    assert len(numbers(bag)) > 50
    assert (tmp_path / "bag" / "metadata.yaml").is_file()


def test_a_full_disk_stops_the_recording_and_nothing_else(talker: Talker, tmp_path: Path) -> None:
    # A file that may not grow fails as a full disk does: in the midst of a write.
    full = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))"
    )
    process = recorder(tmp_path / "bag", full)
    try:
        until(lambda: any("recording stopped: cannot write" in each for each in talker.errors))
        said, sent = len(talker.errors), talker.sent
        until(lambda: talker.sent > sent + 100 and len(talker.errors) > said)
        assert process.poll() is None, "the node lives on, and says so"
        process.send_signal(signal.SIGINT)
        _, text = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0 and "Traceback" not in text
    assert len(numbers(Bag(tmp_path / "bag"))) > 50
    assert not complete(tmp_path / "bag")


def small_disk(place: Path, kilobytes: int) -> list[str]:
    """A command that runs another with a disk of its own at `place`, which nobody else sees."""
    script = f'mount -t tmpfs -o size={kilobytes}k none "$0" && exec "$@"'
    mine = ["unshare", "--user", "--map-root-user", "--mount"]
    return [*mine, "sh", "-c", script, str(place)]


def test_a_disk_that_fills_up_under_the_graph_costs_no_frame(
    sentence: Path, tmp_path: Path
) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    within = small_disk(place, 300)
    if shutil.which("unshare") is None or subprocess.run([*within, "true"], check=False).returncode:
        pytest.skip("no disk of its own can be mounted here")
    options = GraphOptions(
        source="file", speech=str(sentence), view=False, record=True, out=str(tmp_path / "out")
    )
    built = build_graph(options)
    graph = [entry for entry in built if entry.executable != "recorder"]
    awaited = next(e.parameters["wait_for"] for e in built if e.executable == "recorder")
    ends, ear = Ends(), Ear()
    # It begins when the graph stands, as in earnest: with all topics, and so with enough to write.
    # A busy machine must not pack more at once than the disk holds: nothing would be left.
    often = "import emo_recorder.sink\nemo_recorder.sink.FLUSH_S = 0.1"
    process = recorder(place / "bag", often, within=within, wait_for=awaited)
    try:
        with spinning(ends, ear), Composed(graph):
            until(lambda: ends.ended == {"lipsync"} and ear.errors)
            said = len(ear.errors)
            until(lambda: len(ear.errors) > said)  # it stays one
            left = Path(f"/proc/{process.pid}/root{place}/bag")
            bag = Bag(left)
            assert not complete(left)
            assert sum(map(len, bag.log_ns.values())) > 5
            kept = repair(bag, tmp_path / "whole")
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, text = process.communicate(timeout=30)
    finally:
        process.kill()
    assert len(set(ear.errors)) == 1, "one clear error"
    assert "cannot write" in ear.errors[0] and "No space left" in ear.errors[0]
    assert text.count("recording stopped") == 1 and "Traceback" not in text, "and once in the log"
    figures = summarize(tmp_path / "out" / "latency.csv", ["lipsync"])["lipsync"]
    assert (figures["frames"], figures["written"], figures["dropped"]) == (51, 51, 0)
    assert complete(tmp_path / "whole")
    assert len(list(Bag(tmp_path / "whole").messages())) == kept


HUMBLE = "import emo_recorder.recorder as module\nmodule.TOLD_ABOUT = False"


@pytest.mark.parametrize("rclpy_of", ["", HUMBLE], ids=["here", "humble"])
def test_a_recorder_that_ends_leaves_a_whole_recording(
    talker: Talker, tmp_path: Path, rclpy_of: str
) -> None:
    face, person = tmp_path / "face.npz", tmp_path / "people" / "anna.npz"
    person.parent.mkdir()
    for path in (face, person):
        path.write_bytes(str(path).encode())
    options = GraphOptions(static_face=str(face), faces=str(person.parent), person="anna")
    process = recorder(
        tmp_path / "bag", rclpy_of, keep=json.dumps(kept_files(options)), robot="sim",
        graph=f"'{json.dumps(asdict(options))}'",
    )  # fmt: skip
    try:
        until(lambda: size(tmp_path / "bag") > 40_000)
        process.send_signal(signal.SIGINT)
        _, text = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0, text
    bag = Bag(tmp_path / "bag")
    assert bag.damage == "" and complete(tmp_path / "bag")
    assert bag.lost["/numbers"] == 0 and len(numbers(bag)) > 50
    face.unlink()
    person.unlink()
    kept = replay.recorded_options(bag)
    assert Path(kept.static_face).read_bytes() == str(face).encode()
    assert Path(kept.faces, "anna.npz").read_bytes() == str(person).encode()
    assert replay.recorded_robot(bag, kept) == "sim"


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    process = recorder(tmp_path / "file" / "bag")
    _, text = process.communicate(timeout=30)
    assert process.returncode == 2
    assert len(text.strip().splitlines()) == 1 and "cannot" in text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_whatever_ends_a_recording_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: BagWriter, *message: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(BagWriter, "write", broken)
    said: list[str] = []
    sink = Sink(tmp_path / "bag", {}, Limits(free=0), said.append)
    sink.put(Topic("/numbers", "std_msgs/msg/String"), 1, 1, 1, b"1")
    until(lambda: said)
    sink.close()
    assert sink.stopped
    assert said == [
        "recording stopped: the thread that writes broke down; restart it, and report this"
    ]
    assert not complete(tmp_path / "bag")


def test_a_recording_that_is_gone_is_said(speech: Bag, tmp_path: Path) -> None:
    shutil.copytree(speech.path, tmp_path / "bag")
    player = PlayerNode(
        parameters={
            "bag": str(tmp_path / "bag"), "topics": ["/audio"], "wait_for": ["never"],
            "wait_s": 0.5,
        }
    )  # fmt: skip
    for file in (tmp_path / "bag").glob("*.mcap"):
        file.unlink()
    until(lambda: "cannot read" in player._kit.health.error)
    player.stop()
    player.destroy_node()


def test_damaged_messages_of_a_recording_are_counted_and_left_out(
    speech: Bag, tmp_path: Path
) -> None:
    writer, topic = BagWriter(tmp_path / "bag", speech.info), speech.topic("/audio")
    for number, raw in enumerate(itertools.islice(speech.messages(["/audio"]), 30)):
        data = raw.data
        if number == 7:
            data = data[: len(data) // 2]
        elif number == 11:
            data = data[:4]
        elif number == 13:  # its stamp is of before all time
            data = data[:4] + (-(2**31)).to_bytes(4, "little", signed=True) + data[8:]
        writer.write(topic, *raw[1:4], data)
    writer.close()
    player = PlayerNode(
        parameters={
            "bag": str(tmp_path / "bag"), "topics": ["/audio"], "wait_for": ["audio"],
        }
    )  # fmt: skip
    probe = Probe()
    heard = probe.collect(message_class("emo_interfaces/msg/AudioChunk"), "audio")
    with spinning(player, probe):
        until(lambda: len(heard) == 27)
        until(lambda: player._kit.health.faults.get("bad_messages") == 3)
    numbers = [chunk.first_sample // 320 for chunk in heard]
    assert numbers == [i for i in range(30) if i not in (7, 11, 13)]
    assert player._kit.health.error == ""


def test_a_recording_of_other_messages_is_not_played(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path / "bag", {})
    writer.write(Topic("/audio", "std_msgs/msg/String"), 1, 1, 1, b"text")
    writer.close()
    with pytest.raises(EmoError, match="/audio holds no message of emo's graph"):
        PlayerNode(parameters={"bag": str(tmp_path / "bag"), "topics": ["/audio"]})


def test_a_recording_is_shown_on_the_robot_as_if_it_happened_now(
    speech: Bag, tmp_path: Path
) -> None:
    options = replace(replay.recorded_options(speech), view=False, out=str(tmp_path))
    ends = Ends()
    began = time.time()
    with spinning(ends), Composed(replay.live(speech, options, "speech_features")):
        until(lambda: ends.ended == {"lipsync"})
        time.sleep(0.3)
    with (tmp_path / "commands.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert abs(float(rows[0]["stamp"]) - began) < 20.0, "stamps of now"
    recorded = [speech.decode(raw) for raw in speech.messages(["/lipsync/motor_command"])]
    again = np.array([[float(row[name]) for name in recorded[0].names] for row in rows])
    np.testing.assert_allclose(again, [c.positions for c in recorded], atol=1e-6)
    assert "lipsync" in (tmp_path / "sent.csv").read_text()


@pytest.mark.parametrize("lost", [{5}, {0}, {20, 21, 22}, set(range(30, 62)), {0, 1, 41}])
def test_what_a_queue_lost_is_lost_again(speech: Bag, tmp_path: Path, lost: set[int]) -> None:
    """A run whose first node did not get some chunks, and one whose second node lost features."""
    for number, topic in enumerate(("audio", "speech_features")):
        chosen = replay.plan(speech, replay.recorded_options(speech), "", "")
        stamps = [consumed.stamp_ns(raw) for raw in speech.messages([f"/{topic}"])]
        shifted = {each + 3 * number for each in lost}  # features: not those before any frame
        gone = {f"/{topic}": {stamps[i] for i in shifted}}
        folder = tmp_path / topic
        results = replay.Results(speech, chosen, folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(replay, "unread", lambda bag, place, gone=gone: gone)
            replay.run(chosen, replay.inputs(speech, chosen), speech, results, 0.0, lambda: False)
        results.close()
        overloaded = Bag(folder)
        result = compared(overloaded, again(overloaded))
        assert result == Outcome(equal=len(overloaded.log_ns["/lipsync/motor_command"]))


def test_nothing_is_taken_for_lost_in_a_good_run(speech: Bag, seen: Bag) -> None:
    assert not any(consumed.unread(speech, "/").values())
    lost = consumed.unread(seen, "/")
    images = lost.pop("/image/compressed")  # a busy machine leaves some out
    tracked = {consumed.stamp_ns(raw) for raw in seen.messages(["/mimic/landmarks"])}
    assert len(images) + len(tracked) == len(seen.log_ns["/image/compressed"])
    assert not any(lost.values())


def test_what_the_recorder_missed_is_not_taken_for_lost(speech: Bag, tmp_path: Path) -> None:
    missed = {"/speech_features": {7, 30}, "/lipsync/landmarks": {12, 13, 40}}
    writer, counts = BagWriter(tmp_path / "bag", speech.info), dict.fromkeys(missed, -1)
    for raw in speech.messages():
        if raw.topic in missed:
            counts[raw.topic] += 1
            if counts[raw.topic] in missed[raw.topic]:
                continue
        writer.write(speech.topic(raw.topic), *raw[1:])
    writer.close()
    bag = Bag(tmp_path / "bag")
    assert {topic: bag.lost[topic] for topic in missed} == {
        topic: len(each) for topic, each in missed.items()
    }
    assert compared(bag, again(bag)) == Outcome(equal=51)
