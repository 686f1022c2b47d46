from __future__ import annotations

import errno
import time
from dataclasses import replace

import numpy as np
import pytest
from smbus2 import i2c_msg

from emo_core.errors import EmoError
from emo_core.robot.bus import BusError, make_bus
from emo_core.robot.buses import pca9685 as chip
from emo_core.robot.buses.fake import FakeServos
from emo_core.robot.buses.fake_pca9685 import Board, FakePca9685
from emo_core.robot.buses.pca9685 import Pca9685Bus
from emo_core.robot.description import RobotDescription

ONE_STEP = chip.COUNT_US / 318  # of a stroke: the jaw's is the shortest


class Rig:
    def __init__(self, robot: RobotDescription) -> None:
        self.robot = robot
        self.fake = FakePca9685(FakeServos(robot))
        self.bus = Pca9685Bus(robot, self.fake.connect)

    @property
    def board(self) -> Board:
        return self.fake.boards[chip.FIRST_ADDRESS]

    def where(self, after_s: float = 0.4) -> np.ndarray:
        time.sleep(after_s)
        return self.fake.servos.positions(time.monotonic())


@pytest.fixture
def rig() -> Rig:
    made = Rig(RobotDescription.load("pca9685_fake"))
    made.bus.open()
    return made


def send(board: Board, *data: int) -> None:
    board.write(bytes(data))


def test_the_chip_is_that_of_the_data_sheet() -> None:
    board = Board()
    # Table 4: asleep and without pulses when the supply comes on, at 200 Hz.
    assert board.registers[:2] == b"\x11\x04" and board.registers[0xFE] == 0x1E
    assert board.pulse_us(0) is None
    # Without auto-increment every value goes to the same register.
    send(board, 0x06, 1, 2, 3)
    assert board.registers[0x06:0x0A] == bytes([3, 0, 0, 0x10])
    # The prescaler can be set asleep only.
    send(board, chip.PRE_SCALE, 121)
    send(board, chip.MODE1, 0x21)
    send(board, chip.PRE_SCALE, 50)
    assert board.registers[0xFE] == 121
    send(board, 0x06, 0, 0, 0x33, 0x01)  # 307 counts
    assert board.pulse_us(0) == pytest.approx(307 * 122 / 25)
    # Going to sleep cuts pulses off; awake again, they wait for RESTART.
    send(board, chip.MODE1, 0x31)
    assert board.registers[0] == 0xB1 and board.pulse_us(0) is None
    send(board, chip.MODE1, 0x21)
    assert board.pulse_us(0) is None
    send(board, chip.MODE1, 0xA1)
    assert board.registers[0] == 0x21 and board.pulse_us(0) == pytest.approx(307 * 122 / 25)
    # All channels at once; full OFF wins.
    send(board, chip.ALL_LED, 0, 0, 0, 0x10)
    assert all(board.pulse_us(channel) is None for channel in range(16))
    # After the last channel the address goes back to MODE1.
    send(board, 69, 0x10, 0x20, 0x04)
    assert (board.registers[69], board.registers[0], board.registers[1]) == (0x10, 0x20, 0x04)
    send(board, chip.MODE1)
    assert board.read(3) == bytes([0x20, 0x04, 0x00])


def test_frames_of_20_ms() -> None:
    assert chip.PRESCALE == 121
    assert pytest.approx(20_000, rel=1e-3) == chip.COUNTS * chip.COUNT_US


def test_pulses_and_what_was_really_sent(rig: Rig) -> None:
    rig.bus.torque(True)
    assert all(rig.board.pulse_us(channel) is None for channel in range(16))  # not yet
    goal = np.linspace(0.1, 0.9, 11)
    sent = rig.bus.write(goal)
    np.testing.assert_allclose(sent, goal, atol=ONE_STEP)
    assert np.any(sent != goal)
    # brow_left, id 2: 1214 to 1786 us.
    assert rig.board.pulse_us(2) == pytest.approx(1214 + 572 * goal[1], abs=chip.COUNT_US)
    np.testing.assert_allclose(rig.where(), sent, atol=0.02)
    np.testing.assert_allclose(rig.bus.read(), sent)
    assert np.flatnonzero(np.isfinite(rig.bus.read([3, 7]))).tolist() == [3, 7]
    assert not rig.bus.tells_position and not rig.bus.arm_watchdog(0.5)


def test_no_pulses_no_torque(rig: Rig) -> None:
    assert np.isnan(rig.bus.write(np.full(11, 0.9))).all()
    rig.bus.torque(True)
    rig.bus.write(rig.robot.neutral)
    rig.bus.torque(False, [4])
    assert rig.board.pulse_us(5) is None and rig.board.pulse_us(6) is not None
    goal = rig.robot.neutral + 0.2
    assert np.flatnonzero(np.isnan(rig.bus.write(goal))).tolist() == [4]
    there = rig.where()
    assert there[4] == pytest.approx(rig.robot.neutral[4], abs=0.02)
    assert there[5] == pytest.approx(goal[5], abs=0.02)
    assert not rig.fake.servos.on[4] and rig.fake.servos.on[5]
    rig.bus.torque(False)
    assert not rig.fake.servos.on.any()


