"""Servos with a table of registers, read and written in groups through their maker's SDK.

The SDKs build packets, check answers and find them among noise; the port under them is ours.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from emo_core.robot.bus import Array, BusError, ServoBus
from emo_core.robot.buses.scale import Scale
from emo_core.robot.buses.serial_line import SerialLine, silent
from emo_core.robot.description import RobotDescription

#: How long a servo may take beyond the time on the wire. An FTDI adapter that refuses low latency
#: holds bytes back for 16 ms.
PATIENCE_S = 0.018
#: Group writes are not acknowledged: what must arrive is read back, and sent so often.
ATTEMPTS = 3
IDS = (0, 252)


@dataclass(frozen=True)
class Item:
    """Consecutive registers: first address and number of bytes. Words are little-endian."""

    address: int
    size: int


@dataclass(frozen=True)
class Table:
    """What a bus needs to know of a family of servos.

    Attributes:
        usual_baud: bits per second, as delivered.
        turnaround_s: from a request to its answer, as delivered.
        request_bytes: of a read request, and of a group write besides ids and values.
        answer_bytes: of an answer besides its values.
        positions: lowest and highest goal.
        torque_enable, goal, present: registers of torque (0, 1), goal and present position.
    """

    usual_baud: int
    turnaround_s: float
    request_bytes: int
    answer_bytes: int
    positions: tuple[int, int]
    torque_enable: Item
    goal: Item
    present: Item


class SdkPort:
    """What both makers' SDKs ask of a port, on a `SerialLine`.

    Their own PortHandler shares the port with other programs, spins while it waits, gives a
    silent servo 34 or 50 ms, listens to noise for ever, and goes by a clock that can be set.
    """

    def __init__(self, line: SerialLine, patience_s: float) -> None:
        self._line = line
        self._patience_s = patience_s
        self._waiting = b""
        self._late = 0.0
        self._over = True
        self.is_using = False  # set and cleared by the SDKs

    def reset(self) -> None:
        """Forget a transfer that an error has ended."""
        self.is_using = False
        self._waiting = b""

    def clearPort(self) -> None:
        self._line.forget()
        self._waiting = b""

    def writePort(self, packet: Sequence[int]) -> int:
        self._line.write(bytes(packet))
        return len(packet)

    def setPacketTimeout(self, packet_length: int) -> None:
        self._late = self._line.deadline(packet_length, self._patience_s)
        self._over = False

    def isPacketTimeout(self) -> bool:
        return self._over

    def readPort(self, length: int) -> bytes:
        if not self._over and len(self._waiting) < length:
            self._over = time.monotonic() >= self._late
            self._waiting += self._line.receive(self._late)
        data, self._waiting = self._waiting[: max(length, 0)], self._waiting[max(length, 0) :]
        return data


class RegisterBus(ServoBus):
    """Servos whose goals, positions and torque are registers.

    A goal is sent to all motors in one packet, and only to those with torque. Torque comes on at
    the present position, never at an old goal. What switches torque is read back, as group writes
    are not acknowledged.

    Args:
        description: the robot.
        table: of its servos.
        patience_s: how long a servo may take to answer, beyond the time on the wire.
    """

    def __init__(self, description: RobotDescription, table: Table, patience_s: float) -> None:
        super().__init__(description)
        self._table = table
        self._scale = Scale(description, table.positions, table.positions, IDS)
        self._ids = [motor.id for motor in description.motors]
        self._all = range(len(self._ids))
        self._on = np.zeros(len(self._ids), dtype=bool)
        self._line = SerialLine(description, table.usual_baud)
        self._port = SdkPort(self._line, patience_s)
        goals = (1 + table.goal.size) * len(self._ids)
        self.write_s = self._line.seconds(table.request_bytes + goals)
        both_ways = table.request_bytes + table.answer_bytes + table.present.size
        self.read_s = self._line.seconds(both_ways) + table.turnaround_s

    # -- what the makers' SDKs do differently ------------------------------------------------

    @abstractmethod
    def _group_write(self, item: Item, values: Mapping[int, bytes]) -> int:
        """Write servo ids' values in one packet; returns the SDK's code."""

    @abstractmethod
    def _group_read(self, item: Item, ids: Sequence[int]) -> dict[int, bytes]:
        """The values of those servo ids that answered one request together."""

    @abstractmethod
    def _read(self, item: Item, servo: int) -> tuple[bytes, int, int]:
        """One servo's values, the SDK's code, and the servo's error flags."""

    @abstractmethod
    def _says(self, code: int) -> str:
        """The SDK's words for its code; "" for success and for a servo that did not answer."""

    @abstractmethod
    def _position(self, data: bytes) -> int:
        """The present position's register as a number."""

    def _prepare(self, motors: Sequence[int]) -> None:
        """Make servos take goals and torque again, whatever state they are in."""

    def _check(self) -> None:
        """Raise if the servos, which answer, are set up for something else."""

    def _check_limits(self, motor: int, low: int, high: int) -> None:
        """Raise if the servo would refuse goals that it may be sent."""
        ends = [
            self._scale.to_raw(limit)[motor]
            for limit in (self.description.lower, self.description.upper)
        ]
        if not all(low <= end <= high for end in ends):
            raise self._wrong(
                motor,
                f"takes goals from {low} to {high}, not {min(ends):g} to {max(ends):g}: "
                "widen its limits, or narrow limits or raw in the file",
            )

    def _wrong(self, motor: int, what: str) -> BusError:
        name = self.description.motors[motor].name
        return BusError(
            f"{self.description.file}: motors[{motor}] ({name}): servo {self._ids[motor]} {what}"
        )

    # -- the bus -----------------------------------------------------------------------------

    def open(self) -> None:
        self._port.reset()
        self._on[:] = False
        self._line.open()
        try:
            if not self._get(self._table.present, self._all):
                raise silent(self.description, "no servo answers")
            self._check()
        except BusError:
            self._line.close()
            raise

    def close(self) -> None:
        self._line.close()

    def torque(self, on: bool, motors: Sequence[int] | None = None) -> None:
        chosen = list(self._all if motors is None else motors)
        self._on[chosen] = False
        if not on:
            self._put_surely(self._table.torque_enable, dict.fromkeys(chosen, 0))
            return
        self._prepare(chosen)
        low, high = self._table.positions
        found: dict[int, bytes] = {}
        for _ in range(ATTEMPTS):
            found |= self._get(self._table.present, [m for m in chosen if m not in found])
        here = {motor: min(max(self._position(at), low), high) for motor, at in found.items()}
        held = self._put_surely(self._table.goal, here)
        self._on[self._put_surely(self._table.torque_enable, dict.fromkeys(held, 1))] = True

    def write(self, positions: ArrayLike) -> Array:
        raw = self._scale.to_raw(positions)
        self._put(self._table.goal, {motor: int(raw[motor]) for motor in np.flatnonzero(self._on)})
        return np.where(self._on, self._scale.to_commands(raw), np.nan)

    def read(self, motors: Sequence[int] | None = None) -> Array:
        raw = np.full(len(self._ids), np.nan)
        heard = self._get(self._table.present, self._all if motors is None else motors)
        for motor, data in heard.items():
            raw[motor] = self._position(data)
        return self._scale.to_commands(raw)

    def holds(self) -> Array:
        found = np.full(len(self._ids), np.nan)
        for motor, data in self._get(self._table.torque_enable, self._all).items():
            found[motor] = float(data[0] != 0)
        return found

    # -- registers of motors -----------------------------------------------------------------

    def _put(self, item: Item, values: Mapping[int, int]) -> None:
        """Write motors' values in one packet."""
        if values:
            data = {self._ids[m]: v.to_bytes(item.size, "little") for m, v in values.items()}
            self._sent(self._group_write(item, data))

    def _put_surely(self, item: Item, values: Mapping[int, int]) -> list[int]:
        """Write until it is read back; returns the motors that have it."""
        left = dict(values)
        for _ in range(ATTEMPTS):
            self._put(item, left)
            heard = self._get(item, left)
            left = {
                motor: value
                for motor, value in left.items()
                if heard.get(motor) != value.to_bytes(item.size, "little")
            }
        return [motor for motor in values if motor not in left]

    def _get(self, item: Item, motors: Iterable[int]) -> dict[int, bytes]:
        """Motors' values, of those that answer: all at once, and who was not heard alone."""
        wanted = list(motors)
        heard: dict[int, bytes] = {}
        if len(wanted) > 1:
            together = self._group_read(item, [self._ids[motor] for motor in wanted])
            heard = {m: together[self._ids[m]] for m in wanted if self._ids[m] in together}
        for motor in wanted:
            if motor not in heard and (answer := self._ask(item, motor)) is not None:
                heard[motor] = answer[0]
        return heard

    def _ask(self, item: Item, motor: int) -> tuple[bytes, int] | None:
        """One motor's values and error flags; None if it does not answer as it should."""
        data, code, flags = self._read(item, self._ids[motor])
        self._sent(code)
        return (data, flags) if code == 0 and len(data) == item.size else None

    def _sent(self, code: int) -> None:
        """Raise if a request could not even be sent."""
        if says := self._says(code):
            self._line.close()
            bus = self.description.bus
            raise BusError(
                f"{self.description.file}: bus.port '{bus.port}' failed ({says}): check the plug "
                "and the adapter"
            )
