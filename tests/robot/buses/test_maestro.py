from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pytest

from emo_core.errors import EmoError
from emo_core.robot.bus import BusError, make_bus
from emo_core.robot.buses import maestro
from emo_core.robot.buses.fake import FakeLine, FakeServos, half, silence
from emo_core.robot.buses.fake_maestro import FakeMaestro
from emo_core.robot.buses.maestro import MaestroBus
from emo_core.robot.buses.serial_line import SerialLine
from emo_core.robot.description import RobotDescription

#: Longer than in earnest: other work on this machine is no fault here.
PATIENCE_S = 0.3
#: A command for a quarter of a microsecond.
STEP = 0.25 / 572


@dataclass
class Rig:
    robot: RobotDescription
    line: FakeLine
    bus: MaestroBus

    @property
    def device(self) -> FakeMaestro:
        return self.line.device

    def truth(self) -> np.ndarray:
        with self.line.lock:
            return self.device.servos.positions(time.monotonic())

    def settle(self, goal: np.ndarray, seconds: float = 0.5) -> np.ndarray:
        for _ in range(math.ceil(seconds / 0.02)):
            self.bus.write(goal)
            time.sleep(0.02)
        return self.truth()


Make = Callable[..., AbstractContextManager[Rig]]


@pytest.fixture
def make() -> Make:
    @contextmanager
    def rig(timeout_s: float = 0.0, **settings: object) -> Iterator[Rig]:
        robot = RobotDescription.load("maestro_fake")
        with FakeLine(FakeMaestro(FakeServos(robot), timeout_s, **settings)) as line:
            bus = MaestroBus(line.on(robot), PATIENCE_S)
            bus.open()
            yield Rig(robot, line, bus)
            bus.close()

    return rig


def test_packets_are_those_of_the_guide() -> None:
    # Channel 2 to 1500 us, as in the guide; channels 6 and 7 off and to 1500 us.
    assert maestro.targets(2, [6000]) == bytes.fromhex("84 02 70 2E")
    assert maestro.targets(6, [0, 6000]) == bytes.fromhex("9F 02 06 00 00 70 2E")
    # A Micro Maestro, with channels 0 to 5, knows no set multiple targets.
    assert maestro.targets(3, [0, 6000]) == bytes.fromhex("84 03 00 00 84 04 70 2E")


def test_one_packet_for_neighbours(make: Make) -> None:
    seen = bytearray()
    with make() as rig:
        rig.line.requests = lambda data: seen.extend(data) or data
        rig.bus.torque(True)
        rig.bus.write(rig.robot.neutral)
        rig.bus.read([0])
    asked = seen.index(bytes([maestro.SET_MULTIPLE_TARGETS]))
    assert bytes(seen[asked : asked + 3]) == bytes([maestro.SET_MULTIPLE_TARGETS, 11, 0])
    assert rig.bus.write_s == pytest.approx((3 + 2 * 11) * 10 / 115200)
    assert not rig.bus.tells_position


def test_channels_in_any_order(make: Make) -> None:
    robot = RobotDescription.load("maestro_fake")
    channels = [20, 3, 1, 2, 9, 8, 0, 14, 15, 16, 17]
    motors = [replace(m, id=c) for m, c in zip(robot.motors, channels, strict=True)]
    robot = replace(robot, motors=tuple(motors))
    with FakeLine(FakeMaestro(FakeServos(robot))) as line:
        bus = MaestroBus(line.on(robot), PATIENCE_S)
        bus.open()
        bus.torque(True)
        goal = np.linspace(0.1, 0.9, 11)
        np.testing.assert_allclose(bus.write(goal), goal, atol=STEP)
        np.testing.assert_allclose(bus.read(), goal, atol=STEP)
        bus.close()


