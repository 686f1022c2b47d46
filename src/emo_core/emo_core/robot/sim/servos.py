"""Servos that exist in memory only: a position loop with limits, a dead band and delays."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo_core.errors import EmoError
from emo_core.robot.bus import ServoBus
from emo_core.robot.description import RobotDescription
from emo_core.robot.safety import SafetyLayer, stoppable
from emo_core.robot.sim.description import ServoModel

#: Fixed step of the motion: results do not depend on how often anyone looks.
STEP_S = 0.002

Array = NDArray[np.float64]


class SimulatedServos:
    """M position servos. Deterministic: time is passed in, and may not run backwards.

    Each runs to its goal at up to `max_speed`, speeding up and braking at `max_acceleration`,
    and rests while the goal is within the dead band. A goal takes effect after the motor's own delay.
    """

    def __init__(self, model: ServoModel, start: ArrayLike) -> None:
        self._model = model
        self._x = np.array(start, dtype=np.float64)
        self._v = np.zeros_like(self._x)
        self._goal = self._x.copy()
        self._delays = np.array(model.delays_s)
        self._slowest = float(self._delays.max())
        self._arriving: deque[tuple[float, Array]] = deque()  # sent when, goals
        self._ticks: int | None = None
        self._on = True

    def command(self, goal: ArrayLike, now_s: float) -> None:
        """New goals (M,), sent at `now_s`."""
        self._arriving.append((now_s, np.clip(np.asarray(goal, np.float64), 0.0, 1.0)))

    def torque(self, on: bool) -> None:
        """Without torque the gears hold the position, and goals are forgotten."""
        self._on = on
        self._arriving.clear()
        self._goal = self._x.copy()
        self._v[:] = 0.0

    def positions(self, now_s: float) -> Array:
        """(M,) positions at `now_s`."""
        last = math.floor(now_s / STEP_S + 1e-9)
        if self._ticks is None:
            self._ticks = last
        while self._ticks < last:
            self._ticks += 1
            busy = self._step(self._ticks * STEP_S)
            if not busy and not self._arriving:
                self._ticks = last
        return self._x.copy()

    def _step(self, now_s: float) -> bool:
        """One step; False if nothing will move until a goal arrives."""
        for sent_s, goal in self._arriving:
            arrived = sent_s + self._delays <= now_s + 1e-9
            self._goal = np.where(arrived, goal, self._goal)
        while self._arriving and self._arriving[0][0] + self._slowest <= now_s + 1e-9:
            self._arriving.popleft()
        if not self._on:
            return False
        a = self._model.max_acceleration
        distance = self._goal - self._x
        size = np.abs(distance)
        wanted = np.minimum(stoppable(size, np.asarray(a), STEP_S), self._model.max_speed)
        wanted[size <= self._model.dead_band] = 0.0
        wanted = np.copysign(wanted, distance)
        self._v = np.clip(wanted, self._v - a * STEP_S, self._v + a * STEP_S)
        self._x = np.clip(self._x + self._v * STEP_S, 0.0, 1.0)
        return bool(self._v.any() or np.any(size > self._model.dead_band))


class SimBus(ServoBus):
    """Simulated servos as a bus with no wire.

    Args:
        description: a robot with a `simulator` section.
        clock: monotonic seconds; give a simulated one for tests and `use_sim_time`.
    """

    def __init__(
        self, description: RobotDescription, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(description)
        if description.simulator is None:
            raise EmoError(f"{description.file}: simulator is missing: bus.kind sim needs it")
        self._clock = clock
        self._servos = SimulatedServos(description.simulator.servos, description.neutral)
        self._servos.torque(False)
        self._open = False

    def open(self) -> None:
        self._open = True

    def close(self) -> None:
        self._open = False

    def torque(self, on: bool, motors: Sequence[int] | None = None) -> None:
        self._servos.positions(self._now())
        if motors is None:
            self._servos.torque(on)

    def write(self, positions: ArrayLike) -> Array:
        sent = np.clip(np.asarray(positions, dtype=np.float64), 0.0, 1.0)
        now = self._now()
        self._servos.positions(now)
        self._servos.command(sent, now)
        return np.asarray(sent)

    def read(self, motors: Sequence[int] | None = None) -> Array:
        return self._servos.positions(self._now())

    def _now(self) -> float:
        if not self._open:
            raise EmoError(f"robot '{self.description.name}': the bus is closed. Open it first")
        return self._clock()


def simulate(
    description: RobotDescription,
    commands: ArrayLike,
    rate_hz: float = 25.0,
    out_fps: float = 25.0,
    lead_s: float = 0.0,
    tick_s: float = 0.01,
) -> Array:
    """What the servos do when a driver sends them `commands`, safety layer included.

    Args:
        description: a robot with a `simulator` section; starts at neutral.
        commands: (T, M); command n is meant for n / rate_hz.
        rate_hz: commands per second.
        out_fps: samples per second of the answer.
        lead_s: commands are sent this much ahead of their time (`servo_lag_s`, if the sound is
            delayed for it, as the speaker does).
        tick_s: period of the driver's timer between commands.

    Returns:
        (ceil(T * out_fps / rate_hz), M) positions at n / out_fps.
    """
    wanted = np.asarray(commands, dtype=np.float64)
    if description.simulator is None:
        raise EmoError(f"{description.file}: simulator is missing: this robot cannot be simulated")
    frames = math.ceil(len(wanted) * out_fps / rate_hz - 1e-9)
    safety = SafetyLayer(description)
    servos = SimulatedServos(description.simulator.servos, description.neutral)
    # Events in order of time: commands (0), ticks (1), samples (2).
    end = max(len(wanted) / rate_hz, frames / out_fps)
    events = [(n / rate_hz - lead_s, 0, n) for n in range(len(wanted))]
    events += [(k * tick_s - lead_s, 1, k) for k in range(math.ceil((end + lead_s) / tick_s))]
    events += [(n / out_fps, 2, n) for n in range(frames)]
    out = np.empty((frames, wanted.shape[1]))
    origin = lead_s + 1.0  # keeps the clock positive
    for when, kind, n in sorted(events):
        now = when + origin
        if kind == 2:
            out[n] = servos.positions(now)
        else:
            servos.positions(now)
            servos.command(safety.step(wanted[n] if kind == 0 else None, now).positions, now)
    return out
