"""Hiwonder/LewanSoul LX bus servos (LX-16A, LX-15D, LX-224 and kin).

Source: "LewanSoul Bus Servo Communication Protocol" (LX-16A), commands 1 to 36. Half duplex,
115,200 baud, 8N1. A packet is 0x55 0x55, id, length, command, parameters, checksum; length counts
from itself to the checksum, and the checksum is ~(id + length + command + parameters) & 0xFF.
Words are little-endian. Nothing acknowledges a write, and no packet addresses several servos with
goals of their own: 11 goals are 110 bytes, 9.5 ms on the wire.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from emo_core.robot.bus import Array, ServoBus, Telemetry
from emo_core.robot.buses.scale import Scale
from emo_core.robot.buses.serial_line import SerialLine
from emo_core.robot.description import RobotDescription

BAUD = 115200
HEADER = b"\x55\x55"
#: Goal positions: 0 to 1000 over 240 degrees.
POSITIONS = (0, 1000)
IDS = (0, 253)
#: Header, id, length, command and checksum.
ANSWER_BYTES = 6
#: What a servo and a USB adapter take to answer, and when we give up. The document has no figures.
TURNAROUND_S = 0.001
PATIENCE_S = 0.015
#: What must be known is asked so often, and what must arrive is sent so often.
ATTEMPTS = 3


@dataclass(frozen=True)
class Command:
    """One row of the document's table: number, and `struct` formats of parameters and answer."""

    number: int
    parameters: str = ""
    answer: str = ""


#: Position, and the time in ms to get there at an even speed.
MOVE_TIME_WRITE = Command(1, "HH")
TEMP_READ = Command(26, answer="B")  # degrees C
VIN_READ = Command(27, answer="H")  # mV
POS_READ = Command(28, answer="h")  # may lie outside 0 to 1000
LOAD_OR_UNLOAD_WRITE = Command(31, "B")  # 1: torque
LOAD_OR_UNLOAD_READ = Command(32, answer="B")


def packet(servo_id: int, command: Command, *values: int) -> bytes:
    """The bytes of one request."""
    body = struct.pack(f"<{command.parameters}", *values)
    checked = bytes([servo_id, len(body) + 3, command.number]) + body
    return HEADER + checked + bytes([~sum(checked) & 0xFF])


def find_answer(data: bytes, servo_id: int, command: Command) -> tuple[int, ...] | None:
    """The values of the first whole answer to `command` in `data`, whatever else is there."""
    size = struct.calcsize(f"<{command.answer}")
    start = HEADER + bytes([servo_id, size + 3, command.number])
    at = data.find(start)
    while at >= 0:
        end = at + len(start) + size
        if end < len(data) and data[end] == ~sum(data[at + 2 : end]) & 0xFF:
            return struct.unpack(f"<{command.answer}", data[at + len(start) : end])
        at = data.find(start, at + 1)
    return None


