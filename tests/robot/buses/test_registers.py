"""What Dynamixel and Feetech servos have in common, through their makers' SDKs."""

from __future__ import annotations

import sys
import threading
import time

import numpy as np
import pytest

from emo_core.errors import EmoError
from emo_core.robot.bus import BusError, make_bus
from emo_core.robot.buses import dynamixel, feetech
from emo_core.robot.buses.fake import damaged, half, noisy, silence
from emo_core.robot.buses.registers import SdkPort
from emo_core.robot.buses.serial_line import SerialLine
from emo_core.robot.description import RobotDescription

ONE_STEP = 1 / 325  # of a stroke: the jaw has the fewest goals
MODULES = {"dynamixel": dynamixel, "feetech": feetech}


@pytest.fixture(params=MODULES)
def kind(request) -> str:
    return request.param


@pytest.fixture
def rig(kind, register_rig):
    return register_rig(kind)


def test_motion_and_what_was_really_sent(rig) -> None:
    np.testing.assert_allclose(rig.bus.read(), rig.robot.neutral, atol=ONE_STEP)
    rig.bus.torque(True)
    goal = np.linspace(0.1, 0.9, 11)
    sent = rig.bus.write(goal)
    np.testing.assert_allclose(sent, goal, atol=ONE_STEP)
    assert np.any(sent != goal)  # quantized
    np.testing.assert_allclose(rig.settle(goal), sent, atol=0.02)
    np.testing.assert_allclose(rig.bus.read(), sent, atol=0.02)
    some = rig.bus.read([3, 7])
    assert np.flatnonzero(np.isfinite(some)).tolist() == [3, 7]


def test_a_write_is_one_packet_of_the_length_that_its_time_is_reckoned_from(rig) -> None:
    rig.bus.torque(True)
    seen = []

    def spy(data: bytes) -> bytes:
        seen.append(data)
        return data

    with rig.line.lock:
        rig.line.requests = spy
    rig.bus.write(rig.robot.neutral)  # the first one arms a watchdog, where there is one
    time.sleep(0.05)
    seen.clear()
    rig.bus.write(rig.robot.neutral)
    time.sleep(0.05)
    assert len(b"".join(seen)) * 10 == pytest.approx(rig.bus.write_s * rig.bus._line.baud)
    assert rig.bus.write_s < 0.001


def test_torque_comes_where_the_servo_is_not_at_an_old_goal(rig, kind) -> None:
    rig.bus.torque(True)
    rig.settle(rig.robot.neutral + 0.2)
    rig.bus.torque(False)
    with rig.line.lock:
        for motor in range(11):  # a goal from before
            rig.device.put(motor, MODULES[kind].GOAL_POSITION, 2100)
    before = rig.where()
    rig.bus.torque(True)
    time.sleep(0.3)
    assert rig.servos.on.all()
    np.testing.assert_allclose(rig.where(), before, atol=ONE_STEP)


def test_one_motor_goes_limp_and_holds_again(rig) -> None:
    assert np.isnan(rig.bus.write(np.full(11, 0.9))).all()  # no torque yet
    rig.bus.torque(True)
    rig.bus.torque(False, [4])
    goal = rig.robot.neutral + 0.2
    assert np.flatnonzero(np.isnan(rig.bus.write(goal))).tolist() == [4]
    there = rig.settle(goal)
    assert there[4] == pytest.approx(rig.robot.neutral[4], abs=ONE_STEP)
    assert there[5] == pytest.approx(goal[5], abs=0.02)
    assert not rig.servos.on[4] and rig.servos.on[5]
    rig.bus.torque(True, [4])
    assert rig.settle(goal)[4] == pytest.approx(goal[4], abs=0.02)


