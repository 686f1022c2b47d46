"""Recordings: what is written is read, whatever happens in between."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from emo_core.bag import Bag, BagWriter, Limits, Raw, Topic, complete, writer
from emo_core.bag.definitions import bare, definition
from emo_core.bag.losses import Losses
from emo_core.bag.repair import repair
from emo_core.errors import EmoError

ROOT = Path(__file__).resolve().parents[2]
SOUND = Topic("/audio", "test/msg/Sound", "uint64 number\nfloat32[] data\n", "- history: 1\n", "x1")
FACE = Topic("/face", "test/msg/Face", "string name\n")
SMALL = Limits(total=1000, file=500, free=0)


def noise(number: int, size: int = 200) -> bytes:
    """Bytes that differ for each number and do not compress."""
    import numpy as np

    return np.random.default_rng(number).bytes(size)


def write(folder: Path, count: int, limits: Limits = SMALL, size: int = 200) -> BagWriter:
    """A recording of `count` messages on two topics, flushed now and then, not closed."""
    writer = BagWriter(folder, {"graph": "{}"}, limits)
    for number in range(count):
        topic = SOUND if number % 2 else FACE
        writer.write(topic, 1000 + number, 900 + number, 1 + number // 2, noise(number, size))
        if number % 10 == 9:
            writer.flush()
    return writer


def expected(count: int, first: int = 0, size: int = 200) -> list[Raw]:
    return [
        Raw(
            (SOUND if n % 2 else FACE).name,
            1000 + n,
            900 + n,
            1 + n // 2,
            noise(n, size),
        )
        for n in range(first, count)
    ]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path / "bag", 57).close()
    bag = Bag(tmp_path / "bag")
    assert list(bag.messages()) == expected(57)
    assert [raw.topic for raw in bag.messages(["/face"])] == ["/face"] * 29
    assert bag.types == {"/audio": "test/msg/Sound", "/face": "test/msg/Face"}
    assert bag.topic("/audio") == SOUND
    assert bag.info == {"graph": "{}"}
    assert bag.damage == "" and complete(tmp_path / "bag")
    assert bag.lost == {"/audio": 0, "/face": 0}
    assert bag.log_ns["/face"].tolist() == list(range(1000, 1057, 2))


def test_metadata_is_what_rosbag2_reads(tmp_path: Path) -> None:
    write(tmp_path / "bag", 57).close()
    about = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())
    about = about["rosbag2_bagfile_information"]
    # rosbag2_storage/yaml.hpp, metadata version 5: every key it asks for.
    assert about["version"] == 5 and about["storage_identifier"] == "mcap"
    assert about["relative_file_paths"] == ["bag_0.mcap"]
    assert about["starting_time"] == {"nanoseconds_since_epoch": 1000}
    assert about["duration"] == {"nanoseconds": 56}
    assert about["message_count"] == 57
    assert about["compression_format"] == about["compression_mode"] == ""
    counts = {
        each["topic_metadata"]["name"]: each["message_count"]
        for each in about["topics_with_message_count"]
    }
    assert counts == {"/face": 29, "/audio": 28}
    assert about["topics_with_message_count"][1]["topic_metadata"] == {
        "name": "/audio",
        "type": "test/msg/Sound",
        "serialization_format": "cdr",
        "offered_qos_profiles": "- history: 1\n",
    }
    assert about["files"][0]["message_count"] == 57


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0.0, 1.0))
def test_a_recording_cut_anywhere_is_read_up_to_there(
    tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    folder = tmp_path_factory.mktemp("cut") / "bag"
    write(folder, 50).close()
    file = folder / "bag_0.mcap"
    os.truncate(file, int(file.stat().st_size * share))
    try:
        bag = Bag(folder)
    except EmoError as error:
        assert "holds no message" in str(error)
        return
    found = list(bag.messages())
    assert found == expected(50)[: len(found)]
    assert len(found) % 10 == 0, "whole flushes"
    assert complete(folder) is (bag.damage == "")


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0.01, 0.99), bit=st.integers(0, 7))
def test_a_flipped_bit_is_damage_and_never_another_message(
    tmp_path_factory: pytest.TempPathFactory, share: float, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("flip") / "bag"
    write(folder, 50).close()
    file = folder / "bag_0.mcap"
    data = bytearray(file.read_bytes())
    data[int(len(data) * share)] ^= 1 << bit
    file.write_bytes(data)
    try:
        found = list(Bag(folder).messages())
    except EmoError:
        return
    assert all(raw in expected(50) for raw in found)


def test_a_killed_program_leaves_what_was_flushed(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        f"sys.path[:0] = {[str(ROOT / 'src' / 'emo_core'), str(Path(__file__).parent)]!r}\n"
        "from pathlib import Path\n"
        "from test_bag import write\n"
        "write(Path(sys.argv[1]), 57)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    folder = tmp_path / "bag"
    run = subprocess.run([sys.executable, "-c", script, str(folder)], check=False)
    assert run.returncode == -signal.SIGKILL
    bag = Bag(folder)
    assert list(bag.messages()) == expected(50)
    assert "cut off" in bag.damage and not complete(folder)
    assert repair(bag, tmp_path / "whole") == 50
    whole = Bag(tmp_path / "whole")
    assert list(whole.messages()) == expected(50)
    assert whole.damage == "" and complete(tmp_path / "whole")


def test_a_full_disk_is_an_error_and_keeps_what_was_flushed(tmp_path: Path) -> None:
    writer = write(tmp_path / "bag", 50)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    size = (tmp_path / "bag" / "bag_0.mcap").stat().st_size
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))
        with pytest.raises(EmoError, match=r"recording stopped: cannot write .*make room"):
            for number in range(50, 100):
                writer.write(FACE, number, number, 0, noise(number))
            writer.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    writer.close()  # nothing more happens
    bag = Bag(tmp_path / "bag")
    assert list(bag.messages()) == expected(50)
    assert "cut off" in bag.damage


def test_a_next_file_that_cannot_be_begun_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = write(tmp_path / "bag", 50, Limits(file=0, free=0))

    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(EmoError, match=r"recording stopped: cannot write .*No space left"):
        writer.flush()
    writer.close()  # nothing more happens
    monkeypatch.undo()
    assert list(Bag(tmp_path / "bag").messages()) == expected(50)


def test_room_is_left_on_the_disk(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path / "bag", {}, Limits(free=10**9))
    writer.write(FACE, 1, 1, 1, b"face")
    with pytest.raises(EmoError, match=r"MB free at .*are kept free"):
        writer.flush()
    bag = Bag(tmp_path / "bag")
    assert len(list(bag.messages())) == 1 and bag.damage == "", "what there is, is whole"
    assert not complete(tmp_path / "bag"), "but it is not all"


def test_the_oldest_part_goes_when_the_limit_is_reached(tmp_path: Path) -> None:
    folder, size = tmp_path / "bag", 40_000
    writer = write(folder, 200, Limits(total=4, file=1, free=0), size)  # 8 MB
    writer.close()
    assert writer.dropped_files > 0
    assert sum(path.stat().st_size for path in folder.glob("*.mcap")) < 5.5e6
    bag = Bag(folder)
    found = list(bag.messages())
    assert found == expected(200, 200 - len(found), size)
    assert len(found) >= 80
    about = yaml.safe_load((folder / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert sorted(about["relative_file_paths"]) == sorted(p.name for p in folder.glob("*.mcap"))
    assert about["message_count"] == len(found)


def test_a_repair_keeps_all_of_what_is_larger_than_a_recording_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "bag", 2500).close()
    monkeypatch.setattr(writer, "_MB", 50)  # 200 kB at most, 25 kB a file
    assert repair(Bag(tmp_path / "bag"), tmp_path / "whole") == 2500
    whole = Bag(tmp_path / "whole")
    assert len(whole.files) > 1, "large enough for the limits to count"
    assert list(whole.messages()) == expected(2500)


@pytest.mark.parametrize("content", [b"", b"not a recording", b"\x89MCAP0\r\n"])
def test_what_is_no_recording_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bag_0.mcap").write_bytes(content)
    with pytest.raises(EmoError, match="holds no message"):
        Bag(tmp_path)
    with pytest.raises(EmoError, match="no recording at"):
        Bag(tmp_path / "nowhere")


def test_a_recording_is_never_written_over(tmp_path: Path) -> None:
    write(tmp_path / "bag", 3).close()
    with pytest.raises(EmoError, match="exists already"):
        BagWriter(tmp_path / "bag", {})


# -- definitions that cannot be


@pytest.mark.parametrize(
    "text",
    [
        "int32",
        "int32 9",
        "int32[0] n",
        "int32[] n 1",
        "int32 N=x",
        "int32 n\nint32 n",
        "no such thing at all",
        "std_msgs/Header[] n []",
    ],
)
def test_a_damaged_definition_is_one_line(tmp_path: Path, text: str) -> None:
    recording = BagWriter(tmp_path / "bag", {})
    recording.write(Topic("/n", "test/msg/N", text), 1, 1, 1, bytes(8))
    recording.close()
    bag = Bag(tmp_path / "bag")
    with pytest.raises(EmoError, match=r"the definition of test/msg/N in it is damaged"):
        bag.decode(next(bag.messages()))


def test_each_file_numbers_its_definitions_anew(tmp_path: Path) -> None:
    one, two = Topic("/one", "test/msg/One", "int32 a"), Topic("/two", "test/msg/Two", "int32 b")
    recording = BagWriter(tmp_path / "bag", {}, Limits(file=0, free=0))
    for number, topic in enumerate((one, two), start=1):
        recording.write(topic, number, number, 1, bytes((0, 1, 0, 0, number, 0, 0, 0)))
        recording.flush()
    recording.close()
    bag = Bag(tmp_path / "bag")
    assert len(bag.files) > 1
    first, second = (bag.decode(raw) for raw in bag.messages())
    assert (first.a, second.b) == (1, 2)


# -- what is missing


@given(st.lists(st.booleans(), min_size=2, max_size=60))
def test_with_one_publisher_every_loss_is_counted(arrives: list[bool]) -> None:
    losses = Losses()
    kept = [number for number, arrived in enumerate(arrives, start=1) if arrived]
    for number in kept:
        losses.feed(number, publishers=1)
    inside = kept[-1] - kept[0] + 1 - len(kept) if kept else 0
    assert losses.lost == inside


@given(st.lists(st.integers(0, 3), max_size=80))
def test_with_several_publishers_no_loss_is_invented(order: list[int]) -> None:
    losses, numbers = Losses(), [0, 40, 80, 1000]
    for sender in order:
        numbers[sender] += 1
        losses.feed(numbers[sender], publishers=4)
    assert losses.lost == 0


def test_a_publisher_that_begins_anew_is_no_loss() -> None:
    losses = Losses()
    for number in [1, 2, 3, 1, 2, 3, 4, 5]:
        losses.feed(number, publishers=1)
    assert losses.lost == 0
    assert losses.feed(9, publishers=1) == 3


# -- definitions


def test_a_definition_brings_what_it_is_made_of(tmp_path: Path) -> None:
    for name, text in {
        "a_msgs/msg/Outer": "# about\nstd_msgs/Header header\nInner[<=3] inner  # 3\nint32 X=4\n",
        "a_msgs/msg/Inner": "string<=9 name\nfloat64[2] at\nb_msgs/Leaf leaf\n",
        "b_msgs/msg/Leaf": "bool yes\n",
        "std_msgs/msg/Header": "builtin_interfaces/Time stamp\nstring frame_id\n",
        "builtin_interfaces/msg/Time": "int32 sec\nuint32 nanosec\n",
    }.items():
        path = tmp_path / "share" / f"{name}.msg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    text = definition("a_msgs/msg/Outer", [tmp_path / "elsewhere", tmp_path])
    first, *others = text.split("=" * 80 + "\n")
    assert first.startswith("# about\nstd_msgs/Header header")
    assert [each.splitlines()[0] for each in others] == [
        "MSG: std_msgs/Header",
        "MSG: a_msgs/Inner",
        "MSG: builtin_interfaces/Time",
        "MSG: b_msgs/Leaf",
    ]
    assert bare("int32  sec # seconds\n\n# nothing\nstring s\n") == "int32 sec\nstring s"
    with pytest.raises(EmoError, match=r"no definition of c_msgs/None.*install c_msgs"):
        definition("c_msgs/msg/None", [tmp_path])
