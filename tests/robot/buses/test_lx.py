from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from emo_core.errors import EmoError
from emo_core.robot.bus import BusError, make_bus
from emo_core.robot.buses import lx
from emo_core.robot.buses.fake import FakeLine, FakeServos, damaged, half, noisy, silence
from emo_core.robot.buses.fake_lx import FakeLx
from emo_core.robot.buses.lx import LxBus
from emo_core.robot.description import RobotDescription

#: Longer than in earnest: other work on this machine is no fault here.
PATIENCE_S = 0.3
ONE_STEP = 0.01  # of a stroke: the brows have 214 goals


@dataclass
class Rig:
    robot: RobotDescription
    line: FakeLine
    bus: LxBus

    @property
    def servos(self) -> FakeServos:
        return self.line.device.servos

    def settle(self, goal: np.ndarray, seconds: float = 0.5) -> np.ndarray:
        """Where the servos truly are after `goal` was sent for a while."""
        for _ in range(math.ceil(seconds / 0.02)):
            self.bus.write(goal)
            time.sleep(0.02)
        with self.line.lock:
            return self.servos.positions(time.monotonic())


@pytest.fixture
def robot() -> RobotDescription:
    return RobotDescription.load("lx_fake")


@pytest.fixture
def rig(robot: RobotDescription) -> Iterator[Rig]:
    with FakeLine(FakeLx(FakeServos(robot))) as line:
        bus = LxBus(line.on(robot), PATIENCE_S)
        bus.open()
        yield Rig(robot, line, bus)
        bus.close()


def test_packets_are_those_of_the_document() -> None:
    # Servo 1 to 500 within 1000 ms; limp; where are you? Checksums by hand.
    assert lx.packet(1, lx.MOVE_TIME_WRITE, 500, 1000) == bytes.fromhex(
        "5555 01 07 01 F401 E803 16"
    )
    assert lx.packet(1, lx.LOAD_OR_UNLOAD_WRITE, 0) == bytes.fromhex("5555 01 04 1F 00 DB")
    assert lx.packet(1, lx.POS_READ) == bytes.fromhex("5555 01 03 1C DF")
    answer = bytes.fromhex("5555 01 05 1C F6FF E8")  # -10
    assert lx.find_answer(answer, 1, lx.POS_READ) == (-10,)
    assert lx.find_answer(b"\x55\x00\x55" + answer, 1, lx.POS_READ) == (-10,)
    assert lx.find_answer(b"\x55" + answer, 1, lx.POS_READ) == (-10,)
    assert lx.find_answer(answer, 2, lx.POS_READ) is None
    assert lx.find_answer(answer, 1, lx.VIN_READ) is None
    for end in range(len(answer)):
        assert lx.find_answer(answer[:end], 1, lx.POS_READ) is None
    assert lx.find_answer(answer[:-1] + b"\xe9", 1, lx.POS_READ) is None


def test_the_rate_is_what_the_wire_allows(robot: RobotDescription) -> None:
    bus = LxBus(robot)
    assert bus.write_s == pytest.approx(11 * 10 * 10 / 115200)
    assert bus.tells_position and not bus.arm_watchdog(0.25)


def test_motion_and_what_was_really_sent(rig: Rig) -> None:
    np.testing.assert_allclose(rig.bus.read(), rig.robot.neutral, atol=ONE_STEP)
    rig.bus.torque(True)
    goal = np.linspace(0.1, 0.9, 11)
    sent = rig.bus.write(goal)
    np.testing.assert_allclose(sent, goal, atol=ONE_STEP / 2)
    assert np.any(sent != goal)  # quantized
    np.testing.assert_allclose(rig.settle(goal), sent, atol=0.02)
    np.testing.assert_allclose(rig.bus.read(), sent, atol=0.02)
    some = rig.bus.read([3, 7])
    assert np.flatnonzero(np.isfinite(some)).tolist() == [3, 7]


def test_a_motor_without_torque_is_sent_nothing(rig: Rig) -> None:
    assert np.isnan(rig.bus.write(np.full(11, 0.9))).all()
    rig.bus.torque(True)
    rig.bus.torque(False, [4])
    goal = rig.robot.neutral + 0.2
    sent = rig.bus.write(goal)
    assert np.flatnonzero(np.isnan(sent)).tolist() == [4]
    there = rig.settle(goal)
    assert there[4] == pytest.approx(rig.robot.neutral[4], abs=ONE_STEP)
    assert there[5] == pytest.approx(goal[5], abs=0.02)
    with rig.line.lock:
        assert not rig.servos.on[4] and rig.servos.on[5]


