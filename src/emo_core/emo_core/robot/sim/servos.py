"""Servos that exist in memory only: position loops, the play of their gears, and their heat."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo_core.errors import EmoError
from emo_core.robot.bus import BusError, ServoBus, Telemetry
from emo_core.robot.description import RobotDescription
from emo_core.robot.safety import SafetyLayer, stoppable
from emo_core.robot.sim.description import ServoModel

#: Fixed step of the motion: results do not depend on how often anyone looks.
STEP_S = 0.002
#: Steps between two looks at the load: heat is slow.
WARM_STEPS = 50

Array = NDArray[np.float64]


class SimulatedServos:
    """M position servos. Deterministic: time is passed in, and may not run backwards.

    Each runs to its goal at up to `max_speed`, speeding up and braking at `max_acceleration`,
    and rests while the goal is within the dead band. A goal takes effect after the motor's own
    delay. The skin follows the horns, which lag behind the shafts by the backlash, and in part by
    friction too: a generalized play (Prandtl-Ishlinskii) operator with two elements.

    Args:
        model: of the robot's `simulator` section.
        start: (M,) where they are.
        neutral: (M,) where the skin does not pull; `start` if not given.
    """

    def __init__(
        self, model: ServoModel, start: ArrayLike, neutral: ArrayLike | None = None
    ) -> None:
        self._model = model
        self._x = np.array(start, dtype=np.float64)
        self._geared = self._x.copy()
        self._dragged = self._x.copy()
        self._neutral = self._x.copy() if neutral is None else np.array(neutral, np.float64)
        self._rise_c = np.zeros_like(self._x)
        self._warmed = 0  # tick of _rise_c
        self._v = np.zeros_like(self._x)
        self._goal = self._x.copy()
        self._delays = np.array(model.delays_s)
        self._slowest = float(self._delays.max())
        self._arriving: deque[tuple[float, Array]] = deque()  # sent when, goals
        self._ticks: int | None = None
        self._on = np.ones(len(self._x), dtype=bool)

    def command(self, goal: ArrayLike, now_s: float) -> None:
        """New goals (M,), sent at `now_s`."""
        new = np.clip(np.asarray(goal, np.float64), 0.0, 1.0)
        newest = self._arriving[-1][1] if self._arriving else self._goal
        if not np.array_equal(new, newest):  # the same again changes nothing, and need not wake us
            self._arriving.append((now_s, new))

    def torque(self, on: bool, motors: Sequence[int] | None = None) -> None:
        """Of all, or of those with these indices; goals on their way to them are forgotten.

        Without torque the gears hold the position.
        """
        chosen = slice(None) if motors is None else list(motors)
        self._on[chosen] = on
        self._v[chosen] = 0.0
        for goal in (self._goal, *(goal for _, goal in self._arriving)):
            goal[chosen] = self._x[chosen]

    @property
    def has_torque(self) -> NDArray[np.bool_]:
        """(M,) whether they hold their positions."""
        return self._on.copy()

    def positions(self, now_s: float) -> Array:
        """(M,) positions of the shafts at `now_s`: what encoders tell."""
        self._run(now_s)
        return self._x.copy()

    def horns(self, now_s: float) -> Array:
        """(M,) positions at `now_s` behind backlash and friction: what the skin follows."""
        self._run(now_s)
        share = self._model.hysteresis
        return np.asarray((1.0 - share) * self._geared + share * self._dragged)

    def temperatures(self, now_s: float) -> Array:
        """(M,) degrees Celsius at `now_s`."""
        self._run(now_s)
        return np.asarray(self._model.ambient_c + self._rise_c)

    def _run(self, now_s: float) -> None:
        last = math.floor(now_s / STEP_S + 1e-9)
        if self._ticks is None:
            self._ticks = self._warmed = last
        while self._ticks < last:
            self._ticks += 1
            busy = self._step(self._ticks * STEP_S)
            if not busy and not self._arriving:
                self._ticks = last
            if self._ticks - self._warmed >= WARM_STEPS:
                self._warm(self._ticks)

    def _warm(self, tick: int) -> None:
        """Exponential approach to the temperature of the present load."""
        stretch = self._x - self._neutral
        span = np.where(stretch > 0.0, 1.0 - self._neutral, self._neutral)
        load = np.where(self._on, (stretch / np.maximum(span, 1e-9)) ** 2, 0.0)
        kept = math.exp((self._warmed - tick) * STEP_S / self._model.warming_s)
        self._rise_c = kept * self._rise_c + (1.0 - kept) * self._model.rise_c * load
        self._warmed = tick

    def _step(self, now_s: float) -> bool:
        """One step; False if nothing will move until a goal arrives."""
        for sent_s, goal in self._arriving:
            arrived = self._on & (sent_s + self._delays <= now_s + 1e-9)
            self._goal = np.where(arrived, goal, self._goal)
        while self._arriving and self._arriving[0][0] + self._slowest <= now_s + 1e-9:
            self._arriving.popleft()
        if not self._on.any():
            return False
        a = self._model.max_acceleration
        distance = self._goal - self._x
        size = np.abs(distance)
        wanted = np.minimum(stoppable(size, np.asarray(a), STEP_S), self._model.max_speed)
        wanted[size <= self._model.dead_band] = 0.0
        wanted = np.copysign(wanted, distance)
        self._v = _kept(wanted, self._v - a * STEP_S, self._v + a * STEP_S)
        self._x = _kept(self._x + self._v * STEP_S, 0.0, 1.0)
        half, wide = self._model.backlash / 2.0, self._model.hysteresis_width / 2.0
        self._geared = _kept(self._geared, self._x - half, self._x + half)
        self._dragged = _kept(self._dragged, self._geared - wide, self._geared + wide)
        return bool(self._v.any() or np.any(size > self._model.dead_band))


def _kept(x: Array, low: Array | float, high: Array | float) -> Array:
    """np.clip, at a third of its price for arrays this small."""
    return np.asarray(np.minimum(np.maximum(x, low), high))


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
        self._servos.torque(on, motors)

    def write(self, positions: ArrayLike) -> Array:
        given = np.asarray(positions, dtype=np.float64)
        on = self._servos.has_torque
        if given.shape != on.shape or not np.isfinite(given).all():
            raise ValueError(f"{len(on)} finite commands are needed, not {given}")
        sent = np.clip(given, 0.0, 1.0)
        self._servos.command(sent, self._now())
        return np.where(on, sent, np.nan)

    def read(self, motors: Sequence[int] | None = None) -> Array:
        here = self._servos.positions(self._now())
        asked = slice(None) if motors is None else list(motors)
        read = np.full(len(here), np.nan)
        read[asked] = here[asked]
        return read

    def telemetry(self, motor: int) -> Telemetry:
        return Telemetry(temperature_c=float(self._servos.temperatures(self._now())[motor]))

    def holds(self) -> Array:
        self._now()
        return self._servos.has_torque.astype(np.float64)

    def horns(self) -> Array:
        """(M,) what the skin follows now: `SimulatedServos.horns`."""
        return self._servos.horns(self._now())

    def _now(self) -> float:
        if not self._open:
            raise BusError(f"{self.description.file}: the bus is closed: open it first")
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
        (ceil(T * out_fps / rate_hz), M) what the skin follows (`SimulatedServos.horns`) at
        n / out_fps.
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
            out[n] = servos.horns(now)
        else:
            servos.positions(now)
            servos.command(safety.step(wanted[n] if kind == 0 else None, now).positions, now)
    return out