def test_pulses_outlive_the_program_and_are_taken_up(rig: Rig) -> None:
    rig.bus.torque(True)
    goal = rig.robot.neutral + 0.2
    sent = rig.bus.write(goal)
    rig.bus.close()  # killed
    there = rig.where()
    np.testing.assert_allclose(there, goal, atol=0.02)
    assert rig.fake.servos.on.all()
    rig.bus = Pca9685Bus(rig.robot, rig.fake.connect)
    rig.bus.open()
    assert rig.fake.servos.on.all()  # opening has not moved them
    np.testing.assert_allclose(rig.bus.read(), sent)
    rig.bus.torque(True)
    np.testing.assert_allclose(rig.where(), there, atol=1e-3)


def test_a_board_that_another_program_has_used(rig: Rig) -> None:
    send(rig.board, chip.MODE1, 0x10)
    send(rig.board, chip.PRE_SCALE, 5)
    rig.bus.close()
    rig.bus.open()
    assert rig.board.registers[0] == chip.AUTO_INCREMENT and rig.board.registers[0xFE] == 121


def test_the_supply_fails_and_returns(rig: Rig) -> None:
    rig.bus.torque(True)
    rig.bus.write(rig.robot.neutral)
    rig.fake.power(False)
    with pytest.raises(BusError, match=r"no PCA9685 answers at 0x40: check supply, wiring"):
        rig.bus.write(rig.robot.neutral)
    with pytest.raises(BusError, match="is closed: open it first"):
        rig.bus.write(rig.robot.neutral)
    rig.fake.power(True)
    rig.bus.open()
    assert np.isnan(rig.bus.read()).all()  # it has forgotten all
    rig.bus.torque(True)
    goal = rig.robot.neutral + 0.1
    rig.bus.write(goal)
    np.testing.assert_allclose(rig.where(), goal, atol=0.02)


def test_a_short_loss_of_supply_is_noticed(rig: Rig) -> None:
    rig.bus.torque(True)
    rig.bus.write(rig.robot.neutral)
    assert np.isnan(rig.bus.telemetry(3).temperature_c)
    rig.fake.power(False)
    rig.fake.power(True)
    rig.bus.write(rig.robot.neutral)  # acknowledged, but the chip sleeps
    assert not rig.fake.servos.on.any()
    with pytest.raises(BusError, match=r"PCA9685 at 0x40 has lost its settings: check its supply"):
        rig.bus.telemetry(3)


def test_the_pace_of_the_bus(rig: Rig) -> None:
    # Address, register and channels 1 to 11 of four bytes, nine bits each.
    assert rig.bus.write_s == pytest.approx(46 * 9 / 400_000)
    rig.bus.torque(True)
    start = time.monotonic()
    for _ in range(20):
        rig.bus.write(rig.robot.neutral)
    assert time.monotonic() - start >= 20 * rig.bus.write_s
    slow = replace(rig.robot, bus=replace(rig.robot.bus, baud=0))
    assert Pca9685Bus(slow).write_s == pytest.approx(46 * 9 / 100_000)


def test_more_motors_than_channels(rig: Rig) -> None:
    motors = tuple(replace(m, id=m.id + 10) for m in rig.robot.motors)  # 11 to 21
    wide = Rig(replace(rig.robot, motors=motors))
    assert list(wide.fake.boards) == [0x40, 0x41]
    wide.bus.open()
    wide.bus.torque(True)
    goal = np.linspace(0.2, 0.8, 11)
    wide.bus.write(goal)
    np.testing.assert_allclose(wide.where(), goal, atol=0.02)
    # 5 channels and 6, each with address and register.
    assert wide.bus.write_s == pytest.approx((2 + 20 + 2 + 24) * 9 / 400_000)
    too_many = replace(rig.robot, motors=(replace(rig.robot.motors[0], id=240),))
    with pytest.raises(EmoError, match=r"id is 240: bus\.kind pca9685 has 0 to 239"):
        Pca9685Bus(too_many)


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOENT, "is not there: switch I2C on"),
        (errno.EACCES, r"sudo usermod -aG i2c \$USER"),
        (errno.ENOTTY, "is no I2C bus"),
        (errno.ETIMEDOUT, r"failed \(Connection timed out\): check wiring"),
        (errno.EIO, "no PCA9685 answers at 0x40"),
    ],
)
def test_what_linux_says(rig: Rig, tmp_path, number: int, says: str) -> None:
    port = tmp_path / "i2c-1"
    if number != errno.ENOENT:
        port.touch()
    robot = replace(rig.robot, bus=replace(rig.robot.bus, port=str(port)))
    rig.fake.trouble = number
    with pytest.raises(BusError, match=says) as caught:
        Pca9685Bus(robot, rig.fake.connect).open()
    text = str(caught.value)
    assert text.startswith(f"{robot.file}: bus.port '{port}'") and "\n" not in text


def test_a_real_port_that_is_not_there(rig: Rig) -> None:
    robot = replace(rig.robot, bus=replace(rig.robot.bus, port="/dev/i2c-99"))
    with pytest.raises(BusError, match="/dev/i2c-99' is not there"):
        make_bus(robot).open()


def test_a_lost_transfer_in_mid_run(rig: Rig) -> None:
    rig.bus.torque(True)
    rig.fake.trouble = errno.ETIMEDOUT
    with pytest.raises(BusError, match="timed out"):
        rig.bus.write(rig.robot.neutral)
    rig.fake.trouble = 0
    rig.bus.open()
    rig.bus.torque(True)
    rig.bus.write(rig.robot.neutral)
    assert rig.fake.servos.on.all()


def test_a_stranger_does_not_answer(rig: Rig) -> None:
    with pytest.raises(OSError, match="Remote I/O"):
        rig.fake.i2c_rdwr(i2c_msg.write(0x55, [0]))
