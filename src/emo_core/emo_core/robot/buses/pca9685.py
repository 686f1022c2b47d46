"""Hobby servos at NXP's PCA9685 (16 channels of PWM on I2C), through smbus2.

Source: NXP, "PCA9685 product data sheet", rev. 4, tables 4 to 8 and sections 7.3.1 to 7.3.5. `port`
is the I2C bus (/dev/i2c-1). A motor's id is its channel: 0 to 15 at address 0x40, 16 to 31 at 0x41,
and so on. Pulses repeat every 20 ms, so a goal is taken up 0 to 20 ms after it was sent. All
channels of a board are written in one transfer and change together at its end.
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import smbus2
from numpy.typing import ArrayLike, NDArray
from smbus2 import i2c_msg

from emo_core.robot.bus import Array, BusError, ServoBus, Telemetry
from emo_core.robot.buses.scale import Scale
from emo_core.robot.description import RobotDescription

FIRST_ADDRESS = 0x40
CHANNELS = 16
#: 0x40 to 0x4E.
BOARDS = 15
#: Registers. Four for each channel from LED0 on: ON low, high, OFF low, high.
MODE1, MODE2, LED0, ALL_LED, PRE_SCALE = 0x00, 0x01, 0x06, 0xFA, 0xFE
CHANNEL_BYTES = 4
#: Bits of MODE1.
RESTART, AUTO_INCREMENT, SLEEP = 0x80, 0x20, 0x10
#: Of MODE2: push-pull outputs, which change when a transfer ends.
OUTDRV = 0x04
#: In the high byte of OFF: no pulse at all. This bit wins.
FULL_OFF = 0x10
NO_PULSE = (0, 0, 0, FULL_OFF)

OSCILLATOR_HZ = 25e6
COUNTS = 4096
FRAME_HZ = 50.0
PRESCALE = round(OSCILLATOR_HZ / (COUNTS * FRAME_HZ)) - 1
#: Microseconds of one count.
COUNT_US = (PRESCALE + 1) / OSCILLATOR_HZ * 1e6
#: The oscillator needs so long to start.
START_S = 500e-6
#: Pulses, microseconds: for motors without `raw`, and what any servo can take.
WHOLE_US = (1000.0, 2000.0)
ALLOWED_US = (400.0, 2600.0)
#: Clock of the bus, where `bus.baud` does not say; each byte takes nine bits.
CLOCK_HZ = 100_000
BITS_PER_BYTE = 9


#: What Linux's drivers say when nobody acknowledges.
NO_ANSWER = (121, errno.ENXIO, errno.EIO)  # 121: EREMOTEIO, which only Linux has


class I2c(Protocol):
    """What is used of `smbus2.SMBus`."""

    def i2c_rdwr(self, *messages: i2c_msg) -> None: ...

    def close(self) -> None: ...


class Pca9685Bus(ServoBus):
    """Hobby servos at one or more PCA9685 on one I2C bus.

    The servos cannot tell where they are: `read` gives where the chip sends them, also after a
    restart of this program, and NaN without pulses. Torque means pulses: without them most analogue
    servos go limp, while digital ones may hold. With torque a motor that had no pulses gets none
    until its first goal, to which it goes at its own speed.

    Args:
        description: the robot.
        connect: opens the I2C bus.
    """

    tells_position = False
    guarantee = (
        "none: the chip repeats its last pulses as long as it has power, so servos hold the last "
        "goal; when the chip's supply fails it forgets all, and sends no pulses until opened again"
    )

    def __init__(
        self, description: RobotDescription, connect: Callable[[str], I2c] = smbus2.SMBus
    ) -> None:
        super().__init__(description)
        self._scale = Scale(description, WHOLE_US, ALLOWED_US, (0, BOARDS * CHANNELS - 1))
        self._connect = connect
        self._i2c: I2c | None = None
        self._places = [divmod(motor.id, CHANNELS) for motor in description.motors]
        # Of each board, the first channel in use and the one after the last.
        self._spans: dict[int, tuple[int, int]] = {}
        for board, channel in self._places:
            first, end = self._spans.get(board, (channel, channel))
            self._spans[board] = (min(first, channel), max(end, channel + 1))
        sent = sum(2 + CHANNEL_BYTES * (end - first) for first, end in self._spans.values())
        self.write_s = sent * BITS_PER_BYTE / (description.bus.baud or CLOCK_HZ)
        self._on = np.zeros(len(self._places), dtype=bool)
        self._counts = np.zeros(len(self._places), dtype=np.int64)  # pulse; 0: none

    def open(self) -> None:
        """Set up the boards that are not, without pulses; those of the others go on."""
        self.close()
        self._on[:] = False
        with self._errors():
            self._i2c = self._connect(self.description.bus.port)
        for board in self._spans:
            if not self._ready(board):
                self._set_up(board)
        self._counts = self._pulses()

    def close(self) -> None:
        i2c, self._i2c = self._i2c, None
        if i2c is not None:
            with contextlib.suppress(OSError):
                i2c.close()

    def torque(self, on: bool, motors: Sequence[int] | None = None) -> None:
        chosen = list(range(len(self._on)) if motors is None else motors)
        self._on[chosen] = on
        if not on:
            self._counts[chosen] = 0
            self._send()

    def write(self, positions: ArrayLike) -> Array:
        counts = np.round(self._scale.to_raw(positions) / COUNT_US).astype(np.int64)
        self._counts = np.where(self._on, counts, self._counts)
        self._send()
        return np.where(self._on, self._scale.to_commands(counts * COUNT_US), np.nan)

    def read(self, motors: Sequence[int] | None = None) -> Array:
        self._need()
        sent = np.where(self._counts > 0, self._counts * COUNT_US, np.nan)
        asked = np.isin(np.arange(len(sent)), range(len(sent)) if motors is None else motors)
        return np.where(asked, self._scale.to_commands(sent), np.nan)

    def holds(self) -> Array:
        """Which channels have pulses; the servos themselves cannot tell."""
        return (self._pulses() > 0).astype(np.float64)

    def telemetry(self, motor: int) -> Telemetry:
        """Nothing of the servo itself; raises `BusError` if its board has lost its settings."""
        board, _ = self._places[motor]
        if not self._ready(board):
            raise BusError(
                f"{self.description.file}: bus.port '{self.description.bus.port}': the PCA9685 at "
                f"{FIRST_ADDRESS + board:#x} has lost its settings: check its supply, and that no "
                "other program uses it"
            )
        return Telemetry()

    def _pulses(self) -> NDArray[np.int64]:
        """(M,) counts of the pulses that the boards send; 0: none."""
        counts = np.zeros(len(self._places), dtype=np.int64)
        for motor, (board, channel) in enumerate(self._places):
            data = self._get(board, LED0 + CHANNEL_BYTES * channel, CHANNEL_BYTES)
            off = int.from_bytes(data[2:], "little")
            counts[motor] = 0 if off & FULL_OFF << 8 else off
        return counts

    def _ready(self, board: int) -> bool:
        """Whether a board is set up and awake."""
        return (
            self._get(board, MODE1) == bytes([AUTO_INCREMENT])
            and self._get(board, MODE2) == bytes([OUTDRV])
            and self._get(board, PRE_SCALE) == bytes([PRESCALE])
        )

    def _set_up(self, board: int) -> None:
        self._put(board, MODE1, [SLEEP | AUTO_INCREMENT])  # the prescaler can only be set asleep
        self._put(board, MODE2, [OUTDRV])
        self._put(board, PRE_SCALE, [PRESCALE])
        self._put(board, ALL_LED, NO_PULSE)  # else waking up would go on with old ones
        self._put(board, MODE1, [AUTO_INCREMENT])
        time.sleep(START_S)

    def _send(self) -> None:
        """Write the pulses of all channels, a transfer for each board."""
        for board, (first, end) in self._spans.items():
            data = bytearray(NO_PULSE * (end - first))
            for (at, channel), count in zip(self._places, self._counts, strict=True):
                if at == board and count:
                    start = CHANNEL_BYTES * (channel - first)
                    data[start : start + CHANNEL_BYTES] = int(count << 16).to_bytes(4, "little")
            self._put(board, LED0 + CHANNEL_BYTES * first, data)

    def _put(self, board: int, register: int, data: Iterable[int]) -> None:
        i2c = self._need()
        with self._errors(board):
            i2c.i2c_rdwr(i2c_msg.write(FIRST_ADDRESS + board, [register, *data]))

    def _get(self, board: int, register: int, size: int = 1) -> bytes:
        i2c = self._need()
        answer = i2c_msg.read(FIRST_ADDRESS + board, size)
        with self._errors(board):
            i2c.i2c_rdwr(i2c_msg.write(FIRST_ADDRESS + board, [register]), answer)
        return bytes(answer)

    def _need(self) -> I2c:
        if self._i2c is None:
            raise BusError(
                f"{self.description.file}: bus.port '{self.description.bus.port}' is closed: "
                "open it first"
            )
        return self._i2c

    @contextlib.contextmanager
    def _errors(self, board: int = 0) -> Iterator[None]:
        """What goes wrong with I2C inside, as one `BusError` that names file and remedy."""
        try:
            yield
        except OSError as error:
            self.close()
            raise BusError(_explain(self.description, error, FIRST_ADDRESS + board)) from error


def _explain(description: RobotDescription, error: OSError, address: int) -> str:
    port = description.bus.port
    where = f"{description.file}: bus.port '{port}'"
    if error.errno in NO_ANSWER:
        return (
            f"{where}: no PCA9685 answers at {address:#x}: check supply, wiring and address "
            "(i2cdetect shows who answers); ids 16 to 31 are at 0x41, and so on"
        )
    if error.errno == errno.ENOENT:
        return (
            f"{where} is not there: switch I2C on (raspi-config), or name another (ls /dev/i2c-*)"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{where} may not be opened by you: sudo usermod -aG i2c $USER, then log in again"
    if error.errno == errno.ENOTTY:
        return f"{where} is no I2C bus: name another (ls /dev/i2c-*)"
    return f"{where} failed ({error.strerror or error}): check wiring and pull-ups"
