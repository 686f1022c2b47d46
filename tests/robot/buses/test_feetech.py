from __future__ import annotations

import time

import numpy as np
import pytest
import scservo_sdk

from emo_core.robot.buses import feetech
from emo_core.robot.buses.fake_feetech import packet


@pytest.fixture
def rig(register_rig):
    return register_rig("feetech")


def test_packets_are_those_of_the_manual() -> None:
    # Feetech's protocol manual: Ping of servo 1 and its answer, Read of position, Sync Write.
    assert packet(1, 1, b"") == bytes.fromhex("FFFF 01 02 01 FB")
    assert packet(1, 0, b"") == bytes.fromhex("FFFF 01 02 00 FC")
    assert packet(1, 2, bytes([0x38, 2])) == bytes.fromhex("FFFF 01 04 02 38 02 BE")
    assert packet(1, 0, bytes([0x18, 5])) == bytes.fromhex("FFFF 01 04 00 18 05 DD")


def test_the_makers_port_works_on_the_fake(rig, monkeypatch) -> None:
    rig.bus.close()
    monkeypatch.setattr("scservo_sdk.port_handler.LATENCY_TIMER", 400)  # patience, ms
    port = scservo_sdk.PortHandler(str(rig.line.port))
    assert port.openPort() and port.setBaudRate(1_000_000)
    servos = scservo_sdk.sms_sts(port)
    assert servos.ping(1) == (777, 0, 0)
    position, result, error = servos.ReadPos(3)
    assert (result, error) == (0, 0) and abs(position - (2374 - 0.75 * 652)) <= 1
    assert servos.write1ByteTxRx(3, scservo_sdk.SMS_STS_TORQUE_ENABLE, 1) == (0, 0)
    assert rig.servos.on[2]
    assert servos.ping(77)[1] == scservo_sdk.COMM_RX_TIMEOUT
    port.closePort()


def test_positions_carry_their_sign_in_the_highest_bit(rig) -> None:
    assert rig.bus._position(bytes.fromhex("0208")) == 0x0802
    assert rig.bus._position(bytes.fromhex("0A80")) == -10


def test_there_is_no_watchdog_and_it_says_so(rig) -> None:
    assert not rig.bus.arm_watchdog(0.2)
    assert rig.bus.guarantee.startswith("none by the bus")
    rig.bus.torque(True)
    goal = rig.robot.neutral + 0.2
    rig.bus.write(goal)
    rig.bus.close()  # and not another byte
    time.sleep(0.6)
    np.testing.assert_allclose(rig.where(), goal, atol=0.02)
    assert rig.servos.on.all()


def test_several_errors_at_once(rig) -> None:
    rig.device._errors[3] = 0x25
    data, flags = rig.bus._ask(feetech.VOLTAGE_TEMPERATURE, 3)
    assert flags == 0x25 and len(data) == 2


def test_a_servo_for_several_turns_has_no_limits(rig) -> None:
    with rig.line.lock:
        rig.device.put(0, feetech.ANGLE_LIMITS, 0)
    rig.bus.close()
    rig.bus.open()
