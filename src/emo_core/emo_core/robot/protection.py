"""Which motors need a rest, from what their servos say: heat, supply, stalls, faults, silence.

Deterministic: time is passed in. It judges only; whoever owns the bus eases such a motor to neutral
and switches its torque off, and the others go on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from emo_core.robot.bus import Telemetry
from emo_core.robot.description import RobotDescription

#: Every servo is asked for its temperature and supply once in this time.
TELEMETRY_S = 1.0
#: A servo is silent after so many questions in a row without an answer, over so long: a few may be
#: lost to noise, or come too late on a busy host.
SILENT_AFTER, SILENT_AFTER_S = 5, 1.0
#: A motor that moved by this share of its stroke does not stall.
MOVED = 0.02
#: A rest within so long after the last one is twice as long, up to LONGEST_FACTOR times the first.
SOON_S = 60.0
LONGEST_FACTOR = 16.0


@dataclass
class _Motor:
    told: Telemetry = field(default_factory=Telemetry)
    unanswered: int = 0
    answered_s: float | None = None  # or asked first
    silent: bool = False
    anchor: float = math.nan  # where it stood when it moved last
    stalled_s: float = 0.0
    seen_s: float | None = None
    hot: bool = False
    sagging: bool = False
    why: str = ""  # it rests; empty: it works
    until_s: float = -math.inf
    ended_s: float = -math.inf
    factor: float = 1.0


class Protector:
    """Watches the motors of one robot."""

    def __init__(self, description: RobotDescription) -> None:
        self._limits = description.protection
        self._ease_s = description.watchdog.ease_s
        self._motors = [_Motor() for _ in description.motors]

    def position(self, motor: int, goal: float, measured: float, now_s: float) -> None:
        """Where a motor was sent and where it is, both in [0, 1]; NaN if it did not answer."""
        state = self._motors[motor]
        if math.isnan(measured):
            state.unanswered += 1
            state.answered_s = now_s if state.answered_s is None else state.answered_s
            long = now_s - state.answered_s >= SILENT_AFTER_S
            state.silent = state.silent or (long and state.unanswered >= SILENT_AFTER)
            state.seen_s = None
            return
        state.unanswered, state.answered_s, state.silent = 0, now_s, False
        gone_s = 0.0 if state.seen_s is None else now_s - state.seen_s
        state.seen_s = now_s
        if state.why or not abs(measured - state.anchor) <= MOVED:
            state.anchor, state.stalled_s = measured, 0.0
        elif abs(goal - measured) > self._limits.stall:
            state.stalled_s += gone_s

    def telemetry(self, motor: int, told: Telemetry) -> None:
        """What a servo said of itself."""
        state = self._motors[motor]
        # NaN is an answer that was lost: a motor that was hot still is.
        degrees, volts = told.temperature_c, told.voltage_v
        degrees = state.told.temperature_c if math.isnan(degrees) else degrees
        volts = state.told.voltage_v if math.isnan(volts) else volts
        state.told = replace(told, temperature_c=degrees, voltage_v=volts)
        cool, hot = self._limits.temperature_c
        low, enough = self._limits.voltage_v
        # Who never told any is neither: NaN compares false.
        state.hot = degrees > cool if state.hot else degrees >= hot
        state.sagging = volts <= enough if state.sagging else volts < low

    def silent(self, motor: int) -> bool:
        """Whether a servo does not answer."""
        return self._motors[motor].silent

    def told(self, motor: int) -> Telemetry:
        """What a servo said last."""
        return self._motors[motor].told

    def resting(self, now_s: float) -> dict[int, str]:
        """Motors that must rest now, and why, in words."""
        for motor, state in enumerate(self._motors):
            lasting = self._lasting(motor)
            if not state.why:
                state.why = lasting or self._passing(state)
                if state.why:
                    soon = now_s - state.ended_s < SOON_S
                    state.factor = min(2.0 * state.factor, LONGEST_FACTOR) if soon else 1.0
                    rest_s = self._ease_s + self._limits.rest_s * state.factor
                    state.until_s = now_s if self.silent(motor) else now_s + rest_s
            elif now_s >= state.until_s and not lasting:
                state.why, state.ended_s = "", now_s
                state.told = replace(state.told, fault="")  # it may tell us anew
                state.anchor, state.stalled_s = math.nan, 0.0
        return {motor: state.why for motor, state in enumerate(self._motors) if state.why}

    def _lasting(self, motor: int) -> str:
        """A reason that must be over before it works again."""
        state = self._motors[motor]
        if self.silent(motor):
            return "does not answer"
        if state.hot:
            return f"{state.told.temperature_c:.0f} °C"
        if state.sagging:
            return f"its supply is down to {state.told.voltage_v:.1f} V"
        return ""

    def _passing(self, state: _Motor) -> str:
        """A reason that a rest may mend: some servos keep a fault until they are switched on."""
        if state.told.fault:
            return state.told.fault
        if state.stalled_s >= self._limits.stall_s:
            return "stalled"
        return ""
