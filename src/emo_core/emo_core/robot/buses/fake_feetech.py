"""Feetech STS servos behind a pseudo-terminal (protocol and source: `feetech`)."""

from __future__ import annotations

from emo_core.robot.buses import feetech
from emo_core.robot.buses.fake import FakeServos
from emo_core.robot.buses.fake_registers import FakeRegisters
from emo_core.robot.buses.registers import Item

HEADER = b"\xff\xff"
#: Registers that last, and what they hold as delivered (STS3215).
MAX_ANGLE_LIMIT = Item(11, 2)
MAX_TEMPERATURE = Item(13, 1)
MAX_VOLTAGE = Item(14, 1)
MIN_VOLTAGE = Item(15, 1)
DELIVERED = {
    Item(3, 2): 777,  # model number
    MAX_ANGLE_LIMIT: 4095,
    MAX_TEMPERATURE: 70,
    MAX_VOLTAGE: 80,
    MIN_VOLTAGE: 40,
}
FIRST_VOLATILE, FIRST_MEASURED = 40, 56
#: Bits of the error byte.
VOLTAGE, OVERHEATING, OVERLOAD = 0x01, 0x04, 0x20


class FakeFeetech(FakeRegisters):
    """STS servos that answer all but group writes."""

    baud = feetech.TABLE.usual_baud
    turnaround_s = feetech.TABLE.turnaround_s

    def __init__(self, servos: FakeServos) -> None:
        self._errors = [0 for _ in servos.description.motors]
        super().__init__(servos, feetech.TABLE, 1, FIRST_VOLATILE, FIRST_MEASURED)

    def _take(self) -> tuple[int, int, bytes] | None:
        at = self._buffer.find(HEADER)
        if at < 0:
            del self._buffer[:-1]
            return None
        del self._buffer[:at]
        if len(self._buffer) > 2 and self._buffer[2] == 0xFF:
            del self._buffer[0]  # no id: a header starts one byte later
        if len(self._buffer) < 6 or len(self._buffer) < self._buffer[3] + 4:
            return None
        packet = bytes(self._buffer)
        self._buffer.clear()
        if checksum(packet[2:-1]) != packet[-1]:
            self.bad_packets += 1
            return None
        return packet[2], packet[4], packet[5:-1]

    def _status(self, motor: int, error: int, data: bytes = b"") -> bytes:
        return packet(self.servos.description.motors[motor].id, self._errors[motor] | error, data)

    def _deliver(self, motor: int) -> None:
        for item, value in DELIVERED.items():
            self.put(motor, item, value)

    def _start(self, motor: int) -> None:
        super()._start(motor)
        self._errors[motor] = 0

    def _measure(self, motor: int) -> None:
        tenths, celsius = round(self.servos.voltage_v * 10.0), self.servos.temperature_c[motor]
        self.put(motor, feetech.VOLTAGE_TEMPERATURE, tenths | int(celsius) << 8)

    def _refuses(self, motor: int, item: Item, value: int) -> int:
        if item == feetech.TORQUE_ENABLE and value:
            self._errors[motor] &= ~OVERLOAD
        return 0

    def _protect(self, motor: int, overloaded: bool, now_s: float) -> None:
        tenths = self.servos.voltage_v * 10.0
        low, high = self.get(motor, MIN_VOLTAGE), self.get(motor, MAX_VOLTAGE)
        hot = self.servos.temperature_c[motor] > self.get(motor, MAX_TEMPERATURE)
        errors = self._errors[motor] & OVERLOAD | OVERLOAD * overloaded
        self._errors[motor] = (
            errors | OVERHEATING * bool(hot) | VOLTAGE * (not low <= tenths <= high)
        )
        if self._errors[motor] and self.servos.on[motor]:
            self._let_go(motor, now_s)


def packet(servo: int, number: int, body: bytes) -> bytes:
    """A packet: `number` is the instruction, or an answer's errors."""
    checked = bytes([servo, len(body) + 2, number]) + body
    return HEADER + checked + bytes([checksum(checked)])


def checksum(data: bytes) -> int:
    """The complement of the sum."""
    return ~sum(data) & 0xFF