def test_motion_and_what_was_really_sent(make: Make) -> None:
    with make() as rig:
        assert np.isnan(rig.bus.read()).all()  # no pulses since power came on
        rig.bus.torque(True)
        assert np.isnan(rig.bus.read()).all()  # nor now: where to is not known
        goal = np.linspace(0.1, 0.9, 11)
        sent = rig.bus.write(goal)
        np.testing.assert_allclose(sent, goal, atol=STEP)
        assert np.any(sent != goal)  # quantized
        np.testing.assert_allclose(rig.settle(goal), goal, atol=0.02)
        np.testing.assert_allclose(rig.bus.read(), sent, atol=1e-9)
        assert np.flatnonzero(np.isfinite(rig.bus.read([3, 7]))).tolist() == [3, 7]


def test_a_motor_without_torque_has_no_pulses(make: Make) -> None:
    with make() as rig:
        rig.bus.torque(True)
        rig.bus.write(rig.robot.neutral)
        rig.bus.torque(False, [4])
        goal = rig.robot.neutral + 0.2
        sent = rig.bus.write(goal)
        assert np.flatnonzero(np.isnan(sent)).tolist() == [4]
        there = rig.settle(goal)
        assert there[4] == pytest.approx(rig.robot.neutral[4], abs=0.01)
        assert there[5] == pytest.approx(goal[5], abs=0.02)
        assert np.isnan(rig.bus.read()[4])
        rig.bus.torque(False)
        assert np.isnan(rig.bus.read()).all()


def test_pulses_outlive_the_process(make: Make) -> None:
    with make() as rig:
        rig.bus.torque(True)
        goal = rig.robot.neutral + 0.1
        rig.settle(goal)
        rig.bus.close()
        rig.bus.open()
        np.testing.assert_allclose(rig.bus.read(), goal, atol=STEP)
        rig.bus.torque(True)
        np.testing.assert_allclose(rig.bus.read(), goal, atol=STEP)


def test_the_watchdog_is_tried_out(make: Make) -> None:
    with make(timeout_s=0.1) as rig:
        assert rig.bus.arm_watchdog(0.1)
        assert not rig.bus.arm_watchdog(0.02)  # it would come too late
    with make() as rig:
        assert not rig.bus.arm_watchdog(0.1)


def test_the_watchdog_brings_the_face_home(make: Make) -> None:
    with make(timeout_s=0.15) as rig:
        assert rig.bus.arm_watchdog(0.2)
        rig.bus.torque(True)
        rig.settle(rig.robot.neutral + 0.2)
        time.sleep(0.6)  # the host is dead
        np.testing.assert_allclose(rig.truth(), rig.robot.neutral, atol=0.02)
        with pytest.raises(BusError, match=r"reports serial timeout: .* error positions"):
            rig.bus.read([0])
        rig.bus.open()  # as the head does
        np.testing.assert_allclose(rig.bus.read(), rig.robot.neutral, atol=STEP)


def test_what_a_channel_does_on_an_error_is_its_setting(make: Make) -> None:
    with make(timeout_s=0.15, on_error="ignore") as rig:
        rig.bus.torque(True)
        goal = rig.robot.neutral + 0.2
        rig.settle(goal)
        time.sleep(0.4)
        np.testing.assert_allclose(rig.truth(), goal, atol=0.02)
    with make(timeout_s=0.15, on_error="off") as rig:
        rig.bus.torque(True)
        rig.settle(goal)
        time.sleep(0.4)
        with rig.line.lock:
            assert not rig.device.servos.on.any()


def test_errors_before_torque_are_of_the_past(make: Make) -> None:
    with make(timeout_s=0.1) as rig:
        time.sleep(0.3)
        assert np.isfinite(rig.bus.read()).all()  # it went home, by itself
        time.sleep(0.3)
        rig.bus.torque(True)
        rig.bus.write(rig.robot.neutral)
        assert rig.bus.telemetry(0).fault == ""


def test_garbage_is_reported_by_the_controller(make: Make) -> None:
    with make() as rig:
        rig.bus.torque(True)
        rig.settle(rig.robot.neutral + 0.2, 0.3)
        rig.line.requests = lambda data: b"\xff\x01" + data
        rig.bus.write(rig.robot.neutral + 0.2)
        time.sleep(0.02)
        rig.line.requests = bytes
        with pytest.raises(BusError, match="reports serial protocol error"):
            rig.bus.telemetry(3)
        rig.bus.open()
        rig.bus.torque(True)
        goal = rig.robot.neutral + 0.1
        np.testing.assert_allclose(rig.settle(goal), goal, atol=0.02)