def test_a_silent_servo_is_no_fault_of_the_line(rig, kind) -> None:
    with rig.line.lock:
        rig.servos.silent.add(2)
    rig.hurry(0.05)
    rig.bus.torque(True)
    there = rig.bus.read()
    assert np.flatnonzero(np.isnan(there)).tolist() == [2]
    np.testing.assert_allclose(np.delete(there, 2), np.delete(rig.robot.neutral, 2), atol=ONE_STEP)
    start = time.monotonic()
    assert np.isnan(rig.bus.read([2])).all() and np.isnan(rig.bus.telemetry(2).voltage_v)
    assert 0.1 <= time.monotonic() - start < 0.4  # each gave up after its patience
    goal = rig.robot.neutral + 0.2
    assert np.flatnonzero(np.isnan(rig.bus.write(goal))).tolist() == [2]
    with rig.line.lock:
        rig.servos.silent.clear()
    rig.bus.torque(True, [2])
    np.testing.assert_allclose(rig.settle(goal), goal, atol=0.02)


def test_patience_in_earnest_is_below_20_ms(kind) -> None:
    assert make_bus(RobotDescription.load(f"{kind}_fake"))._port._patience_s < 0.02


def test_nobody_answers(kind, register_rig) -> None:
    rig = register_rig(kind, opened=False)
    with rig.line.lock:
        rig.servos.powered = False
    with pytest.raises(BusError, match=r"no servo answers on bus.port .*: check supply") as caught:
        rig.hurry(0.01)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(rig.robot.file))
    with rig.line.lock:
        rig.servos.powered = True
    rig.hurry(0.3)


@pytest.mark.parametrize("spoil", [half, silence, damaged])
def test_answers_that_are_not_whole(rig, spoil) -> None:
    rig.hurry(0.05)
    with rig.line.lock:
        rig.line.answers = spoil
    assert np.isnan(rig.bus.read([3])).all()
    assert np.isnan(rig.bus.telemetry(3).temperature_c)
    with rig.line.lock:
        rig.line.answers = bytes
    assert np.isfinite(rig.bus.read([3])[3])  # the line is usable again at once


def test_answers_of_another_servo(rig, kind) -> None:
    def stranger(data: bytes) -> bytes:
        """The same answer from id 99, its checksum right."""
        if kind == "dynamixel":
            from emo_core.robot.buses.fake_dynamixel import packet

            return packet(99, data[7:-2])
        from emo_core.robot.buses.fake_feetech import packet

        return packet(99, data[4], data[5:-1])

    with rig.line.lock:
        rig.line.answers = stranger
    assert np.isnan(rig.bus.read([3])).all()


@pytest.mark.parametrize("garbage", [b"\x00", b"\xff", b"\x55\xff\xfd", bytes(range(40))])
def test_garbage_before_an_answer(rig, garbage: bytes) -> None:
    with rig.line.lock:
        rig.line.answers = lambda data: garbage + data
    assert rig.bus.read([3])[3] == pytest.approx(rig.robot.neutral[3], abs=ONE_STEP)


def test_whatever_comes_back_is_no_exception(rig) -> None:
    rng = np.random.default_rng(7)
    starts = [b"", b"\xff\xff", b"\xff\xff\xfd\x00", b"\xff\xff\x04", b"\xff\xff\xfd\x00\x04"]

    def garbage(data: bytes) -> bytes:
        made = bytearray(rng.choice([0, 1, 2, 4, 0x55, 0xFD, 0xFF, 200], rng.integers(0, 40)))
        kept = data[: rng.integers(0, len(data))]
        return starts[rng.integers(len(starts))] + bytes(made) + kept

    rig.hurry(0.003)
    with rig.line.lock:
        rig.line.answers = garbage
    heard = []
    for n in range(60):
        heard += [*rig.bus.read([3]), rig.bus.telemetry(3).voltage_v]
        if n % 10 == 0:
            heard += [*rig.bus.read()]
    assert np.isfinite(heard).mean() < 0.02
    with rig.line.lock:
        rig.line.answers = bytes
    time.sleep(0.2)  # the last of it is still on its way
    rig.hurry(0.3)
    assert np.isfinite(rig.bus.read()).all()