def test_torque_comes_where_the_servo_is(rig: Rig) -> None:
    rig.bus.torque(True)
    start = rig.robot.neutral
    rig.bus.write(start + 0.2)
    time.sleep(0.05)  # on the way
    rig.bus.torque(False)
    time.sleep(0.1)
    with rig.line.lock:
        stopped = rig.servos.positions(time.monotonic())
    assert np.any(stopped < start + 0.15)
    rig.bus.torque(True)
    time.sleep(0.3)
    with rig.line.lock:
        assert rig.servos.on.all()
        there = rig.servos.positions(time.monotonic())
    np.testing.assert_allclose(there, stopped, atol=0.02)


def test_a_silent_servo_gets_no_torque(rig: Rig) -> None:
    with rig.line.lock:
        rig.servos.silent.add(6)
    rig.bus.torque(True)
    with rig.line.lock:
        rig.servos.silent.clear()
    goal = rig.robot.neutral + 0.2
    assert np.flatnonzero(np.isnan(rig.bus.write(goal))).tolist() == [6]
    assert rig.settle(goal)[6] == pytest.approx(rig.robot.neutral[6], abs=ONE_STEP)


def test_torque_arrives_also_through_noise(rig: Rig) -> None:
    asked = {"left": 0}

    def lose(data: bytes) -> bytes:
        asked["left"] -= 1
        return b"" if asked["left"] >= 0 else data

    rig.line.requests = lose
    for lost in (1, 2):
        for on in (True, False):
            asked["left"] = lost
            rig.bus.torque(on, [3])
            with rig.line.lock:
                assert rig.servos.on[3] == on


def test_telemetry_asks_one_thing_at_a_time(rig: Rig) -> None:
    with rig.line.lock:
        rig.servos.temperature_c[2] = 61.0
        rig.servos.voltage_v = 6.25
    first = rig.bus.telemetry(2)
    assert first.temperature_c == 61.0 and math.isnan(first.voltage_v)
    assert rig.bus.telemetry(2).voltage_v == 6.25
    assert rig.bus.telemetry(2).fault == ""


@pytest.mark.parametrize("trouble", ["hot", "sagging"])
def test_a_servo_that_lets_go_by_itself_is_noticed(rig: Rig, trouble: str) -> None:
    rig.bus.torque(True)
    rig.settle(rig.robot.neutral, 0.1)
    with rig.line.lock:
        if trouble == "hot":
            rig.servos.temperature_c[2] = 86.0
        else:
            rig.servos.voltage_v = 6.4
    time.sleep(0.05)
    assert [rig.bus.telemetry(2).fault for _ in range(3)][-1] == "let go of its load by itself"
    with rig.line.lock:
        assert rig.servos.on[3] == (trouble == "hot")
        rig.servos.temperature_c[2], rig.servos.voltage_v = 50.0, 7.4
    time.sleep(0.05)
    assert [rig.bus.telemetry(2).fault for _ in range(3)][-1] == ""


def test_a_silent_servo_is_no_fault_of_the_line(rig: Rig) -> None:
    with rig.line.lock:
        rig.servos.silent.add(6)
    start = time.monotonic()
    here = rig.bus.read()
    assert time.monotonic() - start < PATIENCE_S + 0.5
    assert np.flatnonzero(np.isnan(here)).tolist() == [6]
    assert math.isnan(rig.bus.telemetry(6).temperature_c)


def wrong_id(data: bytes) -> bytes:
    """Whole and well summed, but of another servo."""
    other = bytes([data[2] + 1]) + data[3:-1]
    return data[:2] + other + bytes([~sum(other) & 0xFF])


@pytest.mark.parametrize("fault", [half, silence, damaged, wrong_id])
def test_bad_answers_are_no_answers(rig: Rig, fault) -> None:
    rig.line.answers = fault
    start = time.monotonic()
    assert np.isnan(rig.bus.read([0])).all()
    assert time.monotonic() - start < PATIENCE_S + 0.5
    rig.line.answers = bytes
    assert np.isfinite(rig.bus.read([0])[0])


