"""The safety layer's promises, over random robots, commands and clocks."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emo_core.robot.description import (
    BusDescription,
    Dwell,
    Interlock,
    Motor,
    RobotDescription,
    Watchdog,
)
from emo_core.robot.safety import MAX_STEP_S, Reason, SafetyLayer

EPSILON = 1e-6


@st.composite
def robots(draw: st.DrawFn) -> RobotDescription:
    """Any number of motors, any limits, interlocks with either sign, the neutral pose allowed."""
    count = draw(st.integers(1, 7))
    motors = []
    for i in range(count):
        low = draw(st.floats(0.0, 0.6))
        high = draw(st.floats(low + 0.1, 1.0))
        motors.append(
            Motor(
                name=f"m{i}",
                id=i,
                group="eye" if i % 2 else "mouth",
                range_rad=(-0.5, 0.5),
                limits=(low, high),
                neutral=draw(st.floats(low, high)),
                max_speed=draw(st.floats(2.0, 20.0)),
                max_acceleration=draw(st.floats(20.0, 1000.0)),
                latency_s=draw(st.floats(0.0, 0.3)),
            )
        )
    interlocks = []
    for k in range(draw(st.integers(0, 3))):
        members = draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=3, unique=True))
        weights = tuple((i, draw(st.floats(-2.0, 2.0))) for i in members)
        at_neutral = sum(w * motors[i].neutral for i, w in weights)
        interlocks.append(Interlock(f"i{k}", weights, at_neutral + draw(st.floats(0.0, 0.5))))
    return RobotDescription(
        name="any",
        file=Path("any.yaml"),
        inverse_model="none",
        servo_lag_s=0.0,
        motors=tuple(motors),
        interlocks=tuple(interlocks),
        dwell=Dwell(draw(st.floats(0.5, 60.0)), 0.5, 0.85, 0.7),
        watchdog=Watchdog(0.25, 0.8),
        bus=BusDescription("sim"),
        simulator=None,
    )


numbers = st.one_of(
    st.floats(-0.5, 1.5), st.sampled_from([math.nan, math.inf, -math.inf, 1e300, 0.0, 1.0])
)
events = st.lists(
    st.tuples(
        st.one_of(st.none(), st.lists(numbers, min_size=7, max_size=7)),
        st.one_of(st.floats(1e-3, 0.06), st.sampled_from([0.0, 0.01, 0.5, -0.2, math.nan])),
        st.sampled_from(["", "", "", "", "estop", "release", "home"]),
        st.integers(1, 12),
    ),
    min_size=1,
    max_size=12,
)


def interlock_sums(robot: RobotDescription, x: np.ndarray) -> np.ndarray:
    return np.array([sum(w * x[i] for i, w in lock.weights) for lock in robot.interlocks])


@settings(max_examples=150, deadline=None)
@given(robots(), events)
def test_limits_speed_acceleration_and_interlocks_hold_whatever_comes(
    robot: RobotDescription, script: list[tuple[list[float] | None, float, str, int]]
) -> None:
    layer = SafetyLayer(robot)
    maxima = np.array([lock.maximum for lock in robot.interlocks])
    x, v, now = layer.positions, np.zeros(len(robot.motors)), 0.0
    layer.step(None, now)
    for command, wait, action, repeats in script:
        if action:
            getattr(layer, action)()
        for _ in range(repeats):
            later = now + wait
            dt = 0.0 if math.isnan(later) else min(max(later - now, 0.0), MAX_STEP_S)
            now = now if math.isnan(later) else max(now, later)
            sent = layer.step(None if command is None else command[: len(x)], later)
            new = sent.positions
            assert np.all(np.isfinite(new))
            assert np.all(new >= robot.lower - EPSILON) and np.all(new <= robot.upper + EPSILON)
            assert np.all(interlock_sums(robot, new) <= maxima + 1e-5)
            if dt > 0:
                speed = (new - x) / dt
                slack = EPSILON / dt
                assert np.all(np.abs(speed) <= robot.max_speed + slack)
                assert np.all(np.abs(speed - v) <= robot.max_acceleration * dt + 2 * slack)
                v = speed
            else:
                assert np.array_equal(new, x)
            x = new


@settings(max_examples=60, deadline=None)
@given(robots(), st.lists(numbers, min_size=7, max_size=7), st.floats(0.01, 0.04))
def test_watchdog_brings_it_home(robot: RobotDescription, command: list[float], dt: float) -> None:
    layer = SafetyLayer(robot)
    now = 0.0
    for _ in range(20):
        layer.step(command[: len(robot.motors)], now)
        now += dt
    silent_since = now
    while now < silent_since + robot.watchdog.timeout_s + 1.3:
        sent = layer.step(None, now)
        now += dt
    assert np.all(sent.reasons & Reason.WATCHDOG)
    assert np.allclose(sent.positions, robot.neutral, atol=0.02)


@settings(max_examples=40, deadline=None)
@given(robots(), st.lists(st.floats(0, 1), min_size=7, max_size=7))
def test_estop_stops_and_stays(robot: RobotDescription, command: list[float]) -> None:
    layer = SafetyLayer(robot)
    for k in range(20):
        layer.step(command[: len(robot.motors)], 0.01 * k)
    layer.estop()
    for k in range(20, 400):
        sent = layer.step(command[: len(robot.motors)], 0.01 * k)
    held = sent.positions
    assert not sent.torque
    assert np.array_equal(layer.step(command[: len(robot.motors)], 5.0).positions, held)
    layer.release()
    assert layer.step(None, 5.01).torque


def test_same_calls_same_answers(sim: RobotDescription) -> None:
    def run() -> np.ndarray:
        layer = SafetyLayer(sim)
        rng = np.random.default_rng(3)
        return np.array(
            [layer.step(rng.random(len(sim.motors)), 0.01 * k).positions for k in range(200)]
        )

    assert np.array_equal(run(), run())


def test_a_reachable_command_arrives_and_has_no_reason(sim: RobotDescription) -> None:
    layer = SafetyLayer(sim)
    goal = sim.neutral + 0.05
    for k in range(100):
        sent = layer.step(goal, 0.01 * k)
    assert np.allclose(sent.positions, goal, atol=1e-9)
    assert not np.any(sent.reasons) and sent.torque
    assert sent.describe(sim.names) == {}


def test_groups_are_commanded_and_watched_apart(sim: RobotDescription) -> None:
    layer = SafetyLayer(sim)
    eye, mouth = sim.group("eye"), sim.group("mouth")
    command = {sim.names[i]: float(sim.neutral[i] + 0.1) for i in mouth}
    for k in range(60):
        sent = layer.step(command, 0.01 * k)
    assert np.allclose(sent.positions[mouth], sim.neutral[mouth] + 0.1)
    assert np.allclose(sent.positions[eye], sim.neutral[eye])
    assert np.all(sent.reasons[eye] & Reason.WATCHDOG)
    assert not np.any(sent.reasons[mouth])


def test_refused_commands_are_named(sim: RobotDescription) -> None:
    layer = SafetyLayer(sim)
    layer.step(None, 0.0)
    bad = sim.neutral.copy()
    bad[0] = math.nan
    assert layer.step(bad, 0.01).describe(sim.names) == {sim.names[0]: "not_finite"}
    assert np.all(layer.step(np.zeros(3), 0.02).reasons & Reason.SHAPE)
    assert np.all(layer.step({"nobody": 0.5}, 0.03).reasons & Reason.SHAPE)


def test_interlock_slides_instead_of_sticking(sim: RobotDescription) -> None:
    motors = tuple(replace(motor, neutral=0.2) for motor in sim.motors)
    lock = Interlock("sum", ((0, 1.0), (1, 1.0)), 1.0)
    robot = replace(sim, motors=motors, interlocks=(lock,))
    layer = SafetyLayer(robot)
    goal = robot.neutral.copy()
    for first, second in ((0.9, 0.1), (0.1, 0.9), (0.9, 0.1)):
        goal[:2] = first, second
        for _ in range(150):
            sent = layer.step(goal, layer._now + 0.01 if layer._now is not None else 0.0)
            assert sent.positions[:2].sum() <= 1.0 + 1e-6
        assert np.allclose(sent.positions[:2], goal[:2], atol=1e-3)


def test_dwell_limits_heat(sim: RobotDescription) -> None:
    robot = replace(sim, dwell=Dwell(1.0, 0.6, 0.85, 0.75))
    layer = SafetyLayer(robot)
    goal = np.where(robot.neutral > 0.5, robot.lower, robot.upper)
    goal[4:] = robot.neutral[4:]
    for k in range(1000):
        sent = layer.step(goal, 0.01 * k)
    assert np.all(layer.heat < 0.85)
    assert np.all(sent.reasons[:4] & Reason.DWELL)


def test_takes_up_from_outside_and_only_comes_in(sim: RobotDescription) -> None:
    motors = tuple(replace(motor, limits=(0.2, 0.8), neutral=0.5) for motor in sim.motors)
    robot = replace(sim, motors=motors, interlocks=())
    layer = SafetyLayer(robot)
    layer.reset(np.full(len(motors), 0.95))
    last = layer.positions
    for k in range(300):
        x = layer.step(np.ones(len(motors)), 0.01 * k).positions
        assert np.all(x <= last + EPSILON)
        last = x
    assert np.allclose(last, 0.8, atol=1e-3)


def test_a_robot_found_astray_starts_slowly(sim: RobotDescription) -> None:
    layer = SafetyLayer(sim)
    astray = sim.neutral + 0.05
    layer.reset(astray)
    layer.step(sim.upper, 0.0)
    sent = layer.step(sim.upper, 0.02)
    assert np.all(sent.reasons & Reason.SOFT_START)
    assert np.all(np.abs(sent.positions - astray) <= 0.2 * sim.max_speed * 0.02)
    layer.reset(sim.neutral)
    layer.step(sim.upper, 0.0)
    assert not np.any(layer.step(sim.upper, 0.02).reasons & Reason.SOFT_START)


def test_home_right_after_a_take_up_begins_at_once(sim: RobotDescription) -> None:
    layer = SafetyLayer(sim)
    layer.reset(sim.neutral + 0.05)
    layer.home()
    seconds = [0.01 * k for k in range(1000)]
    done = next(now for now in seconds if layer.step(None, now) and layer.at_neutral)
    assert done < sim.watchdog.ease_s + 0.1
    layer.reset(sim.neutral + 0.05)  # by itself it waits for the watchdog
    for now in seconds:
        moved = layer.step(None, 20.0 + now).positions
        if np.any(moved != sim.neutral + 0.05):
            break
    assert now == pytest.approx(sim.watchdog.timeout_s, abs=0.05)


@pytest.mark.parametrize("now", [math.nan, math.inf, -1.0])
def test_odd_clocks_move_nothing(sim: RobotDescription, now: float) -> None:
    layer = SafetyLayer(sim)
    layer.step(sim.upper, 0.0)
    assert np.array_equal(layer.step(sim.upper, now).positions, sim.neutral)


# -- motors that rest ------------------------------------------------------------------------


def test_a_resting_motor_eases_home_and_the_others_go_on(sim: RobotDescription) -> None:
    layer = SafetyLayer(replace(sim, interlocks=()))
    goal = np.clip(sim.neutral + 0.2, sim.lower, sim.upper)
    for k in range(50):
        layer.step(goal, 0.01 * k)
    layer.rest(3)
    path = []
    for k in range(50, 160):
        sent = layer.step(goal, 0.01 * k)
        path.append(sent.positions[3])
    others = np.arange(len(goal)) != 3
    np.testing.assert_allclose(sent.positions[others], goal[others], atol=1e-6)
    assert path[-1] == pytest.approx(sim.neutral[3], abs=1e-3)
    # Eased, not dropped: a smoothstep of `ease_s` is 1.5 times as steep in its middle.
    steepest = 0.2 * 1.5 / sim.watchdog.ease_s * 0.01
    assert np.abs(np.diff(path)).max() < 1.1 * steepest
    assert sent.reasons[3] & Reason.RESTED and not np.any(sent.reasons[others])


def test_a_limp_motor_is_not_moved_and_counts_where_it_stands(sim: RobotDescription) -> None:
    motors = tuple(replace(motor, neutral=0.2) for motor in sim.motors)
    lock = Interlock("sum", ((0, 1.0), (1, 1.0)), 1.0)
    robot = replace(sim, motors=motors, interlocks=(lock,))
    layer = SafetyLayer(robot)
    layer.rest(0)
    layer.limp(0, 0.7)
    goal = robot.neutral.copy()
    goal[:2] = 0.0, 0.9
    for k in range(150):
        sent = layer.step(goal, 0.01 * k)
    np.testing.assert_allclose(sent.positions[:2], [0.7, 0.3], atol=1e-3)
    assert layer.at_neutral is False
    for k in range(150, 350):
        sent = layer.step(None, 0.01 * k)
    assert layer.at_neutral  # all that has torque
    layer.wake(0, 0.6)
    first = layer.step(goal, 3.6).positions[0]
    assert 0.6 - first < 0.2 * sim.max_speed[0] * MAX_STEP_S  # softly, from where it is
    for k in range(100):
        sent = layer.step(goal, 3.6 + 0.01 * k)
    assert sent.positions[0] == pytest.approx(0.0, abs=1e-3)


def test_a_limp_motor_of_unknown_position_stays_where_it_was_sent(sim: RobotDescription) -> None:
    layer = SafetyLayer(sim)
    before = layer.positions
    layer.limp(2, math.nan)
    np.testing.assert_array_equal(layer.step(sim.upper, 0.0).positions, before)
    assert layer.step(sim.upper, 0.05).positions[2] == before[2]
    layer.wake(2, math.nan)
    assert layer.step(sim.upper, 0.1).positions[2] != before[2]
