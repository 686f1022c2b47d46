"""The parts of the nodes that need no ROS: arbitration, servos, film, figures, the graph."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from emo.graph import GraphOptions, build_graph
from emo.latency import summarize
from emo_core.audio.sources import load_audio
from emo_core.robot.bus import ServoBus, make_bus
from emo_core.robot.description import RobotDescription
from emo_motor_drivers.arbitration import Arbitration
from emo_motor_drivers.head import Head, Written
from emo_sim.film import Film
from emo_sim.motion import Motion

RATE = 16_000
MS = 1_000_000


# -- who drives what -------------------------------------------------------------------------

GROUPS = {"mouth": ("jaw",), "eye": ("brow",)}


def feed(arbiter: Arbitration, source: str, value: float, now: float, active: bool = True) -> Any:
    stamp = int(now * 1e9)
    positions = {"jaw": value, "brow": value}
    return arbiter.feed(source, positions, active, stamp, stamp - 240 * MS, now)


@pytest.mark.parametrize("alone", ["lipsync", "mimic"])
def test_whoever_is_alone_drives_everything(alone: str) -> None:
    arbiter = Arbitration(GROUPS, ["lipsync", "mimic"])
    assert feed(arbiter, alone, 0.7, 1.0, active=False) == {"jaw": 0.7, "brow": 0.7}
    assert arbiter.drivers == {"mouth": (alone, 1.0), "eye": (alone, 1.0)}


def test_the_mouth_follows_speech_and_the_brows_follow_mimic() -> None:
    arbiter = Arbitration(GROUPS, ["lipsync", "mimic"], fade_s=0.0)
    feed(arbiter, "mimic", 0.2, 1.0)
    assert feed(arbiter, "lipsync", 0.8, 1.01) == {"jaw": 0.8}
    assert feed(arbiter, "mimic", 0.2, 1.02) == {"brow": 0.2}


def test_a_pause_between_words_does_not_flicker_and_a_long_one_gives_the_mouth_away() -> None:
    arbiter = Arbitration(GROUPS, ["lipsync", "mimic"], fade_s=0.0, hold_s=0.6)
    owners = []
    for k in range(60):
        now = 1.0 + 0.04 * k
        speaking = k < 10 or 20 <= k < 25  # a pause of 0.4 s, then silence
        feed(arbiter, "mimic", 0.2, now)
        feed(arbiter, "lipsync", 0.8, now + 0.001, active=speaking)
        owners.append(arbiter.drivers["mouth"][0])
    changes = [k for k in range(1, 60) if owners[k] != owners[k - 1]]
    assert owners[0] == "lipsync"
    assert len(changes) == 1
    # Speech ends with frame 24; the mouth shows it 240 ms later and stays for the hold.
    assert changes[0] == pytest.approx(24 + (0.6 + 0.24) / 0.04, abs=2)


def test_a_change_of_source_is_cross_faded() -> None:
    arbiter = Arbitration(GROUPS, ["lipsync", "mimic"], fade_s=0.12)
    feed(arbiter, "mimic", 0.0, 1.0)
    steps = [feed(arbiter, "lipsync", 1.0, 1.02 + 0.02 * k)["jaw"] for k in range(9)]
    assert steps[0] == 0.0
    assert max(np.diff(steps)) <= 0.02 / 0.12 + 1e-9
    assert steps[6:] == [1.0, 1.0, 1.0]


def test_a_source_that_is_gone_gives_its_motors_back() -> None:
    arbiter = Arbitration(GROUPS, ["lipsync", "mimic"], fade_s=0.0)
    feed(arbiter, "lipsync", 0.8, 1.0)
    assert feed(arbiter, "mimic", 0.2, 1.3) == {"jaw": 0.2, "brow": 0.2}
    arbiter.expire(2.0)
    assert arbiter.drivers == {"mouth": ("", 1.0), "eye": ("", 1.0)}


# -- the servos' owner -----------------------------------------------------------------------


class SpyBus(ServoBus):
    """A bus that keeps what happens to it; its servos are where they were told to be."""

    def __init__(self, description: RobotDescription, start: np.ndarray) -> None:
        super().__init__(description)
        self.log: list[str] = []
        self.on = False
        self.x = start.copy()

    def open(self) -> None:
        self.log.append("open")

    def close(self) -> None:
        self.log.append("close")

    def torque(self, on, motors=None):
        self.on = on
        self.log.append(f"torque {'on' if on else 'off'}")

    def write(self, positions: Any) -> np.ndarray:
        assert self.on, "written without torque"
        self.log.append("write")
        self.x = np.array(positions, np.float64)
        return self.x

    def read(self, motors=None) -> np.ndarray:
        return self.x.copy()


@pytest.fixture
def robot() -> RobotDescription:
    return RobotDescription.load("sim")


def test_no_torque_before_activate_and_neutral_before_torque_goes_off(
    robot: RobotDescription,
) -> None:
    bus = SpyBus(robot, robot.neutral)
    head = Head(robot, bus)
    head.open("mouth")
    assert head.command(dict.fromkeys(robot.names, 0.9)) is None
    assert bus.log == ["open"]
    head.activate("mouth")
    for _ in range(20):
        head.command(dict.fromkeys(robot.names, 0.9))
        time.sleep(0.01)
    away = np.abs(bus.x - robot.neutral)
    assert away[robot.group("mouth")].max() > 0.02
    assert away[robot.group("eye")].max() < 1e-9  # that driver is not active
    head.deactivate("mouth")
    assert not bus.on
    assert bus.log[-1] == "torque off"
    np.testing.assert_allclose(bus.x, robot.neutral, atol=0.01)
    head.close("mouth")
    assert bus.log[-1] == "close"


def test_after_a_crash_the_servos_are_taken_up_from_where_they_are(
    robot: RobotDescription,
) -> None:
    start = np.clip(robot.neutral + 0.3, robot.lower, robot.upper)
    bus = SpyBus(robot, start)
    writes: list[Written | None] = []
    head = Head(robot, bus)
    head.listeners.append(writes.append)
    head.open("eye")
    head.open("mouth")
    head.activate("eye")
    head.activate("mouth")
    time.sleep(0.1)
    written = [write.positions for write in writes if write is not None]
    assert np.abs(written[0] - start).max() < 0.01
    steps = np.diff(written, axis=0)
    assert np.abs(steps).max() < 0.05  # it does not leap
    head.close("eye")
    assert bus.on  # the mouth's driver is still there
    head.close("mouth")
    assert bus.log[-2:] == ["torque off", "close"]


def test_estop_stops_everything_until_it_is_released(robot: RobotDescription) -> None:
    bus = SpyBus(robot, robot.neutral)
    head = Head(robot, bus)
    head.open("mouth")
    head.activate("mouth")
    head.command(dict.fromkeys(robot.names, 0.9))
    head.estop()
    time.sleep(0.4)
    assert not bus.on
    assert head.command(dict.fromkeys(robot.names, 0.1)) is None
    assert head.estopped
    head.release()
    assert bus.on
    head.close("mouth")


def test_without_commands_the_face_eases_to_neutral_by_itself(robot: RobotDescription) -> None:
    bus = SpyBus(robot, np.clip(robot.neutral + 0.3, robot.lower, robot.upper))
    head = Head(robot, bus)
    head.open("eye")
    head.activate("eye")
    time.sleep(robot.watchdog.timeout_s + robot.watchdog.ease_s + 1.2)
    np.testing.assert_allclose(bus.x, robot.neutral, atol=0.01)
    head.close("eye")


def test_a_bus_that_fails_is_reported_and_tried_again(robot: RobotDescription) -> None:
    bus = SpyBus(robot, robot.neutral)
    head = Head(robot, bus)
    head.open("mouth")
    head.activate("mouth")
    works, bus.write = bus.write, Mock(side_effect=OSError("unplugged"))  # type: ignore
    time.sleep(0.05)
    assert head.fault == "unplugged"
    bus.write = works  # type: ignore
    time.sleep(0.05)
    assert head.fault == ""
    head.close("mouth")


def test_a_bus_that_is_gone_at_the_end_is_reported(robot: RobotDescription) -> None:
    bus = SpyBus(robot, robot.neutral)
    head = Head(robot, bus)
    head.open("mouth")
    head.activate("mouth")
    bus.torque = Mock(side_effect=OSError("unplugged"))  # type: ignore
    head.close("mouth")
    assert (head.fault, head.torque_on, bus.log[-1]) == ("unplugged", False, "close")


def test_one_command_for_two_drivers_is_written_once(robot: RobotDescription) -> None:
    bus = SpyBus(robot, robot.neutral)
    head = Head(robot, bus)
    head.open("eye")
    head.open("mouth")
    head.activate("eye")
    head.activate("mouth")
    positions = dict.fromkeys(robot.names, 0.5)
    assert head.command(positions, ("lipsync", 1)) is head.command(positions, ("lipsync", 1))
    assert head.command(positions, ("lipsync", 2)) is not head.command(positions, ("lipsync", 3))
    head.close("eye")
    head.close("mouth")


def test_the_simulated_robot_moves(robot: RobotDescription) -> None:
    head = Head(robot, make_bus(robot))
    head.open("mouth")
    head.activate("mouth")
    goal = dict.fromkeys(robot.names, 0.6)
    for _ in range(60):
        head.command(goal)
        time.sleep(0.02)
    mouth = robot.group("mouth")
    np.testing.assert_allclose(head.measured()[mouth], 0.6, atol=0.03)
    head.close("mouth")


# -- what is seen ----------------------------------------------------------------------------


def test_motion_is_interpolated_for_each_motor(robot: RobotDescription) -> None:
    motion = Motion(robot)
    assert motion.known_until() is None
    jaw = robot.names.index("jaw")
    low, high = robot.motors[jaw].range_rad
    for k in range(200):
        motion.add(k * 20 * MS, {"jaw": low + (high - low) * k / 200, "elbow": 1.0})
    assert motion.known_until() == 199 * 20 * MS
    assert motion.at(1010 * MS)[jaw] == pytest.approx(50.5 / 200)
    assert motion.at(99999 * MS)[jaw] == pytest.approx(199 / 200)
    assert motion.at(-5)[jaw] == pytest.approx(0.0)
    others = np.arange(len(robot.motors)) != jaw
    np.testing.assert_array_equal(motion.at(0)[others], robot.neutral[others])


def test_a_film_shows_each_picture_and_plays_each_sound_at_its_time(tmp_path: Path) -> None:
    drawn: list[int] = []

    def draw(time_ns: int) -> np.ndarray:
        drawn.append(time_ns)
        return np.zeros((64, 64, 3), np.uint8)

    film = Film(tmp_path / "film.mp4", (64, 64), RATE, draw)
    start = 5_000 * MS
    assert film.advance(start) is None  # no sound yet: the film has not begun
    jitter = np.random.default_rng(0).integers(-50_000, 50_000, 50)
    tone = np.sin(np.arange(50 * 320) * 0.2).astype(np.float32) * 0.5
    for k in range(50):
        film.sound(tone[320 * k : 320 * k + 320], start + (k + 1) * 20 * MS + int(jitter[k]))
    while film.advance(start + 1000 * MS) is not None:
        pass
    film.close()
    assert len(drawn) in (25, 26)
    assert set(np.diff(drawn)) == {40 * MS}
    heard = load_audio(tmp_path / "film.mp4")
    # The jitter of the stamps must not tear the sound: it follows its sine all along.
    middle = heard[4000:12000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    peak = spectrum.argmax()
    assert spectrum[peak - 3 : peak + 4].sum() > 0.9 * spectrum.sum()


def test_a_film_without_a_picture_leaves_no_file(tmp_path: Path) -> None:
    film = Film(tmp_path / "film.mp4", (64, 64), RATE, lambda t: np.zeros((64, 64, 3), np.uint8))
    film.close()
    assert list(tmp_path.iterdir()) == []


# -- figures and the graph -------------------------------------------------------------------

HEADER = (
    "frame,stamp,driver,source,speech_features,audio2landmark,normalization,inverse_model,"
    "arbiter,received,written\n"
)


def test_latency_is_that_of_the_write_and_drops_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "latency.csv"
    rows = []
    for frame, driver in itertools.product([0, 1, 3], ["eye_driver", "mouth_driver"]):
        late = 1.0 if driver == "mouth_driver" else 0.0
        ages = [1, 2, 3, 4, 5, 6 + late, 10]
        rows.append(f"{frame},{100 + frame * 0.04},{driver},lipsync,{','.join(map(str, ages))}\n")
    rows[1], rows[2] = rows[2], rows[1]  # one driver may be a frame ahead of the other
    path.write_text(HEADER + "".join(rows) + "4,100.16,eye")
    figures = summarize(path)
    assert (figures["frames"], figures["dropped"]) == (3, 1)
    assert figures["end_to_end_ms"] == {"p50": 10.0, "p95": 10.0, "p99": 10.0}
    assert figures["stages_ms"]["drivers"]["p50"] == 4.0
    assert sum(stage["p50"] for stage in figures["stages_ms"].values()) == 10.0


def test_no_latency_without_frames(tmp_path: Path) -> None:
    figures = summarize(tmp_path / "latency.csv")
    assert (figures["frames"], figures["dropped"]) == (0, 0)
    assert figures["end_to_end_ms"]["p95"] is None


def test_the_graph_keeps_to_its_namespace() -> None:
    graph = build_graph(GraphOptions(source="file", speech="a.wav", namespace="/left/"))
    assert {entry.namespace for entry in graph} == {"left", "left/lipsync"}
    names = [entry.name for entry in graph]
    assert len(set(names)) == len(names)
    assert names[-1] == "left/microphone"  # the source is the last to start


def test_a_live_voice_needs_no_loudspeaker() -> None:
    graph = build_graph(GraphOptions(source="device"))
    assert "speaker" not in [entry.executable for entry in graph]
    view = next(entry for entry in graph if entry.executable == "robot_view")
    assert view.remappings == (("audio_played", "audio"),)
    assert view.isolated


def test_parameters_reach_a_process_as_ros_reads_them() -> None:
    graph = build_graph(GraphOptions(source="file", speech="it's 1.wav", mouth_gain=1.5))
    arguments = " ".join(graph[-1].ros_args())
    assert "path:='it''s 1.wav'" in arguments
    assert "use_sim_time:=false" in arguments
    assert "wait_for:=['audio', " in arguments
