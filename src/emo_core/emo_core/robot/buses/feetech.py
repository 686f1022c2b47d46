"""Feetech STS and SMS servos (STS3215 and kin), through Feetech's own SDK (FTServo_Python).

Source: Feetech, "SMS/STS series memory table" and "communication protocol manual". Half duplex,
1,000,000 baud as delivered. One Sync Write takes all goals: for 11 motors 41 bytes, 0.4 ms. Speed
and acceleration stay as the servo has them when its supply comes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scservo_sdk import GroupSyncRead, GroupSyncWrite, sms_sts
from scservo_sdk.scservo_def import COMM_RX_CORRUPT, COMM_RX_TIMEOUT, COMM_SUCCESS

from emo_core.robot.bus import Telemetry
from emo_core.robot.buses.registers import PATIENCE_S, Item, RegisterBus, Table
from emo_core.robot.description import RobotDescription

#: Minimum, then maximum; both 0: several turns.
ANGLE_LIMITS = Item(9, 4)
OPERATING_MODE = Item(33, 1)
TORQUE_ENABLE = Item(40, 1)
GOAL_POSITION = Item(42, 2)
PRESENT_POSITION = Item(56, 2)
#: In 0.1 V, and in degrees C.
VOLTAGE_TEMPERATURE = Item(62, 2)

TABLE = Table(
    usual_baud=1_000_000,
    turnaround_s=0.0005,  # as delivered
    request_bytes=8,
    answer_bytes=6,
    positions=(0, 4095),  # over 360 degrees
    torque_enable=TORQUE_ENABLE,
    goal=GOAL_POSITION,
    present=PRESENT_POSITION,
)
POSITION_MODE = 0
#: Bits of the error byte in every answer.
ERRORS = {0: "voltage", 1: "angle sensor", 2: "overheating", 3: "current", 5: "overload"}


class FeetechBus(RegisterBus):
    """STS and SMS servos on one line. `port` is that of the adapter (FE-URT or the like)."""

    guarantee = (
        "none by the bus, which has no watchdog: servos go on to their last goal and hold it, with "
        "torque, as long as they have power. Each eases or lets go by itself on overload, "
        "overheating (70 C as delivered), current or voltage, as its Unloading Condition (19) says"
    )

    def __init__(self, description: RobotDescription, patience_s: float = PATIENCE_S) -> None:
        super().__init__(description, TABLE, patience_s)
        self._sdk = sms_sts(self._port)

    def telemetry(self, motor: int) -> Telemetry:
        answer = self._ask(VOLTAGE_TEMPERATURE, motor)
        if answer is None:
            return Telemetry()
        data, flags = answer
        fault = ", ".join(says for bit, says in ERRORS.items() if flags >> bit & 1)
        return Telemetry(temperature_c=float(data[1]), voltage_v=data[0] / 10.0, fault=fault)

    def _check(self) -> None:
        for motor, data in self._get(OPERATING_MODE, self._all).items():
            if data[0] != POSITION_MODE:
                raise self._wrong(motor, f"is in operation mode {data[0]}: set 0 (position)")
        for motor, data in self._get(ANGLE_LIMITS, self._all).items():
            low, high = (int.from_bytes(data[n : n + 2], "little") for n in (0, 2))
            if high > 0:
                self._check_limits(motor, low, high)

    def _group_write(self, item: Item, values: Mapping[int, bytes]) -> int:
        group = GroupSyncWrite(self._sdk, item.address, item.size)
        for servo, data in values.items():
            group.addParam(servo, data)
        return int(group.txPacket())

    def _group_read(self, item: Item, ids: Sequence[int]) -> dict[int, bytes]:
        group = GroupSyncRead(self._sdk, item.address, item.size)
        for servo in ids:
            group.addParam(servo)
        self._sent(group.txRxPacket())
        # The SDK puts the servo's error byte before its values, and None for who was not heard.
        return {n: bytes(data[1:]) for n, data in group.data_dict.items() if data}

    def _read(self, item: Item, servo: int) -> tuple[bytes, int, int]:
        data, code, flags = self._sdk.readTxRx(servo, item.address, item.size)
        return bytes(data), int(code), int(flags)

    def _says(self, code: int) -> str:
        if code in (COMM_SUCCESS, COMM_RX_TIMEOUT, COMM_RX_CORRUPT):
            return ""
        return str(self._sdk.getTxRxResult(code)).removeprefix("[TxRxResult] ").rstrip("!")

    def _position(self, data: bytes) -> int:
        word = int.from_bytes(data, "little")  # bit 15 is the sign
        return -(word & 0x7FFF) if word & 0x8000 else word
