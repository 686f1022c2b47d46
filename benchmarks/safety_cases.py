"""How many random cases the safety layer survives, and which it does not.

    .venv/bin/python benchmarks/safety_cases.py [--cases 100000] [--seed 0] [--workers N] [--json]

A case is a robot (one of config/robots, as it is or with other limits and neutral poses, as after
calibration; or a random one) and a random script: commands of all kinds (steps, NaN, infinities,
wrong lengths, strange names, silence), clocks that jump or stand still, e-stop and release, robots
found anywhere, motors that rest, go limp and wake. Every position handed back is checked against
the promises of `emo_core.robot.safety`; at the end the source falls silent, and the robot must come
home. A violation is reported with the seed that repeats it: `--seed SEED --cases 1`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src" / "emo_core"))

from emo_core.robot.description import (  # noqa: E402
    BusDescription,
    Dwell,
    Interlock,
    Motor,
    RobotDescription,
    Watchdog,
)
from emo_core.robot.safety import MAX_STEP_S, MIN_STEP_S, Reason, SafetyLayer  # noqa: E402

#: Rounding, in strokes.
EPSILON = 1e-6
INTERLOCK_EPSILON = 1e-5
#: "At neutral", after the watchdog's time and this much more for soft starts and interlocks.
HOME, GRACE_S = 0.02, 1.3
CHUNK = 100

Array = NDArray[np.float64]
Command = Array | Mapping[str, float] | None


def shipped_robots() -> list[RobotDescription]:
    """All of config/robots."""
    files = sorted((ROOT / "config" / "robots").glob("*.yaml"))
    return [RobotDescription.load(file) for file in files]


def random_robot(rng: np.random.Generator) -> RobotDescription:
    """Any number of motors, any limits, interlocks of either sign."""
    count = int(rng.integers(1, 13))
    motors = tuple(
        Motor(
            name=f"m{i}",
            id=i,
            group=("eye", "mouth")[i % 2],
            range_rad=(-0.5, 0.5),
            limits=(0.0, 1.0),
            neutral=0.5,
            max_speed=float(rng.uniform(2.0, 20.0)),
            max_acceleration=float(rng.uniform(20.0, 1000.0)),
            latency_s=float(rng.choice([0.0, rng.uniform(0.0, 0.1)])),
        )
        for i in range(count)
    )
    interlocks = tuple(
        Interlock(
            f"i{k}",
            tuple(
                (int(i), float(rng.uniform(-2.0, 2.0)))
                for i in rng.choice(count, min(count, int(rng.integers(1, 4))), replace=False)
            ),
            float(rng.uniform(0.0, 1.0)),
        )
        for k in range(int(rng.integers(0, 4)))
    )
    robot = RobotDescription(
        name="random",
        file=Path("random.yaml"),
        inverse_model="none",
        servo_lag_s=0.0,
        motors=motors,
        interlocks=interlocks,
        dwell=Dwell(float(rng.uniform(0.5, 10.0)), 0.5, 0.85, 0.7),
        watchdog=Watchdog(0.25, 0.8),
        bus=BusDescription("sim"),
        simulator=None,
    )
    return calibrated(robot, rng)


def calibrated(robot: RobotDescription, rng: np.random.Generator) -> RobotDescription:
    """The robot with other limits and neutral poses; interlocks give way where these need it."""
    motors = []
    for motor in robot.motors:
        low = float(rng.uniform(0.0, 0.6))
        high = float(rng.uniform(low + 0.1, 1.0))
        motors.append(replace(motor, limits=(low, high), neutral=float(rng.uniform(low, high))))
    interlocks = []
    for lock in robot.interlocks:
        at_neutral = sum(weight * motors[i].neutral for i, weight in lock.weights)
        interlocks.append(replace(lock, maximum=max(lock.maximum, at_neutral + 1e-3)))
    return replace(robot, motors=tuple(motors), interlocks=tuple(interlocks))


@dataclass
class BrokenPromiseError(Exception):
    """A promise that was broken."""

    what: str


class Witness:
    """Drives a safety layer and checks every answer, from nothing but the robot's description."""

    def __init__(self, layer: SafetyLayer) -> None:
        self.robot, self.layer = layer.description, layer
        count = len(self.robot.motors)
        self._weights = np.zeros((len(self.robot.interlocks), count))
        for row, lock in enumerate(self.robot.interlocks):
            for motor, weight in lock.weights:
                self._weights[row, motor] += weight
        self._maximum = np.array([lock.maximum for lock in self.robot.interlocks])
        self.limp = np.zeros(count, dtype=bool)
        self.x, self.v = layer.positions, np.zeros(count)
        self.now: float | None = None
        self._stopping_s = 0.0
        self.steps = 0
        self._low, self._high = self.robot.lower, self.robot.upper
        self.placed()

    def placed(self) -> None:
        """Motors stand where something put them: they may be outside, but go no further."""
        new = self.layer.positions
        self.v[new != self.x] = 0.0
        self.x = new
        self._low = np.minimum(self.robot.lower, new)
        self._high = np.maximum(self.robot.upper, new)
        halt = new + self.v * np.abs(self.v) / (2.0 * self.robot.max_acceleration)
        worst = np.maximum(self._weights * new, self._weights * halt).sum(axis=1)
        self._allowed = np.maximum(self._maximum, worst)

    def step(self, command: Command, now: float) -> NDArray[np.int64]:
        """One step; its reasons.

        Raises:
            BrokenPromiseError: and which.
        """
        self.steps += 1
        dt = 0.0
        if math.isfinite(now):
            gone = 0.0 if self.now is None else now - self.now
            if self.now is None or gone >= MIN_STEP_S:
                self.now = now
                dt = min(gone, MAX_STEP_S)
        sent = self.layer.step(command, now)
        new = sent.positions
        if not np.all(np.isfinite(new)):
            raise BrokenPromiseError("a position that is not finite")
        if np.any(new < self._low - EPSILON) or np.any(new > self._high + EPSILON):
            raise BrokenPromiseError("outside the limits")
        if np.any(self._weights @ new > self._allowed + INTERLOCK_EPSILON):
            raise BrokenPromiseError("an interlock is broken")
        if dt == 0.0:
            if not np.array_equal(new, self.x):
                raise BrokenPromiseError("moved in no time")
            return sent.reasons
        speed = (new - self.x) / dt
        slack = EPSILON / dt
        if np.any(np.abs(speed) > self.robot.max_speed + slack):
            raise BrokenPromiseError("too fast")
        if np.any(np.abs(speed - self.v) > self.robot.max_acceleration * dt + 2 * slack):
            raise BrokenPromiseError("too abrupt")
        if np.any(new[self.limp] != self.x[self.limp]):
            raise BrokenPromiseError("moved a motor that has no torque")
        self.x, self.v = new, speed
        self._check_estop(sent.torque, dt)
        return sent.reasons

    def _check_estop(self, torque: bool, dt: float) -> None:
        if not self.layer.estopped:
            self._stopping_s = 0.0
            if not torque:
                raise BrokenPromiseError("no torque without an e-stop")
            return
        self._stopping_s += dt
        longest = float(np.max(self.robot.max_speed / self.robot.max_acceleration))
        if self._stopping_s > longest + 2 * MAX_STEP_S and (np.any(self.v) or torque):
            raise BrokenPromiseError("the e-stop does not stop")


