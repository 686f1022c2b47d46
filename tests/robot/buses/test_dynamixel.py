from __future__ import annotations

import time
from dataclasses import replace

import dynamixel_sdk
import numpy as np
import pytest

from emo_core.robot.bus import BusError
from emo_core.robot.buses import dynamixel
from emo_core.robot.buses.fake_dynamixel import DATA_LIMIT, DATA_RANGE, START_S, crc, packet
from emo_core.robot.buses.registers import Item
from emo_core.robot.description import RobotDescription

#: Profile Acceleration: four bytes that take any value.
ANY = Item(108, 4)


@pytest.fixture
def rig(register_rig):
    return register_rig("dynamixel")


@pytest.fixture
def maker(rig, monkeypatch):
    """The maker's own port and packet handler on the other end of the fake's line."""
    rig.bus.close()
    # Its patience, in ms: other work on this machine is no fault here.
    monkeypatch.setattr("dynamixel_sdk.port_handler.LATENCY_TIMER", 200)
    port = dynamixel_sdk.PortHandler(str(rig.line.port))
    assert port.openPort() and port.setBaudRate(1_000_000)
    yield port, dynamixel_sdk.PacketHandler(2.0)
    port.closePort()


def test_packets_are_those_of_the_manual() -> None:
    # ROBOTIS e-Manual, Protocol 2.0: the examples of Ping, Read, Write, Reboot and Sync Write.
    for manual in (
        "FFFFFD00 01 0300 01 194E",
        "FFFFFD00 01 0700 55 00 0604 26 655D",
        "FFFFFD00 01 0700 02 8400 0400 1D15",
        "FFFFFD00 01 0800 55 00 A6000000 8CC0",
        "FFFFFD00 01 0900 03 7400 00020000 CA89",
        "FFFFFD00 01 0300 08 2F4E",
        "FFFFFD00 FE 1100 83 7400 0400 01 96000000 02 AA000000 8287",
    ):
        whole = bytes.fromhex(manual)
        assert packet(whole[4], whole[7:-2]) == whole
    assert packet(1, b"\x55\x00\xff\xff\xfd\x01")[7:-2] == b"\x55\x00\xff\xff\xfd\xfd\x01"
    assert crc(b"") == 0


def test_the_makers_port_works_on_the_fake(maker, rig) -> None:
    port, handler = maker
    assert handler.ping(port, 1)[1:] == (0, 0)
    assert handler.read2ByteTxRx(port, 1, 0) == (1060, 0, 0)
    position, result, error = handler.read4ByteTxRx(port, 3, dynamixel.PRESENT_POSITION.address)
    assert (result, error) == (0, 0) and abs(position - (2374 - 0.75 * 652)) <= 1
    assert handler.ping(port, 77)[1] == dynamixel_sdk.COMM_RX_TIMEOUT


@pytest.mark.parametrize("value", [0x00FDFFFF, 0xFDFFFF00, 0xFFFFFFFF, 0xFDFFFDFF, 0xFFFDFFFF])
def test_bytes_that_look_like_a_header_are_stuffed(maker, rig, value: int) -> None:
    port, handler = maker
    for _ in range(2):
        assert handler.write4ByteTxRx(port, 2, ANY.address, value) == (0, 0)
        assert rig.device.get(1, ANY) == value
        assert handler.read4ByteTxRx(port, 2, ANY.address) == (value, 0, 0)


def test_the_servo_refuses_what_it_must(maker, rig) -> None:
    port, handler = maker
    goal, watchdog = dynamixel.GOAL_POSITION.address, dynamixel.BUS_WATCHDOG.address
    assert handler.write4ByteTxRx(port, 1, goal, 4096) == (0, DATA_LIMIT)
    assert handler.write1ByteTxRx(port, 1, watchdog, 128) == (0, DATA_RANGE)
    assert handler.write1ByteTxRx(port, 1, dynamixel.TORQUE_ENABLE.address, 1) == (0, 0)
    assert handler.write1ByteTxRx(port, 1, watchdog, 1) == (0, 0)
    time.sleep(0.2)
    assert handler.read1ByteTxRx(port, 1, watchdog) == (dynamixel.WATCHDOG_TRIPPED, 0, 0)
    assert handler.write4ByteTxRx(port, 1, goal, 2048) == (0, DATA_RANGE)
    assert handler.write1ByteTxRx(port, 1, watchdog, 0) == (0, 0)
    assert handler.write4ByteTxRx(port, 1, goal, 2048) == (0, 0)


def test_the_rates_of_delivery_and_of_a_million_baud(rig) -> None:
    robot = RobotDescription.load("dynamixel_fake")
    delivered = replace(robot, bus=replace(robot.bus, baud=0))
    assert dynamixel.DynamixelBus(delivered).write_s == pytest.approx(69 * 10 / 57600)
    assert rig.bus.write_s == pytest.approx(69e-5)


