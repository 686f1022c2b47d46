"""Who drives which motors, without ROS: preferences, cross-fades, sources that come and go."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emo_core.mimic.own_image import LOOKING, NOBODY, OTHER, OwnImage
from emo_core.robot.description import RobotDescription, Watchdog
from emo_core.robot.gaze import gaze_positions
from emo_motor_drivers.arbitration import Arbitration, motor_groups

MS = 1_000_000
GROUPS = {"mouth": ("jaw",), "eye": ("brow",), "gaze": ("yaw",)}
NEUTRAL = {"jaw": 0.1, "brow": 0.5, "yaw": 0.5}
SOURCES = ("lipsync", "mimic", "manual", "gaze")
WATCHDOG = Watchdog(timeout_s=0.25, ease_s=0.8)
FADE_S = 0.12


def arbitration(**settings: float) -> Arbitration:
    return Arbitration(GROUPS, SOURCES, NEUTRAL, WATCHDOG, **{"fade_s": 0.0, **settings})


def feed(
    arbiter: Arbitration, source: str, value: float | None, now: float, active: bool = True
) -> dict[str, float]:
    stamp = int(now * 1e9)
    motors = ("yaw",) if source == "gaze" else ("jaw", "brow")
    positions = {} if value is None else dict.fromkeys(motors, value)
    return arbiter.feed(source, positions, active, stamp, stamp - 240 * MS, now)


@pytest.mark.parametrize("alone", ["lipsync", "mimic", "manual"])
def test_whoever_is_alone_drives_everything(alone: str) -> None:
    arbiter = arbitration()
    assert feed(arbiter, alone, 0.7, 1.0, active=False) == {"jaw": 0.7, "brow": 0.7}
    expected = {"mouth": (alone, 1.0), "eye": (alone, 1.0), "gaze": ("", 1.0)}
    assert arbiter.drivers == expected
    assert arbiter.face == "", "nobody looks whose face it is"


def test_mouth_follows_speech_brows_follow_mimic_and_eyeballs_follow_gaze() -> None:
    arbiter = arbitration()
    feed(arbiter, "mimic", 0.2, 1.0)
    assert feed(arbiter, "lipsync", 0.8, 1.01) == {"jaw": 0.8}
    assert feed(arbiter, "mimic", 0.2, 1.02) == {"brow": 0.2}
    assert feed(arbiter, "gaze", 0.6, 1.02) == {"yaw": 0.6}


def test_a_hand_goes_before_everybody_while_it_is_fresh() -> None:
    arbiter = arbitration()
    feed(arbiter, "mimic", 0.2, 1.0)
    feed(arbiter, "lipsync", 0.8, 1.01)
    assert feed(arbiter, "manual", 0.4, 1.02, active=False) == {"jaw": 0.4, "brow": 0.4}
    assert feed(arbiter, "lipsync", 0.8, 1.05) == {}
    assert feed(arbiter, "lipsync", 0.8, 1.30) == {"jaw": 0.8, "brow": 0.8}


def test_a_pause_between_words_does_not_flicker_and_a_long_one_gives_the_mouth_away() -> None:
    arbiter = arbitration(hold_s=0.6)
    owners = []
    for k in range(60):
        now = 1.0 + 0.04 * k
        speaking = k < 10 or 20 <= k < 25  # a pause of 0.4 s, then silence
        feed(arbiter, "mimic", 0.2, now)
        feed(arbiter, "lipsync", 0.8, now + 0.001, active=speaking)
        owners.append(arbiter.drivers["mouth"][0])
    changes = [k for k in range(1, 60) if owners[k] != owners[k - 1]]
    assert owners[0] == "lipsync"
    assert len(changes) == 1
    # Speech ends with frame 24; the mouth shows it 240 ms later and stays for the hold.
    assert changes[0] == pytest.approx(24 + (0.6 + 0.24) / 0.04, abs=2)


def test_a_held_face_keeps_what_it_drives_and_is_given_nothing_new() -> None:
    arbiter = arbitration()
    feed(arbiter, "lipsync", 0.1, 1.0, active=False)
    feed(arbiter, "mimic", 0.9, 1.0)
    assert feed(arbiter, "mimic", 0.9, 1.03, active=False) == {"jaw": 0.9, "brow": 0.9}
    feed(arbiter, "lipsync", 0.8, 1.04)  # speech takes the mouth
    assert feed(arbiter, "mimic", 0.7, 1.06, active=False) == {"brow": 0.7}
    for k in range(30):  # and keeps it afterwards: nobody makes a face
        now = 1.08 + 0.04 * k
        assert feed(arbiter, "lipsync", 0.1, now, active=False) == {"jaw": 0.1}
        feed(arbiter, "mimic", 0.6, now + 0.01, active=False)
    assert feed(arbiter, "mimic", None, now + 0.04, active=False) == {}  # the face has come to rest
    assert feed(arbiter, "lipsync", 0.1, now + 0.05, active=False) == {"jaw": 0.1, "brow": 0.1}
    assert feed(arbiter, "mimic", 0.9, now + 0.06) == {"jaw": 0.9, "brow": 0.9}


def test_a_face_lost_for_one_image_does_not_change_hands() -> None:
    arbiter = arbitration()
    for k in range(40):
        now = 1.0 + 0.03 * k
        feed(arbiter, "lipsync", 0.8, now)
        assert feed(arbiter, "mimic", 0.2, now, active=k % 3 > 0) == {"brow": 0.2} or k == 0


def test_a_source_that_is_gone_gives_its_motors_back() -> None:
    arbiter = arbitration()
    feed(arbiter, "lipsync", 0.8, 1.0)
    assert feed(arbiter, "mimic", 0.2, 1.3) == {"jaw": 0.2, "brow": 0.2}
    arbiter.expire(2.0)
    assert set(arbiter.drivers.values()) == {("", 1.0)}
    assert feed(arbiter, "mimic", 0.2, 2.1) == {"jaw": 0.2, "brow": 0.2}
    arbiter.end("mimic")
    arbiter.expire(2.1)
    assert set(arbiter.drivers.values()) == {("", 1.0)}


def test_a_recording_that_begins_again_does_not_hold_the_mouth() -> None:
    arbiter = arbitration()
    feed(arbiter, "mimic", 0.2, 1.0)
    for stamp_s, active in ((1000.0, True), (3.0, False)):
        stamp = int(stamp_s * 1e9)
        out = arbiter.feed("lipsync", {"jaw": 0.8}, active, stamp, stamp, 1.01)
        assert out == ({"jaw": 0.8} if active else {})


# -- cross-fades -----------------------------------------------------------------------------


def test_a_change_of_source_takes_its_time_and_both_are_followed_meanwhile() -> None:
    arbiter = arbitration(fade_s=FADE_S)
    feed(arbiter, "mimic", 0.0, 0.5)
    feed(arbiter, "mimic", 0.0, 1.0)
    jaw = [feed(arbiter, "lipsync", 1.0, 1.0)["jaw"]]
    for k in range(1, 5):  # mimic ticks between
        jaw.append(feed(arbiter, "mimic", 0.2, 1.0 + 0.03 * k).get("jaw", np.nan))
    assert jaw[0] == 0.0
    shares = 0.25 * np.arange(1, 4)
    np.testing.assert_allclose(jaw[1:4], shares + 0.2 * (1.0 - shares))
    assert np.isnan(jaw[4])  # the fade is over, mimic has no part in the mouth any more
    assert arbiter.drivers["mouth"] == ("lipsync", 1.0)
    assert feed(arbiter, "lipsync", 1.0, 1.13)["jaw"] == 1.0


def test_whoever_comes_first_takes_the_motors_up_from_where_the_watchdog_brought_them() -> None:
    arbiter = arbitration(fade_s=FADE_S)
    assert feed(arbiter, "mimic", 0.9, 1.0)["brow"] == pytest.approx(NEUTRAL["brow"])
    assert feed(arbiter, "mimic", 0.9, 1.2)["brow"] == pytest.approx(0.9)
    arbiter.expire(1.5)
    half = WATCHDOG.timeout_s + WATCHDOG.ease_s / 2.0
    expected = (0.9 + NEUTRAL["brow"]) / 2.0
    assert feed(arbiter, "mimic", 0.9, 1.2 + half)["brow"] == pytest.approx(expected)


@dataclass
class Clocked:
    """One source: its rate, when it lives, when it is active, and its smooth motion."""

    rate_hz: float
    phase_s: float
    ends_s: float
    on_s: float  # length of its turns of being active, and of not being so
    swing: float
    pace_hz: float

    def value(self, now: float) -> float:
        return 0.5 + self.swing * np.sin(2.0 * np.pi * self.pace_hz * now)

    def ticks(self, name: str) -> Iterator[tuple[float, str, float, bool]]:
        for k in range(int((self.ends_s - self.phase_s) * self.rate_hz)):
            now = self.phase_s + k / self.rate_hz
            yield now, name, self.value(now), now % (2.0 * self.on_s) < self.on_s


clocked = st.builds(
    Clocked,
    rate_hz=st.sampled_from([25.0, 29.97, 30.0, 50.0]),
    phase_s=st.floats(0.0, 1.0),
    ends_s=st.floats(1.5, 4.0),
    on_s=st.floats(0.05, 1.0),
    swing=st.floats(0.0, 0.5),
    pace_hz=st.floats(0.0, 2.0),
)


def played(sources: dict[str, Clocked], fade_s: float) -> list[tuple[float, Any]]:
    """What is sent of the jaw, and when: a run of 4 s."""
    arbiter = arbitration(fade_s=fade_s, hold_s=0.1)
    sent = []
    ticks = sorted(tick for name, source in sources.items() for tick in source.ticks(name))
    for now, name, value, active in ticks:
        out = feed(arbiter, name, value, now, active)
        arbiter.expire(now)
        if "jaw" in out:
            sent.append((now, out["jaw"]))
    return sent


def worst_excess(sources: dict[str, Clocked], sent: list[tuple[float, float]]) -> float:
    """By how much the largest step is more than the sources' own motion and the fade explain."""
    # Of a source's motion one can miss what it did since its last command, twice at most.
    own = max(2.0 * np.pi * s.pace_hz * s.swing for s in sources.values())
    slowest_s = max(1.0 / s.rate_hz for s in sources.values())
    apart = 1.0
    worst = -np.inf
    for (before, old), (now, new) in itertools.pairwise(sent):
        if now - before > WATCHDOG.timeout_s:
            continue  # nobody drove meanwhile: the watchdog did
        allowed = own * (now - before + 2.0 * slowest_s) + apart * (now - before) / FADE_S
        worst = max(worst, abs(new - old) - allowed)
    return worst


