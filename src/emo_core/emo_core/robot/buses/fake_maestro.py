"""A Maestro and its hobby servos behind a pseudo-terminal (protocol and source: `maestro`)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from emo_core.robot.bus import Array
from emo_core.robot.buses import maestro
from emo_core.robot.buses.fake import Device, FakeServos
from emo_core.robot.buses.scale import Scale

#: Data bytes that follow each command byte; a count first where it says so itself.
DATA_BYTES = {
    maestro.SET_TARGET: 3,
    maestro.GET_POSITION: 1,
    maestro.GET_ERRORS: 0,
    maestro.SET_MULTIPLE_TARGETS: 2,
}
PROTOCOL_ERROR = 1 << maestro.ERRORS.index("serial protocol error")


class FakeMaestro(Device):
    """A Mini Maestro 24.

    Args:
        servos: on its channels.
        timeout_s: its setting "serial timeout"; 0 for none.
        on_error: its setting "on startup or error" of all channels; "go to" goes to neutral.
    """

    baud = maestro.BAUD
    turnaround_s = 0.0005  # an assumption: the guide gives no figure

    def __init__(
        self,
        servos: FakeServos,
        timeout_s: float = 0.5,
        on_error: Literal["off", "ignore", "go to"] = "go to",
    ) -> None:
        super().__init__(servos)
        motors = servos.description.motors
        self._scale = Scale(
            servos.description,
            maestro.PULSES_US,
            maestro.WIDEST_US,
            maestro.CHANNELS,
            maestro.QUARTERS,
        )
        self._motor_of = {motor.id: n for n, motor in enumerate(motors)}
        self._timeout_s, self._on_error = timeout_s, on_error
        self._home = self._quarters(servos.description.neutral)
        self.targets = [0 for _ in motors]
        self.errors = 0
        self._command: int | None = None
        self._data: list[int] = []
        self._heard_s: float | None = None

    def receive(self, byte: int, now_s: float) -> list[bytes]:
        if byte & 0x80:
            if self._command is not None or byte not in DATA_BYTES:
                self._fail(PROTOCOL_ERROR, now_s)
            self._command = byte if byte in DATA_BYTES else None
            self._data = []
        elif self._command is None:
            self._fail(PROTOCOL_ERROR, now_s)
        else:
            self._data.append(byte)
        if self._command is None:
            return []
        needed = DATA_BYTES[self._command]
        if self._command == maestro.SET_MULTIPLE_TARGETS and self._data:
            needed += 2 * self._data[0]
        if len(self._data) < needed:
            return []
        command, self._command = self._command, None
        self._heard_s = now_s
        return self._obey(command, self._data, now_s)

    def tick(self, now_s: float) -> None:
        """The serial time-out, which comes once for each silence."""
        if self._heard_s is not None and 0.0 < self._timeout_s < now_s - self._heard_s:
            self._heard_s = None
            self._fail(maestro.TIMEOUT_BIT, now_s)

    def _obey(self, command: int, data: list[int], now_s: float) -> list[bytes]:
        if command == maestro.GET_ERRORS:
            errors, self.errors = self.errors, 0
            return [errors.to_bytes(2, "little")]
        if command == maestro.GET_POSITION:
            motor = self._motor_of.get(data[0])
            return [(0 if motor is None else self.targets[motor]).to_bytes(2, "little")]
        first, values = data[0], data[1:]
        if command == maestro.SET_MULTIPLE_TARGETS:
            first, values = data[1], data[2:]
        for n in range(len(values) // 2):
            motor = self._motor_of.get(first + n)
            if motor is not None:
                self._set(motor, values[2 * n] | values[2 * n + 1] << 7, now_s)
        return []

    def _set(self, motor: int, target: int, now_s: float) -> None:
        self.targets[motor] = target
        pulses = target > 0
        if self.servos.on[motor] != pulses:
            self.servos.torque(motor, pulses, now_s)
        if pulses:
            raw = np.full(len(self.targets), target / maestro.QUARTERS)
            self.servos.command({motor: float(self._scale.to_commands(raw)[motor])}, now_s)

    def _fail(self, error: int, now_s: float) -> None:
        self.errors |= error
        if self._on_error != "ignore":
            for motor, home in enumerate(self._home):
                self._set(motor, home if self._on_error == "go to" else 0, now_s)

    def _quarters(self, commands: Array) -> list[int]:
        return [int(raw * maestro.QUARTERS) for raw in self._scale.to_raw(commands)]
