"""Servos with registers behind a pseudo-terminal: what Dynamixel and Feetech have in common."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from emo_core.robot.buses.fake import Device, FakeServos
from emo_core.robot.buses.registers import IDS, Item, Table
from emo_core.robot.buses.scale import Scale

#: A packet whose bytes come further apart than this is forgotten.
GAP_S = 0.01
#: A motor that is held away from its goal by so much, for so long, is overloaded.
OVERLOAD = 0.05
OVERLOAD_S = 1.0
#: Numbers of instructions, the same in both protocols.
PING, READ, WRITE, SYNC_READ, SYNC_WRITE = 1, 2, 3, 0x82, 0x83


class FakeRegisters(Device):
    """All servos of one robot on one wire.

    A servo obeys its registers: with torque it goes to the goal that stands there, also to one
    from before the torque came on.

    Args:
        servos: what moves.
        table: of the protocol.
        address_bytes: size of addresses and lengths in packets.
        first_volatile, first_measured: registers from here on are lost without power, and read
            only.

    Attributes:
        registers: of each motor.
        bad_packets: how many had a wrong checksum.
    """

    half_duplex = True

    def __init__(
        self,
        servos: FakeServos,
        table: Table,
        address_bytes: int,
        first_volatile: int,
        first_measured: int,
    ) -> None:
        super().__init__(servos)
        self._table = table
        self._address_bytes = address_bytes
        self._volatile, self._measured = first_volatile, first_measured
        self._scale = Scale(servos.description, table.positions, table.positions, IDS)
        self.registers = [bytearray(256) for _ in servos.description.motors]
        self._heard_s = [0.0 for _ in self.registers]
        self._straining_s: dict[int, float] = {}  # since when
        self._buffer = bytearray()
        self._last_s = 0.0
        self.bad_packets = 0
        for motor in range(len(self.registers)):
            self._deliver(motor)
            self._start(motor)

    # -- what the protocols do differently ---------------------------------------------------

    @abstractmethod
    def _take(self) -> tuple[int, int, bytes] | None:
        """Cut a whole packet out of the buffer: id, instruction, parameters."""

    @abstractmethod
    def _status(self, motor: int, error: int, data: bytes = b"") -> bytes:
        """An answer."""

    @abstractmethod
    def _deliver(self, motor: int) -> None:
        """Fill the lasting registers as the maker does."""

    @abstractmethod
    def _measure(self, motor: int) -> None:
        """Fill the registers of voltage and temperature."""

    @abstractmethod
    def _protect(self, motor: int, overloaded: bool, now_s: float) -> None:
        """Look at limits, and at the servo's own watchdog if it has one."""

    def _refuses(self, motor: int, item: Item, value: int) -> int:
        """The error number for a write that is not allowed; 0: it is."""
        return 0

    def _also(self, motor: int, instruction: int, now_s: float) -> list[bytes]:
        """Instructions of one protocol alone."""
        return []

    def _away(self, motor: int, now_s: float) -> bool:
        """Whether the servo is just now starting."""
        return False

    # -- the device --------------------------------------------------------------------------

    def receive(self, byte: int, now_s: float) -> list[bytes]:
        if now_s - self._last_s > GAP_S:
            self._buffer.clear()
        self._last_s = now_s
        self._buffer.append(byte)
        packet = self._take()
        return [] if packet is None else self._obey(*packet, now_s)

    def tick(self, now_s: float) -> None:
        here = self.servos.positions(now_s)
        for motor in range(len(self.registers)):
            if not self.servos.powered:
                self._start(motor)
                continue
            self._protect(motor, self._overloaded(motor, float(here[motor]), now_s), now_s)

    def get(self, motor: int, item: Item) -> int:
        """A register's number."""
        data = self.registers[motor][item.address : item.address + item.size]
        return int.from_bytes(data, "little")

    def put(self, motor: int, item: Item, value: int) -> None:
        """Set a register, with no further effect."""
        data = value.to_bytes(item.size, "little")
        self.registers[motor][item.address : item.address + item.size] = data

    def _start(self, motor: int) -> None:
        """The supply has come on: no torque, volatile registers as ever."""
        self.registers[motor][self._volatile :] = bytes(256 - self._volatile)
        self._straining_s.pop(motor, None)

    def _let_go(self, motor: int, now_s: float) -> None:
        self.put(motor, self._table.torque_enable, 0)
        self.servos.torque(motor, False, now_s)

    def _overloaded(self, motor: int, here: float, now_s: float) -> bool:
        goal = self._command(motor, self.get(motor, self._table.goal))
        held = motor in self.servos.stuck and self.servos.on[motor]
        if not held or abs(goal - here) < OVERLOAD:
            self._straining_s.pop(motor, None)
            return False
        return now_s - self._straining_s.setdefault(motor, now_s) > OVERLOAD_S

    def _command(self, motor: int, raw: int) -> float:
        return float(self._scale.to_commands(np.full(len(self.registers), raw))[motor])

    def _find(self, servo: int, now_s: float) -> int | None:
        motor = self.servos.index(servo)
        if motor is None or self._away(motor, now_s):
            return None
        self._heard_s[motor] = now_s
        return motor

    def _obey(self, servo: int, instruction: int, body: bytes, now_s: float) -> list[bytes]:
        n = self._address_bytes
        address = int.from_bytes(body[:n], "little")
        size = int.from_bytes(body[n : 2 * n], "little")
        rest = body[2 * n :]
        if instruction == SYNC_WRITE:
            for at in range(0, len(rest) - size, 1 + size):
                motor = self._find(rest[at], now_s)
                if motor is not None:
                    self._write(motor, address, rest[at + 1 : at + 1 + size], now_s)
            return []
        if instruction == SYNC_READ:
            answers = []
            for each in rest:
                motor = self._find(each, now_s)
                if motor is None:
                    break  # the next ones wait for this one's answer
                answers.append(self._status(motor, 0, self._data(motor, address, size, now_s)))
            return answers
        motor = self._find(servo, now_s)
        if motor is None:
            return []
        if instruction == PING:
            return [self._status(motor, 0)]
        if instruction == READ:
            return [self._status(motor, 0, self._data(motor, address, size, now_s))]
        if instruction == WRITE:
            return [self._status(motor, self._write(motor, address, body[n:], now_s))]
        return self._also(motor, instruction, now_s)

    def _data(self, motor: int, address: int, size: int, now_s: float) -> bytes:
        raw = int(self._scale.to_raw(self.servos.positions(now_s))[motor])
        self.put(motor, self._table.present, raw)
        self._measure(motor)
        return bytes(self.registers[motor][address : address + size])

    def _write(self, motor: int, address: int, data: bytes, now_s: float) -> int:
        item = Item(address, len(data))
        value = int.from_bytes(data, "little")
        error = self._refuses(motor, item, value)
        if error or address >= self._measured:
            return error
        self.put(motor, item, value)
        if item == self._table.torque_enable and bool(value) != self.servos.on[motor]:
            self.servos.torque(motor, bool(value), now_s)
        if item in (self._table.goal, self._table.torque_enable) and self.servos.on[motor]:
            goal = self._command(motor, self.get(motor, self._table.goal))
            self.servos.command({motor: goal}, now_s)
        return 0
