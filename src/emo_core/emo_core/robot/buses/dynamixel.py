"""DYNAMIXEL X series (XL330, XL430, XC, XM, XH, XW), protocol 2.0, through ROBOTIS's SDK.

Source: ROBOTIS e-Manual, "DYNAMIXEL Protocol 2.0" and "XL430-W250", whose control table the
series shares. Half duplex, 57,600 baud as delivered. One Sync Write takes all goals: for 11 motors
69 bytes, 12 ms at 57,600 baud and 0.7 ms at 1,000,000 (set the servos' Baud Rate and `bus.baud`).
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from dynamixel_sdk import GroupSyncRead, GroupSyncWrite, PacketHandler
from dynamixel_sdk.robotis_def import COMM_RX_CORRUPT, COMM_RX_TIMEOUT, COMM_SUCCESS
from numpy.typing import ArrayLike

from emo_core.robot.bus import Array, BusError, Telemetry
from emo_core.robot.buses.registers import PATIENCE_S, Item, RegisterBus, Table
from emo_core.robot.description import RobotDescription

OPERATING_MODE = Item(11, 1)
#: Max Position Limit, then Min Position Limit.
POSITION_LIMITS = Item(48, 8)
TORQUE_ENABLE = Item(64, 1)
HARDWARE_ERROR_STATUS = Item(70, 1)
BUS_WATCHDOG = Item(98, 1)
GOAL_POSITION = Item(116, 4)
PRESENT_POSITION = Item(132, 4)
#: Present Input Voltage in 0.1 V, then Present Temperature in degrees C.
VOLTAGE_TEMPERATURE = Item(144, 3)

TABLE = Table(
    usual_baud=57600,
    turnaround_s=0.0005,  # Return Delay Time (9): 250 x 2 us
    request_bytes=14,
    answer_bytes=11,
    positions=(0, 4095),  # over 360 degrees
    torque_enable=TORQUE_ENABLE,
    goal=GOAL_POSITION,
    present=PRESENT_POSITION,
)
#: Operating modes whose goal is a position within one turn: position, current-based position.
POSITION_MODES = (3, 5)
#: Bit of the error field: Hardware Error Status is not zero.
ALERT = 0x80
#: Bits of Hardware Error Status.
HARDWARE_ERRORS = {
    0: "input voltage",
    2: "overheating",
    3: "motor encoder",
    4: "electrical shock",
    5: "overload",
}
#: Unit of Bus Watchdog, its highest value, and the value that means it has stopped the servo.
WATCHDOG_UNIT_S = 0.02
WATCHDOG_MOST = 127
WATCHDOG_TRIPPED = 0xFF
#: A servo is given so long to come back from a reboot.
REBOOT_S = 1.0
POLL_S = 0.05


class DynamixelBus(RegisterBus):
    """DYNAMIXEL X servos on one line. `port` is that of the adapter (U2D2 or the like)."""

    guarantee = (
        "armed Bus Watchdog: each servo stops where it is and holds, with torque, when no packet "
        "has come for that long; not armed: it goes on to its last goal and holds. Each lets go by "
        "itself on overload, overheating or electrical shock (Shutdown, 63), until rebooted"
    )

    def __init__(self, description: RobotDescription, patience_s: float = PATIENCE_S) -> None:
        super().__init__(description, TABLE, patience_s)
        self._sdk = PacketHandler(2.0)
        self._watchdog = 0  # as armed, in its unit
        self._tripped = False  # a servo may ignore goals until its watchdog is cleared
        self._written_s = 0.0
        self._heard = [Telemetry() for _ in self._ids]
        self._asked = [0 for _ in self._ids]

    def open(self) -> None:
        """As every bus; servos that have let go of their load are rebooted, up to 1 s."""
        super().open()
        status = self._get(HARDWARE_ERROR_STATUS, self._all)
        latched = [motor for motor, data in status.items() if data[0]]
        self._reboot(latched)
        give_up = time.monotonic() + REBOOT_S
        while latched and time.monotonic() < give_up:
            time.sleep(POLL_S)
            answers = ((motor, self._ask(HARDWARE_ERROR_STATUS, motor)) for motor in latched)
            latched = [motor for motor, answer in answers if answer is None or answer[0][0]]

    def close(self) -> None:
        """Disarms the watchdog if all torque is off: servos that hold are left guarded."""
        if self._watchdog and not self._on.any():
            with contextlib.suppress(BusError):
                self._put(BUS_WATCHDOG, dict.fromkeys(self._all, 0))
        self._watchdog = 0
        super().close()

    def torque(self, on: bool, motors: Sequence[int] | None = None) -> None:
        """As every bus; a servo with a hardware error takes torque once `telemetry` is clear."""
        super().torque(on, motors)
        if on and self._watchdog:
            self._put(BUS_WATCHDOG, dict.fromkeys(np.flatnonzero(self._on), self._watchdog))

    def write(self, positions: ArrayLike) -> Array:
        now = time.monotonic()
        quiet_s = now - self._written_s
        if self._watchdog and (self._tripped or quiet_s > 0.5 * self._watchdog * WATCHDOG_UNIT_S):
            # Goals are ignored until a watchdog that has stopped its servo is cleared.
            self._put(BUS_WATCHDOG, dict.fromkeys(self._all, 0))
            self._put(BUS_WATCHDOG, dict.fromkeys(self._all, self._watchdog))
            self._tripped = False
        self._written_s = now
        return super().write(positions)

    def telemetry(self, motor: int) -> Telemetry:
        """The newest that is known. Calls take turns: voltage and temperature, Bus Watchdog.

        A motor without torque that has a hardware error is rebooted, as often as it takes.
        """
        turn = self._asked[motor]
        self._asked[motor] += 1
        if turn % 2 and self._watchdog:
            answer = self._ask(BUS_WATCHDOG, motor)
            if answer is not None and answer[0][0] != self._watchdog:
                self._tripped = True
            return self._heard[motor]
        answer = self._ask(VOLTAGE_TEMPERATURE, motor)
        if answer is None:
            self._heard[motor] = Telemetry(fault=self._heard[motor].fault)
            return self._heard[motor]
        data, flags = answer
        fault = self._heard[motor].fault
        if not flags & ALERT:
            fault = ""
        elif (status := self._ask(HARDWARE_ERROR_STATUS, motor)) is not None:
            flags = status[0][0]
            fault = ", ".join(says for bit, says in HARDWARE_ERRORS.items() if flags >> bit & 1)
            if not self._on[motor]:
                self._reboot([motor])
        self._heard[motor] = Telemetry(
            temperature_c=float(data[2]),
            voltage_v=int.from_bytes(data[:2], "little") / 10.0,
            fault=fault,
        )
        return self._heard[motor]

    def arm_watchdog(self, timeout_s: float) -> bool:
        """Bus Watchdog, up to 2.54 s; it counts while a servo has torque."""
        units = math.ceil(timeout_s / WATCHDOG_UNIT_S - 1e-9)
        self._watchdog = min(max(units, 1), WATCHDOG_MOST)
        self._tripped = False
        there = self._get(BUS_WATCHDOG, self._all)
        # One that has stopped its servo stays until `torque`: cleared, it might let the servo go
        # on to an old goal.
        idle = [motor for motor, data in there.items() if data[0] != WATCHDOG_TRIPPED]
        taken = self._put_surely(BUS_WATCHDOG, dict.fromkeys(idle, self._watchdog))
        return bool(there) and len(taken) == len(idle)

    def _prepare(self, motors: Sequence[int]) -> None:
        stopped = [
            motor
            for motor, data in self._get(BUS_WATCHDOG, motors).items()
            if data[0] == WATCHDOG_TRIPPED
        ]
        self._put_surely(TORQUE_ENABLE, dict.fromkeys(stopped, 0))
        self._put_surely(BUS_WATCHDOG, dict.fromkeys(motors, 0))

    def _reboot(self, motors: Iterable[int]) -> None:
        """The way out of a hardware error. The servo lets go and is deaf until it is back."""
        for motor in motors:
            self._sent(self._sdk.reboot(self._port, self._ids[motor])[0])

    def _check(self) -> None:
        for motor, data in self._get(OPERATING_MODE, self._all).items():
            if data[0] not in POSITION_MODES:
                raise self._wrong(motor, f"is in Operating Mode {data[0]}: set 3 (position)")
        for motor, data in self._get(POSITION_LIMITS, self._all).items():
            high, low = (int.from_bytes(data[n : n + 4], "little") for n in (0, 4))
            self._check_limits(motor, low, high)

    def _group_write(self, item: Item, values: Mapping[int, bytes]) -> int:
        group = GroupSyncWrite(self._port, self._sdk, item.address, item.size)
        for servo, data in values.items():
            group.addParam(servo, data)
        return int(group.txPacket())

    def _group_read(self, item: Item, ids: Sequence[int]) -> dict[int, bytes]:
        group = GroupSyncRead(self._port, self._sdk, item.address, item.size)
        for servo in ids:
            group.addParam(servo)
        self._sent(group.txRxPacket())  # which stops at the first servo that is silent
        return {n: bytes(data) for n, data in group.data_dict.items() if len(data) == item.size}

    def _read(self, item: Item, servo: int) -> tuple[bytes, int, int]:
        data, code, flags = self._sdk.readTxRx(self._port, servo, item.address, item.size)
        return bytes(data), int(code), int(flags)

    def _says(self, code: int) -> str:
        if code in (COMM_SUCCESS, COMM_RX_TIMEOUT, COMM_RX_CORRUPT):
            return ""
        return str(self._sdk.getTxRxResult(code)).removeprefix("[TxRxResult] ").rstrip("!")

    def _position(self, data: bytes) -> int:
        return int.from_bytes(data, "little", signed=True)
