"""`emo bag`: a recording that emo did not make, as a table, a picture and a film, without ROS."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from mcap_ros2.writer import Writer

from emo import consumed
from emo_core.bag import Bag, BagWriter, Raw, Topic, complete, tracks
from emo_core.bag.provenance import origin
from emo_core.errors import EmoError
from emo_core.robot.description import RobotDescription
from emo_core.viz.video import VideoWriter

MESSAGES = Path(__file__).resolve().parents[2] / "src" / "emo_interfaces" / "msg"
START = 1_700_000_000_000_000_000
HEADER = "std_msgs/Header header\n"
OTHERS = (
    f"{'=' * 80}\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n"
    f"{'=' * 80}\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
)


def stamp(time_ns: int) -> dict[str, int]:
    return dict(zip(("sec", "nanosec"), divmod(time_ns, 1_000_000_000), strict=True))


def header(time_ns: int) -> dict[str, Any]:
    return {"stamp": stamp(time_ns), "frame_id": ""}


def emo_type(writer: Writer, name: str) -> Any:
    text = (MESSAGES / f"{name}.msg").read_text()
    return writer.register_msgdef(f"emo_interfaces/msg/{name}", text + OTHERS)


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """Two seconds: 25 commands a second with frames 20..23 missing, joints, sound; publisher's
    numbers 30 and 31 of the commands are missing, too."""
    robot = RobotDescription.load("sim")
    low, high = np.array([motor.range_rad for motor in robot.motors]).T
    folder = tmp_path / "bag"
    folder.mkdir()
    with (folder / "bag_0.mcap").open("wb") as file:
        writer = Writer(file)
        command, audio = emo_type(writer, "MotorCommand"), emo_type(writer, "AudioChunk")
        joints = writer.register_msgdef(
            "sensor_msgs/msg/JointState",
            HEADER + "string[] name\nfloat64[] position\nfloat64[] velocity\nfloat64[] effort\n"
            + OTHERS,
        )  # fmt: skip
        for tick in range(100):
            now = START + 20_000_000 * tick
            pose = np.array(robot.neutral)
            pose[robot.names.index("jaw")] += 0.2 * np.sin(tick / 5)
            chunk = {
                "header": header(now), "first_sample": 320 * tick, "sample_rate": 16_000,
                "data": [0.1] * 320, "total_samples": 0, "end_of_stream": False,
            }  # fmt: skip
            writer.write_message("/r/audio", audio, chunk, now, now, tick + 1)
            state = {
                "header": header(now), "name": list(robot.names),
                "position": (low + np.clip(pose, 0, 1) * (high - low)).tolist(),
                "velocity": [], "effort": [],
            }  # fmt: skip
            writer.write_message("/r/joint_states", joints, state, now, now, tick + 1)
            frame = tick // 2
            if tick % 2 or 20 <= frame < 24:
                continue
            wish = {
                "header": header(now - 5_000_000), "frame": frame,
                "target_time": stamp(now - 200_000_000), "source": "lipsync",
                "names": list(robot.names), "positions": pose.tolist(), "valid": True,
                "active": True, "end_of_stream": False, "stage_ms": [1.0, 3.0, 3.5, 5.0],
            }  # fmt: skip
            number = frame + 1 + (2 if frame >= 30 else 0)
            writer.write_message("/r/lipsync/motor_command", command, wish, now, now, number)
        writer.finish()
    return folder


def test_rates_gaps_losses_and_latency(emo: Callable[..., Any], bag: Path) -> None:
    result = emo("bag", bag, "--json")
    assert result.status == 0, result.err
    figures = json.loads(result.out)
    assert figures["seconds"] == pytest.approx(1.98) and figures["damage"] == ""
    commands = figures["topics"]["/r/lipsync/motor_command"]
    assert commands["count"] == 46 and commands["type"] == "emo_interfaces/msg/MotorCommand"
    assert commands["gaps"] == 1 and commands["largest_gap_ms"] == pytest.approx(200.0)
    # frames 20..23 were published to nobody's knowledge either: 4 numbers, and 2.
    assert commands["lost"] == 6 == figures["lost"]
    audio = figures["topics"]["/r/audio"]
    assert audio["rate_hz"] == pytest.approx(50.0) and audio["gaps"] == audio["lost"] == 0
    assert figures["frames_dropped"] == {"lipsync": 4}
    stages = figures["latency_ms"]["lipsync"]
    assert [(name, each["p50"]) for name, each in stages.items()] == [
        ("speech_features", 1.0),
        ("audio2landmark", 2.0),
        ("normalization", 0.5),
        ("inverse_model", 1.5),
        ("all", 5.0),
    ]
    text = emo("bag", bag).out
    assert "/r/lipsync/motor_command" in text and "4 frames dropped" in text


def test_picture_and_film_with_sound(emo: Callable[..., Any], bag: Path, tmp_path: Path) -> None:
    result = emo("bag", bag, "--out", tmp_path / "out")
    assert result.status == 0, result.err
    assert (tmp_path / "out" / "bag.png").stat().st_size > 10_000
    with av.open(str(tmp_path / "out" / "robot.mp4")) as film:
        assert film.streams.video[0].frames == pytest.approx(50, abs=1)
        assert len(film.streams.audio) == 1
        pictures = [frame.to_ndarray(format="gray") for frame in film.decode(video=0)]
    assert np.std([picture.astype(int).sum() for picture in pictures]) > 0, "the face moves"


def test_a_film_that_is_interrupted_is_not_left_half(
    emo: Callable[..., Any], bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[int] = []
    add_frame = VideoWriter.add_frame

    def ten(self: VideoWriter, *frame: Any) -> bool:
        shown.append(1)
        if len(shown) > 10:
            raise KeyboardInterrupt
        return add_frame(self, *frame)

    monkeypatch.setattr(VideoWriter, "add_frame", ten)
    result = emo("bag", bag, "--out", tmp_path / "out")
    assert result.status == 130 and result.err == "emo: interrupted\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["bag.png"]


def test_the_robot_of_a_recording(emo: Callable[..., Any], bag: Path, tmp_path: Path) -> None:
    """One of another machine: its file is in the recording, and not here."""
    read, made_by = Bag(bag), origin('{"robot": "/elsewhere/mine.yaml"}', "sim", [])
    writer = BagWriter(tmp_path / "copy", made_by.info, files=made_by.files)
    for raw in read.messages():
        writer.write(read.topic(raw.topic), *raw[1:])
    writer.close()
    result = emo("bag", tmp_path / "copy", "--out", tmp_path / "out")
    assert "robot /elsewhere/mine.yaml (11 motors, inverse_sim): not here" in result.out
    assert RobotDescription.load(tmp_path / "out" / "robot.yaml").name == "sim"
    assert (tmp_path / "out" / "robot.mp4").stat().st_size > 10_000
    figures = json.loads(emo("bag", tmp_path / "copy", "--json").out)
    assert figures["robot"]["is_here"] is False
    assert not any("models" in change for change in figures["changed_since"])
    assert "inverse_sim/model.onnx" in figures["models"]
    figures = json.loads(emo("bag", bag, "--json").out)
    assert figures["robot"] is None and figures["models"] == {}


def test_what_a_crash_left_is_told_and_repaired(
    emo: Callable[..., Any], bag: Path, tmp_path: Path
) -> None:
    emo("bag", bag, "--repair", tmp_path / "copy")  # in chunks
    file = tmp_path / "copy" / "copy_0.mcap"
    os.truncate(file, int(file.stat().st_size * 0.9))
    result = emo("bag", tmp_path / "copy")
    assert result.status == 0 and "is cut off: what was recorded last is missing" in result.out
    assert emo("bag", tmp_path / "copy", "--repair", tmp_path / "whole").status == 0
    assert complete(tmp_path / "whole")
    left = [len(list(Bag(tmp_path / name).messages())) for name in ("copy", "whole")]
    assert left[0] == left[1] > 0
    assert "exists already" in emo("bag", bag, "--repair", tmp_path / "whole").error_line


def test_mistakes_are_one_line(emo: Callable[..., Any], tmp_path: Path) -> None:
    assert "no recording at" in emo("bag", tmp_path / "none").error_line
    (tmp_path / "speech.db3").write_text("")
    assert "holds no MCAP file" in emo("bag", tmp_path).error_line


def rewritten(
    bag: Path, folder: Path, info: dict[str, str], change: Callable[[Topic, bytes], Any]
) -> Path:
    """A recording of the same messages, each as `change` makes it."""
    whole, writer = Bag(bag), BagWriter(folder, info)
    for raw in whole.messages():
        topic, data = change(whole.topic(raw.topic), raw.data)
        writer.write(topic, raw.log_ns, raw.publish_ns, raw.sequence, data)
        if raw.sequence % 20 == 0:
            writer.flush()
    writer.close()
    return folder


@pytest.fixture
def recorded(bag: Path, tmp_path: Path) -> Path:
    """As the recorder writes it: in chunks, with what it knows of the graph."""
    info = {"emo": "1", "graph": json.dumps({"namespace": "r"}), "models": "{}"}
    return rewritten(bag, tmp_path / "recorded", info, lambda topic, data: (topic, data))


def told_or_read(emo: Callable[..., Any], folder: Path, whole: int) -> int:
    """How many messages a damaged recording still has; without any, why in one line."""
    (folder / "metadata.yaml").unlink(missing_ok=True)  # a crash may leave none
    out = folder.with_name(f"{folder.name}_repaired")
    result = emo("bag", folder, "--repair", out)
    if result.status:
        assert re.search("holds no message|the definition of .* is damaged", result.error_line)
        assert re.search(
            "holds no message|is damaged|holds none of", emo("replay", folder).error_line
        )
        return 0
    left, repaired = Bag(folder), Bag(out)
    assert complete(out) and repaired.damage == ""
    count = sum(len(times) for times in left.log_ns.values())
    assert count == sum(len(times) for times in repaired.log_ns.values())
    assert count == whole or left.damage in result.out
    return count


def test_a_recording_cut_at_any_tenth_is_read_up_to_there(
    emo: Callable[..., Any], recorded: Path
) -> None:
    (file,) = recorded.glob("*.mcap")
    content = file.read_bytes()
    whole = sum(len(times) for times in Bag(recorded).log_ns.values())
    counts = []
    for tenth in range(10):
        cut = recorded.with_name(f"cut_{tenth}")
        cut.mkdir()
        (cut / file.name).write_bytes(content[: len(content) * tenth // 10])
        counts.append(told_or_read(emo, cut, whole))
    assert counts == sorted(counts)
    assert counts[0] == 0 and counts[4] > 0.2 * whole and counts[9] > 0.5 * whole


def test_flipped_bytes_are_told_and_the_rest_is_read(
    emo: Callable[..., Any], recorded: Path
) -> None:
    (file,) = recorded.glob("*.mcap")
    whole = sum(len(times) for times in Bag(recorded).log_ns.values())
    counts = []
    for share in np.linspace(0.02, 0.98, 9):
        flipped = recorded.with_name(f"flipped_{share:.2f}")
        flipped.mkdir()
        content = bytearray(file.read_bytes())
        content[int(len(content) * share)] ^= 0xFF
        (flipped / file.name).write_bytes(content)
        counts.append(told_or_read(emo, flipped, whole))
    assert max(counts) > 0.5 * whole


@pytest.mark.parametrize("topic", ["lipsync/motor_command", "joint_states"])
def test_other_messages_than_the_graphs_are_told(
    emo: Callable[..., Any], bag: Path, tmp_path: Path, topic: str
) -> None:
    def text(each: Topic, data: bytes) -> tuple[Topic, bytes]:
        if each.name != f"/r/{topic}":
            return each, data
        return Topic(each.name, "std_msgs/msg/String", "string data\n"), b"\0\1\0\0\4\0\0\0abc\0"

    def undefined(each: Topic, data: bytes) -> tuple[Topic, bytes]:
        return replace(each, definition="no such thing at all\n"), data

    def short(each: Topic, data: bytes) -> tuple[Topic, bytes]:
        return each, data[: len(data) // 2] if each.name == f"/r/{topic}" else data

    graph = {"graph": json.dumps({"namespace": "r"})}
    for number, (change, said) in enumerate(
        [
            (text, "holds std_msgs/msg/String, which is not of emo's graph"),
            (undefined, "the definition of .* in it is damaged"),
            (short, f"a message on /r/{topic} is damaged"),
        ]
    ):
        folder = rewritten(bag, tmp_path / f"other_{number}", graph, change)
        assert re.search(said, emo("bag", folder, "--out", tmp_path / "out").error_line)


def test_a_message_too_short_for_its_stamp_is_told() -> None:
    with pytest.raises(EmoError, match=r"a message on /audio is damaged \(it has 6 bytes\)"):
        consumed.stamp_ns(Raw("/audio", 0, 0, 0, b"\0\1\0\0\1\2"))


@pytest.mark.parametrize(
    ("topic", "field", "older"),
    [
        ("audio", "float32[] data", "string data"),
        ("audio", "uint64 first_sample\n", ""),
        ("lipsync/motor_command", "float32[] positions", "float64 position"),
        ("joint_states", "string[] name", "string names"),
        ("joint_states", "builtin_interfaces/Time stamp", "float64 stamp"),
    ],
)
def test_an_older_definition_is_told(
    emo: Callable[..., Any], bag: Path, tmp_path: Path, topic: str, field: str, older: str
) -> None:
    def aged(each: Topic, data: bytes) -> tuple[Topic, bytes]:
        if each.name != f"/r/{topic}":
            return each, data
        assert field in each.definition
        return replace(each, definition=each.definition.replace(field, older)), data

    folder = rewritten(bag, tmp_path / "older", {"graph": json.dumps({"namespace": "r"})}, aged)
    line = emo("bag", folder, "--out", tmp_path / "out").error_line
    assert f"/r/{topic} was recorded with another" in line and field.strip() in line
    assert "use the version that recorded it" in line


def test_numbers_that_cannot_be_are_left_out_of_the_sound(bag: Path, tmp_path: Path) -> None:
    whole = tracks.sound(Bag(bag), "/r/audio")
    assert len(whole.samples) == 32_000
    # CDR's own four bytes; stamp; frame_id (its length, a zero byte), and so 8-byte alignment.
    stamp, first = slice(4, 8), slice(20, 28)

    def strange(each: Topic, data: bytes) -> tuple[Topic, bytes]:
        number = int.from_bytes(data[first], "little")
        if each.name != "/r/audio" or number not in (6400, 9600):
            return each, data
        changed = bytearray(data)
        changed[first] = (2**60 if number == 6400 else 0).to_bytes(8, "little")
        if number == 9600:  # another stream, and by its stamp years before
            changed[stamp] = (1_600_000_000).to_bytes(4, "little")
        return each, bytes(changed)

    heard = tracks.sound(Bag(rewritten(bag, tmp_path / "strange", {}, strange)), "/r/audio")
    assert heard.start_ns == whole.start_ns and len(heard.samples) == 32_000
    silent = np.flatnonzero(heard.samples == 0)
    assert silent.tolist() == [*range(6400, 6720), *range(9600, 9920)]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("graph", "[]"),
        ("graph", '{"pipeline": "song"}'),
        ("graph", '{"robot": 7}'),
        ("graph", "{"),
        ("kept", "5"),
    ],
)
def test_damaged_facts_of_a_recording_are_told(
    emo: Callable[..., Any], bag: Path, tmp_path: Path, key: str, value: str
) -> None:
    info = {"graph": json.dumps({"namespace": "r"}), "models": "[", key: value}
    folder = rewritten(bag, tmp_path / "told", info, lambda topic, data: (topic, data))
    assert emo("bag", folder, "--json").status == 0, "what it holds is seen all the same"
    line = emo("replay", folder, "--with", "namespace=r").error_line
    assert "what it says of its graph" in line or "which cannot be" in line


def test_a_replay_never_replaces_the_recording_it_reads(emo: Callable[..., Any], bag: Path) -> None:
    result = emo("replay", bag, "--with", "namespace=r", "--out", bag.parent)
    assert result.status != 0 and "would be replaced" in result.error_line
    assert Bag(bag).damage == ""
