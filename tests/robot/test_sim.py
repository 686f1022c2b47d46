"""Simulated servos, skin and picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emo_core.errors import EmoError
from emo_core.face import topology
from emo_core.robot.bus import BusError, make_bus
from emo_core.robot.description import RobotDescription
from emo_core.robot.sim.camera import Camera
from emo_core.robot.sim.description import ServoModel
from emo_core.robot.sim.render import Renderer
from emo_core.robot.sim.servos import SimulatedServos, simulate
from emo_core.robot.sim.skin import INNER_LOWER, INNER_UPPER, Skin, load_mesh

SERVO = ServoModel(
    max_speed=10.0,
    max_acceleration=500.0,
    dead_band=0.002,
    delays_s=(0.006,),
    backlash=0.01,
    hysteresis=0.2,
    hysteresis_width=0.1,
    ambient_c=25.0,
    rise_c=30.0,
    warming_s=60.0,
)


def pose(robot: RobotDescription, **motors: float) -> np.ndarray:
    """Neutral but for the motors whose name begins so."""
    out = robot.neutral.copy()
    for start, value in motors.items():
        out[[name.startswith(start) for name in robot.names]] = value
    return out


def gap(mesh: np.ndarray) -> float:
    return float(mesh[topology.UPPER_LIP_INNER, 1] - mesh[topology.LOWER_LIP_INNER, 1])


def width(mesh: np.ndarray) -> float:
    right, left = topology.MOUTH_CORNERS
    return float(np.linalg.norm(mesh[right] - mesh[left]))


def test_a_step_takes_the_time_that_physics_says() -> None:
    servos = SimulatedServos(SERVO, [0.0])
    servos.positions(0.0)
    servos.command([1.0], 0.0)
    track = np.array([servos.positions(0.001 * k)[0] for k in range(250)])
    assert np.all(track[:6] == 0.0)  # transport delay
    speed = np.diff(track[::2]) / 0.002
    assert speed.max() <= 10.0 + 1e-9
    assert np.abs(np.diff(speed)).max() <= 500.0 * 0.002 + 1e-9
    # 20 ms up to speed and 20 ms down again with half of it on average: 0.2 + 0.8 / 10 s.
    arrived = 0.001 * int(np.argmax(track > 0.99))
    assert 0.006 + 0.04 + 0.08 - 0.01 < arrived < 0.006 + 0.04 + 0.08 + 0.01
    assert abs(track[-1] - 1.0) <= SERVO.dead_band


def test_it_does_not_matter_how_often_one_looks() -> None:
    def run(looks: int) -> np.ndarray:
        servos = SimulatedServos(replace(SERVO, delays_s=(0.006, 0.031)), [0.5, 0.5])
        servos.positions(0.0)
        for n in range(5):
            servos.command([0.1 * n, 1 - 0.2 * n], 0.04 * n)
            for k in range(1, looks + 1):
                last = servos.positions(0.04 * (n + k / looks))
        return last

    assert np.allclose(run(1), run(17), atol=1e-12)


def test_dead_band_and_torque() -> None:
    servos = SimulatedServos(SERVO, [0.5])
    servos.positions(0.0)
    servos.command([0.5015], 0.0)
    assert servos.positions(1.0)[0] == 0.5
    servos.torque(False)
    servos.command([1.0], 1.0)
    assert servos.positions(2.0)[0] == 0.5


def test_sim_bus(sim: RobotDescription) -> None:
    now = [0.0]
    bus = make_bus(sim, clock=lambda: now[0])
    for work in (bus.read, bus.holds, lambda: bus.torque(True), lambda: bus.telemetry(0)):
        with pytest.raises(BusError, match="closed"):
            work()
    with bus:
        assert np.array_equal(bus.read(), sim.neutral)
        assert np.isnan(bus.write(np.ones(11))).all()
        now[0] = 1.0
        assert np.array_equal(bus.read(), sim.neutral)  # no torque yet
        bus.torque(True)
        sent = bus.write(np.full(11, 1.7))
        assert np.array_equal(sent, np.ones(11))
        now[0] = 2.0
        assert np.allclose(bus.read(), 1.0, atol=0.003)
    bus.close()


def test_one_motor_of_the_sim_bus_rests_and_cools_while_the_others_go_on(
    sim: RobotDescription,
) -> None:
    now = [0.0]
    bus = make_bus(sim, clock=lambda: now[0])
    others = np.arange(11) != 4

    def after(goal: float, seconds: float) -> np.ndarray:
        sent = bus.write(np.full(11, goal))
        assert np.array_equal(np.isnan(sent), bus.holds() == 0.0)
        now[0] += seconds
        return bus.read()

    with bus:
        bus.torque(True)
        assert np.allclose(after(1.0, 60.0), 1.0, atol=0.003)
        warm = [bus.telemetry(motor).temperature_c for motor in (4, 5)]
        bus.write(np.zeros(11))
        bus.torque(False, [4])  # its goal was on its way
        assert np.array_equal(bus.holds(), others)
        here = after(0.2, 60.0)
        assert here[4] == pytest.approx(1.0, abs=0.003)
        assert np.allclose(here[others], 0.2, atol=0.003)
        after(1.0, 60.0)
        assert bus.telemetry(4).temperature_c < warm[0] - 2.0
        assert bus.telemetry(5).temperature_c > warm[1] - 1.0
        assert np.flatnonzero(np.isfinite(bus.read([4, 0]))).tolist() == [0, 4]
        bus.torque(True, [4])  # from where it is
        now[0] += 1.0
        assert bus.read()[4] == here[4]
        assert np.allclose(after(0.5, 1.0), 0.5, atol=0.003)


def test_simulate_follows_speech_with_the_lag_that_the_file_says(sim: RobotDescription) -> None:
    times = np.arange(100) / 25
    jaw = sim.names.index("jaw")
    commands = np.repeat(sim.neutral[None], 100, axis=0)
    commands[:, jaw] = 0.3 + 0.1 * np.sin(2 * np.pi * 2.5 * times)

    # What is seen at 200 Hz against the curve that the 25 Hz commands sample: phase of 2.5 Hz.
    seen = simulate(sim, commands, 25, 200)[160:, jaw]
    turns = np.exp(-2j * np.pi * 2.5 * np.arange(160, 800) / 200)
    lag = (-np.pi / 2 - np.angle(seen @ turns)) / (2 * np.pi * 2.5)
    assert abs(lag - sim.servo_lag_s) < 0.008
    led = simulate(sim, commands, 25, 25, sim.servo_lag_s)[:, jaw]
    assert np.corrcoef(led[10:], commands[10:, jaw])[0, 1] > 0.99
    assert simulate(sim, commands, 25, 50).shape == (200, 11)


def test_skin_can_speak(sim: RobotDescription) -> None:
    skin = Skin(sim)
    rest = skin(sim.neutral)
    assert gap(rest) == pytest.approx(0.0, abs=1e-6)
    wide_open = skin(pose(sim, jaw=1.0, upper_lip=1.0, lower_lip=0.1))
    assert gap(wide_open) > 25.0
    assert gap(skin(pose(sim, jaw=0.0))) == pytest.approx(0.0, abs=1e-6)
    assert width(skin(pose(sim, corner_out=0.0))) < 0.65 * width(rest)
    assert width(skin(pose(sim, corner_out=1.0))) > 1.25 * width(rest)
    rounded = skin(pose(sim, corner_out=0.0))
    assert rounded[0, 2] > rest[0, 2] + 4.0  # lips protrude


def test_lips_never_pass_through_each_other(sim: RobotDescription) -> None:
    rng = np.random.default_rng(0)
    mesh = Skin(sim)(rng.random((200, 11)))
    assert np.all(mesh[:, INNER_UPPER, 1] - mesh[:, INNER_LOWER, 1] > -1e-9)
    assert np.isfinite(mesh).all()


def test_skin_is_symmetric_and_lids_shut(sim: RobotDescription) -> None:
    skin = Skin(sim)
    mesh = skin(pose(sim, corner_up=0.9, brow=0.8, jaw=0.5))
    right, left = topology.RIGHT_EYE, topology.LEFT_EYE
    assert np.allclose(mesh[right] * [-1, 1, 1], mesh[left], atol=0.3)
    opening = [skin(pose(sim, lid=c))[159, 1] - skin(pose(sim, lid=c))[145, 1] for c in (0, 1)]
    assert abs(opening[0]) < 1.5 and opening[1] > 12.0


def test_skin_batches(sim: RobotDescription) -> None:
    skin = Skin(sim)
    motors = np.random.default_rng(1).random((3, 11))
    assert np.allclose(skin(motors), np.array([skin(m) for m in motors]))


def test_picture(sim: RobotDescription) -> None:
    renderer = Renderer(sim)
    first = renderer(sim.neutral)
    assert first.shape == (480, 640, 3) and first.dtype == np.uint8
    assert np.array_equal(first, renderer(sim.neutral))
    assert not np.array_equal(first, renderer(pose(sim, jaw=0.5)))
    assert Renderer(sim, (320, 240))(sim.neutral).shape == (240, 320, 3)
    rng = np.random.default_rng(2)
    for motors in rng.random((20, 11)).round():  # corners of the cube: nothing breaks
        renderer(motors)


def test_broken_meshes(tmp_path: Path) -> None:
    file = tmp_path / "face.npz"
    file.write_bytes(b"no")
    with pytest.raises(EmoError, match="not a face mesh"):
        load_mesh(file)
    for points, triangles in ((3, 1), (478, 0)):
        np.savez(file, points=np.zeros((points, 3)), triangles=np.zeros((triangles, 3), int))
        with pytest.raises(EmoError, match="needs points"):
            load_mesh(file)


def test_horns_lag_behind_the_shafts_by_backlash_and_friction() -> None:
    servos = SimulatedServos(SERVO, [0.5])
    servos.positions(0.0)

    def at(goal: float, when: float) -> tuple[float, float]:
        servos.command([goal], when)
        return servos.positions(when + 0.9)[0], servos.horns(when + 0.9)[0]

    shaft, up = at(0.8, 0.0)
    lag = 0.8 * 0.005 + 0.2 * (0.005 + 0.05)  # half the play of each element
    assert shaft - up == pytest.approx(lag, abs=1e-6)
    at(0.95, 1.0)
    shaft, down = at(0.8, 2.0)
    assert down - shaft == pytest.approx(lag, abs=SERVO.dead_band)
    assert at(0.803, 3.0)[1] == down  # a turn smaller than the backlash moves nothing


def test_servos_grow_warm_under_load_and_cool_again() -> None:
    servos = SimulatedServos(SERVO, [0.5, 0.5], neutral=[0.5, 0.5])
    servos.positions(0.0)
    servos.command([1.0, 0.75], 0.0)
    hot = servos.temperatures(600.0)
    assert hot == pytest.approx([55.0, 32.5], abs=0.3)  # load goes with stretch squared
    servos.torque(False)
    after = servos.temperatures(660.0) - SERVO.ambient_c
    assert after == pytest.approx((hot - SERVO.ambient_c) / np.e, rel=0.01)


def test_camera_is_seeded_noisy_shaken_and_blurs_what_moves(sim: RobotDescription) -> None:
    first, again, other = (Camera(sim, seed) for seed in (3, 3, 4))
    still = first(sim.neutral, 0.5)
    assert still.shape == (480, 640, 3) and still.dtype == np.uint8
    assert np.array_equal(still, again(sim.neutral, 0.5))
    assert not np.array_equal(still, other(sim.neutral, 0.5))

    def quiet(**changes: float) -> RobotDescription:
        assert sim.simulator is not None
        camera = replace(
            sim.simulator.camera,
            **{"noise": 0.0, "exposure": 0.0, "vibration_px": 0.0, **changes},
            turn_deg=(0.0, 0.0, 0.0),
            shift_mm=(0.0, 0.0, 0.0),
        )
        return replace(sim, simulator=replace(sim.simulator, camera=camera))

    drawn = Renderer(sim)(sim.neutral)
    assert np.array_equal(Camera(quiet())(sim.neutral, 0.0), drawn)
    noise = Camera(quiet(noise=3.0))(sim.neutral, 0.0)[:100, :100].astype(float)
    assert np.std(noise - drawn[:100, :100]) == pytest.approx(3.0, abs=0.1)
    lamp = Camera(quiet(exposure=0.1))
    bright = [lamp(sim.neutral, 7.0 * n).mean() for n in range(60)]
    assert np.std(np.log(np.array(bright) / drawn.mean())) == pytest.approx(0.1, abs=0.04)
    speeds = np.where(np.array(sim.names) == "jaw", 8.0, 0.0)
    half_open = pose(sim, jaw=0.5)
    sharp, blurred = (Camera(quiet())(half_open, 0.0, v) for v in (None, speeds))
    change = np.abs(sharp.astype(int) - blurred).max(axis=2)
    assert change.max() > 30 and np.all(change[:200] == 0)  # about the mouth, not above


def test_a_rolling_shutter_bends_what_a_global_one_shifts(sim: RobotDescription) -> None:
    assert sim.simulator is not None
    wall = np.zeros((480, 640, 3), dtype=np.uint8)
    wall[:, 320:] = 200  # an upright edge
    bend = []
    for readout in (0.0, 0.03):
        model = replace(
            sim.simulator.camera, noise=0.0, readout_s=readout, turn_deg=(0.0, 0.0, 0.0)
        )
        robot = replace(sim, simulator=replace(sim.simulator, camera=model))
        picture = Camera(robot, 1)._develop(wall, 0.2)
        bend.append(np.ptp(np.argmax(picture[:, :, 0] > 100, axis=1)))
    assert bend[0] == 0 and 5 < bend[1] < 40


def test_the_robot_with_22_motors_moves_irises_by_gaze_alone(emo22: RobotDescription) -> None:
    assert len(emo22.motors) == 22 and len(emo22.expressive) == 18
    skin = Skin(emo22)
    rest = skin(emo22.neutral)
    for index, motor in enumerate(emo22.motors):
        commands = emo22.neutral.copy()
        commands[index] = emo22.upper[index]
        moved = np.linalg.norm(skin(commands) - rest, axis=1)
        if motor.gaze:
            iris = topology.RIGHT_IRIS if motor.name.endswith("right") else topology.LEFT_IRIS
            assert np.allclose(moved[iris], moved[iris[0]]) and moved[iris[0]] > 2.5
            assert np.all(np.delete(moved, iris) == 0.0)
        else:
            assert moved[topology.ROBOT_LANDMARKS].max() > 1.5
            assert np.all(moved[468:] == 0.0)


def test_the_robot_with_22_motors_is_not_symmetric(emo22: RobotDescription) -> None:
    skin = Skin(emo22)
    corners = zip(("right", "left"), topology.MOUTH_CORNERS, (1.0, -1.0), strict=True)
    pulls = []
    for side, corner, mirror in corners:
        commands = emo22.neutral.copy()
        commands[emo22.names.index(f"corner_lower_{side}")] = 1.0
        pull = skin(commands)[corner] - skin(emo22.neutral)[corner]
        pulls.append(pull * [mirror, 1.0, 1.0])
    assert pulls[0][0] < -3.0 and np.abs(pulls[0] - pulls[1]).max() > 0.4
