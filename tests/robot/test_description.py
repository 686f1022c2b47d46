"""A robot file is read strictly: every mistake is one line with file, key and remedy."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from emo_core.errors import EmoError
from emo_core.robot.description import RobotDescription

from .conftest import ROBOTS


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((ROBOTS / "sim.yaml").read_text())
    data["simulator"]["skin"]["mesh"] = str(ROBOTS / "sim_face.npz")
    return data


def load(data: dict[str, Any], folder: Path) -> RobotDescription:
    file = folder / "robot.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    return RobotDescription.load(file)


def test_the_shipped_robot(sim: RobotDescription) -> None:
    assert len(sim.motors) == 11
    assert len(sim.group("eye")) == 4 and len(sim.group("mouth")) == 7
    for left in sim.motors:  # left-right symmetric
        if left.name.endswith("_left"):
            right = next(m for m in sim.motors if m.name == left.name[:-4] + "right")
            assert (left.neutral, left.limits, left.max_speed) == (
                right.neutral,
                right.limits,
                right.max_speed,
            )
    low, high = np.array([m.range_rad for m in sim.motors]).T
    assert np.allclose(sim.to_radians(np.zeros(11)), low)
    assert np.allclose(sim.to_radians(np.ones((3, 11))), high)


def test_any_number_of_motors(plain: dict[str, Any], tmp_path: Path) -> None:
    data = copy.deepcopy(plain)
    data["motors"] = data["motors"][-1:]
    data["interlocks"] = []
    data["simulator"]["skin"]["regions"] = data["simulator"]["skin"]["regions"][-1:]
    data["simulator"]["servos"]["delays_s"] = {"jaw": 0.02}
    assert load(data, tmp_path).names == ("jaw",)


def test_order_and_meaning_are_in_the_signature(plain: dict[str, Any], tmp_path: Path) -> None:
    same, other = load(plain, tmp_path).signature(), copy.deepcopy(plain)
    assert load(plain, tmp_path).signature() == same
    other["motors"].reverse()
    assert load(other, tmp_path).signature() != same


MISTAKES: list[tuple[list[Any], Any, str]] = [
    (["colour"], "red", "colour is an unknown key"),
    (["motors", 0, "colour"], "red", "motors[0].colour is an unknown key"),
    (["motors", 1, "id"], 1, "motors[1].id is 1, as of 'brow_right'"),
    (["motors", 1, "id"], 300, "motors[1].id is 300"),
    (["motors", 1, "id"], True, "motors[1].id is True"),
    (["motors", 1, "name"], "brow_right", "motors[1].name is 'brow_right' again"),
    (["motors", 2, "limits"], [0.9, 0.2], "motors[2].limits has min 0.9 not below max 0.2"),
    (["motors", 2, "limits"], [0.0, 1.5], "motors[2].limits[1] is 1.5"),
    (["motors", 2, "limits"], [0.0, 0.5], "motors[2].neutral is 0.75, outside the limits"),
    (["motors", 2, "neutral"], float("nan"), "motors[2].neutral is nan"),
    (["motors", 2, "neutral"], 10**400, "motors[2].neutral is 1000"),
    (["motors", 2, "neutral"], "half", "motors[2].neutral is 'half'"),
    (["motors", 2, "group"], "ear", "motors[2].group is 'ear': give one of eye, mouth"),
    (["motors", 2, "max_speed"], 0.5, "watchdog.ease_s 0.8 is too short for 'lid_right'"),
    (["motors"], [], "motors is empty"),
    (["motors"], {"a": 1}, "motors is {'a': 1}: give a list"),
    (["motors", 3], "lid", "motors[3] is not a mapping"),
    (["interlocks", 0, "weights"], {"tail": 1.0}, "interlocks[0].weights names 'tail'"),
    (["interlocks", 0, "max"], -5.0, "interlocks[0].max is below the neutral pose's"),
    (["dwell", "rest"], 0.95, "dwell.rest 0.95 would overheat"),
    (["dwell", "soft"], 0.9, "dwell.soft 0.9 is not below hard 0.85"),
    (["bus", "kind"], "pigeon", "bus.kind is 'pigeon': give one of sim"),
    (["simulator", "skin", "mesh"], "none.npz", "simulator.skin.mesh names"),
    (["simulator", "skin", "regions", 0, "anchors"], {500: 1.0}, "regions[0].anchors names 500"),
    (["simulator", "skin", "regions", 0, "motor"], "tail", "regions[0].motor is 'tail'"),
    (["simulator", "servos", "delays_s"], {"jaw": 0.02}, "delays_s.brow_right is missing"),
    (["simulator", "servos", "delays_s", "tail"], 0.1, "delays_s.tail is an unknown key"),
    (["simulator", "servos", "backlash"], 0.9, "servos.backlash is 0.9"),
    (["simulator", "camera", "turn_deg"], [1.0, 2.0], "camera.turn_deg is [1.0, 2.0]"),
    (["simulator", "camera", "vibration_px"], -1, "camera.vibration_px is -1"),
    (["simulator", "camera", "width"], 1.5, "simulator.camera.width is 1.5"),
    (["schema"], 2, "schema is 2"),
]


@pytest.mark.parametrize(("path", "value", "message"), MISTAKES, ids=[m for *_, m in MISTAKES])
def test_mistakes(
    plain: dict[str, Any], tmp_path: Path, path: list[Any], value: Any, message: str
) -> None:
    data = copy.deepcopy(plain)
    at: Any = data
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    with pytest.raises(EmoError) as caught:
        load(data, tmp_path)
    text = str(caught.value)
    assert text.startswith(str(tmp_path / "robot.yaml")) and message in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schema: 1\nschema: 1\n", "line 2: the key 'schema' is there twice"),
        ("schema: 1\nname: {{ robot }}\n", "line 2: the key {'robot': None} is no word"),
        ("schema: 1\n[name, is]: sim\n", "line 2: the key ['name', 'is'] is no word"),
        ("schema: 1\nname: 2026-02-30\n", "Mend that value, or put it in quotes"),
        ("name: !!timestamp today\n", "Mend that value, or put it in quotes"),
        ("name: !!bool maybe\n", "Mend that value, or put it in quotes"),
        ("name: [unclosed\n", "Mend that line"),
        ("just words", "is not a mapping"),
        ("", "is not a mapping"),
        ("schema: 1\n", "name is missing"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "robot.yaml"
    file.write_text(text)
    with pytest.raises(EmoError, match=message.replace("[", "\\[")):
        RobotDescription.load(file)


def test_unknown_robots_are_named(tmp_path: Path) -> None:
    with pytest.raises(EmoError, match="not found"):
        RobotDescription.load(tmp_path / "none.yaml")
    with pytest.raises(EmoError, match=r"Known robots: .*sim"):
        RobotDescription.load("nobody")


def test_a_robot_that_extends_another_is_found_from_anywhere(tmp_path, monkeypatch):
    base = RobotDescription.load("sim")
    monkeypatch.chdir(base.file.parents[1])
    mesh = RobotDescription.load("robots/lx_fake.yaml").simulator.skin.mesh
    assert mesh.is_absolute() and mesh.is_file()


def test_a_robot_extends_another(tmp_path):
    base = RobotDescription.load("sim")
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"extends: {base.file}\nname: mine\nbus: {{kind: lx, port: fake, baud: 115200}}\n"
        "motors: [{name: jaw, raw: [800, 200], latency_s: 0.02}]\n"
    )
    mine = RobotDescription.load(file)
    jaw = mine.motors[mine.names.index("jaw")]
    assert (mine.name, mine.bus.kind, mine.bus.port, mine.bus.baud) == (
        "mine",
        "lx",
        "fake",
        115200,
    )
    assert (jaw.raw, jaw.latency_s, jaw.id) == ((800.0, 200.0), 0.02, 11)
    assert mine.motors[0] == base.motors[0]
    assert mine.simulator == base.simulator
    assert mine.signature() == base.signature()  # so that the inverse model is the same


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("extends: nowhere.yaml\n", "extends names"),
        ("extends: mine.yaml\n", "circle"),
        ("extends: BASE\nmotors: [{name: tail, id: 3}]\n", "changes 'tail'"),
        ("extends: BASE\nbus: {kind: lx}\n", "bus.port is missing"),
        ("extends: BASE\nmotors: [{name: jaw, raw: [5, 5]}]\n", "raw is 5 at both ends"),
        ("extends: BASE\nmotors: [{name: [jaw]}]\n", "motors changes ['jaw']: known: "),
        ("extends: BASE\nwings: 2\n", "wings is an unknown key"),
    ],
)
def test_mistakes_when_extending(tmp_path, text, says):
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace("BASE", str(RobotDescription.load("sim").file)))
    with pytest.raises(EmoError, match=re.escape(says)):
        RobotDescription.load(file)
