"""What is read from the servos, little by little, and which of them rest. No ROS.

Whoever calls owns the bus meanwhile. Each call is one question or order to one servo, so that a
command never waits for more than that.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from emo_core.robot.bus import BusError, ServoBus
from emo_core.robot.description import RobotDescription
from emo_core.robot.protection import SILENT_AFTER, SILENT_AFTER_S, TELEMETRY_S, Protector
from emo_core.robot.safety import SafetyLayer

#: One that does not answer costs a time-out each time: it is asked no more often than this.
SILENT_S = 1.0
#: A servo that did not take torque is asked to again after this time.
TORQUE_S = 0.3
SILENCE = "no servo answers: check their supply and the cable"


class Care:
    """Looks after the servos of one robot.

    Args:
        description: the robot.
        bus: open when `look` is called.
        safety: eases the motors that rest.
        tell: takes a line for the operator.

    Attributes:
        positions: (M,) where the motors were seen last; NaN where they were not. Where a bus
            cannot tell, what was sent.
        times_s: (M,) monotonic seconds of that.
        rested: motor -> why it rests.
        limp: the motors among them whose torque is off.
    """

    def __init__(
        self,
        description: RobotDescription,
        bus: ServoBus,
        safety: SafetyLayer,
        tell: Callable[[str], None],
    ) -> None:
        self._names = description.names
        self._ease_s = description.watchdog.ease_s
        self._bus, self._safety, self._say = bus, safety, tell
        count = len(description.motors)
        self.protector = Protector(description)
        self.positions: NDArray[np.float64] = np.full(count, np.nan)
        self.times_s: NDArray[np.float64] = np.full(count, -np.inf)
        self._asked_s = np.full(count, -np.inf)
        self._next = self._next_telemetry = 0
        self._telemetry_due_s = -np.inf
        self._torque = False
        self._unanswered, self._answered_s = 0, -np.inf  # questions to any servo
        self.rested: dict[int, str] = {}
        self.limp: set[int] = set()
        self._limp_at_s: dict[int, float] = {}  # of those that rest: when torque goes off
        self._again_s: dict[int, float] = {}  # and when it may be tried again

    def seen(self, positions: NDArray[np.float64], now_s: float) -> None:
        """All servos were read at once: (M,), NaN for those that are silent."""
        goals = self._safety.positions.tolist()
        for motor, position in enumerate(positions.tolist()):
            self._note(motor, position, goals[motor], now_s)

    def sent(self, positions: NDArray[np.float64], now_s: float) -> None:
        """What was really written: NaN for motors without torque, which were sent nothing.

        Where a bus cannot tell, that is all there is to know of where the others are.
        """
        known = np.isfinite(positions)
        if not self._bus.tells_position:
            self.positions[known], self.times_s[known] = positions[known], now_s
        for motor in np.flatnonzero(~known).tolist():
            if motor not in self.limp:  # its servo was not heard when torque was switched on
                self._begin_rest(motor, "torque is off", now_s)
                self._let_go(motor)
                self._again_s[motor] = now_s + TORQUE_S

    def look(self, now_s: float, torque: bool) -> bool:
        """Ask or order one thing of one servo (of all, where asking costs nothing).

        Args:
            now_s: monotonic seconds.
            torque: whether the servos have torque: without, none is switched.

        Returns:
            Whether there was anything to do.

        Raises:
            BusError: the line fails, or no servo answers.
        """
        self._torque = torque
        if torque and self._attend(now_s):
            return True
        if now_s >= self._telemetry_due_s:
            self._telemetry_due_s = now_s + TELEMETRY_S / len(self._names)
            motor = self._next_telemetry
            self._next_telemetry = (motor + 1) % len(self._names)
            if not self.protector.silent(motor):
                self.protector.telemetry(motor, self._bus.telemetry(motor))
                return True
        return self._bus.tells_position and self._read(now_s)

    def _read(self, now_s: float) -> bool:
        if self._bus.read_s == 0.0:
            self.seen(self._bus.read(), now_s)
            return False
        count = len(self._names)
        for motor in ((self._next + k) % count for k in range(count)):
            wait_s = SILENT_S if self.protector.silent(motor) else 0.0
            if now_s - self._asked_s[motor] > wait_s:
                self._next = (motor + 1) % count
                self._asked_s[motor] = now_s
                position = float(self._bus.read([motor])[motor])
                self._note(motor, position, float(self._safety.positions[motor]), now_s)
                return True
        return False

    def _note(self, motor: int, position: float, goal: float, now_s: float) -> None:
        self.protector.position(motor, goal if self._torque else position, position, now_s)
        if np.isfinite(position):
            self.positions[motor], self.times_s[motor] = position, now_s
            self._unanswered, self._answered_s = 0, now_s
            if motor in self.limp:
                self._safety.limp(motor, position)
            return
        self._unanswered += 1
        enough = self._unanswered >= max(SILENT_AFTER, len(self._names))
        if enough and now_s - self._answered_s >= SILENT_AFTER_S:
            raise BusError(SILENCE)

    def _attend(self, now_s: float) -> bool:
        """Motors begin and end their rests: at most one is switched."""
        wanted = self.protector.resting(now_s)
        for motor, why in wanted.items():
            if motor not in self.rested:
                self._begin_rest(motor, why, now_s)
            self.rested[motor] = why
        for motor in sorted(self.rested):
            if motor not in wanted and now_s >= self._again_s[motor]:
                self._wake(motor)
                return True
            if motor in wanted and motor not in self.limp and now_s >= self._limp_at_s[motor]:
                self._bus.torque(False, [motor])
                self._let_go(motor)
                return True
        return False

    def _begin_rest(self, motor: int, why: str, now_s: float) -> None:
        self.rested[motor] = why
        self._limp_at_s[motor], self._again_s[motor] = now_s + self._ease_s, now_s
        self._safety.rest(motor)
        self._say(f"{self._names[motor]} rests: {why}. The other motors go on")

    def _let_go(self, motor: int) -> None:
        self.limp.add(motor)
        self._safety.limp(motor, float(self.positions[motor]))

    def _wake(self, motor: int) -> None:
        if motor in self.limp:
            self._bus.torque(True, [motor])
            self.limp.discard(motor)
        del self.rested[motor], self._limp_at_s[motor], self._again_s[motor]
        self._safety.wake(motor, float(self.positions[motor]))
        self._say(f"{self._names[motor]} works again")