def random_command(robot: RobotDescription, rng: np.random.Generator) -> Command:
    """Sensible or not."""
    count = len(robot.motors)
    kind = rng.integers(0, 8)
    if kind == 0:
        return None
    values = rng.uniform(-0.3, 1.3, count)
    if kind == 1:  # steps from end to end
        values = rng.choice([0.0, 1.0], count)
    elif kind == 2:
        strange = rng.random(count) < 0.5
        values[strange] = rng.choice([math.nan, math.inf, -math.inf, 1e300, -1e300], strange.sum())
    elif kind == 3:
        return rng.uniform(0.0, 1.0, int(rng.integers(0, 20)))  # may have the wrong length
    elif kind == 4:
        names = [*robot.names, "nobody"]
        some = rng.choice(len(names), int(rng.integers(1, len(names) + 1)), replace=False)
        return {names[i]: float(rng.uniform(-0.3, 1.3)) for i in some}
    return values


def run_case(seed: int, robots: Sequence[RobotDescription]) -> tuple[int, str]:
    """Steps taken, and the violation or ""."""
    rng = np.random.default_rng(seed)
    kind = int(rng.integers(0, 3))
    if kind == 0:
        robot = random_robot(rng)
    else:
        robot = robots[int(rng.integers(0, len(robots)))]
        robot = calibrated(robot, rng) if kind == 2 else robot
    witness = Witness(SafetyLayer(robot))
    try:
        now = _script(witness, rng)
        _come_home(witness, rng, now)
    except BrokenPromiseError as violation:
        return witness.steps, f"seed {seed}, robot {robot.name}: {violation.what}"
    return witness.steps, ""


