"""A recording brings the robot and the faces that its graph began with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from emo.configuration import heading, told_apart
from emo.replay import recorded_options
from emo_core.bag import Bag, BagWriter, Topic
from emo_core.bag.provenance import differences, origin
from emo_core.bag.repair import repair
from emo_core.errors import EmoError
from emo_core.robot.description import RobotDescription
from emo_core.robot.portable import MESH, ROBOT, is_same, portable

FACE = Topic("/face", "test/msg/Face", "string name\n")
#: One that says everything itself, and one that extends another.
ROBOTS = ["emo22", "lx_fake"]


def unpack(files: dict[str, bytes], folder: Path) -> Path:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder / ROBOT


@pytest.mark.parametrize("name", ROBOTS)
def test_a_robot_means_the_same_elsewhere(name: str, tmp_path: Path) -> None:
    files = portable(name)
    path = unpack(files, tmp_path)
    here, there = RobotDescription.load(name), RobotDescription.load(path)
    for part in ("name", "inverse_model", "motors", "interlocks", "dwell", "watchdog", "bus"):
        assert getattr(there, part) == getattr(here, part), part
    assert here.simulator is not None and there.simulator is not None
    assert there.simulator.skin.mesh == tmp_path / MESH
    assert portable(path) == files, "and again"
    assert is_same(files, name) and is_same(files, path)


def test_what_differs_is_another_robot(tmp_path: Path) -> None:
    files = portable("sim")
    path = unpack(files, tmp_path)
    assert not is_same(files, "emo22")
    assert not is_same(files, tmp_path / "gone.yaml")
    data = yaml.safe_load(files[ROBOT])
    data["motors"][0]["neutral"] += 0.01
    path.write_text(yaml.safe_dump(data))
    assert not is_same(files, path)
    unpack(files, tmp_path)
    (tmp_path / MESH).write_bytes(portable("emo22")[MESH] + b"0")
    assert not is_same(files, path)
    for damaged in (b"a: [b", b"\xff\xfe\0", b"- 1"):
        assert not is_same({**files, ROBOT: damaged}, "sim")


def record(folder: Path, files: dict[str, bytes], info: dict[str, str]) -> Bag:
    writer = BagWriter(folder, info, files=files)
    writer.write(FACE, 1, 1, 1, b"face")
    writer.close()
    return Bag(folder)


def test_files_go_into_the_recording(tmp_path: Path) -> None:
    faces = [tmp_path / "face.npz", tmp_path / "other" / "face.npz"]
    faces[1].parent.mkdir()
    for face in faces:
        face.write_bytes(str(face).encode())
    gone = tmp_path / "gone.npz"
    made_by = origin('{"robot": "sim"}', "sim", ["", *map(str, faces), str(gone)])
    assert made_by.missing == [f"cannot keep {gone}: No such file or directory"]
    bag = record(tmp_path / "bag", made_by.files, made_by.info)
    repair(bag, tmp_path / "repaired")
    for each in (bag, Bag(tmp_path / "repaired"), Bag(tmp_path / "bag" / "bag_0.mcap")):
        assert each.attached == made_by.files
        kept = json.loads(each.info["kept"])
        for face in faces:
            assert (each.unpacked / kept[str(face)]).read_bytes() == str(face).encode()
        assert RobotDescription.load(each.unpacked / ROBOT).name == "sim"
    assert json.loads(bag.info["models"])["inverse_sim/model.onnx"]


def test_faces_that_a_recording_only_names_are_those_of_their_paths(tmp_path: Path) -> None:
    """As older versions recorded, which kept them beside the messages; or a damaged one."""
    graph = {"static_face": "/here/face.npz", "faces": "/here/people", "person": "anna"}
    kept = {"/here/face.npz": "face.npz", "/here/people/anna.npz": "anna.npz"}
    bag = record(tmp_path / "bag", {}, {"graph": json.dumps(graph), "kept": json.dumps(kept)})
    options = recorded_options(bag)
    assert {name: getattr(options, name) for name in graph} == graph


def test_where_the_networks_ran_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """On TensorRT no replay is equal bit for bit to one on the CPU."""
    monkeypatch.setenv("EMO_INFERENCE", "tensorrt-half")
    info = origin("{}", "", []).info
    assert differences(info) == []
    monkeypatch.delenv("EMO_INFERENCE")
    assert differences(info) == ["its networks ran on tensorrt-half, here they run on cpu"]
    del info["inference"]  # an older recording
    assert differences(info) == []


def test_a_robot_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    made_by = origin("{}", str(tmp_path / "none.yaml"), [])
    assert made_by.files == {}
    assert len(made_by.missing) == 1 and "the robot is not kept: " in made_by.missing[0]


@pytest.mark.parametrize("name", ["../out.yaml", "/tmp/emo_test_out.yaml", "a/../../out.yaml", "."])
def test_a_file_that_would_lie_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    bag = record(tmp_path / "bag", {name: b"x"}, {})
    with pytest.raises(EmoError, match="is not to be trusted"):
        _ = bag.unpacked


def test_what_two_recordings_were_made_with_is_told_apart(tmp_path: Path) -> None:
    bags = []
    for name, robot, gain in (("one", "sim", 1.0), ("two", "emo22", 1.5), ("same", "sim", 1.0)):
        made_by = origin(json.dumps({"robot": robot, "mouth_gain": gain, "out": name}), robot, [])
        bags.append(record(tmp_path / name, made_by.files, {**made_by.info, "code": "1"}))
    rows = told_apart(bags[0], bags[1])
    assert rows[0] == ("mouth_gain", "1.0", "1.5")
    assert [row[0] for row in rows] == ["mouth_gain", "robot"]
    assert rows[1][1].startswith("sim ") and rows[1][2].startswith("emo22 ")
    assert heading(rows[:1]) == ("mouth_gain 1.0", "mouth_gain 1.5")
    assert heading([("models/a/model.onnx", "1", "2"), ("code", "1", "2")]) == ("", "")
    assert told_apart(bags[0], bags[2]) == []
