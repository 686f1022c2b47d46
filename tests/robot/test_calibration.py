"""Calibration on a robot whose faults are known, seen by a tracker that is quick but not exact."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike

from emo_core.errors import EmoError
from emo_core.face.topology import ROBOT_LANDMARKS
from emo_core.robot.babbling import random_poses
from emo_core.robot.bench import Bench, Picture, RealClock, SimulatedClock
from emo_core.robot.bus import BusError, Telemetry
from emo_core.robot.calibration import Calibration, calibrate
from emo_core.robot.description import Interlock, Moves, RobotDescription
from emo_core.robot.findings import can_turn, direction
from emo_core.robot.response import Motion, Response, respond, told_latency
from emo_core.robot.sim.bench import bench_of
from emo_core.robot.sim.motor_skew import MotorSkew, motor_skew
from emo_core.robot.sim.servos import SimBus
from emo_core.robot.sim.skin import Skin

NAMES = (
    "brow_right", "lid_right", "lid_left", "upper_lip", "corner_out_left", "corner_up_left", "jaw"
)  # fmt: skip
STEPS = 24
MOVES = {
    "brow_right": Moves(105, "up"),
    "corner_out_left": Moves(291, "right"),
    "jaw": Moves(152, "down"),
}


class OddBus(SimBus):
    """Servos that do not all do what they are sent.

    `stuck` do not move, `silent` neither move nor answer, `mirrored` turn the other way, `stops`
    go no further than that. Positions sent are kept.
    """

    def __init__(
        self,
        robot: RobotDescription,
        clock: SimulatedClock | RealClock,
        stuck: Iterable[str] = (),
        silent: Iterable[str] = (),
        mirrored: Iterable[str] = (),
        stops: Mapping[str, float] | None = None,
        tells: bool = True,
    ) -> None:
        super().__init__(robot, clock.now)
        names = list(robot.names)
        self._still = [names.index(name) for name in (*stuck, *silent)]
        self._silent = [names.index(name) for name in silent]
        self._mirrored = [names.index(name) for name in mirrored]
        self._stops = {names.index(name): stop for name, stop in (stops or {}).items()}
        self.tells_position = tells
        self.log: list[tuple[bool, np.ndarray]] = []
        self.has_torque = False

    def torque(self, on: bool, motors: object = None) -> None:
        self.has_torque = on
        super().torque(on)

    def write(self, positions: ArrayLike) -> np.ndarray:
        goal = np.array(positions, dtype=np.float64)
        self.log.append((self.has_torque, goal.copy()))
        goal[self._mirrored] = 1.0 - goal[self._mirrored]
        for motor, stop in self._stops.items():
            goal[motor] = min(goal[motor], stop)
        goal[self._still] = self.description.neutral[self._still]
        return super().write(goal)

    def read(self, motors: object = None) -> np.ndarray:
        here = super().read()
        here[self._mirrored] = 1.0 - here[self._mirrored]
        here[self._silent] = math.nan
        return here


class Eyes:
    """Camera and tracker in one: landmarks with noise, and a head that sways."""

    latency_s = 0.0

    def __init__(self, bus: OddBus, hidden: Iterable[str] = (), blind: bool = False) -> None:
        robot = bus.description
        self._bus, self._skin, self._blind = bus, Skin(robot), blind
        self._hidden = [robot.names.index(name) for name in hidden]
        self._neutral = robot.neutral
        self._rng = np.random.default_rng(1)
        self._count = 0

    def next_s(self) -> float:
        return self._count / 29.97

    def poll(self, now_s: float) -> Picture | None:
        if now_s < self.next_s():
            return None
        self._count = int(now_s * 29.97) + 1
        horns = self._bus.horns()
        horns[self._hidden] = self._neutral[self._hidden]
        return Picture(now_s, lambda: np.array([now_s, *horns]))

    def track(self, picture: np.ndarray) -> np.ndarray | None:
        if self._blind:
            return None
        mesh = self._skin(picture[1:])
        mesh += self._rng.normal(0.0, 0.4, mesh.shape)
        mesh[:, 1] += 2.0 * np.sin(2 * np.pi * 0.5 * picture[0]) * np.linspace(0, 1, len(mesh))
        return (mesh * [2.0, -2.0, -2.0] + [320.0, 240.0, 0.0]).astype(np.float32)

    def close(self) -> None:
        """Nothing is held."""


def bench(robot: RobotDescription, blind: bool = False, **faults: object) -> tuple[Bench, OddBus]:
    hidden = faults.pop("hidden", ())
    clock = SimulatedClock()
    bus = OddBus(robot, clock, **faults)
    eyes = Eyes(bus, hidden, blind)
    return Bench(robot, bus, eyes, clock, lambda: eyes), bus


@pytest.fixture(scope="module")
def described(sim: RobotDescription) -> RobotDescription:
    """Some motors of the simulated robot, never calibrated."""
    keep = [sim.names.index(name) for name in NAMES]
    motors = tuple(
        replace(m, latency_s=0.0, moves=MOVES.get(m.name), raw=(100.0, 900.0))
        for m in (sim.motors[n] for n in keep)
    )
    assert sim.simulator is not None
    servos, skin = sim.simulator.servos, sim.simulator.skin
    regions = [replace(r, motor=keep.index(r.motor)) for r in skin.regions if r.motor in keep]
    simulator = replace(
        sim.simulator,
        servos=replace(servos, delays_s=tuple(servos.delays_s[n] for n in keep)),
        skin=replace(skin, regions=tuple(regions)),
    )
    return replace(sim, motors=motors, interlocks=(), simulator=simulator)


@pytest.fixture(scope="module")
def good(described: RobotDescription) -> Calibration:
    there, _ = bench(described)
    with there:
        return calibrate(there, steps=STEPS)


@pytest.fixture(scope="module")
def bad(described: RobotDescription) -> tuple[Calibration, OddBus]:
    motors = list(described.motors)
    motors[0] = replace(motors[0], gaze="yaw")
    robot = replace(described, motors=tuple(motors))
    there, bus = bench(
        robot,
        hidden=("brow_right", "lid_left"),
        stuck=("lid_right",),
        silent=("upper_lip",),
        mirrored=("corner_out_left",),
        stops={"jaw": 0.6},
    )
    with there:
        return calibrate(there, steps=STEPS), bus


def test_latencies_are_found(good: Calibration) -> None:
    assert good.before.simulator is not None
    true = np.array(good.before.simulator.servos.delays_s)
    found = np.array([finding.motor.latency_s for finding in good.findings])
    assert np.abs((found - found.mean()) - (true - true.mean())).max() < 0.004


def test_motors_move_together_afterwards(good: Calibration) -> None:
    before = motor_skew(good.uncompensated, 10.0).as_json()
    after = motor_skew(good.after, 10.0).as_json()
    assert before["p95_ms"] > 25.0
    assert after["p95_ms"] < 8.0
    # The speaker's delay is that of the motion as it is now.
    assert 1000 * good.after.servo_lag_s == pytest.approx(after["lag_ms"], abs=5.0)


def test_a_good_robot_keeps_its_limits_and_its_model(good: Calibration) -> None:
    assert not good.faults and not good.needs_training
    for finding in good.findings:
        assert finding.seen and finding.servo == "moves"
        assert finding.way == ("as described" if finding.motor.name in MOVES else "")
    where = {finding.motor.name: finding.where for finding in good.findings}
    assert (where["brow_right"], where["lid_left"], where["corner_up_left"]) == (
        "brow", "eye", "lips",
    )  # fmt: skip


def test_every_fault_is_named(bad: tuple[Calibration, OddBus]) -> None:
    found, _ = bad
    faults = found.faults
    assert faults.keys() == {"lid_right", "lid_left", "upper_lip", "corner_out_left"}
    assert "stays at 0.75" in faults["lid_right"]
    assert "turns, but nothing moves in the picture" in faults["lid_left"]
    assert "does not answer" in faults["upper_lip"] and "id is 5" in faults["upper_lip"]
    assert "raw is turned round" in faults["corner_out_left"]
    assert all("\n" not in fault for fault in faults.values())


def test_what_is_not_seen_gets_the_others_median(bad: tuple[Calibration, OddBus]) -> None:
    found, _ = bad
    gaze = found.findings[0]
    assert gaze.servo == "moves" and not gaze.seen and not gaze.fault
    seen = [finding.motor.latency_s for finding in found.findings if finding.seen]
    assert gaze.motor.latency_s == pytest.approx(np.median(seen), abs=1e-4)


def test_a_dead_end_becomes_a_limit(bad: tuple[Calibration, OddBus]) -> None:
    found, _ = bad
    low, high = found.after.motors[-1].limits
    assert low == found.before.motors[-1].limits[0]
    assert 0.55 < high < 0.7  # knots are a twelfth of the stroke apart
    assert found.needs_training


def test_it_keeps_to_the_limits_and_ends_at_rest_without_torque(
    bad: tuple[Calibration, OddBus],
) -> None:
    found, bus = bad
    robot = found.before
    sent = np.array([positions for _, positions in bus.log])
    assert np.all(sent >= robot.lower - 1e-9) and np.all(sent <= robot.upper + 1e-9)
    assert np.abs(np.diff(sent, axis=0)).max() <= robot.max_speed.max() * 0.05
    assert np.allclose(sent[-1], robot.neutral, atol=0.01)
    assert not bus.has_torque


def test_a_turned_servo_is_turned_round_in_the_file(bad: tuple[Calibration, OddBus]) -> None:
    found, _ = bad
    motor = found.after.motors[found.before.names.index("corner_out_left")]
    assert motor.raw == (900.0, 100.0)
    assert motor.limits == (0.0, 1.0)
    assert motor.neutral == pytest.approx(0.45)  # where it was, 0.55, from the other end
    assert found.needs_training


def test_a_servo_is_not_turned_round_where_that_moves_its_limits(
    described: RobotDescription,
) -> None:
    n = described.names.index("corner_out_left")
    assert can_turn(described, n)

    def other(**changes: object) -> RobotDescription:
        motors = list(described.motors)
        motors[n] = replace(motors[n], **changes)
        return replace(described, motors=tuple(motors))

    assert can_turn(other(limits=(0.2, 0.8)), n)
    assert not can_turn(other(limits=(0.3, 1.0)), n)
    assert not can_turn(other(raw=None), n)
    lock = Interlock("cheek", ((n, 1.0), (n + 1, 1.0)), 1.85)
    assert not can_turn(replace(described, interlocks=(lock,)), n)
    assert can_turn(replace(described, interlocks=(lock,)), n + 2)


def test_the_file_extends_the_robot(
    good: Calibration, sim: RobotDescription, tmp_path: Path
) -> None:
    path = tmp_path / "deep" / "mine.yaml"
    good.save(path)
    again = RobotDescription.load(path)
    for motor in good.after.motors:
        found = again.motors[sim.names.index(motor.name)]
        assert found.latency_s == pytest.approx(motor.latency_s, abs=1e-4)
    assert again.servo_lag_s == pytest.approx(good.after.servo_lag_s, abs=1e-4)
    assert again.signature() == sim.signature()
    with pytest.raises(EmoError, match="another name"):
        good.save(good.before.file)


def test_limits_raw_and_neutral_are_in_the_file(
    bad: tuple[Calibration, OddBus], sim: RobotDescription, tmp_path: Path
) -> None:
    found, _ = bad
    found.save(tmp_path / "mine.yaml")
    again = RobotDescription.load(tmp_path / "mine.yaml")
    jaw, corner, lid = (sim.names.index(n) for n in ("jaw", "corner_out_left", "lid_left"))
    assert again.motors[jaw].limits == pytest.approx(found.after.motors[-1].limits, abs=1e-3)
    assert again.motors[corner].raw == (900.0, 100.0)
    assert again.motors[lid].raw == sim.motors[lid].raw  # what has not changed is not written


def test_a_servo_without_torque_teaches_nothing(
    described: RobotDescription, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, bus = bench(described)
    limp = described.names.index("upper_lip")

    def write(positions: ArrayLike) -> np.ndarray:
        sent = SimBus.write(bus, positions)
        sent[limp] = math.nan
        return sent

    with there:
        there.pose(described.neutral, 0.1, 2, np.asarray)
        monkeypatch.setattr(bus, "write", write)
        with pytest.raises(EmoError, match=r"upper_lip \(has no torque\)"):
            there.pose(described.neutral, 0.1, 2, np.asarray)


def take_up(there: Bench, poses: Iterable[np.ndarray], slow_s: float = 0.0) -> None:
    """Take up poses, on a host that needs `slow_s` for each of two pictures."""

    def prepare(picture: np.ndarray) -> np.ndarray:
        there._clock.sleep_until(there._clock.now() + slow_s)
        return picture

    for pose in poses:
        there.pose(pose, 0.3, 2, prepare)


def mouth_poses(robot: RobotDescription) -> np.ndarray:
    return random_poses(robot, "mouth", 30, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        ({"stuck": ("jaw",)}, r"'sim': jaw \(stalled\): see to it"),
        ({"silent": ("jaw",)}, r"'sim': jaw \(does not answer\): see to it"),
    ],
)
def test_a_servo_that_does_not_obey_ends_babbling(
    described: RobotDescription, faults: dict[str, object], told: str
) -> None:
    there, bus = bench(described, **faults)
    with pytest.raises(EmoError, match=told), there:
        take_up(there, mouth_poses(described))
    assert not bus.has_torque


@pytest.mark.parametrize("faults", [{}, {"stuck": ("jaw",), "tells": False}])
def test_servos_that_obey_or_cannot_tell_end_nothing(
    described: RobotDescription, faults: dict[str, object]
) -> None:
    there, _ = bench(described, **faults)
    with there:
        take_up(there, mouth_poses(described))


def test_late_servos_on_a_slow_host_do_not_stall(described: RobotDescription) -> None:
    """One that has not begun to move, and was not looked at for long, stands where it did."""
    assert described.simulator is not None
    late = replace(described.simulator.servos, delays_s=(0.15,) * len(NAMES))
    there, _ = bench(replace(described, simulator=replace(described.simulator, servos=late)))
    with there:
        take_up(there, [described.lower, described.upper] * 7, slow_s=1.0)


def test_a_hot_servo_ends_a_motion(
    described: RobotDescription, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, bus = bench(described)
    jaw = described.names.index("jaw")
    with pytest.raises(EmoError, match=r"'sim': jaw \(90 °C\): see to it"), there:
        there.play(lambda _: described.neutral, 2.0)
        monkeypatch.setattr(bus, "telemetry", lambda n: Telemetry(90.0 if n == jaw else 40.0))
        there.play(lambda _: described.neutral, 2.0)
    assert not bus.has_torque


def test_what_calibration_tells_of_a_servo_ends_no_motion(
    described: RobotDescription, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, bus = bench(described, stuck=("jaw",), silent=("upper_lip",))
    limp = described.names.index("upper_lip")

    def write(positions: ArrayLike) -> np.ndarray:
        sent = OddBus.write(bus, positions)
        sent[limp] = math.nan
        return sent

    monkeypatch.setattr(bus, "write", write)
    monkeypatch.setattr(bus, "telemetry", lambda n: Telemetry(40.0, 7.4, "overload"))
    with there:
        take = there.play(lambda _: described.upper, 4.0, ask=described.names.index("jaw"))
    assert len(take.told) > 10 and take.lost == 0


def test_a_pose_waits_as_long_as_its_camera_does(described: RobotDescription) -> None:
    clock = SimulatedClock()
    bus = OddBus(described, clock)

    class Unplugged(Eyes):
        gone_s, dead = (2.0, 9.5), False

        def poll(self, now_s: float) -> Picture | None:
            if self.gone_s[0] < now_s < self.gone_s[1]:
                return None
            if self.dead:
                raise EmoError("the camera is gone")
            return super().poll(now_s)

    eyes = Unplugged(bus)
    with Bench(described, bus, eyes, clock, lambda: eyes) as there:
        there.pose(described.neutral, 2.5, 2, np.asarray)
        assert clock.now() > 9.5
        eyes.dead = True
        with pytest.raises(EmoError, match="the camera is gone"):
            there.pose(described.neutral, 0.3, 2, np.asarray)


def test_the_neutral_pose_comes_back(described: RobotDescription) -> None:
    """A horn was put on the wrong tooth: the jaw hangs, until its neutral command is moved."""
    there, bus = bench(described)
    with there:
        rest = there.play(lambda _: described.neutral, 12.0).faces
    shifted = list(described.motors)
    shifted[-1] = replace(shifted[-1], neutral=0.30)
    robot = replace(described, motors=tuple(shifted))
    clock = SimulatedClock()
    bus = OddBus(described, clock)  # its skin rests where the jaw's command is 0.06
    eyes = Eyes(bus)
    with Bench(robot, bus, eyes, clock, lambda: eyes) as there:
        found = calibrate(there, rest[:, ROBOT_LANDMARKS], STEPS)
    assert found.after.motors[-1].neutral == pytest.approx(0.06, abs=0.03)
    assert found.rest_mm[1] < 0.3 * found.rest_mm[0]
    others = zip(found.before.motors[:-1], found.after.motors[:-1], strict=True)
    assert all(abs(old.neutral - new.neutral) < 0.06 for old, new in others)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BusError("unplugged"), EmoError("oh")])
def test_an_interrupt_leaves_it_at_rest_without_torque(
    described: RobotDescription, error: BaseException
) -> None:
    there, bus = bench(described)

    def goals(now_s: float) -> np.ndarray:
        if now_s > 0.5:
            raise error
        return described.upper

    with pytest.raises(type(error)), there:
        there.play(goals, 2.0)
    farthest = max(np.abs(positions - described.neutral).max() for _, positions in bus.log)
    assert farthest > 0.2
    torque, last = bus.log[-1]
    assert torque and np.allclose(last, described.neutral, atol=0.01)
    assert not bus.has_torque


def test_a_camera_that_sees_no_face(described: RobotDescription) -> None:
    there, bus = bench(described, blind=True)
    with pytest.raises(EmoError, match="the whole face must be in the camera's picture"), there:
        calibrate(there, steps=STEPS)
    assert not bus.has_torque


def test_a_robot_that_does_not_move(described: RobotDescription) -> None:
    there, _ = bench(described, stuck=described.names)
    with pytest.raises(EmoError, match="no motor moves anything"), there:
        calibrate(there, steps=12)


class LateEyes(Eyes):
    """Pictures come 60 ms after they were taken, and say that they were taken now."""

    latency_s = None

    def poll(self, now_s: float) -> Picture | None:
        picture = super().poll(now_s)
        self._waiting: list[tuple[float, Picture]] = getattr(self, "_waiting", [])
        if picture is not None:
            self._waiting.append((now_s + 0.06, picture))
        if not self._waiting or now_s < self._waiting[0][0]:
            return None
        due_s, old = self._waiting.pop(0)
        return Picture(due_s, old.image)


def late_bench(robot: RobotDescription, tells: bool) -> Bench:
    clock = SimulatedClock()
    bus = OddBus(robot, clock, tells=tells)
    eyes = LateEyes(bus)
    return Bench(robot, bus, eyes, clock, lambda: eyes)


def test_a_late_camera_is_told_from_late_servos(
    described: RobotDescription, good: Calibration
) -> None:
    with late_bench(described, tells=True) as there:
        found = calibrate(there, steps=STEPS)
    assert found.camera_late_s == pytest.approx(0.06, abs=0.012)  # gears' play counts as its
    assert found.after.servo_lag_s == pytest.approx(good.after.servo_lag_s, abs=0.015)
    assert good.camera_late_s == 0.0
    now, then = (
        np.array([motor.latency_s for motor in each.after.motors]) for each in (found, good)
    )
    assert np.ptp(now - then) < 0.02  # between motors it cancels


def test_where_servos_tell_nothing_the_cameras_latency_stays_in(
    described: RobotDescription, good: Calibration
) -> None:
    with late_bench(described, tells=False) as there:
        found = calibrate(there, steps=12)
    assert math.isnan(found.camera_late_s)
    assert found.after.servo_lag_s == pytest.approx(good.after.servo_lag_s + 0.06, abs=0.015)


def test_told_positions_have_their_own_latency() -> None:
    rng = np.random.default_rng(3)
    sent_s = np.arange(0.0, 10.0, 0.01)
    sent = np.interp(sent_s, np.arange(0.0, 10.5, 0.3), rng.uniform(0.1, 0.9, 35))
    told_s = np.sort(rng.uniform(0.5, 9.9, 50))
    told = 0.05 + 0.9 * np.interp(told_s - 0.043, sent_s, sent) + rng.normal(0.0, 0.003, 50)
    told[7] = math.nan
    assert told_latency(sent_s, sent, told_s, told) == pytest.approx(0.043, abs=0.002)


def test_a_robot_without_a_camera() -> None:
    robot = RobotDescription.load("lx_fake")
    with pytest.raises(EmoError, match="kind is lx: no camera"):
        bench_of(robot)


def test_real_time(described: RobotDescription) -> None:
    clock = RealClock()
    bus = OddBus(described, clock)
    eyes = Eyes(bus)
    with Bench(described, bus, eyes, clock, lambda: eyes) as there:
        take = there.play(lambda _: described.neutral, 0.6)
    assert 10 < len(take.sent) <= 62
    assert 3 < len(take.seen_s) <= 19


def test_noise_is_not_taken_for_motion() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(330) / 29.97
    sent_s = np.arange(0.0, 11.0, 0.01)
    steps = rng.random(40)[np.minimum((sent_s / 0.28).astype(int), 39)]
    faces = rng.normal(0.0, 1.0, (5, 330, 478, 2))
    for response in respond([Motion(times, each, sent_s, steps) for each in faces]):
        assert not response.seen


def test_skew_of_known_lags() -> None:
    lags = np.array([[0.01, 0.02, 0.04], [0.01, 0.02, 0.05]])
    skew = MotorSkew(lags)
    assert np.allclose(np.sort(skew.between()[0]), [0.01, 0.02, 0.03])
    assert skew.as_json()["max_ms"] == pytest.approx(40.0)


@pytest.mark.slow
def test_real_pictures(sim: RobotDescription) -> None:
    """Drawn by the simulated camera, seen by FaceMesh."""
    with bench_of(sim, seed=2) as there:
        found = calibrate(there, steps=STEPS)
    assert not found.faults and not found.needs_training
    assert motor_skew(found.after).as_json()["p95_ms"] < 20.0


@pytest.mark.parametrize(
    ("down_mm", "error_mm", "way"),
    [
        (10.0, 0.5, "as described"),
        (-10.0, 0.5, "reversed"),
        (0.5, 0.5, "not as described"),  # it moves something else by 10 mm, and surely not this
        (2.0, 2.0, ""),  # too shaky there to tell
    ],
)
def test_which_way_is_told_only_where_it_is_seen_well_enough(down_mm, error_mm, way):
    push, push_sd = np.zeros((478, 2)), np.full((478, 2), error_mm / math.sqrt(2.0))
    push[152] = 0.0, -down_mm
    push[13] = 0.0, 10.0
    response = Response(
        0.02, 0.001, 0.9, np.linspace(0, 1, 3), np.ones(2), np.eye(2), push, push_sd
    )
    jaw = RobotDescription.load("sim").motors[-1]
    assert direction(replace(jaw, moves=Moves(152, "down")), response) == way
