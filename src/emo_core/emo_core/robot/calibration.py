"""A robot gets to know its motors by stepping each of them before a camera.

For each motor: does its servo move, does the face, the way that the file says? Over which part of
its stroke? How late? Then, if a picture of the face at rest from better days is given: which
commands bring it back. All of it goes through the safety layer, within the limits of the robot's
file, so limits only ever become tighter.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emo_core.errors import EmoError
from emo_core.face.topology import ROBOT_LANDMARKS
from emo_core.rates import FPS
from emo_core.robot.bench import Bench, Take
from emo_core.robot.description import Motor, RobotDescription
from emo_core.robot.findings import (
    LEAST_CHANGE,
    Finding,
    can_turn,
    find,
    servo_state,
    turned_round,
)
from emo_core.robot.response import SLOW_HZ, Motion, Response, respond, told_latency
from emo_core.robot.speech_like import SpeechLikeCurve

#: Steps of each motor, the time from one to the next, and how long one lasts. Speech is no quicker.
STEPS = 40
_PAUSE_S = (0.24, 0.36)
_STEP_S = 0.15
#: How far a step goes, in shares of the range.
_REACH = (0.2, 0.7)
#: Every third step or so ends at a limit.
_TO_AN_END = 0.35
_REST_S, _LAG_S = 12.0, 12.0
#: Rounds of moving the neutral pose and looking again.
_ROUNDS = 3
_SEED = 7

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """What a robot found out about itself.

    Attributes:
        before: the robot as described. after: as found.
        findings: of each motor.
        rest_mm: root mean square distance of the face at rest from that of better days, before
            and after; NaN if there was none to compare with.
        camera_late_s: what the camera's times are late by: as the camera says, else as measured at
            the servos; NaN if neither can be had, and then `servo_lag_s` holds it, too.
    """

    before: RobotDescription
    after: RobotDescription
    findings: tuple[Finding, ...]
    rest_mm: tuple[float, float]
    camera_late_s: float

    @property
    def faults(self) -> dict[str, str]:
        """Motor -> what is wrong and what to do."""
        return {each.motor.name: each.fault for each in self.findings if each.fault}

    @property
    def uncompensated(self) -> RobotDescription:
        """The robot as described, were its motors all taken for equally quick."""
        return _uncompensated(self.before)

    @property
    def needs_training(self) -> bool:
        """Whether the robot's inverse model no longer fits."""
        pairs = zip(self.before.motors, self.after.motors, strict=True)
        turned = any(old.raw != new.raw for old, new in pairs)
        return turned or self.before.signature() != self.after.signature()

    def save(self, path: Path) -> None:
        """Write a robot's file that extends the one calibrated.

        Raises:
            EmoError: it would overwrite the file that it extends.
        """
        check_out(self.before, path)
        base = self.before.file.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            "# Found by ./emo calibrate: what differs from the robot's own file.",
            f"extends: {os.path.relpath(base, path.parent.resolve())}",
            f"servo_lag_s: {self.after.servo_lag_s:.4f}",
            "motors:",
        ]
        for old, new in zip(self.before.motors, self.after.motors, strict=True):
            changed = [f"latency_s: {new.latency_s:.4f}"]
            if new.limits != old.limits:
                changed.append(f"limits: [{new.limits[0]:.3f}, {new.limits[1]:.3f}]")
            if new.neutral != old.neutral:
                changed.append(f"neutral: {new.neutral:.3f}")
            if new.raw != old.raw and new.raw is not None:
                changed.append(f"raw: [{new.raw[0]:g}, {new.raw[1]:g}]")
            lines.append(f"  - {{name: {new.name}, {', '.join(changed)}}}")
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def check_out(robot: RobotDescription, path: Path) -> None:
    """Refuse a file for the result that the robot itself is read from.

    Raises:
        EmoError: it is.
    """
    if path.resolve() == robot.file.resolve():
        raise EmoError(f"{path}: is the file that is calibrated. Give -o another name")


