"""DYNAMIXEL X servos behind a pseudo-terminal (protocol and source: `dynamixel`)."""

from __future__ import annotations

from emo_core.robot.buses import dynamixel
from emo_core.robot.buses.fake import FakeServos
from emo_core.robot.buses.fake_registers import FakeRegisters
from emo_core.robot.buses.registers import Item

HEADER = b"\xff\xff\xfd\x00"
#: Within a packet these three are followed by one FD more.
STUFFED = b"\xff\xff\xfd"
STATUS = 0x55
REBOOT = 0x08
LONGEST = 1024
#: How long a servo is deaf when it starts.
START_S = 0.15
#: Registers that last, and what they hold as delivered (XL430).
TEMPERATURE_LIMIT = Item(31, 1)
MAX_VOLTAGE_LIMIT = Item(32, 2)
MIN_VOLTAGE_LIMIT = Item(34, 2)
MAX_POSITION_LIMIT = Item(48, 4)
MIN_POSITION_LIMIT = Item(52, 4)
SHUTDOWN = Item(63, 1)
DELIVERED = {
    Item(0, 2): 1060,  # model number
    dynamixel.OPERATING_MODE: 3,
    TEMPERATURE_LIMIT: 72,
    MAX_VOLTAGE_LIMIT: 140,
    MIN_VOLTAGE_LIMIT: 60,
    MAX_POSITION_LIMIT: 4095,
    SHUTDOWN: 0x34,  # overload, electrical shock, overheating
}
FIRST_VOLATILE, FIRST_MEASURED = 64, 120
#: Error numbers of answers.
DATA_RANGE, DATA_LIMIT, ACCESS = 4, 6, 7
#: Bits of Hardware Error Status.
INPUT_VOLTAGE, OVERHEATING, OVERLOAD = 0x01, 0x04, 0x20