def test_an_answer_among_garbage_is_found(rig: Rig) -> None:
    rig.line.answers = lambda data: b"\x55\x55\x01\x99\x55" + data
    np.testing.assert_allclose(rig.bus.read(), rig.robot.neutral, atol=ONE_STEP)


def test_an_adapter_that_echoes(rig: Rig) -> None:
    rig.line.answers = lambda data: lx.packet(data[2], lx.Command(data[4])) + data
    np.testing.assert_allclose(rig.bus.read(), rig.robot.neutral, atol=ONE_STEP)
    assert rig.bus.telemetry(0).temperature_c == 35.0


def test_garbage_between_requests_is_dropped(rig: Rig) -> None:
    for _ in range(5):
        rig.line.noise(bytes(range(256)))
        time.sleep(0.03)
        assert np.isfinite(rig.bus.read([1])[1])


def test_damaged_packets_are_ignored(rig: Rig) -> None:
    """They fail their checksum: a servo keeps its goal until the next one."""
    rig.bus.torque(True)
    rig.line.requests = noisy(0.01, seed=1)
    low = high = rig.robot.neutral
    for k in range(100):
        rig.bus.write(rig.robot.neutral + 0.1 * math.sin(k / 5))
        time.sleep(0.01)
        with rig.line.lock:
            here = rig.servos.positions(time.monotonic())
        low, high = np.minimum(low, here), np.maximum(high, here)
    assert rig.line.device.bad_packets > 5
    assert np.all(low > rig.robot.neutral - 0.13) and np.all(high < rig.robot.neutral + 0.13)
    rig.line.requests = bytes
    np.testing.assert_allclose(
        rig.settle(rig.robot.neutral + 0.1), rig.robot.neutral + 0.1, atol=0.02
    )


def test_half_a_packet_is_forgotten(rig: Rig) -> None:
    rig.bus.torque(True)
    rig.settle(rig.robot.neutral, 0.05)
    rig.line.requests = lambda data: data[:7]
    rig.bus.write(rig.robot.neutral + 0.2)
    time.sleep(0.05)
    rig.line.requests = bytes
    np.testing.assert_allclose(
        rig.settle(rig.robot.neutral + 0.1), rig.robot.neutral + 0.1, atol=0.02
    )


def test_unplugged_in_mid_run(rig: Rig) -> None:
    rig.bus.torque(True)
    goal = rig.robot.neutral + 0.1
    rig.settle(goal, 0.3)
    rig.line.unplug()
    start = time.monotonic()
    with pytest.raises(BusError, match="plug the adapter in"):
        rig.bus.write(goal)
    with pytest.raises(BusError):
        rig.bus.read()
    assert time.monotonic() - start < 0.2
    with rig.line.lock:  # what the servos do by themselves: hold, with torque
        assert rig.servos.on.all()
    rig.line.plug()
    rig.bus.open()
    np.testing.assert_allclose(rig.bus.read(), goal, atol=0.02)


def test_the_supply_fails_and_returns(rig: Rig) -> None:
    rig.bus.torque(True)
    with rig.line.lock:
        rig.servos.power(False, time.monotonic())
    assert np.isnan(rig.bus.read()).all()
    with rig.line.lock:
        rig.servos.power(True, time.monotonic())
    time.sleep(0.05)
    with rig.line.lock:
        assert not rig.servos.on.any()  # limp until somebody asks
    assert np.isfinite(rig.bus.read()).all()


def test_the_file_is_enough(robot: RobotDescription) -> None:
    with make_bus(robot) as bus:
        assert isinstance(bus, LxBus)
        bus.torque(True)
        np.testing.assert_allclose(bus.write(robot.neutral), robot.neutral, atol=ONE_STEP)


def test_raw_of_another_kind_of_servo(robot: RobotDescription, tmp_path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"extends: {robot.file}\nname: mine\nmotors: [{{name: jaw, raw: [1000, 2000]}}]\n"
    )
    with pytest.raises(EmoError, match=r"mine.yaml: motors\[10\] \(jaw\): raw has 2000"):
        make_bus(RobotDescription.load(file))