def test_half_a_packet_costs_one_step(make: Make) -> None:
    with make(on_error="ignore") as rig:
        rig.bus.torque(True)
        goal = rig.robot.neutral + 0.1
        rig.line.requests = lambda data: data[: len(data) // 2]
        rig.bus.write(goal)
        time.sleep(0.02)
        rig.line.requests = bytes
        np.testing.assert_allclose(rig.settle(goal), goal, atol=0.02)


def test_an_answer_that_comes_too_late_is_not_that_to_the_next_question(make: Make) -> None:
    with make() as rig:
        rig.bus.torque(True)
        sent = rig.bus.write(rig.robot.neutral)
        pulse = int(maestro.QUARTERS * 1500).to_bytes(2, "little")
        rig.line.answers = lambda data: pulse + data  # of the question before
        assert rig.bus.telemetry(0).fault == ""
        rig.line.answers = lambda data: (b"\x20\x00" if data[1] > 1 else b"") + data
        np.testing.assert_allclose(rig.bus.read([1])[1], sent[1])


def test_a_channels_answer_that_comes_too_late_is_not_the_next_channels(make: Make) -> None:
    with make() as rig:
        rig.bus.torque(True)
        sent = rig.bus.write(rig.robot.neutral)
        held: list[bytes] = []

        def late(data: bytes) -> bytes:
            if held:
                rig.line.answers = bytes
                return held[0] + data
            if data[1] > 1:  # the first position
                held.append(data)
                return b""
            return data

        rig.line.answers = late
        read = rig.bus.read()
        assert np.isnan(read[0])
        np.testing.assert_allclose(read[1:], sent[1:])


@pytest.mark.parametrize("fault", [half, silence])
def test_nobody_answers(make: Make, fault: Callable[[bytes], bytes]) -> None:
    with make() as rig:
        rig.line.answers = fault
        assert np.isnan(rig.bus.read([0])).all()  # one lost answer is no dead controller
        rig.line.answers = bytes
        rig.bus.telemetry(0)
        rig.line.answers = fault
        start = time.monotonic()
        with pytest.raises(BusError, match=r"no Maestro answers on bus\.port"):
            while True:
                rig.bus.telemetry(0)
        assert maestro.SILENCE_S < time.monotonic() - start < 3.0
        with pytest.raises(BusError, match=r"no Maestro answers on bus\.port"):
            rig.bus.open()
        with pytest.raises(BusError, match="is closed"):  # others may try it
            rig.bus.read([0])
        SerialLine(rig.bus.description, maestro.BAUD).open()


def test_unplugged_in_mid_run(make: Make) -> None:
    with make(timeout_s=0.2) as rig:
        rig.bus.torque(True)
        rig.settle(rig.robot.neutral + 0.2, 0.3)
        rig.line.unplug()
        with pytest.raises(BusError, match="plug the adapter in"):
            rig.bus.write(rig.robot.neutral)
        time.sleep(0.5)
        np.testing.assert_allclose(rig.truth(), rig.robot.neutral, atol=0.02)
        rig.line.plug()
        rig.bus.open()
        np.testing.assert_allclose(rig.bus.read(), rig.robot.neutral, atol=STEP)


def test_the_file_is_enough() -> None:
    robot = RobotDescription.load("maestro_fake")
    with make_bus(robot) as bus:
        assert isinstance(bus, MaestroBus) and bus.arm_watchdog(0.5)
        bus.torque(True)
        np.testing.assert_allclose(bus.write(robot.neutral), robot.neutral, atol=STEP)


def test_channels_that_no_maestro_has(tmp_path) -> None:
    base = RobotDescription.load("maestro_fake")
    file = tmp_path / "mine.yaml"
    file.write_text(f"extends: {base.file}\nname: mine\nmotors: [{{name: jaw, id: 24}}]\n")
    with pytest.raises(EmoError, match=r"mine.yaml: motors\[10\] \(jaw\): id is 24.* 0 to 23"):
        make_bus(RobotDescription.load(file))
