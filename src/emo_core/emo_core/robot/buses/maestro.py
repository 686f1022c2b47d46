"""Pololu Maestro servo controllers (Micro 6, Mini 12, 18 and 24), compact protocol.

Source: Pololu, "Maestro Servo Controller User's Guide", chapters 4 (settings, errors) and 5 (serial
interface). A command byte has its highest bit set and data bytes have it clear; targets are pulse
widths in quarters of a microsecond, seven bits to a byte, the low ones first; 0 stops the pulses.
No checksum unless CRC is enabled in the settings, which this driver does not support.

What only Pololu's Control Center can set, over USB: serial mode (USB Dual Port, or UART at a fixed
baud rate), the serial time-out, and for each channel its range and what it does on an error. Over
the serial line nobody can ask for these: `MaestroBus.arm_watchdog` tries the time-out out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from emo_core.robot.bus import Array, BusError, ServoBus, Telemetry
from emo_core.robot.buses.scale import Scale
from emo_core.robot.buses.serial_line import SerialLine, silent
from emo_core.robot.description import RobotDescription

BAUD = 115200
CHANNELS = (0, 23)
#: Pulses at command 0 and 1 if `raw` is not given, and the widest that are taken, in us.
PULSES_US = (1000.0, 2000.0)
WIDEST_US = (500.0, 2500.0)
#: Targets are in quarters of a microsecond.
QUARTERS = 4

SET_TARGET = 0x84  # channel, low, high
GET_POSITION = 0x90  # channel -> two bytes: the pulse that is being sent
SET_MULTIPLE_TARGETS = 0x9F  # count, first channel, then low and high of each; not on the Micro
GET_ERRORS = 0xA1  # -> two bytes, which are cleared

#: Bits of the error register.
ERRORS = (
    "serial signal error",
    "serial overrun error",
    "serial buffer full",
    "serial CRC error",
    "serial protocol error",
    "serial timeout",
    "script stack error",
    "script call stack error",
    "script program counter error",
)
TIMEOUT_BIT = 1 << ERRORS.index("serial timeout")
#: The Micro Maestro has channels 0 to 5 and no SET_MULTIPLE_TARGETS.
MICRO_CHANNELS = 6

#: What the controller and USB take to answer, and when we give up. The guide has no figures.
TURNAROUND_S = 0.001
PATIENCE_S = 0.015
#: Nobody is there if so many questions in a row have no answer at the start, or for so long later.
TRIES = 5
SILENCE_S = 0.8
#: How much later than its time-out the controller is asked whether that came.
MARGIN_S = 0.05


def seven_bits(value: int) -> bytes:
    """A 14-bit number as two data bytes."""
    return bytes([value & 0x7F, value >> 7 & 0x7F])


def targets(first: int, values: Sequence[int]) -> bytes:
    """The command for targets (quarters of us) of consecutive channels from `first` on."""
    data = b"".join(seven_bits(value) for value in values)
    if first + len(values) <= MICRO_CHANNELS:
        return b"".join(
            bytes([SET_TARGET, first + n]) + data[2 * n : 2 * n + 2] for n in range(len(values))
        )
    return bytes([SET_MULTIPLE_TARGETS, len(values), first]) + data


class MaestroBus(ServoBus):
    """Hobby servos on a Maestro. `port` is its Command Port over USB, or a UART.

    Nothing tells where the servos are: `read` gives the pulses that the controller is sending,
    which outlive this process.
    """

    tells_position = False
    guarantee = (
        "if the serial time-out is set (checked at the start), each channel goes where its setting "
        "'on startup or error' sends it when it passes; otherwise servos hold the last pulse"
    )

    def __init__(
        self,
        description: RobotDescription,
        patience_s: float = PATIENCE_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(description)
        self._scale = Scale(description, PULSES_US, WIDEST_US, CHANNELS, QUARTERS)
        self._channels = [motor.id for motor in description.motors]
        self._runs = _runs(self._channels)
        self._line = SerialLine(description, BAUD)
        self._patience_s = patience_s
        size = sum(len(targets(self._channels[run[0]], [0] * len(run))) for run in self._runs)
        self.write_s = self._line.seconds(size)
        self.read_s = self._line.seconds(4) + TURNAROUND_S
        self._sleep = sleep
        self._on = np.zeros(len(self._channels), dtype=bool)
        self._silent_s: float | None = None  # since when it does not answer

    def open(self) -> None:
        self._line.open()
        self._on[:] = False
        try:
            self._errors()
        except BusError:
            self._line.close()
            raise

    def close(self) -> None:
        self._line.close()

    def torque(self, on: bool, motors: Sequence[int] | None = None) -> None:
        """Off: no pulses. On: pulses begin with the next `write`, those that go on, stay."""
        chosen = list(range(len(self._channels)) if motors is None else motors)
        if on:
            if not self._on.any():
                self._errors()  # of the time before
        else:
            self._line.write(b"".join(targets(self._channels[i], [0]) for i in chosen))
        self._on[chosen] = on

    def write(self, positions: ArrayLike) -> Array:
        raw = self._scale.to_raw(positions)
        quarters = np.where(self._on, raw * QUARTERS, 0.0)
        self._line.write(
            b"".join(
                targets(self._channels[run[0]], [int(quarters[i]) for i in run])
                for run in self._runs
            )
        )
        return np.where(self._on, self._scale.to_commands(raw), np.nan)

    def read(self, motors: Sequence[int] | None = None) -> Array:
        """(M,) the pulses being sent, as commands; NaN where there are none.

        Raises:
            BusError: also when the controller had an error, and its channels went where their
                settings send them: take them up from there.
        """
        self._check()
        raw = np.full(len(self._channels), np.nan)
        for i in range(len(self._channels)) if motors is None else motors:
            quarters = self._ask(bytes([GET_POSITION, self._channels[i]]))
            if quarters:
                raw[i] = quarters / QUARTERS
            # Its answer may still come: not to the next channel's question, which it looks like.
            if quarters is None and not self._check():
                break
        return self._scale.to_commands(raw)

    def holds(self) -> Array:
        """Which channels are sent pulses; the servos themselves cannot tell."""
        pulses = [self._ask(bytes([GET_POSITION, channel])) for channel in self._channels]
        return np.array([np.nan if pulse is None else float(pulse > 0) for pulse in pulses])

    def telemetry(self, motor: int) -> Telemetry:
        """Nothing; but raises BusError as `read` does."""
        self._check()
        return Telemetry()

    def arm_watchdog(self, timeout_s: float) -> bool:
        """Whether the controller's own serial time-out comes within `timeout_s`.

        Keeps silent for so long and then asks, since the setting can neither be written nor read
        over the serial line.
        """
        self._errors()
        self._sleep(timeout_s + MARGIN_S)
        return bool(self._errors() & TIMEOUT_BIT)

    def _check(self) -> bool:
        """Whether it answers. Raises BusError for errors while motors move, and if it is gone."""
        errors = self._ask(bytes([GET_ERRORS]))
        now_s = time.monotonic()
        self._silent_s = None if errors is not None else self._silent_s or now_s
        if self._silent_s is not None and now_s - self._silent_s > SILENCE_S:
            raise silent(self.description, "no Maestro answers")
        if errors and self._on.any():
            words = ", ".join(word for bit, word in enumerate(ERRORS) if errors >> bit & 1)
            raise BusError(
                f"{self.description.file}: the Maestro on bus.port "
                f"'{self.description.bus.port}' reports {words or hex(errors)}: its channels went "
                "to their error positions; check cable, baud rate and its serial settings"
            )
        return errors is not None

    def _errors(self) -> int:
        """The error register, which is cleared. Raises BusError if nobody answers."""
        for _ in range(TRIES):
            errors = self._ask(bytes([GET_ERRORS]))
            if errors is not None:
                self._silent_s = None
                return errors
        raise silent(self.description, "no Maestro answers")

    def _ask(self, request: bytes) -> int | None:
        """The answer's two bytes as a number.

        Answers do not say to what. One that comes too late meets the next question, and is told
        from its answer by its size: no pulse is as short as the error register is large.
        """
        errors = request[0] == GET_ERRORS

        def find(data: bytes) -> int | None:
            for low, high in zip(data[::2], data[1::2], strict=False):
                word = low | high << 8
                if errors == (word < 1 << len(ERRORS)) or word == 0:
                    return word
            return None

        return self._line.ask(request, 2, self._patience_s, find)


def _runs(channels: Sequence[int]) -> list[list[int]]:
    """Motor indices in runs of consecutive channels."""
    runs: list[list[int]] = []
    for i in sorted(range(len(channels)), key=lambda i: channels[i]):
        if runs and channels[i] == channels[runs[-1][-1]] + 1:
            runs[-1].append(i)
        else:
            runs.append([i])
    return runs
