"""LX servos behind a pseudo-terminal (protocol and source: `lx`)."""

from __future__ import annotations

import struct

from emo_core.robot.bus import Array
from emo_core.robot.buses import lx
from emo_core.robot.buses.fake import Device, FakeServos
from emo_core.robot.buses.scale import Scale

#: A packet whose bytes come further apart than this is forgotten.
GAP_S = 0.01
#: Limits as delivered.
TEMPERATURE_LIMIT_C = 85.0
VOLTAGE_LIMITS_V = (6.5, 12.0)


class FakeLx(Device):
    """All servos of one robot on one wire.

    Where the document is silent, they do the worse thing: a goal switches the load on, and a load
    that comes on goes to the old goal.
    """

    baud = lx.BAUD
    half_duplex = True
    turnaround_s = 0.0005  # an assumption: the document gives no figure

    def __init__(self, servos: FakeServos) -> None:
        super().__init__(servos)
        self._scale = Scale(servos.description, lx.POSITIONS, lx.POSITIONS, lx.IDS)
        self._buffer = b""
        self._last_s = 0.0
        self._wanted = [False for _ in servos.description.motors]  # torque, as last told
        self._goals: dict[int, float] = {}
        self.bad_packets = 0

    def receive(self, byte: int, now_s: float) -> list[bytes]:
        if now_s - self._last_s > GAP_S:
            self._buffer = b""
        self._last_s = now_s
        self._buffer += bytes([byte])
        at = self._buffer.find(lx.HEADER)
        if at < 0:
            self._buffer = self._buffer[-1:]
            return []
        whole = self._buffer[at:]
        if len(whole) < 4 or len(whole) < whole[3] + 3:
            return []
        self._buffer = b""
        if whole[3] < 3 or ~sum(whole[2:-1]) & 0xFF != whole[-1]:
            self.bad_packets += 1
            return []
        return self._obey(whole[2], whole[4], whole[5:-1], now_s)

    def _obey(self, servo_id: int, number: int, body: bytes, now_s: float) -> list[bytes]:
        motor = self.servos.index(servo_id)
        if motor is None:
            return []
        servos = self.servos
        if number == lx.MOVE_TIME_WRITE.number and len(body) == 4:
            position, _ = struct.unpack("<HH", body)
            raw = self._raw(now_s)
            raw[motor] = min(position, lx.POSITIONS[1])
            self._goals[motor] = float(self._scale.to_commands(raw)[motor])
            self._load(motor, True, now_s)
            servos.command({motor: self._goals[motor]}, now_s)
        elif number == lx.LOAD_OR_UNLOAD_WRITE.number and len(body) == 1:
            self._load(motor, bool(body[0]), now_s)
        elif number == lx.POS_READ.number:
            return [_answer(servo_id, number, struct.pack("<h", int(self._raw(now_s)[motor])))]
        elif number == lx.TEMP_READ.number:
            return [_answer(servo_id, number, bytes([int(servos.temperature_c[motor])]))]
        elif number == lx.VIN_READ.number:
            millivolts = struct.pack("<H", int(servos.voltage_v * 1000.0))
            return [_answer(servo_id, number, millivolts)]
        elif number == lx.LOAD_OR_UNLOAD_READ.number:
            return [_answer(servo_id, number, bytes([int(servos.on[motor])]))]
        return []

    def tick(self, now_s: float) -> None:
        """Protection: no torque when too hot, or outside the voltage limits, until that is over."""
        for motor, wanted in enumerate(self._wanted):
            if self.servos.on[motor] != (wanted and self._fit(motor)):
                self._load(motor, wanted, now_s)

    def _load(self, motor: int, on: bool, now_s: float) -> None:
        self._wanted[motor] = on and self.servos.powered
        on = self._wanted[motor] and self._fit(motor)
        if self.servos.on[motor] != on:
            self.servos.torque(motor, on, now_s)
            if on and motor in self._goals:
                self.servos.command({motor: self._goals[motor]}, now_s)

    def _fit(self, motor: int) -> bool:
        low, high = VOLTAGE_LIMITS_V
        cool = bool(self.servos.temperature_c[motor] <= TEMPERATURE_LIMIT_C)
        return cool and low <= self.servos.voltage_v <= high

    def _raw(self, now_s: float) -> Array:
        return self._scale.to_raw(self.servos.positions(now_s))


def _answer(servo_id: int, number: int, body: bytes) -> bytes:
    checked = bytes([servo_id, len(body) + 3, number]) + body
    return lx.HEADER + checked + bytes([~sum(checked) & 0xFF])
