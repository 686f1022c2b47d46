"""What holds for every bus, whatever its protocol: run against the fakes that robot files name.

Simulated servos, which need neither, keep to it as well.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from emo_core.errors import EmoError
from emo_core.robot.bus import BusError, ServoBus, make_bus
from emo_core.robot.description import BUSES, RobotDescription

FOLDER = Path(__file__).resolve().parents[3] / "config" / "robots"
ROBOTS = sorted(FOLDER.glob("*_fake.yaml"))
on_wires = pytest.mark.parametrize("robot", ROBOTS, indirect=True, ids=lambda file: file.stem)


@pytest.fixture(params=[*ROBOTS, FOLDER / "sim.yaml"], ids=lambda file: file.stem)
def robot(request) -> RobotDescription:
    return RobotDescription.load(request.param)


@pytest.fixture
def bus(robot: RobotDescription) -> Iterator[ServoBus]:
    made = make_bus(robot)
    made.open()
    yield made
    made.close()


def go(bus: ServoBus, goal: np.ndarray, seconds: float = 0.6) -> np.ndarray:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sent = bus.write(goal)
        time.sleep(0.02)
    return sent


def test_every_kind_has_a_robot() -> None:
    kinds = {RobotDescription.load(file).bus.kind for file in ROBOTS}
    assert kinds == set(BUSES) - {"sim", "ros"}  # those need no fake; tests/ros has the latter


def test_what_is_sent_is_what_is_read(robot: RobotDescription, bus: ServoBus) -> None:
    bus.torque(True)
    goal = np.clip(robot.neutral + np.linspace(-0.2, 0.2, 11), 0.05, 0.95)
    sent = go(bus, goal)
    np.testing.assert_allclose(sent, goal, atol=0.01)  # quantized
    here = bus.read()
    # One answer may be late where other work keeps the machine busy.
    assert np.isfinite(here).sum() >= 10
    np.testing.assert_allclose(here[np.isfinite(here)], sent[np.isfinite(here)], atol=0.02)


def test_one_motor_rests(robot: RobotDescription, bus: ServoBus) -> None:
    bus.torque(True)
    go(bus, robot.neutral, 0.2)
    bus.torque(False, [2])
    sent = bus.write(robot.neutral)
    assert np.flatnonzero(np.isnan(sent)).tolist() == [2]
    bus.torque(True, [2])
    assert np.isfinite(bus.write(robot.neutral)).all()


def test_who_is_not_asked_says_nothing(robot: RobotDescription, bus: ServoBus) -> None:
    bus.torque(True)
    go(bus, robot.neutral, 0.1)
    assert set(np.flatnonzero(np.isfinite(bus.read([3, 7])))) <= {3, 7}


def test_without_torque_nothing_is_sent(robot: RobotDescription, bus: ServoBus) -> None:
    assert np.isnan(bus.write(robot.neutral)).all()
    bus.torque(True)
    bus.torque(False)
    assert np.isnan(bus.write(robot.neutral)).all()


def test_closing_is_harmless_and_opening_again_works(
    robot: RobotDescription, bus: ServoBus
) -> None:
    bus.torque(True)
    bus.close()
    bus.close()
    for work in (bus.read, lambda: bus.write(robot.neutral), lambda: bus.torque(False)):
        with pytest.raises(BusError, match=f"^{robot.file}: ") as caught:
            work()
        assert "\n" not in str(caught.value)
    bus.open()
    bus.open()
    bus.torque(True)
    assert np.isfinite(bus.write(robot.neutral)).all()


def test_goals_that_are_no_numbers_are_a_mistake(robot: RobotDescription, bus: ServoBus) -> None:
    bus.torque(True)
    for bad in (np.full(11, np.nan), np.full(11, np.inf), np.zeros(3)):
        with pytest.raises(ValueError, match="finite commands"):
            bus.write(bad)
    sent = bus.write(np.full(11, 7.0))
    np.testing.assert_allclose(sent, 1.0, atol=0.01)  # clamped


@on_wires
def test_its_times_and_its_word(bus: ServoBus) -> None:
    assert 0.0 < bus.write_s < 0.02
    assert 0.0 <= bus.read_s < 0.005
    assert len(bus.guarantee) > 20 and "\n" not in bus.guarantee


@on_wires
def test_a_port_that_is_not_there(robot: RobotDescription, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    kind = robot.bus.kind
    file.write_text(f"extends: {robot.file}\nname: mine\nbus: {{kind: {kind}, port: /dev/none}}\n")
    with pytest.raises(EmoError) as caught:
        make_bus(RobotDescription.load(file)).open()
    text = str(caught.value)
    assert text.startswith(f"{file}: bus.port '/dev/none' is not there: ") and "\n" not in text
