"""Babbling and calibration of a robot on a real bus before a real camera, but for both ends.

The servos are a fake at the far side of their protocol; what they do is drawn, and comes in through
the same thread as a camera's pictures. All of it in real time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waiting import until

from emo_core.camera import bench as bench_module
from emo_core.camera import device as device_module
from emo_core.camera.bench import BenchCamera, Troubles, camera_bench
from emo_core.camera.device import Device
from emo_core.camera.opening import Mode
from emo_core.errors import EmoError
from emo_core.face.topology import ROBOT_LANDMARKS
from emo_core.robot import babbling, calibration, looking
from emo_core.robot.babbling import Babble
from emo_core.robot.bus import ServoBus
from emo_core.robot.buses.fake import FakeLine, FakeServos
from emo_core.robot.buses.fake_lx import FakeLx
from emo_core.robot.buses.lx import LxBus
from emo_core.robot.description import RobotDescription
from emo_core.robot.looking import look_through
from emo_core.robot.sim.render import Renderer
from emo_core.robot.sim.skin import Skin


class Room:
    """A robot with fake servos, and a camera that films them until it is covered or unplugged."""

    def __init__(self, robot: RobotDescription) -> None:
        self.robot = robot
        self.servos = FakeServos(robot)
        self.line = FakeLine(FakeLx(self.servos))
        self.plugged = True
        self._renderer = Renderer(robot)
        self._next_s = time.monotonic()

    def bus(self, robot: RobotDescription) -> ServoBus:
        assert robot.bus.kind == "lx"
        return LxBus(self.line.on(robot))

    def open_camera(self, name: str, mode: object) -> Room:
        if not self.plugged:
            raise OSError(f"camera {name}: no such device")
        return self

    # -- as cv2.VideoCapture ---------------------------------------------------------------

    def grab(self) -> bool:
        self._next_s = max(self._next_s + 1 / 30, time.monotonic())
        time.sleep(max(0.0, self._next_s - time.monotonic()))
        with self.line.lock:
            self._positions = self.servos.positions(time.monotonic())
        self._rng = np.random.default_rng(round(time.monotonic() * 1e3))
        return self.plugged

    def retrieve(self) -> tuple[bool, Any]:
        picture = self._renderer(self._positions).astype(np.int16)
        grain = self._rng.integers(-2, 3, (60, 80, 3)).repeat(8, axis=0).repeat(8, axis=1)
        return True, np.clip(picture + grain, 0, 255).astype(np.uint8)

    def get(self, prop: int) -> float:
        return 0.0

    def release(self) -> None:
        pass


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[RobotDescription], Room]]:
    """`room(robot)` stands where `./emo` looks for the robot's bus and the camera."""
    made: list[Room] = []

    def make(robot: RobotDescription) -> Room:
        made.append(Room(robot))
        monkeypatch.setattr(bench_module, "make_bus", made[0].bus)
        monkeypatch.setattr(device_module, "open_device", made[0].open_camera)
        return made[0]

    yield make
    for one in made:
        one.line.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Babbling of few poses with few looks."""
    monkeypatch.setattr(babbling, "_REST_POSES", 2)
    monkeypatch.setattr(looking, "LOOKS", 3)
    monkeypatch.setattr(babbling, "STRETCH", 2)


def test_babbling_before_a_camera(
    emo: Callable[..., Any], room: Callable[..., Room], quick: None, tmp_path: Path
) -> None:
    there, out = room(RobotDescription.load("lx_fake")), tmp_path / "babble.npz"
    done = emo("babble", "--robot", "lx_fake", "--camera", "0", "--frames", 3, "-o", out, "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["frames"] == {"eye": 3, "mouth": 3}
    data = Babble.load(out)
    assert data.rest.shape == (2, 113, 2) and data.lost == 0
    assert not there.servos.on.any()  # let go at the end
    # What it saw is what these commands do to the skin.
    skin, points = Skin(there.robot), list(ROBOT_LANDMARKS)
    rest = skin(there.robot.neutral)[points, :2]
    for group in ("eye", "mouth"):
        seen = data.landmarks[group] - data.rest.mean(axis=0)
        true = np.array([skin(pose)[points, :2] - rest for pose in data.commands[group]])
        assert np.corrcoef(seen.ravel(), true.ravel())[0, 1] > 0.75


def test_a_camera_that_is_lost_lets_the_robot_go_and_babbling_goes_on_later(
    room: Callable[..., Room], quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot = RobotDescription.load("lx_fake")
    there = room(robot)
    monkeypatch.setattr(bench_module, "PATIENCE_S", 1.0)
    told: list[str] = []

    def unplug(done: int, total: int) -> None:
        there.plugged = False

    with pytest.raises(EmoError, match=r"gives no pictures any more|no such device"):
        with camera_bench(robot, "0", tell=told.append) as bench:
            babbling.babble(robot, 3, 0, unplug, parts=tmp_path, look=look_through(bench))
    assert told and not there.servos.on.any()
    with pytest.raises(EmoError, match="no such device"), camera_bench(robot, "0"):
        pytest.fail("no camera, and yet it moves")
    finished = set(tmp_path.iterdir())
    assert finished
    there.plugged = True
    with camera_bench(robot, "0", tell=told.append) as bench:
        data = babbling.babble(robot, 3, 0, parts=tmp_path, look=look_through(bench))
    assert finished < set(tmp_path.iterdir())
    assert data.frames() == {"eye": 3, "mouth": 3}


def test_a_first_picture_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Room(RobotDescription.load("lx_fake"))
    attempts: list[str] = []

    def open_camera(name: str, mode: Mode) -> Room:
        there.plugged = len(attempts) > 0
        attempts.append(name)
        return there.open_camera(name, mode)

    troubles = Troubles(print)
    monkeypatch.setattr(device_module, "FIRST_DELAY_S", 1.2)
    try:
        with Device("0", troubles, open_camera=open_camera) as device:
            until(lambda: troubles.error)
            eyes = BenchCamera(device, troubles, None)
            eyes.wait()
            assert len(attempts) == 2
    finally:
        there.line.close()


def test_servos_in_trouble_end_the_babbling_and_are_let_go(
    room: Callable[..., Room], quick: None, tmp_path: Path
) -> None:
    robot = RobotDescription.load("lx_fake")
    there = room(robot)

    def heat(done: int, total: int) -> None:
        there.servos.temperature_c[:] = 75.0  # the servos themselves mind above 85

    with pytest.raises(EmoError, match=r"'lx_fake': \w+ \(75 °C\).*give the same command again"):
        with camera_bench(robot, "0", tell=print) as bench:
            babbling.babble(robot, 30, 0, heat, parts=tmp_path, look=look_through(bench))
    assert not there.servos.on.any()


def three_motors(whole: RobotDescription) -> RobotDescription:
    """The robot with brow, corner of the mouth and jaw only, so that stepping them is soon done."""
    keep = [whole.names.index(name) for name in ("brow_right", "corner_out_left", "jaw")]
    assert whole.simulator is not None
    servos, skin = whole.simulator.servos, whole.simulator.skin
    regions = [replace(r, motor=keep.index(r.motor)) for r in skin.regions if r.motor in keep]
    return replace(
        whole,
        motors=tuple(replace(whole.motors[n], latency_s=0.0) for n in keep),
        interlocks=(),
        simulator=replace(
            whole.simulator,
            servos=replace(servos, delays_s=tuple(servos.delays_s[n] for n in keep)),
            skin=replace(skin, regions=tuple(regions)),
        ),
    )


@pytest.mark.slow
def test_calibration_before_a_camera(
    emo: Callable[..., Any],
    room: Callable[..., Room],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    robot = three_motors(RobotDescription.load("lx_fake"))
    there = room(robot)
    monkeypatch.setattr(RobotDescription, "load", lambda _: robot)
    monkeypatch.setattr(calibration, "calibrate", partial(calibration.calibrate, steps=16))
    done = emo("calibrate", "--camera", "0", "-o", tmp_path / "calibrated.yaml", "--json")
    assert done.status == 0, done.err
    report = json.loads(done.out)
    motors = report["motors"]
    assert [motor["servo"] for motor in motors] == ["moves"] * 3
    assert [motor["way"] for motor in motors] == ["as described"] * 3
    assert [motor["where"] for motor in motors] == ["brow", "lips", "lips"]
    assert report["camera_latency_ms"] is not None  # the servos tell where they are
    assert "extends:" in (tmp_path / "calibrated.yaml").read_text()
    assert not there.servos.on.any()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("babble", "--robot", "sim", "--camera", "0"), "bus.kind is sim: no camera can see"),
        (("calibrate", "--robot", "sim", "--camera", "0"), "bus.kind is sim: no camera can see"),
        (("babble", "--robot", "REAL"), "bus.kind is lx: put a camera before the robot"),
        (("calibrate", "--robot", "REAL"), "bus.kind is lx: put a camera before the robot"),
        (("babble", "--robot", "REAL", "--camera", "webcam"), "give a number, a path"),
        (("calibrate", "--robot", "REAL", "--camera", "/dev/video77"), "no such device"),
        (("calibrate", "--robot", "sim", "--camera-latency", "40"), "goes with --camera"),
    ],
)
def test_what_does_not_go_together(
    emo: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.setattr(bench_module, "PATIENCE_S", 1.0)
    base = RobotDescription.load("lx_fake").file
    real = tmp_path / "real.yaml"
    real.write_text(f"extends: {base}\nname: real\nbus: {{kind: lx, port: {tmp_path}/ttyUSB0}}\n")
    line = emo(*(str(real) if word == "REAL" else word for word in arguments)).err.splitlines()[-1]
    assert told in line