def calibrate(
    bench: Bench,
    rest: Array | None = None,
    steps: int = STEPS,
    progress: Callable[[str], None] | None = None,
) -> Calibration:
    """Calibrate the robot on an entered bench.

    Args:
        bench: with the robot.
        rest: (R, 113, 2) metric mm, its face at rest in better days (`Babble.rest`).
        steps: of each motor; fewer are quicker and less exact.
        progress: called with what comes next: each motor's name, and two stages more.

    Raises:
        EmoError: FaceMesh sees no face, or no motor moves it.
        BusError: the line fails.
    """
    tell = progress or (lambda _: None)
    before = bench.description
    bench.become(_uncompensated(before))
    takes = []
    for index, motor in enumerate(before.motors):
        tell(motor.name)
        takes.append(_step(bench, index, steps))
    # A servo takes until the next write to go where the last one sent it.
    motions = [
        Motion(take.seen_s, take.faces, take.sent_s[1:], take.sent[:-1, index])
        for index, take in enumerate(takes)
    ]
    responses = respond(motions)
    findings = find(before, takes, responses)
    after = _with(before, [finding.motor for finding in findings])
    tell("face at rest")
    rest_mm = (float("nan"), float("nan"))
    if rest is not None:
        after, rest_mm = _back_to(bench, after, responses, rest)
    tell("lag of them all")
    bench.become(after)
    late_s = bench.camera_latency_s
    late_s = _camera_late(takes, responses) if late_s is None else late_s
    unknown_s = 0.0 if bench.camera_latency_s is not None or math.isnan(late_s) else late_s
    lag_s = _lag(bench, findings, motions) - unknown_s
    # Not before: the bench's bus goes on by the raw that it was made with.
    turned = [
        turned_round(motor) if finding.way == "reversed" and can_turn(before, n) else motor
        for n, (motor, finding) in enumerate(zip(after.motors, findings, strict=True))
    ]
    after = replace(after, motors=tuple(turned), servo_lag_s=round(min(max(lag_s, 0.0), 1.0), 4))
    findings = tuple(
        replace(finding, motor=motor) for finding, motor in zip(findings, after.motors, strict=True)
    )
    return Calibration(before, after, findings, rest_mm, late_s)


def _uncompensated(robot: RobotDescription) -> RobotDescription:
    return _with(robot, [replace(motor, latency_s=0.0) for motor in robot.motors])


def _with(robot: RobotDescription, motors: list[Motor]) -> RobotDescription:
    return replace(robot, motors=tuple(motors))


def _step(bench: Bench, index: int, steps: int) -> Take:
    """Steps of one motor all over its range, the others at neutral."""
    robot = bench.description
    motor, rng = robot.motors[index], np.random.default_rng([_SEED, index])
    low, high = motor.limits
    starts = np.cumsum(rng.uniform(*_PAUSE_S, steps))
    levels = [motor.neutral]
    while len(levels) < steps:
        end = low if rng.random() < 0.5 else high
        level = end if rng.random() < _TO_AN_END else rng.uniform(low, high)
        way = abs(level - levels[-1]) / (high - low)
        if _REACH[0] < way < _REACH[1]:
            levels.append(level)
    levels.append(motor.neutral)

    def goals(now_s: float) -> Array:
        pose = robot.neutral
        step = int(np.searchsorted(starts, now_s, side="right"))
        if step:
            share = min((now_s - starts[step - 1]) / _STEP_S, 1.0)
            share *= share * (3.0 - 2.0 * share)
            pose[index] = levels[step - 1] + share * (levels[step] - levels[step - 1])
        return pose

    return bench.play(goals, float(starts[-1]) + 0.6, ask=index)


def _lag(bench: Bench, findings: tuple[Finding, ...], others: list[Motion]) -> float:
    """From a command's time to the motion, all motors together at a speech's pace, in s."""
    robot = bench.description
    curve = SpeechLikeCurve(_SEED)
    moving = np.array([finding.seen for finding in findings])

    def goals(now_s: float) -> Array:
        pose = curve.commands(robot, np.floor(now_s * FPS + 1e-6) / FPS)
        return np.where(moving & (now_s < _LAG_S), pose, robot.neutral)

    take = bench.play(goals, _LAG_S)
    # One curve moves them all: what differs is how far. Its start is a leap from neutral.
    sooner = np.arange(-1.0, _LAG_S, 0.002)
    later = take.seen_s > take.sent_s[0] + 1.0
    start = take.sent_s[0]
    motion = Motion(take.seen_s[later], take.faces[later], start + sooner, curve(sooner))
    response = respond([*others, motion])[-1]
    return response.latency_s