def test_a_silent_host_stops_the_servos(register_rig) -> None:
    rig = register_rig("dynamixel", max_speed=0.5)
    assert rig.bus.arm_watchdog(0.2)
    rig.bus.torque(True)
    goal = rig.robot.neutral.copy()
    goal[0] = 1.0  # 1.1 s away
    rig.bus.write(goal)
    time.sleep(0.7)
    stopped = rig.where()
    moved = stopped[0] - rig.robot.neutral[0]
    assert 0.02 < moved < 0.3  # 0.2 s and its run-out, and not 0.55
    time.sleep(0.3)
    np.testing.assert_allclose(rig.where(), stopped, atol=1e-3)
    assert rig.servos.on.all()  # they hold
    # The next write clears the error, and goes on.
    rig.settle(goal, 2.0)
    assert rig.where()[0] == pytest.approx(1.0, abs=0.02)


def test_a_servo_that_missed_packets_goes_on(rig) -> None:
    assert rig.bus.arm_watchdog(2.0)
    rig.bus.torque(True)
    rig.bus.write(rig.robot.neutral)
    time.sleep(0.1)
    with rig.line.lock:
        rig.device.put(5, dynamixel.BUS_WATCHDOG, dynamixel.WATCHDOG_TRIPPED)
    goal = rig.robot.neutral + 0.2
    assert rig.settle(goal, 0.3)[5] == pytest.approx(rig.robot.neutral[5], abs=0.01)
    rig.bus.telemetry(5)
    rig.bus.telemetry(5)  # in turn, this one sees it
    np.testing.assert_allclose(rig.settle(goal, 0.4), goal, atol=0.02)
    assert rig.device.get(5, dynamixel.BUS_WATCHDOG) == 100


def test_arming_and_disarming(rig) -> None:
    assert rig.bus.arm_watchdog(0.5) and rig.device.get(3, dynamixel.BUS_WATCHDOG) == 25
    assert rig.bus.arm_watchdog(10.0) and rig.device.get(3, dynamixel.BUS_WATCHDOG) == 127
    assert rig.bus.arm_watchdog(0.001) and rig.device.get(3, dynamixel.BUS_WATCHDOG) == 1
    rig.bus.close()
    time.sleep(0.05)
    assert rig.device.get(3, dynamixel.BUS_WATCHDOG) == 0


def test_a_program_after_one_that_was_killed_in_mid_motion(register_rig) -> None:
    rig = register_rig("dynamixel", max_speed=0.5)
    rig.bus.arm_watchdog(0.2)
    rig.bus.torque(True)
    goal = rig.robot.neutral.copy()
    goal[0] = 1.0
    rig.bus.write(goal)
    rig.bus._line.close()  # nothing is disarmed
    time.sleep(0.7)
    assert rig.device.get(0, dynamixel.BUS_WATCHDOG) == dynamixel.WATCHDOG_TRIPPED
    stopped = rig.where()
    assert stopped[0] < 0.9
    rig.hurry(0.3)
    assert rig.bus.arm_watchdog(5.0)
    rig.bus.torque(True)
    time.sleep(0.5)
    np.testing.assert_allclose(rig.where(), stopped, atol=0.01)  # not on to the old goal
    assert rig.servos.on.all() and rig.device.get(0, dynamixel.BUS_WATCHDOG) == 127
    np.testing.assert_allclose(rig.settle(goal, 1.5), goal, atol=0.02)


def test_a_line_given_up_with_torque_on_leaves_the_servos_guarded(rig) -> None:
    rig.bus.arm_watchdog(0.1)
    rig.bus.torque(True)
    rig.bus.close()
    time.sleep(0.4)
    assert rig.device.get(3, dynamixel.BUS_WATCHDOG) == dynamixel.WATCHDOG_TRIPPED


def test_an_error_that_stays_until_a_reboot(rig) -> None:
    rig.bus.torque(True)
    with rig.line.lock:
        rig.servos.temperature_c[4] = 90.0
    time.sleep(0.05)
    assert rig.bus.telemetry(4).fault == "overheating"
    rig.bus.torque(False, [4])
    for _ in range(3):  # as hot as before: a reboot is no cure
        rig.bus.telemetry(4)
        time.sleep(START_S + 0.1)
        assert rig.bus.telemetry(4).fault == "overheating"
    with rig.line.lock:
        rig.servos.temperature_c[4] = 40.0
    time.sleep(START_S + 0.1)
    rig.bus.torque(True, [4])
    assert not rig.servos.on[4]  # not before it was rebooted
    rig.bus.telemetry(4)
    time.sleep(START_S + 0.1)
    assert rig.bus.telemetry(4).fault == ""
    rig.bus.torque(True, [4])
    assert rig.servos.on.all()


def test_opening_brings_back_who_let_go_before(rig) -> None:
    with rig.line.lock:
        rig.device.put(6, dynamixel.HARDWARE_ERROR_STATUS, 0x20)
    assert rig.bus.telemetry(6).fault == "overload"
    rig.bus.close()
    rig.bus.open()
    rig.bus.torque(True)
    assert rig.servos.on.all()


def test_voltage_is_told_with_the_servos_own_flag(rig) -> None:
    with rig.line.lock:
        rig.servos.voltage_v = 5.1
    time.sleep(0.05)
    told = rig.bus.telemetry(0)
    assert told.voltage_v == pytest.approx(5.1) and told.fault == "input voltage"


def test_an_error_in_the_middle_of_arming_is_one_line(rig) -> None:
    rig.line.unplug()
    with pytest.raises(BusError, match="is not there: plug the adapter in"):
        rig.bus.arm_watchdog(0.2)