def test_a_line_that_never_falls_silent_does_not_hold_up_the_host(rig) -> None:
    with rig.line.lock:
        rig.line.answers = lambda data: b"\x55\xff\x00" * 3000
    start = time.monotonic()
    assert np.isnan(rig.bus.read([3])).all()
    assert time.monotonic() - start < 2.0


def test_noise_in_both_directions(rig) -> None:
    rig.hurry(0.02)
    rig.bus.torque(True)
    with rig.line.lock:
        rig.line.requests, rig.line.answers = noisy(0.01, 5), noisy(0.01, 6)
    heard = np.array([rig.bus.read([n % 11])[n % 11] for n in range(100)])
    told = [rig.bus.telemetry(n % 11) for n in range(50)]
    whole = np.isfinite(heard)
    assert 30 < whole.sum() < 100 and rig.device.bad_packets > 0
    np.testing.assert_allclose(
        heard[whole], np.resize(rig.robot.neutral, 100)[whole], atol=ONE_STEP
    )
    assert {t.temperature_c for t in told if np.isfinite(t.temperature_c)} == {35.0}
    with rig.line.lock:
        rig.line.requests = rig.line.answers = bytes
    assert np.isfinite(rig.bus.read()).all()


def test_torque_switches_in_spite_of_noise(rig) -> None:
    with rig.line.lock:
        rig.line.requests = noisy(0.002, 5)
    for on in (True, False, True, False):
        rig.bus.torque(on)
        assert rig.servos.on.tolist() == [on] * 11
    assert rig.device.bad_packets > 0


def test_temperature_voltage_and_limits(rig) -> None:
    with rig.line.lock:
        rig.servos.temperature_c[2] = 61.0
        rig.servos.voltage_v = 6.3
    rig.bus.torque(True)
    told = rig.bus.telemetry(2)
    assert (told.temperature_c, told.voltage_v, told.fault) == (61.0, 6.3, "")
    with rig.line.lock:
        rig.servos.temperature_c[2] = 75.0
    time.sleep(0.05)
    rig.bus.telemetry(2)
    assert rig.bus.telemetry(2).fault == "overheating" and rig.bus.telemetry(3).fault == ""
    assert not rig.servos.on[2] and rig.servos.on[3]  # it lets go, the others hold
    rig.bus.torque(False, [2])
    with rig.line.lock:
        rig.servos.temperature_c[2] = 50.0
    for _ in range(20):
        if not rig.bus.telemetry(2).fault:
            break
        time.sleep(0.1)
    rig.bus.torque(True, [2])
    assert rig.servos.on.all()
    assert not rig.bus.telemetry(2).fault and not rig.bus.telemetry(2).fault


def test_a_motor_that_is_held_overloads(rig) -> None:
    rig.bus.torque(True)
    with rig.line.lock:
        rig.servos.stuck.add(5)
    rig.settle(rig.robot.neutral + 0.2, 1.3)
    assert not rig.servos.on[5] and rig.servos.on[6]
    assert "overload" in [rig.bus.telemetry(5).fault for _ in range(2)]


def test_supply_fails_and_returns(rig) -> None:
    rig.bus.torque(True)
    rig.settle(rig.robot.neutral + 0.2, 0.3)
    with rig.line.lock:
        rig.servos.power(False, time.monotonic())
    time.sleep(0.05)
    assert np.isnan(rig.bus.read([0, 1])).all()
    with rig.line.lock:
        rig.servos.power(True, time.monotonic())
    rig.bus.close()
    rig.bus.open()
    np.testing.assert_allclose(rig.bus.read(), rig.robot.neutral + 0.2, atol=0.02)
    rig.bus.torque(True)
    time.sleep(0.2)
    np.testing.assert_allclose(rig.where(), rig.robot.neutral + 0.2, atol=0.02)