class LxBus(ServoBus):
    """LX servos on one serial line. `port` is that of the USB or UART adapter for bus servos."""

    guarantee = (
        "servos hold the last position, with torque, as long as they have power; each lets go by "
        "itself above its temperature limit (85 C as delivered) and outside its voltage limits"
    )

    def __init__(self, description: RobotDescription, patience_s: float = PATIENCE_S) -> None:
        super().__init__(description)
        self._scale = Scale(description, POSITIONS, POSITIONS, IDS)
        self._ids = [motor.id for motor in description.motors]
        self._line = SerialLine(description, BAUD)
        self._patience_s = patience_s
        goal = len(packet(0, MOVE_TIME_WRITE, 0, 0))
        self.write_s = self._line.seconds(goal * len(self._ids))
        both_ways = len(packet(0, POS_READ)) + ANSWER_BYTES + 2
        self.read_s = self._line.seconds(both_ways) + TURNAROUND_S
        # A goal is to be reached when the next can be there: an even speed, no leaps between.
        self._move_ms = math.ceil(self.write_s * 1000.0)
        self._on = np.zeros(len(self._ids), dtype=bool)
        self._heard = [Telemetry() for _ in self._ids]
        self._asked = [0 for _ in self._ids]

    def open(self) -> None:
        self._line.open()
        self._on[:] = False

    def close(self) -> None:
        self._line.close()

    def torque(self, on: bool, motors: Sequence[int] | None = None) -> None:
        """As `ServoBus.torque`. A servo that does not say where it is is left as it was.

        What a servo does with an old goal when its load comes on, the document leaves open: it is
        given the present position as its goal, before and after. Writes are not acknowledged: the
        load is read back.
        """
        chosen = list(range(len(self._ids)) if motors is None else motors)
        self._on[chosen] = False
        if not on:  # all at once; what went wrong is mended after
            self._line.write(
                b"".join(packet(self._ids[i], LOAD_OR_UNLOAD_WRITE, 0) for i in chosen)
            )
        for i in chosen:
            before = packet(self._ids[i], LOAD_OR_UNLOAD_WRITE, int(on))
            if on:
                here = self._ask_again(i, POS_READ)
                if here is None:
                    continue
                goal = min(max(here, POSITIONS[0]), POSITIONS[1])
                hold = packet(self._ids[i], MOVE_TIME_WRITE, goal, self._move_ms)
                before = hold + before + hold
                self._line.write(before)
            for _ in range(ATTEMPTS):
                if self._ask_again(i, LOAD_OR_UNLOAD_READ) in (None, int(on)):
                    self._on[i] = on
                    break
                self._line.write(before)

    def write(self, positions: ArrayLike) -> Array:
        raw = self._scale.to_raw(positions)
        # A goal would switch the torque of a limp servo on: it gets none.
        self._line.write(
            b"".join(
                packet(servo, MOVE_TIME_WRITE, int(goal), self._move_ms)
                for servo, goal, on in zip(self._ids, raw, self._on, strict=True)
                if on
            )
        )
        return np.where(self._on, self._scale.to_commands(raw), np.nan)

    def read(self, motors: Sequence[int] | None = None) -> Array:
        raw = np.full(len(self._ids), np.nan)
        for i in range(len(self._ids)) if motors is None else motors:
            answer = self._ask(i, POS_READ)
            if answer is not None:
                raw[i] = answer[0]
        return self._scale.to_commands(raw)

    def holds(self) -> Array:
        answers = [self._ask_again(i, LOAD_OR_UNLOAD_READ) for i in range(len(self._ids))]
        return np.array([np.nan if answer is None else answer for answer in answers], np.float64)

    def telemetry(self, motor: int) -> Telemetry:
        """The newest of temperature, voltage and torque: each call asks the servo for one.

        The protocol has no error flags; a servo that let go of its load says so by its torque.
        """
        turn = self._asked[motor]
        self._asked[motor] += 1
        command = (TEMP_READ, VIN_READ, LOAD_OR_UNLOAD_READ)[turn % 3]
        answer = self._ask(motor, command)
        value = float("nan") if answer is None else float(answer[0])
        heard = self._heard[motor]
        if command is TEMP_READ:
            heard = replace(heard, temperature_c=value)
        elif command is VIN_READ:
            heard = replace(heard, voltage_v=value / 1000.0)
        else:
            let_go = bool(self._on[motor]) and value == 0.0
            heard = replace(heard, fault="let go of its load by itself" if let_go else "")
        self._heard[motor] = heard
        return heard

    def _ask_again(self, motor: int, command: Command) -> int | None:
        """As `_ask`, up to `ATTEMPTS` times; the one value of the answer."""
        for _ in range(ATTEMPTS):
            answer = self._ask(motor, command)
            if answer is not None:
                return int(answer[0])
        return None

    def _ask(self, motor: int, command: Command) -> tuple[int, ...] | None:
        """One servo's answer, None if there was none that is whole."""
        servo = self._ids[motor]
        size = ANSWER_BYTES + struct.calcsize(f"<{command.answer}")
        return self._line.ask(
            packet(servo, command),
            size,
            self._patience_s,
            lambda data: find_answer(data, servo, command),
        )
