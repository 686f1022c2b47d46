"""Serial line, scale, and the fake line that the other bus tests stand on."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emo_core.errors import EmoError
from emo_core.robot.bus import BusError, make_bus
from emo_core.robot.buses.fake import Device, FakeLine, FakeServos, noisy
from emo_core.robot.buses.scale import Scale
from emo_core.robot.buses.serial_line import SerialLine
from emo_core.robot.description import BusDescription, RobotDescription

PATIENCE_S = 0.3


class Echo(Device):
    """Answers each b'?' with eight bytes."""

    baud = 9600
    turnaround_s = 0.005

    def receive(self, byte: int, now_s: float) -> list[bytes]:
        return [b"12345678"] if byte == ord("?") else []


def on_port(robot: RobotDescription, port: Path | str, baud: int = 0) -> RobotDescription:
    return replace(robot, bus=BusDescription("lx", str(port), baud))


@pytest.fixture
def echo(sim: RobotDescription):
    with FakeLine(Echo(FakeServos(sim))) as line:
        serial = SerialLine(line.on(sim), Echo.baud)
        serial.open()
        yield line, serial
        serial.close()


def eight(data: bytes) -> bytes | None:
    return data[-8:] if len(data) >= 8 else None


def test_the_wire_takes_its_time(echo) -> None:
    _, serial = echo
    start = time.monotonic()
    assert serial.ask(b"..?", 8, PATIENCE_S, eight) == b"12345678"
    # Three bytes there, turnaround, eight bytes back, ten bits each.
    assert 110 / 9600 + 0.005 <= time.monotonic() - start < PATIENCE_S
    assert serial.seconds(96) == pytest.approx(0.1)


def test_requests_queue_on_the_wire(echo) -> None:
    _, serial = echo
    start = time.monotonic()
    serial.write(b"." * 96)
    assert time.monotonic() - start < 0.05  # the system takes them at once
    assert serial.ask(b"?", 8, PATIENCE_S, eight) == b"12345678"
    assert time.monotonic() - start >= 0.1 + 90 / 9600 + 0.005


def test_silence_ends_in_time(echo) -> None:
    line, serial = echo
    line.answers = lambda data: b""
    start = time.monotonic()
    assert serial.ask(b"?", 8, PATIENCE_S, eight) is None
    assert PATIENCE_S <= time.monotonic() - start < PATIENCE_S + 0.2


def test_what_came_before_is_not_the_answer(echo) -> None:
    line, serial = echo
    line.noise(b"87654321")
    time.sleep(0.05)
    assert serial.ask(b"?", 8, PATIENCE_S, eight) == b"12345678"


def test_unplugged_and_plugged_in_again(echo) -> None:
    line, serial = echo
    line.unplug()
    start = time.monotonic()
    with pytest.raises(BusError, match=r"bus\.port .* is not there: plug the adapter in"):
        serial.ask(b"?", 8, PATIENCE_S, eight)
    assert time.monotonic() - start < PATIENCE_S  # at once
    with pytest.raises(BusError, match="is closed"):
        serial.write(b"?")
    with pytest.raises(BusError, match="is not there"):
        serial.open()
    line.plug()
    serial.open()
    assert serial.ask(b"?", 8, PATIENCE_S, eight) == b"12345678"


def test_unplugged_while_nobody_reads(echo) -> None:
    line, serial = echo
    line.unplug()
    with pytest.raises(BusError):
        serial.write(b".")


def test_ports_that_cannot_be_opened(sim: RobotDescription, tmp_path: Path, echo) -> None:
    line, _ = echo
    plain = tmp_path / "file"
    plain.write_text("no port")
    cases = {
        tmp_path / "none": "is not there: plug the adapter in, or name another",
        plain: "is no serial port",
        line.port: "in use by another program: close that one",
    }
    for port, says in cases.items():
        with pytest.raises(BusError, match=says) as caught:
            SerialLine(on_port(sim, port), 9600).open()
        text = str(caught.value)
        assert text.startswith(f"{sim.file}: bus.port '{port}'") and "\n" not in text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_no_permission(sim: RobotDescription, echo) -> None:
    line, serial = echo
    serial.close()
    os.chmod(line.port, 0)
    with pytest.raises(BusError, match="sudo usermod -aG"):
        serial.open()


def test_a_port_that_is_not_permitted_says_so(sim: RobotDescription, echo, monkeypatch) -> None:
    _, serial = echo

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("serial.Serial", refuse)
    with pytest.raises(BusError, match=r"sudo usermod -aG \w+ \$USER"):
        serial.open()


def test_noise_is_seeded() -> None:
    data = bytes(range(256)) * 40
    spoilt = noisy(0.1, 3)(data)
    wrong = sum(a != b for a, b in zip(data, spoilt, strict=True))
    assert spoilt == noisy(0.1, 3)(data) and 0.07 < wrong / len(data) < 0.13
    assert noisy(0.0, 3)(data) == data


def test_scale(sim: RobotDescription) -> None:
    first = replace(sim.motors[0], raw=(600.0, 400.0))
    robot = replace(sim, motors=(first, *sim.motors[1:]))
    scale = Scale(robot, (0, 1000), (0, 1000), (0, 253))
    raw = scale.to_raw(np.full(11, 0.25))
    assert (raw[0], raw[1]) == (550.0, 250.0)
    np.testing.assert_allclose(scale.to_commands(raw), 0.25)
    assert scale.to_raw(np.full(11, 7.0))[0] == 400.0  # clipped
    assert scale.to_raw(np.full(11, 0.12345))[1] == 123.0  # whole units
    quarters = Scale(robot, (0, 1000), (0, 1000), (0, 253), steps=4)
    assert quarters.to_raw(np.full(11, 0.12345))[1] == 123.5
    for bad in (np.full(11, np.nan), np.full(10, 0.5)):
        with pytest.raises(ValueError, match="11 finite commands"):
            scale.to_raw(bad)


def test_units_and_ids_of_another_bus(sim: RobotDescription) -> None:
    robot = on_port(replace(sim, motors=(replace(sim.motors[0], raw=(0.0, 2000.0)),)), "p")
    with pytest.raises(EmoError, match=r"motors\[0\] \(brow_right\): raw has 2000: bus.kind lx"):
        Scale(robot, (0, 1000), (0, 1000), (0, 253))
    with pytest.raises(EmoError, match=r"motors\[0\] \(brow_right\): id is 1: .* has 2 to 5"):
        Scale(robot, (0, 2000), (0, 2000), (2, 5))


def settle(servos: FakeServos, now: float) -> np.ndarray:
    for _ in range(50):
        now += 0.02
        servos.positions(now)
    return servos.positions(now)


def test_fake_servos_and_their_troubles(sim: RobotDescription) -> None:
    servos = FakeServos(sim)
    start = sim.neutral
    servos.command({0: 0.9}, 1.0)
    np.testing.assert_allclose(settle(servos, 1.0), start)  # no torque
    for motor in range(3):
        servos.torque(motor, True, 3.0)
    servos.stuck.add(1)
    servos.command({0: 0.9, 1: 0.9, 3: 0.9}, 3.0)
    there = settle(servos, 3.0)
    assert there[0] == pytest.approx(0.9, abs=0.02)
    np.testing.assert_allclose(there[1:], start[1:], atol=0.02)
    servos.power(False, 5.0)
    servos.command({0: 0.1}, 5.0)
    assert settle(servos, 5.0)[0] == pytest.approx(0.9, abs=0.02)
    assert servos.index(1) is None and not servos.on.any()
    servos.power(True, 7.0)
    servos.silent.add(1)
    assert (servos.index(1), servos.index(2), servos.index(200)) == (0, None, None)


def test_a_fake_goes_with_its_bus(sim: RobotDescription) -> None:
    bus = make_bus(on_port(sim, "fake"))
    port = Path(bus.description.bus.port)
    assert port.exists()
    bus.open()
    bus.close()
    bus.open()
    bus.close()
    assert port.exists()
    del bus
    assert not port.exists() and not port.parent.exists()


def test_a_robot_without_a_simulator_has_no_fake(sim: RobotDescription) -> None:
    with pytest.raises(EmoError, match="simulator is missing"):
        FakeServos(replace(sim, simulator=None))


def test_a_port_that_takes_no_bytes(sim: RobotDescription, tmp_path: Path) -> None:
    master, slave = os.openpty()
    line = SerialLine(on_port(sim, os.ttyname(slave)), 9600)
    line.open()
    start = time.monotonic()
    with pytest.raises(BusError, match=r"failed \(it takes no bytes\): check the plug"):
        for _ in range(1000):
            line.write(b"." * 1000)  # until the system's buffer is full
    assert 0.2 <= time.monotonic() - start < 2.0
    os.close(master)
    os.close(slave)
