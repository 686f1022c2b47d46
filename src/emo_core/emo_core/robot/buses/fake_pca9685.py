"""PCA9685 boards with hobby servos, in place of `smbus2.SMBus` (source: `pca9685`)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import numpy as np
from smbus2 import i2c_msg

from emo_core.robot.bus import ServoBus
from emo_core.robot.buses import pca9685 as chip
from emo_core.robot.buses.fake import FakeServos
from emo_core.robot.buses.scale import Scale
from emo_core.robot.description import RobotDescription

#: After the last one of these the address goes back to 0.
LAST_LED, LAST = 69, 254
#: MODE1 when the supply comes on: asleep, and it answers the address of all.
ALL_CALL = 0x01
I2C_READ = 0x0001


class Board:
    """One PCA9685's registers."""

    def __init__(self) -> None:
        self.registers = bytearray(256)
        self.start()

    def start(self) -> None:
        """The supply comes on."""
        self.registers[:] = bytes(256)
        self.registers[chip.MODE1] = chip.SLEEP | ALL_CALL
        self.registers[chip.MODE2] = chip.OUTDRV
        self.registers[chip.PRE_SCALE] = 0x1E  # 200 Hz
        for channel in range(chip.CHANNELS):
            self.registers[chip.LED0 + chip.CHANNEL_BYTES * channel + 3] = chip.FULL_OFF
        self._at = 0

    def write(self, data: bytes) -> None:
        """One transfer: a register's address, then values."""
        self._at = data[0]
        for value in data[1:]:
            self._set(self._at, value)
            self._advance()

    def read(self, size: int) -> bytes:
        """Values from the address on that was written last."""
        data = bytearray()
        for _ in range(size):
            data.append(self.registers[self._at])
            self._advance()
        return bytes(data)

    def pulse_us(self, channel: int) -> float | None:
        """Width of a channel's pulse, None if there is none."""
        mode = self.registers[chip.MODE1]
        start = chip.LED0 + chip.CHANNEL_BYTES * channel
        on, off = (
            int.from_bytes(self.registers[at : at + 2], "little") for at in (start, start + 2)
        )
        if mode & (chip.SLEEP | chip.RESTART) or off & chip.FULL_OFF << 8:
            return None
        count_us = (self.registers[chip.PRE_SCALE] + 1) / chip.OSCILLATOR_HZ * 1e6
        return (off - on) % chip.COUNTS * count_us

    def _advance(self) -> None:
        if self.registers[chip.MODE1] & chip.AUTO_INCREMENT:
            self._at = 0 if self._at in (LAST_LED, LAST) else self._at + 1

    def _set(self, register: int, value: int) -> None:
        asleep = self.registers[chip.MODE1] & chip.SLEEP
        if register == chip.MODE1:
            restart = self.registers[chip.MODE1] & chip.RESTART
            if value & chip.SLEEP and not asleep and self._any_pulse():
                restart = chip.RESTART  # cut off in mid-work
            if value & chip.RESTART and not asleep:
                restart = 0  # which resumes the pulses
            self.registers[chip.MODE1] = value & ~chip.RESTART | restart
        elif register == chip.PRE_SCALE:
            if asleep:
                self.registers[chip.PRE_SCALE] = max(value, 3)
        elif chip.ALL_LED <= register < chip.PRE_SCALE:
            for channel in range(chip.CHANNELS):
                at = chip.LED0 + chip.CHANNEL_BYTES * channel + register - chip.ALL_LED
                self._set(at, value)
        else:
            self.registers[register] = value
            if chip.LED0 <= register <= LAST_LED:
                self.registers[chip.MODE1] &= ~chip.RESTART

    def _any_pulse(self) -> bool:
        return any(self.pulse_us(channel) is not None for channel in range(chip.CHANNELS))


class FakePca9685:
    """Stands in for `smbus2.SMBus`: the boards of one robot, at the pace of the bus's clock.

    Args:
        servos: at the boards' channels.

    Attributes:
        boards: by address.
        trouble: an errno that every transfer fails with, as errno.ETIMEDOUT; 0: none.
    """

    def __init__(self, servos: FakeServos) -> None:
        self.servos = servos
        self._places = [divmod(motor.id, chip.CHANNELS) for motor in servos.description.motors]
        self._scale = Scale(
            servos.description, chip.WHOLE_US, chip.ALLOWED_US, (0, chip.BOARDS * chip.CHANNELS - 1)
        )
        self.boards = {chip.FIRST_ADDRESS + board: Board() for board, _ in self._places}
        self.trouble = 0
        self.lock = threading.Lock()

    @classmethod
    def attach(cls, bus: Callable[..., ServoBus], description: RobotDescription) -> ServoBus:
        """A bus at such boards."""
        return bus(description, cls(FakeServos(description)).connect)

    def connect(self, port: str) -> FakePca9685:
        """As `smbus2.SMBus`."""
        if self.trouble:
            raise OSError(self.trouble, os.strerror(self.trouble))
        return self

    def close(self) -> None:
        """The boards go on."""

    def power(self, on: bool) -> None:
        """The supply of boards and servos fails, or returns."""
        with self.lock:
            self.servos.power(on, time.monotonic())
            for board in self.boards.values():
                board.start()

    def i2c_rdwr(self, *messages: i2c_msg) -> None:
        """One transfer of several messages, with repeated starts and one stop."""
        clock = self.servos.description.bus.baud or chip.CLOCK_HZ
        size = sum(1 + message.len for message in messages)
        time.sleep(size * chip.BITS_PER_BYTE / clock)
        with self.lock:
            if self.trouble:
                raise OSError(self.trouble, os.strerror(self.trouble))
            for message in messages:
                board = self.boards.get(message.addr)
                if board is None or not self.servos.powered:
                    raise OSError(chip.NO_ANSWER[0], "Remote I/O error")
                if message.flags & I2C_READ:
                    for n, value in enumerate(board.read(message.len)):
                        message.buf[n] = bytes([value])
                else:
                    board.write(bytes(message))
            self._drive(time.monotonic())

    def _drive(self, now_s: float) -> None:
        """Servos follow the pulses, and are limp without."""
        goals = {}
        for motor, (number, channel) in enumerate(self._places):
            pulse = self.boards[chip.FIRST_ADDRESS + number].pulse_us(channel)
            if (pulse is not None) != self.servos.on[motor]:
                self.servos.torque(motor, pulse is not None, now_s)
            if pulse is not None:
                every = np.full(len(self._places), pulse)
                goals[motor] = float(self._scale.to_commands(every)[motor])
        if goals:
            self.servos.command(goals, now_s)