class FakeDynamixel(FakeRegisters):
    """X series servos, Status Return Level 2."""

    baud = dynamixel.TABLE.usual_baud
    turnaround_s = dynamixel.TABLE.turnaround_s

    def __init__(self, servos: FakeServos) -> None:
        self._back_s: dict[int, float] = {}
        super().__init__(servos, dynamixel.TABLE, 2, FIRST_VOLATILE, FIRST_MEASURED)

    def _take(self) -> tuple[int, int, bytes] | None:
        at = self._buffer.find(HEADER)
        if at < 0:
            del self._buffer[: -len(HEADER) + 1]
            return None
        del self._buffer[:at]
        size = 7 + int.from_bytes(self._buffer[5:7], "little")
        if len(self._buffer) < max(size, 10):
            return None
        packet = bytes(self._buffer)
        self._buffer.clear()
        if size > LONGEST or crc(packet[:-2]) != int.from_bytes(packet[-2:], "little"):
            self.bad_packets += 1
            return None
        body = packet[7:-2].replace(STUFFED + b"\xfd", STUFFED)
        return packet[4], body[0], body[1:]

    def _status(self, motor: int, error: int, data: bytes = b"") -> bytes:
        alert = dynamixel.ALERT if self.get(motor, dynamixel.HARDWARE_ERROR_STATUS) else 0
        body = bytes([STATUS, error | alert]) + data
        return packet(self.servos.description.motors[motor].id, body)

    def _deliver(self, motor: int) -> None:
        for item, value in DELIVERED.items():
            self.put(motor, item, value)

    def _measure(self, motor: int) -> None:
        tenths, celsius = round(self.servos.voltage_v * 10.0), self.servos.temperature_c[motor]
        self.put(motor, dynamixel.VOLTAGE_TEMPERATURE, tenths | int(celsius) << 16)

    def _refuses(self, motor: int, item: Item, value: int) -> int:
        if item.address >= FIRST_MEASURED:
            return ACCESS
        if item.address < FIRST_VOLATILE and self.servos.on[motor]:
            return ACCESS
        if item == dynamixel.TORQUE_ENABLE and value and self._shut_down(motor):
            return ACCESS
        if item == dynamixel.GOAL_POSITION:
            if self.get(motor, dynamixel.BUS_WATCHDOG) == dynamixel.WATCHDOG_TRIPPED:
                return DATA_RANGE
            low, high = self.get(motor, MIN_POSITION_LIMIT), self.get(motor, MAX_POSITION_LIMIT)
            if not low <= value <= high:
                return DATA_LIMIT
        if item == dynamixel.BUS_WATCHDOG and value > dynamixel.WATCHDOG_MOST:
            return DATA_RANGE
        return 0

    def _write(self, motor: int, address: int, data: bytes, now_s: float) -> int:
        """Cleared, a watchdog lets its servo go on to the goal that stands there."""
        before = self.get(motor, dynamixel.BUS_WATCHDOG)
        error = super()._write(motor, address, data, now_s)
        cleared = self.get(motor, dynamixel.BUS_WATCHDOG) != before
        if before == dynamixel.WATCHDOG_TRIPPED and cleared and self.servos.on[motor]:
            goal = self._command(motor, self.get(motor, dynamixel.GOAL_POSITION))
            self.servos.command({motor: goal}, now_s)
        return error

    def _also(self, motor: int, instruction: int, now_s: float) -> list[bytes]:
        if instruction != REBOOT:
            return [self._status(motor, 2)]  # no such instruction
        answer = self._status(motor, 0)
        self._let_go(motor, now_s)
        self._start(motor)
        self._back_s[motor] = now_s + START_S
        return [answer]

    def _away(self, motor: int, now_s: float) -> bool:
        return now_s < self._back_s.get(motor, now_s)

    def _shut_down(self, motor: int) -> bool:
        status = self.get(motor, dynamixel.HARDWARE_ERROR_STATUS)
        return bool(status & self.get(motor, SHUTDOWN))

    def _protect(self, motor: int, overloaded: bool, now_s: float) -> None:
        tenths = self.servos.voltage_v * 10.0
        low, high = self.get(motor, MIN_VOLTAGE_LIMIT), self.get(motor, MAX_VOLTAGE_LIMIT)
        status = self.get(motor, dynamixel.HARDWARE_ERROR_STATUS)  # stays until a reboot
        status |= OVERLOAD * overloaded | INPUT_VOLTAGE * (not low <= tenths <= high)
        hot = self.servos.temperature_c[motor] > self.get(motor, TEMPERATURE_LIMIT)
        self.put(motor, dynamixel.HARDWARE_ERROR_STATUS, status | OVERHEATING * bool(hot))
        if not self.servos.on[motor]:
            self._heard_s[motor] = now_s
            return
        if self._shut_down(motor):
            self._let_go(motor, now_s)
        units = self.get(motor, dynamixel.BUS_WATCHDOG)
        quiet_s = now_s - self._heard_s[motor]
        if 0 < units <= dynamixel.WATCHDOG_MOST and quiet_s > units * dynamixel.WATCHDOG_UNIT_S:
            self.put(motor, dynamixel.BUS_WATCHDOG, dynamixel.WATCHDOG_TRIPPED)
            here = float(self.servos.positions(now_s)[motor])
            self.servos.command({motor: here}, now_s)


def packet(servo: int, body: bytes) -> bytes:
    """A packet of instruction and parameters, or of an answer's."""
    body = body.replace(STUFFED, STUFFED + b"\xfd")
    whole = HEADER + bytes([servo]) + (len(body) + 2).to_bytes(2, "little") + body
    return whole + crc(whole).to_bytes(2, "little")


def crc(data: bytes) -> int:
    """CRC-16 with polynomial 0x8005, from 0, highest bit first."""
    value = 0
    for byte in data:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1 ^ (0x8005 if value & 0x8000 else 0)) & 0xFFFF
    return value
