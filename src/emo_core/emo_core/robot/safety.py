"""The one layer that every command passes on its way to a servo.

Deterministic: time is passed in, and the same calls give the same answers. What holds for every
position handed back, whatever came in:

* it lies within the motor's limits, and every interlock holds (a robot found outside them is
  led back in, and never further out);
* from step to step no motor is faster than its `max_speed`, and no motor's speed changes by more
  than its `max_acceleration` allows;
* a motor that had no finite command for `watchdog.timeout_s` is on its way to neutral, and there
  `watchdog.ease_s` later (or as soon as the limits above let it);
* heat, as the dwell model has it, is kept below `dwell.hard` by drawing the motor towards neutral;
* a motor that rests eases to neutral whatever is commanded, and one without torque is not moved:
  the interlocks of the others count with where it stands.

Goals first pass a delay line, in which motors of low latency wait for the slowest; a command
feeds the watchdog when it arrives.

How: each step keeps, for every motor, enough room to stop. From position x and speed v a motor
can always brake to a halt at x + v|v| / (2 a). A step is taken only if the halt it leads to is
within limits, and if the interlocks hold with every motor at its worst point on the way to that
halt; braking itself always passes this test, so there is always a safe step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo_core.robot.delay import DelayLine
from emo_core.robot.description import RobotDescription
from emo_core.robot.sent import Reason, Sent

__all__ = [
    "HOMING_LIMIT_S",
    "MAX_STEP_S",
    "MIN_STEP_S",
    "Reason",
    "SafetyLayer",
    "Sent",
    "stoppable",
]

#: A longer pause between two steps counts as this long, so that a stall never becomes a leap.
MAX_STEP_S = 0.05
#: A shorter one waits for the next.
MIN_STEP_S = 1e-5
#: After a take-up from an unknown pose, speeds grow from this share to all of it in SOFT_START_S.
SOFT_START_SHARE = 0.15
SOFT_START_S = 1.0
#: Who sees a face home waits so much longer than the watchdog's `ease_s` before torque goes off.
HOMING_LIMIT_S = 3.0
_BISECTIONS = 12
_AT_NEUTRAL = 0.01
_TOLERANCE = 1e-9

Array = NDArray[np.float64]


class SafetyLayer:
    """Limits for one robot. One instance owns the robot; every source of commands goes through it.

    Args:
        description: the robot.
        start: (M,) where the servos are; neutral if not given.
    """

    def __init__(self, description: RobotDescription, start: ArrayLike | None = None) -> None:
        self.description = description
        self._index = {name: i for i, name in enumerate(description.names)}
        self._neutral = description.neutral
        self._low, self._high = description.lower, description.upper
        self._speed, self._acceleration = description.max_speed, description.max_acceleration
        self._span = np.maximum(self._high - self._neutral, self._neutral - self._low)
        self._weights = np.zeros((len(description.interlocks), len(description.motors)))
        for row, interlock in enumerate(description.interlocks):
            for motor, weight in interlock.weights:
                self._weights[row, motor] += weight
        self._maximum = np.array([interlock.maximum for interlock in description.interlocks])
        self._line = DelayLine([motor.latency_s for motor in description.motors])
        self._estop = False
        self.heat = np.zeros(len(description.motors))
        self._resting = np.zeros(len(description.motors), dtype=bool)
        self._limp = np.zeros(len(description.motors), dtype=bool)
        self.reset(self._neutral if start is None else start, gentle=False)

    def reset(self, positions: ArrayLike, gentle: bool = True) -> None:
        """Take the servos up from where they are, at rest.

        A position that is not finite counts as neutral. Heat, e-stop and resting motors stay as
        they are.
        `gentle` starts slowly, unless all stand at neutral, where nothing needs mending.
        """
        given = np.array(positions, dtype=np.float64).reshape(self._neutral.shape)
        self._x = np.where(np.isfinite(given), given, self._neutral)
        self._v = np.zeros_like(self._x)
        self._goal = self._x.copy()
        self._line.clear()
        self._reasons = np.zeros(len(self._x), dtype=np.int64)
        self._now: float | None = None
        self._heard = np.full(len(self._x), math.inf)  # counts from the first step
        self._ease_from = self._x.copy()
        self._easing = np.zeros(len(self._x), dtype=bool)
        self._ease_start = np.zeros(len(self._x))
        astray = bool(np.any(np.abs(self._x - self._neutral) > _AT_NEUTRAL))
        self._soft_left = np.full(len(self._x), SOFT_START_S if gentle and astray else 0.0)

    @property
    def positions(self) -> Array:
        """(M,) what was sent last."""
        return self._x.copy()

    @property
    def estopped(self) -> bool:
        """Whether the e-stop is set."""
        return self._estop

    @property
    def at_neutral(self) -> bool:
        """Whether everything that has torque rests at neutral (within 1 % of a stroke)."""
        near = np.abs(self._x - self._neutral) < _AT_NEUTRAL
        return bool(np.all(self._limp | (near & (np.abs(self._v) < 0.1))))

    def home(self) -> None:
        """Ease to neutral from now on, as the watchdog does, until a new command arrives."""
        self._heard[:] = -math.inf

    def estop(self) -> None:
        """Brake everything as hard as the limits allow, stay there, then drop torque."""
        self._estop = True

    def release(self) -> None:
        """Leave the e-stop: start gently, from here, and wait for a new command."""
        if self._estop:
            self._estop = False
            self._goal = self._x.copy()
            self._line.clear()
            self._reasons[:] = 0
            self._easing[:] = False
            self._soft_left[:] = SOFT_START_S
            if self._now is not None:
                self._heard[:] = self._now

    def rest(self, motor: int) -> None:
        """Ease one motor to neutral and keep it there, whatever is commanded, until `wake`."""
        self._resting[motor] = True

    def limp(self, motor: int, position: float) -> None:
        """The torque of one motor is off: it stands at `position`, and nothing moves it.

        A position that is not finite leaves it where it was sent last.
        """
        self._limp[motor] = True
        self._place(motor, position)

    def wake(self, motor: int, position: float) -> None:
        """Let one motor work again: gently, from `position` as in `limp`, at the next command."""
        self._limp[motor] = self._resting[motor] = self._easing[motor] = False
        self._place(motor, position)
        self._reasons[motor] = 0
        self._soft_left[motor] = SOFT_START_S
        if self._now is not None:
            self._heard[motor] = self._now

    def _place(self, motor: int, position: float) -> None:
        if math.isfinite(position):
            self._x[motor] = position
        self._goal[motor] = self._x[motor]
        self._line.clear(motor)
        self._v[motor] = 0.0

    def step(self, command: ArrayLike | Mapping[str, float] | None, now_s: float) -> Sent:
        """The positions to send at `now_s`.

        Args:
            command: (M,) in the description's order, or name -> position for some motors, or None
                when nothing arrived. Numbers that are not finite, unknown names and wrong
                lengths are refused, flagged, and count as no command.
            now_s: monotonic seconds. A time that is not finite or runs backwards counts as no
                time gone by.
        """
        dt = self._elapsed(now_s)
        self._hear(command, dt)
        before, share = self._take_due(dt)
        reasons = self._reasons.copy()
        target = self._target(self._goal, reasons)
        if dt > 0.0:
            speed = self._speed * self._soft_share(dt, reasons)
            velocity = self._follow(target, speed, dt, reasons)
            if np.any(share < 1.0):
                # A goal that came out within this step counts for its part of the step. Both
                # velocities keep to every motor's limits, so what lies between them does, too.
                unused = np.zeros_like(reasons)
                old = self._follow(self._target(before, unused), speed, dt, unused)
                velocity = old + share * (velocity - old)
            velocity = self._interlocked(velocity, dt, reasons)
            # The clip takes rounding away: the velocities already keep to the limits.
            low, high = np.minimum(self._low, self._x), np.maximum(self._high, self._x)
            self._x = np.clip(self._x + velocity * dt, low, high)
            self._v = velocity
            self._warm_up(dt)
        elif self._estop:
            reasons |= int(Reason.ESTOP)
        at_rest = not np.any(self._v)
        return Sent(self._x.copy(), reasons, torque=not (self._estop and at_rest))

    # -- what is wanted ------------------------------------------------------------------

    def _elapsed(self, now_s: float) -> float:
        if not math.isfinite(now_s):
            return 0.0
        if self._now is None:
            self._now = now_s
            self._heard = np.minimum(self._heard, now_s)  # not if it was told to go home
            return 0.0
        gone = now_s - self._now
        if gone < MIN_STEP_S:
            return 0.0
        self._now = now_s
        return min(gone, MAX_STEP_S)

    def _hear(self, command: ArrayLike | Mapping[str, float] | None, dt: float) -> None:
        """Take a command in: goals on their way, the watchdog fed, what was wrong with it kept."""
        if command is None:
            return
        values = np.full(len(self._x), math.nan)
        bad_shape = False
        named = np.ones(len(self._x), dtype=bool)
        if isinstance(command, Mapping):
            named[:] = False
            for name, value in command.items():
                if name in self._index:
                    values[self._index[name]] = value
                    named[self._index[name]] = True
                else:
                    bad_shape = True
        else:
            given = np.asarray(command, dtype=np.float64)
            bad_shape = given.shape != values.shape
            if bad_shape:
                named[:] = False
            else:
                values = given
        good = np.isfinite(values)
        # A command counts for the whole step that it came in.
        self._line.feed(np.where(good, values, math.nan), self._time - dt)
        if self._now is not None:
            self._heard[good] = self._now
        self._reasons[good] = 0
        self._reasons[named & ~good] = int(Reason.NOT_FINITE)
        if bad_shape:
            self._reasons |= int(Reason.SHAPE)

    @property
    def _time(self) -> float:
        return -math.inf if self._now is None else self._now

    def _take_due(self, dt: float) -> tuple[Array, Array]:
        """Goals that are due become `_goal`.

        Returns:
            the goals before (M,), and the share of this step for which the new ones count (M,).
        """
        before, share = self._goal, np.ones(len(self._x))
        goals, times = self._line.due(self._time)
        new = np.isfinite(goals)
        self._goal = np.where(new, goals, before)
        if dt > 0.0:
            share[new] = np.clip((self._time - times[new]) / dt, 0.0, 1.0)
        return before, share

    def _target(self, goal: Array, reasons: NDArray[np.int64]) -> Array:
        """Goal, or the way home for motors nobody speaks to; within limits and the heat budget.

        A motor without torque stays where it is.
        """
        target = goal
        if self._now is not None:
            unheard = self._now - self._heard > self.description.watchdog.timeout_s
            lost = unheard | self._resting
            begins = lost & ~self._easing
            self._ease_from[begins] = self._x[begins]
            self._ease_start[begins] = self._now
            self._easing = lost
            phase = np.clip((self._now - self._ease_start) / self.description.watchdog.ease_s, 0, 1)
            home = self._ease_from + phase**2 * (3 - 2 * phase) * (self._neutral - self._ease_from)
            target = np.where(lost, home, target)
            # The next command to such a motor may wait in the line: until then it stays put.
            self._goal = np.where(lost, self._x, self._goal)
            reasons[unheard] = int(Reason.WATCHDOG)
            reasons[self._resting] = int(Reason.RESTED)
        inside = np.clip(target, self._low, self._high)
        reasons[inside != target] |= int(Reason.LIMITS)
        dwell = self.description.dwell
        fever = np.clip((self.heat - dwell.soft) / (dwell.hard - dwell.soft), 0.0, 1.0)
        room = self._span * (1.0 - fever * (1.0 - dwell.rest))
        cool = np.clip(inside, self._neutral - room, self._neutral + room)
        reasons[cool != inside] |= int(Reason.DWELL)
        return np.where(self._limp, self._x, cool)

    def _soft_share(self, dt: float, reasons: NDArray[np.int64]) -> Array:
        """(M,) shares of their speed that the motors may use after a take-up."""
        gone = 1.0 - self._soft_left / SOFT_START_S
        reasons[self._soft_left > 0.0] |= int(Reason.SOFT_START)
        self._soft_left = np.maximum(self._soft_left - dt, 0.0)
        return np.asarray(SOFT_START_SHARE + (1.0 - SOFT_START_SHARE) * gone)

    # -- what is allowed -----------------------------------------------------------------

    def _follow(self, target: Array, speed: Array, dt: float, reasons: NDArray[np.int64]) -> Array:
        """(M,) velocities: to the target as fast as speed, acceleration and limits allow."""
        a = self._acceleration
        brake = self._brake(dt)
        if self._estop:
            reasons |= int(Reason.ESTOP)
            return brake
        distance = target - self._x
        wanted = np.sign(distance) * stoppable(np.abs(distance), a, dt)
        reasons[np.abs(distance) > np.maximum(speed * dt, 1e-12)] |= int(Reason.SPEED)
        velocity = np.clip(wanted, -speed, speed)
        change = np.clip(velocity, self._v - a * dt, self._v + a * dt)
        reasons[np.abs(change - wanted) > 1e-12] |= int(Reason.ACCELERATION)
        # Room to stop before the limits; a motor outside may come in, but not go further out.
        room_up = np.maximum(self._high - self._x, _halt(np.maximum(self._v, 0.0), a))
        room_down = np.maximum(self._x - self._low, _halt(np.minimum(self._v, 0.0), a))
        velocity = np.clip(change, -stoppable(room_down, a, dt), stoppable(room_up, a, dt))
        # Rounding may ask a hair more than the acceleration limit: braking always fits.
        inside = np.clip(velocity, self._v - a * dt, self._v + a * dt)
        return np.where(np.abs(inside - velocity) > 0.0, brake, velocity)

    def _brake(self, dt: float) -> Array:
        """(M,) velocities one step nearer to standstill."""
        slower = np.maximum(np.abs(self._v) - self._acceleration * dt, 0.0)
        return np.asarray(np.copysign(slower, self._v))

    def _interlocked(self, velocity: Array, dt: float, reasons: NDArray[np.int64]) -> Array:
        """Brake as many motors as it takes for every interlock to hold until standstill."""
        if not len(self._maximum) or self._estop:
            return velocity
        brake = self._brake(dt)
        allowed = np.maximum(self._maximum, self._worst(brake, dt)) + _TOLERANCE
        if np.all(self._worst(velocity, dt) <= allowed):
            return velocity
        for row, weights in enumerate(self._weights):
            offenders = weights * velocity > 0.0
            one = slice(row, row + 1)
            velocity = self._scaled(velocity, brake, offenders, one, allowed, dt, reasons)
        members = np.any(self._weights != 0.0, axis=0)
        every = slice(None)
        return self._scaled(velocity, brake, members, every, allowed, dt, reasons)

    def _scaled(
        self,
        velocity: Array,
        brake: Array,
        motors: NDArray[np.bool_],
        rows: slice,
        allowed: Array,
        dt: float,
        reasons: NDArray[np.int64],
    ) -> Array:
        """`velocity` with `motors` moved towards `brake` until the interlocks `rows` hold."""
        if np.all(self._worst(velocity, dt)[rows] <= allowed[rows]):
            return velocity
        low, high = 0.0, 1.0
        for _ in range(_BISECTIONS):
            share = (low + high) / 2
            trial = np.where(motors, brake + share * (velocity - brake), velocity)
            if np.all(self._worst(trial, dt)[rows] <= allowed[rows]):
                low = share
            else:
                high = share
        reasons[motors] |= int(Reason.INTERLOCK)
        return np.where(motors, brake + low * (velocity - brake), velocity)

    def _worst(self, velocity: Array, dt: float) -> Array:
        """(interlocks,) largest weighted sums on the way to a halt after a step at `velocity`."""
        x = self._x + velocity * dt
        halt = x + np.sign(velocity) * _halt(velocity, self._acceleration)
        both = self._weights[:, None, :] * np.stack([x, halt])[None]
        return np.asarray(both.max(axis=1).sum(axis=1))

    def _warm_up(self, dt: float) -> None:
        load = np.minimum(((self._x - self._neutral) / self._span) ** 2, 1.0)
        self.heat += (load - self.heat) * -math.expm1(-dt / self.description.dwell.time_constant_s)


def _halt(velocity: Array, acceleration: Array) -> Array:
    """Distance to a standstill."""
    return np.asarray(velocity**2 / (2.0 * acceleration))


def stoppable(distance: Array, acceleration: Array, dt: float) -> Array:
    """Largest speed v >= 0 with v dt + v^2 / (2 a) <= distance (>= 0)."""
    a = acceleration
    root = np.sqrt((a * dt) ** 2 + 2.0 * a * np.maximum(distance, 0.0))
    # The same as root - a dt, without cancellation where distance is small.
    return np.asarray(2.0 * a * np.maximum(distance, 0.0) / (root + a * dt))