def _script(witness: Witness, rng: np.random.Generator) -> float:
    robot, now = witness.robot, 100.0
    witness.step(None, now)
    for _ in range(int(rng.integers(1, 11))):
        _act(witness, rng)
        command = random_command(robot, rng)
        wait = float(rng.choice([0.01, 0.02, rng.uniform(1e-3, 0.06), 0.0, 0.5, -0.2, math.nan]))
        for _ in range(int(rng.integers(1, 13))):
            witness.step(command, now + wait)
            now = max(now, now + wait) if math.isfinite(wait) else now
    return now


def _act(witness: Witness, rng: np.random.Generator) -> None:
    """Perhaps something happens to the robot."""
    layer, count = witness.layer, len(witness.robot.motors)
    motor = int(rng.integers(0, count))
    where = float(rng.choice([math.nan, rng.uniform(0.0, 1.0)]))
    action = int(rng.integers(0, 14))
    if action == 0:
        layer.estop()
    elif action in (1, 2):
        layer.release()
    elif action == 3:
        layer.home()
    elif action == 4:
        found = rng.uniform(0.0, 1.0, count)
        found[rng.random(count) < 0.2] = math.nan
        layer.reset(found, gentle=bool(rng.integers(0, 2)))
        witness.v[:] = 0.0
        witness.now = None
    elif action == 5:
        layer.rest(motor)
    elif action == 6:
        layer.rest(motor)
        layer.limp(motor, where)
        witness.limp[motor] = True
        witness.v[motor] = 0.0
    elif action == 7:
        layer.wake(motor, where)
        witness.limp[motor] = False
        witness.v[motor] = 0.0
    if action in (4, 6, 7):
        witness.placed()


def _come_home(witness: Witness, rng: np.random.Generator, now: float) -> None:
    """The source falls silent: neutral within the watchdog's time, whatever was before."""
    robot = witness.robot
    witness.layer.release()
    for motor in range(len(robot.motors)):
        witness.layer.wake(motor, float(witness.x[motor]))
    witness.limp[:] = False
    witness.v[:] = 0.0
    witness.placed()
    dt = float(rng.uniform(0.02, 0.05))
    end = now + robot.watchdog.timeout_s + robot.watchdog.ease_s + GRACE_S
    while now < end:
        now += dt
        reasons = witness.step(None, now)
    if not np.all(reasons & int(Reason.WATCHDOG)):
        raise BrokenPromiseError("the watchdog sleeps")
    if np.any(np.abs(witness.x - robot.neutral) > HOME):
        raise BrokenPromiseError("the watchdog does not bring it home")


def _run_chunk(robots: list[RobotDescription], first: int, count: int) -> tuple[int, list[str]]:
    results = [run_case(seed, robots) for seed in range(first, first + count)]
    return sum(steps for steps, _ in results), [text for _, text in results if text]


def main() -> int:
    """Run, report; exit status 0 if no promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    robots = shipped_robots()
    start = time.monotonic()
    firsts = range(args.seed, args.seed + args.cases, CHUNK)
    counts = [min(CHUNK, args.seed + args.cases - first) for first in firsts]
    with ProcessPoolExecutor(args.workers) as pool:
        results = list(pool.map(partial(_run_chunk, robots), firsts, counts))
    broken = [text for _, texts in results for text in texts]
    figures = {
        "cases": args.cases,
        "steps": sum(steps for steps, _ in results),
        "robots": [robot.name for robot in robots],
        "violations": len(broken),
        "first_violations": broken[:10],
        "wall_s": round(time.monotonic() - start, 1),
    }
    if args.json:
        print(json.dumps(figures, indent=1))
    else:
        print(
            f"{args.cases} cases, {figures['steps']} steps in {figures['wall_s']} s: "
            f"{len(broken)} violations"
        )
        print("\n".join(broken[:10]))
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
