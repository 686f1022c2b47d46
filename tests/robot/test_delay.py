"""The delay line: what goes in comes out, later by each motor's own wait, and nothing else."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emo_core.robot.delay import DelayLine
from emo_core.robot.description import RobotDescription
from emo_core.robot.safety import SafetyLayer


def late(robot: RobotDescription, *latency_s: float) -> RobotDescription:
    """`robot` with these latencies, the last one for all motors that are left."""
    given = [*latency_s, *[latency_s[-1]] * len(robot.motors)]
    motors = zip(robot.motors, given, strict=False)
    return replace(robot, motors=tuple(replace(motor, latency_s=s) for motor, s in motors))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=6),
    st.lists(st.floats(0.001, 0.2), min_size=1, max_size=40),
    st.integers(0, 1000),
)
def test_every_goal_comes_out_once_at_its_time(
    latency: list[float], waits: list[float], seed: int
) -> None:
    line = DelayLine(latency)
    rng = np.random.default_rng(seed)
    own = max(latency) - np.array(latency)
    now, fed = 0.0, []
    for wait in waits:
        before, now = now, now + wait
        goals = np.where(rng.random(len(latency)) < 0.3, math.nan, rng.random(len(latency)))
        line.feed(goals, now)
        fed.append((now, goals))
        out, times = line.due(now)
        for motor in range(len(latency)):
            due = [
                (fed_at + own[motor], goal[motor])
                for fed_at, goal in fed
                if math.isfinite(goal[motor]) and before < fed_at + own[motor] <= now
            ]
            if due:
                assert (times[motor], out[motor]) == due[-1]
            else:
                assert math.isnan(out[motor]) and math.isnan(times[motor])


def test_a_motor_is_late_by_exactly_its_wait(sim: RobotDescription) -> None:
    """A wait of a whole number of steps gives the same curve, that much later."""
    robot = late(sim, 0.0, 0.04)
    robot = replace(robot, motors=tuple(replace(m, neutral=0.5) for m in robot.motors))
    robot = replace(robot, interlocks=())
    at_once, held = SafetyLayer(late(robot, 0.0)), SafetyLayer(robot)
    rng = np.random.default_rng(0)
    goals = [rng.uniform(0.2, 0.8, len(robot.motors)) if k % 4 == 0 else None for k in range(200)]
    x = np.array([at_once.step(goal, 0.01 * k).positions[0] for k, goal in enumerate(goals)])
    y = np.array([held.step(goal, 0.01 * k).positions for k, goal in enumerate(goals)])
    assert np.allclose(y[4:, 0], x[:-4], atol=1e-9)
    assert np.ptp(x) > 0.3


@pytest.mark.parametrize("wait", [0.003, 0.0125, 0.028])
def test_a_wait_between_two_steps_is_kept_too(sim: RobotDescription, wait: float) -> None:
    """The area between both curves is the way times the wait: late by just that, on average."""
    robot = late(sim, 0.0, wait)
    x, y = SafetyLayer(late(sim, 0.0)), SafetyLayer(robot)
    goal = sim.neutral + 0.2
    behind = 0.0
    for k in range(100):
        now = 0.01 * k
        behind += 0.01 * float(x.step(goal, now).positions[0] - y.step(goal, now).positions[0])
    assert behind / 0.2 == pytest.approx(wait, abs=0.001)


def test_after_a_silence_the_old_goal_is_not_taken_up_again(sim: RobotDescription) -> None:
    layer = SafetyLayer(late(sim, 0.0, 0.1))
    old, new = sim.neutral.copy(), sim.neutral.copy()
    old[0], new[0] = sim.upper[0], sim.lower[0]
    for k in range(50):
        layer.step(old, 0.01 * k)
    for k in range(50, 250):
        layer.step(None, 0.01 * k)
    assert np.allclose(layer.positions, sim.neutral, atol=0.01)
    way = [float(layer.step(new, 0.01 * k).positions[0]) for k in range(250, 300)]
    assert max(way) < sim.neutral[0] + 0.01
    assert way[-1] == pytest.approx(sim.lower[0], abs=0.01)


@pytest.mark.parametrize("action", ["reset", "release"])
def test_what_is_on_its_way_is_forgotten(sim: RobotDescription, action: str) -> None:
    layer = SafetyLayer(late(sim, 0.0, 0.1))
    goal = sim.neutral.copy()
    goal[0] = sim.upper[0]
    layer.step(goal, 0.0)
    layer.step(None, 0.05)
    if action == "reset":
        layer.reset(sim.neutral)
    else:
        layer.estop()
        layer.release()
    for k in range(20):
        layer.step(None, 0.06 + 0.01 * k)
    assert np.allclose(layer.positions, sim.neutral, atol=1e-6)


def test_the_watchdog_counts_from_arrival(sim: RobotDescription) -> None:
    layer = SafetyLayer(late(sim, 0.0, 0.2))
    goal = sim.neutral + 0.1
    layer.step(goal, 0.0)
    for k in range(1, 200):
        layer.step(None, 0.01 * k)
        if 0.01 * k > sim.watchdog.timeout_s + sim.watchdog.ease_s + 0.1:
            assert layer.at_neutral