@settings(max_examples=150, deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(("lipsync", "mimic", "manual"), clocked)))
def test_no_steps_whatever_the_rates_phases_and_ends(sources: dict[str, Clocked]) -> None:
    assert worst_excess(sources, played(sources, FADE_S)) <= 1e-6


def test_the_step_test_sees_a_change_that_is_not_faded() -> None:
    still = Clocked(25.0, 0.0, 4.0, 1.0, 0.0, 0.0)
    far = Clocked(30.0, 0.5, 4.0, 0.5, 0.45, 0.1)
    sources = {"lipsync": still, "mimic": far}
    assert worst_excess(sources, played(sources, 0.0)) > 0.1
    assert worst_excess(sources, played(sources, FADE_S)) <= 1e-6


# -- whose face it is ------------------------------------------------------------------------


def test_a_hand_on_the_brows_leaves_the_mouth_to_mimic_and_the_look_for_later() -> None:
    robot = RobotDescription.load("sim")
    groups = motor_groups(robot)
    neutral = dict(zip(robot.names, robot.neutral.tolist(), strict=True))
    arbiter = Arbitration(groups, SOURCES, neutral, WATCHDOG, own_image=OwnImage(robot))
    wanted = dict.fromkeys(robot.names, 0.6)
    mouth: list[float] = []

    def run(first: int, last: int, hand: bool) -> None:
        for k in range(first, last):
            now = 1.0 + 0.04 * k
            if hand:
                arbiter.feed("manual", {groups["eye"][0]: 0.3}, True, 0, 0, now)
            sent = arbiter.feed("mimic", wanted, True, k, k, now)
            mouth.append(sent.get("jaw", np.nan))

    run(0, 25, True)
    assert arbiter.face == OTHER
    assert {name: who for name, (who, _) in arbiter.drivers.items()} == {
        "mouth": "mimic", "eye": "manual"
    }  # fmt: skip
    assert mouth[-1] == pytest.approx(0.6)
    run(25, 35, False)
    assert arbiter.face == LOOKING
    assert np.abs(np.diff(mouth)).max() < 0.2 and mouth[-1] == pytest.approx(0.6)


