"""The robot before a mirror: its own image is told from other faces, and not followed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from emo_core.mimic.own_image import (
    AGAIN_S,
    AWAY_S,
    LOOK_S,
    LOOKING,
    LOOKS,
    NOBODY,
    OTHER,
    OWN,
    OwnImage,
)
from emo_core.mimic.pipeline import Mimic
from emo_core.robot.description import RobotDescription
from emo_core.robot.safety import SafetyLayer
from emo_core.robot.sim.render import Renderer
from emo_core.robot.sim.servos import SimulatedServos

START_S = 100.0
#: Enough to be sure of either.
SURE_S = LOOKS * LOOK_S + 0.3
Seen = Callable[[float], "np.ndarray | None"]


@pytest.fixture(scope="module", params=["sim", "emo22"])
def robot(request: pytest.FixtureRequest) -> RobotDescription:
    return RobotDescription.load(request.param)


class Scene:
    """A robot whose mimic pipeline sees itself, so much later, or what it is shown instead."""

    def __init__(
        self,
        robot: RobotDescription,
        lag_s: float = 0.1,
        gain: float = 1.0,
        noise: float = 0.02,
        seed: int = 0,
    ) -> None:
        self.own = OwnImage(robot)
        self.robot, self.lag_s, self.gain, self.noise = robot, lag_s, gain, noise
        self.rng = np.random.default_rng(seed)
        self.pose = robot.neutral.copy()
        self.sent: deque[tuple[float, np.ndarray]] = deque([(-np.inf, self.pose)])
        self.now = START_S
        self.states: list[str] = []
        self.poses: list[np.ndarray] = []

    def run(self, seconds: float, shown: Seen | None = None, fps: float = 30.0) -> str:
        """`shown(time)`: another face's commands; None there: no face. Without: the mirror."""
        for _ in range(round(seconds * fps)):
            self.now += 1.0 / fps
            while len(self.sent) > 1 and self.sent[1][0] <= self.now - self.lag_s:
                self.sent.popleft()
            neutral = self.robot.neutral
            image = neutral + self.gain * (self.sent[0][1] - neutral)
            seen = image if shown is None else shown(self.now - START_S)
            out: dict[str, float] = {}
            if seen is not None:
                seen = np.clip(seen + self.rng.normal(0.0, self.noise, len(seen)), 0.0, 1.0)
                commands = dict(zip(self.robot.names, seen.tolist(), strict=True))
                out, _ = self.own.feed(commands, True, self.now)
            else:
                self.own.feed({}, False, self.now)
            pose = [out.get(name, n) for name, n in zip(self.robot.names, neutral, strict=True)]
            self.sent.append((self.now, np.clip(pose, 0.0, 1.0)))
            self.states.append(self.own.state)
            self.poses.append(self.sent[-1][1])
        return self.own.state


def expressive(robot: RobotDescription, seed: int, swing: float = 0.15) -> Seen:
    """Somebody who pulls faces without a pause."""
    rng = np.random.default_rng(seed)
    pace = rng.uniform(0.5, 6.0, (4, len(robot.motors)))
    phase = rng.uniform(0.0, 6.3, pace.shape)

    def face(time: float) -> np.ndarray:
        return robot.neutral + swing * np.sin(pace * time + phase).mean(axis=0) * 2.0

    return face


@pytest.mark.parametrize("fps", [15.0, 25.0, 30.0])
@pytest.mark.parametrize("gain", [0.6, 1.0, 1.4])
@pytest.mark.parametrize("lag_s", [0.05, 0.12, 0.25])
def test_its_own_image_is_not_followed(
    robot: RobotDescription, lag_s: float, gain: float, fps: float
) -> None:
    scene = Scene(robot, lag_s, gain)
    assert scene.run(SURE_S, fps=fps) == OWN
    assert OTHER not in scene.states
    away = np.abs(np.array(scene.poses) - robot.neutral)
    assert away.max() < 0.26  # the greeting, and nothing more
    brows = away.max(axis=0) > 0.0
    assert 2 <= brows.sum() <= 4
    before = len(scene.poses)
    scene.run(3.0, fps=fps)
    assert all(np.array_equal(pose, robot.neutral) for pose in scene.poses[before + 1 :])


