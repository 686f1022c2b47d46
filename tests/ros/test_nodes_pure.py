"""The parts of the nodes that need no ROS: motion, film, figures, the graph."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emo.graph import build_graph
from emo.options import GraphOptions
from emo_core.audio.sources import load_audio
from emo_core.errors import EmoError
from emo_core.robot.description import RobotDescription
from emo_core.viz.mimic_film import begun_at
from emo_sim.film import Film
from emo_sim.motion import Motion

RATE = 16_000
MS = 1_000_000


# -- what is seen ----------------------------------------------------------------------------


@pytest.fixture
def robot() -> RobotDescription:
    return RobotDescription.load("sim")


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


def test_motors_are_reported_few_at_a_time_and_a_silent_one_is_not_waited_for(
    robot: RobotDescription,
) -> None:
    motion = Motion(robot)
    low, high = np.array([motor.range_rad for motor in robot.motors]).T
    motion.add(0, dict(zip(robot.names, low, strict=True)))
    motion.add(100 * MS, {"jaw": float(high[-1])})
    assert motion.known_until() == 0
    for k in range(1, 30):
        some = robot.names[k % 3 : -1 : 3]  # all but the jaw, in turns
        motion.add(100 * k * MS, {name: float(low[robot.names.index(name)]) for name in some})
    assert motion.known_until() == 2700 * MS
    assert motion.at(50 * MS)[-1] == pytest.approx(0.5)
    assert motion.at(2000 * MS)[-1] == pytest.approx(1.0)


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


def test_a_film_begins_with_the_first_image_and_cuts_what_was_heard_before(tmp_path: Path) -> None:
    film = Film(tmp_path / "film.mp4", (64, 64), RATE, lambda t: np.zeros((64, 64, 3), np.uint8))
    start = 7_000 * MS
    film.begin(start)
    film.begin(start - 1000 * MS)  # it has begun
    assert film.next_ns == start
    click = np.zeros(RATE, np.float32)
    click[RATE // 2 + 1600] = 1.0
    film.sound(click, start + 500 * MS)  # its middle is the film's beginning
    while film.advance(start + 400 * MS) is not None:
        pass
    film.close()
    assert begun_at(tmp_path / "film.mp4") == 7.0
    heard = load_audio(tmp_path / "film.mp4")
    assert np.argmax(np.abs(heard)) / RATE == pytest.approx(0.1, abs=0.002)


def test_a_film_without_sound_is_silent(tmp_path: Path) -> None:
    film = Film(tmp_path / "film.mp4", (64, 64), None, lambda t: np.zeros((64, 64, 3), np.uint8))
    film.sound(np.ones(320, np.float32), 20 * MS)
    assert film.next_ns is None  # nobody hears it: the film has not begun
    film.begin(40 * MS)
    assert film.advance(40 * MS) is not None
    film.close()
    with pytest.raises(EmoError, match="no sound"):
        load_audio(tmp_path / "film.mp4")


def test_a_film_without_a_picture_leaves_no_file(tmp_path: Path) -> None:
    film = Film(tmp_path / "film.mp4", (64, 64), RATE, lambda t: np.zeros((64, 64, 3), np.uint8))
    film.close()
    assert list(tmp_path.iterdir()) == []


# -- the graph -------------------------------------------------------------------------------


def test_the_graph_keeps_to_its_namespace() -> None:
    graph = build_graph(GraphOptions(source="file", speech="a.wav", namespace="/left/"))
    assert {entry.namespace for entry in graph} == {"left", "left/lipsync"}
    names = [entry.name for entry in graph]
    assert len(set(names)) == len(names)
    assert names[-1] == "left/microphone"  # the source is the last to start


@pytest.mark.parametrize("source", ["device", "topic"])
@pytest.mark.parametrize("pipeline", ["lipsync", "both"])
def test_a_live_voice_is_not_played_to_be_heard_again(pipeline: str, source: str) -> None:
    graph = build_graph(GraphOptions(pipeline=pipeline, source=source))
    assert "speaker" not in [entry.executable for entry in graph]
    view = next(entry for entry in graph if entry.executable == "robot_view")
    assert view.remappings == (("audio_played", "audio"),)
    assert view.isolated


def test_new_faces_are_greeted_unless_they_are_on_film() -> None:
    def greets(**options: str) -> bool:
        graph = build_graph(GraphOptions(pipeline="mimic", **options))
        return bool(next(e for e in graph if e.executable == "arbiter").parameters["greet"])

    assert greets(camera="device") and greets(camera="topic", camera_topic="image_in")
    assert not greets(camera="file", video="a.mp4")


def test_parameters_reach_a_process_as_ros_reads_them() -> None:
    graph = build_graph(GraphOptions(source="file", speech="it's 1.wav", mouth_gain=1.5))
    arguments = " ".join(graph[-1].ros_args())
    assert "path:='it''s 1.wav'" in arguments
    assert "use_sim_time:=false" in arguments
    assert "wait_for:=['audio', " in arguments


def test_no_room_is_made_for_a_picture_that_claims_to_be_huge() -> None:
    code = (
        "import emo_nodekit, cv2, numpy as np\n"
        "picture = np.frombuffer(b'P6 16384 8192 255 ' + bytes(99), np.uint8)\n"
        "try:\n    cv2.imdecode(picture, cv2.IMREAD_COLOR)\n"
        "except cv2.error as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert "MAX_IMAGE_PIXELS" in done.stdout