def _camera_late(takes: list[Take], responses: list[Response]) -> float:
    """By how much motions are seen later than the servos tell them, in s; NaN: they do not tell.

    The median over all motors. Play between servo and skin counts as the camera's.
    """
    late = [
        response.latency_s
        - told_latency(take.sent_s[1:], take.sent[:-1, n], take.told_s, take.told)
        for n, (take, response) in enumerate(zip(takes, responses, strict=True))
        if response.seen and servo_state(take, n) == "moves"
    ]
    return float(np.median(late)) if late else float("nan")


def _back_to(
    bench: Bench, robot: RobotDescription, responses: list[Response], rest: Array
) -> tuple[RobotDescription, tuple[float, float]]:
    """The robot with a neutral pose that looks like `rest`, and how far off it was and is, mm."""
    bench.become(robot)
    here = _at_rest(bench)
    was = is_now = _distance(here, rest)
    for _ in range(_ROUNDS):
        moved = _with(robot, _homeward(robot, responses, here, rest))
        if moved == robot or not _allowed(moved):
            break
        bench.become(moved)
        here = _at_rest(bench)
        if _distance(here, rest) > is_now:
            break
        robot, is_now = moved, _distance(here, rest)
    return robot, (was, is_now)


def _at_rest(bench: Bench) -> Array:
    """(F, 113, 2) the face at neutral."""
    take = bench.play(lambda _: bench.description.neutral, _REST_S)
    return take.faces[:, ROBOT_LANDMARKS]


def _distance(faces: Array, others: Array) -> float:
    apart = faces.mean(axis=0) - others.mean(axis=0)
    return float(np.sqrt(np.mean(np.sum(apart**2, axis=-1))))


def _homeward(
    robot: RobotDescription, responses: list[Response], here: Array, rest: Array
) -> list[Motor]:
    """Motors with a neutral that brings the mean face from `here` to `rest`.

    Weighted least squares over all motors that are seen. The weights' covariance is that of the
    faces at rest, which sway slowly: so many seconds of them are few independent looks.
    """
    seen = [n for n, response in enumerate(responses) if response.seen]
    faces = [each.reshape(len(each), -1) for each in (here, rest)]
    wanted = faces[1].mean(axis=0) - faces[0].mean(axis=0)
    looks = [max(2.0 * SLOW_HZ * len(each) / FPS, 1.0) for each in faces]
    sway = np.concatenate([each - each.mean(axis=0) for each in faces])
    sway *= np.sqrt(sum(1.0 / count for count in looks) / len(sway))
    _, singular, components = np.linalg.svd(sway, full_matrices=False)
    floor = max(float(np.sum(singular**2)) / sway.shape[1], 1e-6)
    push = np.array([responses[n].push[ROBOT_LANDMARKS].ravel() for n in seen])
    along = singular**2 / (singular**2 + floor) * (push @ components.T)
    weighed = (push - along @ components) / floor
    covariance = np.linalg.inv(weighed @ push.T + 1e-9 * np.eye(len(seen)))
    change = covariance @ weighed @ wanted
    sure = np.abs(change) > np.maximum(LEAST_CHANGE, 3.0 * np.sqrt(np.diag(covariance)))
    motors = list(robot.motors)
    for n, step in zip(np.array(seen)[sure], change[sure], strict=True):
        low, high = motors[n].limits
        neutral = round(min(max(motors[n].neutral + float(step), low), high), 3)
        motors[n] = replace(motors[n], neutral=neutral)
    return motors


def _allowed(robot: RobotDescription) -> bool:
    """Whether the neutral pose keeps to the interlocks."""
    return all(
        sum(weight * robot.neutral[n] for n, weight in lock.weights) <= lock.maximum
        for lock in robot.interlocks
    )