def test_without_looking_the_loop_runs_away(robot: RobotDescription) -> None:
    scene = Scene(robot, gain=1.2)
    scene.own._motors = {}  # a robot that has no brows to raise
    scene.run(8.0)
    assert np.abs(np.array(scene.poses)[-30:] - robot.neutral).max() > 0.4


def test_others_are_followed_after_one_greeting(robot: RobotDescription) -> None:
    looks = []
    for seed in range(60):
        scene = Scene(robot, seed=seed)
        face = expressive(robot, seed)
        assert scene.run(SURE_S, face) == OTHER
        looks.append(scene.states.count(LOOKING))
        expected = face(scene.now - START_S)
        np.testing.assert_allclose(scene.poses[-1], np.clip(expected, 0, 1), atol=0.1)
    assert np.median(looks) <= LOOK_S * 30 + 1


def test_a_look_with_images_missing_is_begun_again_but_not_for_ever(
    robot: RobotDescription,
) -> None:
    scene = Scene(robot)
    scene.run(0.2)
    scene.now += 0.2  # the machine was busy
    assert scene.run(SURE_S + LOOK_S) == OWN
    slow = Scene(robot)
    assert slow.run(8.0, expressive(robot, 2), fps=5.0) == OTHER


def test_who_answers_the_greeting_is_not_the_own_image(robot: RobotDescription) -> None:
    for reaction_s in (0.4, 0.5, 0.7):
        scene = Scene(robot, lag_s=reaction_s)
        assert scene.run(3.0) == OTHER


def test_nothing_jumps_when_a_face_is_taken_up(robot: RobotDescription) -> None:
    scene = Scene(robot, noise=0.0)
    scene.run(2.0, lambda time: robot.neutral - 0.05 + 0.4 * (robot.neutral < 0.5))
    steps = np.abs(np.diff(scene.poses, axis=0)).max(axis=0)
    assert steps.max() < 0.1  # of a stroke in a thirtieth of a second
    assert np.abs(scene.poses[-1] - robot.neutral).max() > 0.3


def test_a_face_lost_while_it_is_looked_at_is_not_shown(robot: RobotDescription) -> None:
    own = OwnImage(robot)
    held = dict.fromkeys(robot.names, 0.9)
    for k in range(10):
        own.feed(held, True, START_S + 0.04 * k)
    assert own.state == LOOKING
    for k in range(10, 30):  # the tracker goes on with the expression it saw last
        shown, active = own.feed(held, False, START_S + 0.04 * k)
    assert own.state == NOBODY
    assert (shown, active) == ({}, False)


def test_somebody_who_comes_instead_is_taken_up_again(robot: RobotDescription) -> None:
    scene = Scene(robot)
    assert scene.run(SURE_S) == OWN
    assert scene.run(0.5, lambda time: None) == NOBODY
    assert scene.run(1.5, expressive(robot, 3)) == OTHER
    # The mirror again, after the face was away for long enough.
    scene.run(4.0, lambda time: None)
    assert scene.run(SURE_S) == OWN


def test_an_image_that_begins_to_move_by_itself_is_looked_at_again(
    robot: RobotDescription,
) -> None:
    scene = Scene(robot)
    scene.run(SURE_S + AGAIN_S)
    before = len(scene.states)
    assert scene.run(4.0, lambda time: robot.neutral + 0.3 * (np.sin(2.0 * time) > 0)) == OTHER
    assert LOOKING in scene.states[before:]


def test_a_mirror_that_comes_unnoticed_is_found_by_the_face_it_makes(
    robot: RobotDescription,
) -> None:
    scene = Scene(robot, gain=1.3)
    scene.run(2.0, expressive(robot, 1))
    assert scene.own.state == OTHER
    assert scene.run(12.0) == OWN  # no face was lost in between