def test_a_camera_that_is_unplugged_during_a_look_frees_the_eyeballs() -> None:
    robot = RobotDescription.load("emo22")
    groups = motor_groups(robot)
    neutral = dict(zip(robot.names, robot.neutral.tolist(), strict=True))
    arbiter = Arbitration(groups, SOURCES, neutral, WATCHDOG, own_image=OwnImage(robot))
    eyes = gaze_positions(robot, 0.2, 0.0)
    arbiter.feed("mimic", neutral, True, 0, 0, 1.0)
    arbiter.expire(2.0)
    assert arbiter.face == LOOKING
    assert arbiter.feed("gaze", eyes, True, 0, 0, 2.0) == {}
    arbiter.expire(4.5)
    assert arbiter.face == NOBODY
    assert set(arbiter.feed("gaze", eyes, True, 0, 0, 4.5)) == set(eyes)


# -- eyeballs --------------------------------------------------------------------------------


def test_gaze_turns_the_eyeballs_within_their_limits() -> None:
    robot = RobotDescription.load("emo22")
    assert set(motor_groups(robot)["gaze"]) == set(gaze_positions(robot, 0.0, 0.0))
    assert "gaze" not in motor_groups(RobotDescription.load("sim"))
    motors = {motor.name: motor for motor in robot.motors}
    for name, command in gaze_positions(robot, 0.2, -0.1).items():
        low, high = motors[name].range_rad
        angle = low + command * (high - low)
        assert angle == pytest.approx(-0.2 if motors[name].gaze == "yaw" else -0.1)
    assert set(gaze_positions(robot, -9.0, 9.0).values()) == {1.0}


def test_a_motor_that_turns_the_other_way_looks_the_same_way() -> None:
    robot = RobotDescription.load("emo22")
    turned = replace(
        robot,
        motors=tuple(
            replace(motor, moves=replace(motor.moves, way="left"))
            if motor.gaze == "yaw" and motor.moves
            else motor
            for motor in robot.motors
        ),
    )
    usual, other = gaze_positions(robot, 0.2, 0.1), gaze_positions(turned, 0.2, 0.1)
    for motor in robot.motors:
        if motor.gaze == "yaw":
            assert usual[motor.name] == pytest.approx(0.3)  # left in the picture: below the middle
            assert other[motor.name] == pytest.approx(0.7)
        elif motor.gaze:
            assert other[motor.name] == usual[motor.name]