def test_unplugged_and_plugged_in_again(rig) -> None:
    rig.bus.torque(True)
    rig.line.unplug()
    for use in (lambda: rig.bus.read([0]), lambda: rig.bus.write(rig.robot.neutral), rig.bus.open):
        with pytest.raises(BusError) as caught:
            use()
        assert "\n" not in str(caught.value) and str(rig.line.port) in str(caught.value)
    rig.line.plug()
    rig.bus.open()
    rig.bus.torque(True)
    np.testing.assert_allclose(rig.settle(rig.robot.neutral), rig.robot.neutral, atol=0.02)
    rig.bus.close()
    rig.bus.close()
    rig.line.unplug()
    rig.bus.close()


def test_unplugged_in_mid_answer(rig) -> None:
    with rig.line.lock:
        rig.line.answers = half
    pull = threading.Timer(0.1, rig.line.unplug)
    pull.start()
    start = time.monotonic()
    with pytest.raises(BusError, match="is not there"):
        for _ in range(10):
            rig.bus.read([0])
    assert time.monotonic() - start < 0.3  # at once, not when patience ends
    pull.join()
    rig.line.answers = bytes
    rig.line.plug()
    rig.bus.open()  # the SDK does not think that its port is still in use
    assert np.isfinite(rig.bus.read()).all()


def test_what_only_the_sdk_could_refuse_is_a_bus_error(rig) -> None:
    rig.bus._port.is_using = True
    with pytest.raises(BusError, match=r"bus\.port .* failed \(Port is in use\)"):
        rig.bus.read([0])


def test_a_servo_that_refuses_its_goals_is_told_before_anything_moves(rig, kind) -> None:
    module = MODULES[kind]
    rig.bus.close()
    limits = module.POSITION_LIMITS if kind == "dynamixel" else module.ANGLE_LIMITS
    high, low = 2100, 1000
    word = limits.size // 2 * 8
    value = high | low << word if kind == "dynamixel" else low | high << word
    before = rig.device.get(0, limits)
    with rig.line.lock:
        rig.device.put(0, limits, value)
    says = r"motors\[0\] \(brow_right\): servo 1 takes goals from 1000 to 2100, not 1755 to 2341"
    with pytest.raises(BusError, match=says):
        rig.bus.open()
    with rig.line.lock:
        rig.device.put(0, limits, before)
        rig.device.put(1, module.OPERATING_MODE, 1)
    with pytest.raises(BusError, match=r"\(brow_left\): servo 2 is in .* 1: set . \(pos") as e:
        rig.bus.open()
    assert "\n" not in str(e.value)


def test_the_port_waits_for_late_bytes_and_not_for_ever(rig, kind) -> None:
    rig.bus.close()
    line = SerialLine(rig.bus.description, 57600)
    line.open()
    port = SdkPort(line, 0.1)
    port.setPacketTimeout(10)
    rig.line.noise(b"0123456789")
    assert port.readPort(4) == b"0123" and not port.isPacketTimeout()
    assert port.readPort(100) == b"456789"
    while not port.isPacketTimeout():
        assert port.readPort(1) == b""
    assert port.isPacketTimeout() and time.monotonic() >= line.deadline(10, 0.1)
    rig.line.noise(b"late")
    time.sleep(0.05)
    assert port.readPort(4) == b""  # over is over
    port.clearPort()
    port.setPacketTimeout(10)
    assert port.readPort(4) == b"" and port.readPort(-1) == b""
    line.close()


def test_without_the_makers_library(kind, monkeypatch) -> None:
    library = {"dynamixel": "dynamixel_sdk", "feetech": "scservo_sdk"}[kind]
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"emo_core.robot.buses.{kind}")
    with pytest.raises(EmoError, match=rf"{library}.*: pip install -r requirements/base.txt"):
        make_bus(RobotDescription.load(f"{kind}_fake"))