def test_a_face_lost_for_a_moment_is_not_greeted_again(robot: RobotDescription) -> None:
    scene = Scene(robot)
    face = expressive(robot, 5)
    scene.run(1.5, face)
    before = len(scene.states)
    scene.run(1.0, lambda time: None)
    scene.run(1.0, face)
    assert LOOKING not in scene.states[before:]
    scene.run(3.5, lambda time: None)
    scene.run(0.2, face)
    assert scene.own.state == LOOKING


@pytest.mark.parametrize("whose", [OTHER, OWN])
def test_who_is_there_when_a_camera_comes_back_is_greeted(
    robot: RobotDescription, whose: str
) -> None:
    scene = Scene(robot)
    face = None if whose == OWN else expressive(robot, 5)
    assert scene.run(SURE_S, face) == whose
    scene.now += 0.5 * AWAY_S  # no images, and no frames without a face either
    assert scene.run(0.1, face) == whose
    scene.now += 60.0
    assert scene.run(0.1, expressive(robot, 6)) == LOOKING


def test_without_commands_nobody_is_there(robot: RobotDescription) -> None:
    for seconds, state in ((0.2, LOOKING), (SURE_S, OWN)):
        scene = Scene(robot)
        assert scene.run(seconds) == state
        scene.own.expire(scene.now + 0.9 * AWAY_S)
        assert scene.own.state == state
        scene.own.expire(scene.now + 1.1 * AWAY_S)
        assert scene.own.state == NOBODY


def test_a_greeting_that_nobody_would_see_is_put_off(robot: RobotDescription) -> None:
    own, wanted = OwnImage(robot), dict.fromkeys(robot.names, 0.6)

    def feed(first: int, count: int, brows: bool) -> list[float]:
        """Where the jaw is sent, each frame."""
        out = []
        for k in range(first, first + count):
            shown, active = own.feed(wanted, True, START_S + 0.04 * k, brows)
            assert active
            out.append(shown.get("jaw", np.nan))
        return out

    feed(0, 5, True)
    assert own.state == LOOKING
    jaw = feed(5, 20, False)
    assert own.state == OTHER
    assert np.isfinite(jaw).all() and np.abs(np.diff(jaw)).max() < 0.13
    assert jaw[-1] == pytest.approx(0.6)
    jaw += feed(25, 5, True)  # the look holds the face that was shown
    assert own.state == LOOKING
    assert jaw[20:] == pytest.approx([0.6] * 5)
    feed(30, 20, True)
    assert own.state == OTHER


def test_a_robot_without_eye_motors_takes_all_for_others(robot: RobotDescription) -> None:
    mouth = tuple(motor for motor in robot.motors if motor.group == "mouth")
    scene = Scene(replace(robot, motors=mouth))
    scene.run(0.2)
    assert scene.own.state == NOBODY
    assert scene.own.feed({"jaw": 0.5}, True, scene.now) == ({"jaw": 0.5}, True)


@pytest.mark.slow
def test_the_simulated_robot_before_a_mirror() -> None:
    """Its own picture -> FaceMesh -> the whole pipeline -> motors -> its picture, 6 s."""
    robot = RobotDescription.load("sim")
    away = {}
    for careful in (True, False):
        own, renderer = OwnImage(robot), Renderer(robot)
        safety = SafetyLayer(robot)
        assert robot.simulator is not None
        servos = SimulatedServos(robot.simulator.servos, robot.neutral)
        worst = 0.0
        with Mimic.load(robot) as mimic:
            for tick in range(600):
                now = START_S + 0.01 * tick
                command = None
                if tick % 3 == 0:
                    picture = np.ascontiguousarray(renderer(servos.horns(now))[:, ::-1, ::-1])
                    frame = mimic.feed(picture, now)
                    motors = [] if frame.motors is None else frame.motors.tolist()
                    wanted = dict(zip(robot.names, motors, strict=False))
                    command = own.feed(wanted, frame.valid, now)[0] if careful else wanted
                servos.positions(now)
                servos.command(safety.step(command or None, now).positions, now)
                worst = max(worst, np.abs(servos.horns(now) - robot.neutral).max())
        away[careful] = worst
    assert own.state == NOBODY  # of the careless one
    assert away[True] < 0.3
    assert away[False] > 0.45
