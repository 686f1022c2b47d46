"""Which motors need a rest, and when they may work again."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from emo_core.errors import EmoError
from emo_core.robot.bus import Telemetry
from emo_core.robot.description import Protection, RobotDescription
from emo_core.robot.protection import LONGEST_FACTOR, Protector


@pytest.fixture
def protector(sim: RobotDescription) -> Protector:
    limits = Protection((55.0, 65.0), (5.5, 6.0), stall=0.15, stall_s=1.0, rest_s=4.0)
    return Protector(replace(sim, protection=limits))


def test_a_hot_motor_rests_until_it_is_cool(protector: Protector) -> None:
    rests = []
    for second, heat in enumerate([50, 64, 65, 60, 58, 56, 55, 60, 64]):
        protector.telemetry(2, Telemetry(temperature_c=float(heat)))
        rests.append(protector.resting(2.0 * second))
    assert rests[2] == {2: "65 °C"}
    assert [bool(rest) for rest in rests] == [False] * 2 + [True] * 4 + [False] * 3


def test_a_short_heat_still_gives_a_whole_rest(protector: Protector, sim: RobotDescription) -> None:
    protector.telemetry(2, Telemetry(temperature_c=66.0))
    assert protector.resting(0.0)
    protector.telemetry(2, Telemetry(temperature_c=50.0))
    eased = sim.watchdog.ease_s
    assert protector.resting(eased + 3.9)
    assert not protector.resting(eased + 4.1)


def test_a_sagging_supply_rests_the_motor_that_feels_it(protector: Protector) -> None:
    protector.telemetry(0, Telemetry(voltage_v=5.4))
    protector.telemetry(1, Telemetry(voltage_v=5.6))
    assert protector.resting(0.0) == {0: "its supply is down to 5.4 V"}
    protector.telemetry(0, Telemetry(voltage_v=5.9))
    assert protector.resting(10.0)
    protector.telemetry(0, Telemetry(voltage_v=6.1))
    assert not protector.resting(10.0)


def test_a_lost_answer_makes_no_motor_cool(protector: Protector) -> None:
    protector.telemetry(2, Telemetry(temperature_c=66.0))
    protector.telemetry(3, Telemetry(voltage_v=5.4))
    assert protector.resting(0.0).keys() == {2, 3}
    for motor in (2, 3):
        protector.telemetry(motor, Telemetry())
    assert protector.resting(100.0) == {2: "66 °C", 3: "its supply is down to 5.4 V"}


def test_a_servo_that_cannot_tell_is_never_too_hot(protector: Protector) -> None:
    protector.telemetry(0, Telemetry())
    assert not protector.resting(0.0)


def test_a_motor_that_is_held_stalls_and_one_that_lags_does_not(protector: Protector) -> None:
    for k in range(200):
        now = 0.02 * k
        goal = 0.5 + 0.4 * math.sin(3.0 * now)
        protector.position(0, goal, 0.5, now)  # held
        protector.position(1, goal, 0.5 + 0.4 * math.sin(3.0 * now - 0.6), now)  # late
        protector.position(2, 0.5, 0.4, now)  # weak, but not far off
        if 0 in protector.resting(now):
            break
    assert protector.resting(now) == {0: "stalled"}
    assert 1.0 <= now < 3.0


def test_a_motor_that_stalls_again_rests_twice_as_long(
    protector: Protector, sim: RobotDescription
) -> None:
    lengths, began, now = [], 0.0, 0.0
    was = False
    while len(lengths) < 7:
        now += 0.1
        protector.position(0, 1.0, 0.5, now)
        rests = 0 in protector.resting(now)
        if rests and not was:
            began = now
        if was and not rests:
            lengths.append(now - began)
        was = rests
    rests = np.array(lengths) - sim.watchdog.ease_s
    assert rests[:4] == pytest.approx([4.0, 8.0, 16.0, 32.0], abs=0.25)
    assert max(rests) == pytest.approx(4.0 * LONGEST_FACTOR, abs=0.25)


def test_faults_rest_a_motor_and_are_tried_again(protector: Protector) -> None:
    protector.telemetry(5, Telemetry(fault="overload"))
    assert protector.resting(0.0) == {5: "overload"}
    assert protector.resting(3.0)
    assert not protector.resting(5.0)  # it may have to be switched on to forget its fault
    assert not protector.resting(5.1)
    protector.telemetry(5, Telemetry(fault="overload"))
    assert protector.resting(5.1) == {5: "overload"}
    assert protector.resting(13.0) and not protector.resting(14.0)


def test_answers_missed_now_and_then_are_noise_and_many_are_silence(protector: Protector) -> None:
    protector.position(4, 0.5, 0.5, 0.0)
    for k in range(1, 11):
        assert not protector.resting(0.1 * k)
        protector.position(4, 0.5, math.nan, 0.1 * k)
        protector.position(5, 0.5, 0.5 if k == 5 else math.nan, 0.1 * k)
    protector.position(6, 0.5, math.nan, 0.0)
    protector.position(6, 0.5, math.nan, 9.0)  # long, but only twice
    assert protector.resting(1.0) == {4: "does not answer"}
    protector.position(4, 0.5, 0.5, 1.1)
    assert not protector.resting(1.2)  # back at once


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{heat: 1}", "protection.heat is an unknown key"),
        ("{temperature_c: [70, 60]}", "min 70 not below max 60"),
        ("{stall_s: 0}", "protection.stall_s is 0"),
    ],
)
def test_a_bad_protection_section_is_one_line(tmp_path, sim, given: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(sim.file.read_text().replace("sim_face", str(sim.file.parent / "sim_face")))
    path.write_text(path.read_text() + f"\nprotection: {given}\n")
    with pytest.raises(EmoError, match=message.replace(".", r"\.")):
        RobotDescription.load(path)


def test_a_protection_section_may_leave_keys_out(tmp_path, sim) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: {sim.file}\nprotection: {{rest_s: 9.0, voltage_v: [6.0, 6.4]}}\n")
    assert RobotDescription.load(path).protection == Protection(voltage_v=(6.0, 6.4), rest_s=9.0)
