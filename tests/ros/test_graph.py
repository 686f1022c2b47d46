"""The whole graph: the same faces as offline, in one process; and the commands that run it."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not set up: the first ./emo lipsync installs it")
pytest.importorskip("emo_interfaces.msg", reason="emo's messages are not built: ./emo lipsync")

from emo_interfaces.msg import FaceLandmarks, MotorCommand
from probing import spinning
from rclpy.node import Node
from videos import film_a_face
from waiting import until

from emo.cli._live import alone
from emo.composed import Composed
from emo.graph import build_graph
from emo.latency import first_stamp, summarize
from emo.options import GraphOptions
from emo_core.audio.sources import load_audio
from emo_core.camera.image import as_received
from emo_core.errors import EmoError
from emo_core.face.alignment import canonical_face
from emo_core.face.tracking import VideoFile
from emo_core.lipsync.pipeline import Lipsync
from emo_core.mimic.pipeline import Mimic
from emo_core.pipelines import PIPELINES
from emo_core.rates import FPS
from emo_core.robot.description import RobotDescription
from emo_core.robot.mapping import LandmarksToMotors
from emo_core.viz.mimic_film import begun_at
from emo_nodekit import qos
from emo_nodekit.messages import nanoseconds

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("ros")]

ROOT = Path(__file__).resolve().parents[2]
HELLO = ROOT / "src" / "emo" / "emo" / "data" / "hello.flac"


def write_wav(path: Path, samples: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """The first 2.03 s of a real sentence: not a whole number of frames."""
    return write_wav(tmp_path / "short.wav", load_audio(HELLO)[:32_500])


class Listener(Node):
    def __init__(self) -> None:
        super().__init__("listener")
        self.faces: list[Any] = []
        self.commands: list[Any] = []
        self.create_subscription(FaceLandmarks, "lipsync/landmarks", self.faces.append, qos.STREAM)
        self.create_subscription(
            MotorCommand, "lipsync/motor_command", self.commands.append, qos.STREAM
        )


@pytest.mark.parametrize("lookahead", ["full", "live"])
def test_the_live_graph_gives_what_offline_gives(
    short: Path, tmp_path: Path, lookahead: str
) -> None:
    samples = load_audio(short)
    offline = Lipsync.load(lookahead)
    faces = offline.animate(samples)
    motors = LandmarksToMotors.load("sim", canonical_face())(faces)
    options = GraphOptions(
        source="file", speech=str(short), lookahead=lookahead, view=False, out=str(tmp_path)
    )
    listener = Listener()
    with spinning(listener), Composed(build_graph(options)):
        until(lambda: listener.commands and listener.commands[-1].end_of_stream)
    assert len(listener.faces) == len(faces) == 51  # ceil(32500 / 640)
    live = np.array([message.points for message in listener.faces]).reshape(faces.shape)
    np.testing.assert_allclose(live, faces, atol=1e-4)
    sent = np.array([message.positions for message in listener.commands])
    np.testing.assert_allclose(sent, motors, atol=1e-4)
    with (tmp_path / "commands.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = RobotDescription.load("sim").names
    recorded = np.array([[float(row[name]) for name in names] for row in rows])
    np.testing.assert_allclose(recorded, motors, atol=1e-4)
    times = np.array([[float(row["stamp"]), float(row["target_time"])] for row in rows])
    ahead = offline.lookahead_ms / 1000
    np.testing.assert_allclose(times[:, 0] - times[:, 1], ahead, atol=1e-5)
    np.testing.assert_allclose(np.diff(times[:, 1]), 0.040, atol=5e-4)
    figures = summarize(tmp_path / "latency.csv", ["lipsync"])["lipsync"]
    assert (figures["frames"], figures["dropped"]) == (51, 0)


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 3 s in which somebody opens the mouth and raises a brow."""
    return film_a_face(tmp_path_factory.mktemp("person") / "person.mp4")


def csv_columns(path: Path, names: Sequence[str]) -> np.ndarray:
    with path.open() as file:
        return np.array([[float(row[name]) for name in names] for row in csv.DictReader(file)])


def test_both_pipelines_at_once_give_what_each_gives_offline(
    short: Path, person: Path, tmp_path: Path
) -> None:
    pytest.importorskip("mediapipe", reason="FaceMesh is not installed")
    options = GraphOptions(
        pipeline="both", source="file", speech=str(short), camera="file", video=str(person),
        robot="emo22", view=False, out=str(tmp_path),
    )  # fmt: skip
    listener = Listener()
    ended: set[str] = set()
    listener.create_subscription(
        MotorCommand, "motor_command", lambda m: m.end_of_stream and ended.add(m.source), qos.STREAM
    )
    seen: list[int] = []
    listener.create_subscription(
        FaceLandmarks,
        "mimic/landmarks",
        lambda m: m.end_of_stream or seen.append(nanoseconds(m.header.stamp)),
        qos.STREAM,
    )
    with spinning(listener), Composed(build_graph(options)) as composed:
        ways = [
            (subscription.topic_name, node.get_name(), publisher.topic_name)
            for node in composed.nodes
            for subscription in node.subscriptions
            for publisher in node.publishers
        ]
        for stage in (stage for stages in PIPELINES.values() for stage in stages):
            assert (f"/{stage.reads}", stage.node, f"/{stage.writes}") in ways
        until(lambda: {"lipsync", "mimic"} <= ended, 60.0)

    robot = RobotDescription.load("emo22")
    names = [robot.names[i] for i in robot.expressive]
    faces = Lipsync.load("full").animate(load_audio(short))
    spoken = LandmarksToMotors.load("emo22", canonical_face())(faces)
    live = csv_columns(tmp_path / "lipsync" / "commands.csv", names)
    np.testing.assert_allclose(live, spoken[:, robot.expressive], atol=1e-4)

    # A busy machine may lose an image; what was seen is what the rest follows from.
    times_s = (np.array(seen) - seen[0]) * 1e-9
    assert len(times_s) > 20
    with VideoFile(person) as video, Mimic.load(robot) as mimic:
        images = list(video.frames())
        frames = [mimic.feed(as_received(images[round(at * FPS)]), float(at)) for at in times_s]
    motors = np.array([f.motors[robot.expressive] for f in frames if f.motors is not None])
    live = csv_columns(tmp_path / "mimic" / "commands.csv", names)
    np.testing.assert_allclose(live, motors, atol=1e-4)
    assert np.ptp(motors, axis=0).max() > 0.3, "the face moved"
    figures = summarize(tmp_path / "latency.csv", ["lipsync", "mimic"])
    assert (figures["lipsync"]["frames"], figures["lipsync"]["dropped"]) == (51, 0)
    assert figures["mimic"]["frames"] == len(seen)
    assert list(figures["mimic"]["stages_ms"])[:2] == [
        "camera_and_face_tracking",
        "predictive_model",
    ]


def test_one_graph_for_each_domain_and_namespace() -> None:
    with alone("left"), alone("right"):
        with pytest.raises(EmoError, match="another emo runs in ROS domain"):
            with alone("left"):
                pass
    with alone("left"):
        pass


def emo(command: str, *arguments: object) -> subprocess.Popen[str]:
    """`emo COMMAND` as a process of its own, as ./emo starts it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for name in ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE"):
        environment.pop(name, None)
    code = "import sys; from emo.cli import main; sys.exit(main())"
    line = [sys.executable, "-c", code, command, "--headless", *map(str, arguments)]
    return subprocess.Popen(
        line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def last_sent(out: Path, robot: RobotDescription) -> np.ndarray:
    """Where the servos were sent last."""
    return csv_columns(out / "sent.csv", robot.names)[-1]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [False, True])
def test_the_command_speaks_a_recording_and_ends_with_the_face_neutral(
    short: Path, tmp_path: Path, processes: bool
) -> None:
    out = tmp_path / "out"
    extra = ["--processes"] if processes else []
    run = emo("lipsync", short, "--out", out, "--json", *extra)
    stdout, stderr = run.communicate(timeout=60)
    assert run.returncode == 0, stderr
    figures = json.loads(stdout)
    assert (figures["frames"], figures["dropped"]) == (51, 0)
    assert json.loads((out / "latency.json").read_text())["frames"] == 51
    assert figures["end_to_end_ms"]["p50"] > 0.0
    robot = RobotDescription.load("sim")
    np.testing.assert_allclose(last_sent(out, robot), robot.neutral, atol=0.01)
    with (out / "sent.csv").open() as file:
        assert [row["source"] for row in csv.DictReader(file)].count("lipsync") == 51
    film, speech = load_audio(out / "robot.mp4"), load_audio(short)
    assert len(film) >= len(speech)
    # A busy machine may make the speaker wait a little in a pause, but it plays what it was given.
    size = len(film) + len(speech)
    product = np.fft.irfft(np.fft.rfft(film, size) * np.conj(np.fft.rfft(speech, size)))
    assert product.max() / (np.linalg.norm(film) * np.linalg.norm(speech)) > 0.8


@pytest.mark.slow
def test_sound_meets_lips_in_the_film(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe", reason="FaceMesh is not installed")
    from emo_core.evaluation.skew import skew_of_film

    run = emo("lipsync", HELLO, "--out", tmp_path)
    _, stderr = run.communicate(timeout=60)
    assert run.returncode == 0, stderr
    skew = skew_of_film(tmp_path / "robot.mp4", HELLO)
    assert skew.face_found == 1.0
    assert np.percentile(np.abs(skew.window_ms), 95) < 40.0


@pytest.mark.slow
@pytest.mark.parametrize("processes", [False, True])
def test_the_command_mimics_a_video_and_ends_with_the_face_neutral(
    person: Path, tmp_path: Path, processes: bool
) -> None:
    out, robot = tmp_path / "out", RobotDescription.load("emo22")
    extra = ["--processes"] if processes else []
    run = emo("mimic", person, "--robot", "emo22", "--out", out, "--json", *extra)
    stdout, stderr = run.communicate(timeout=90)
    assert run.returncode == 0, stderr
    figures = json.loads(stdout)
    assert figures["frames"] + figures["dropped"] == 75
    assert figures["frames"] > 20, "a busy machine may lose images"
    sent = csv_columns(out / "sent.csv", robot.names)
    assert np.ptp(sent[:, robot.names.index("jaw")]) > 0.2
    np.testing.assert_allclose(sent[-1], robot.neutral, atol=0.01)
    start_s = first_stamp(out / "latency.csv", "mimic")
    assert begun_at(out / "robot.mp4") == pytest.approx(start_s, abs=1e-5), "the first image"
    with VideoFile(out / "mimic.mp4") as film:
        assert sum(1 for _ in film.frames()) == 75


@pytest.mark.slow
def test_the_command_speaks_and_mimics_at_once(short: Path, person: Path, tmp_path: Path) -> None:
    out, robot = tmp_path / "out", RobotDescription.load("emo22")
    run = emo("run", short, "--video", person, "--robot", "emo22", "--out", out, "--json")
    stdout, stderr = run.communicate(timeout=90)
    assert run.returncode == 0, stderr
    figures = json.loads(stdout)
    assert (figures["lipsync"]["frames"], figures["lipsync"]["dropped"]) == (51, 0)
    assert figures["mimic"]["frames"] + figures["mimic"]["dropped"] == 75
    assert figures["mimic"]["frames"] > 20, "a busy machine may lose images"
    latency = json.loads((out / "latency.json").read_text())
    assert latency == {name: figures[name] for name in ("lipsync", "mimic")}
    for pipeline in ("lipsync", "mimic"):
        assert (out / pipeline / "commands.csv").exists()
    with (out / "sent.csv").open() as file:
        assert {"lipsync", "mimic"} <= {row["source"] for row in csv.DictReader(file)}
    np.testing.assert_allclose(last_sent(out, robot), robot.neutral, atol=0.01)
    assert len(load_audio(out / "mimic.mp4")) > 0


@pytest.mark.slow
def test_an_interrupted_run_brings_the_face_to_neutral(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = emo("lipsync", HELLO, "--out", out)
    commands = out / "commands.csv"
    until(lambda: commands.exists() and len(commands.read_text().splitlines()) > 2)
    run.send_signal(signal.SIGINT)
    stdout, stderr = run.communicate(timeout=20)
    assert run.returncode == 130, stderr
    assert "audio to motor" in stdout
    robot = RobotDescription.load("sim")
    np.testing.assert_allclose(last_sent(out, robot), robot.neutral, atol=0.01)
    assert (out / "robot.mp4").stat().st_size > 0


def test_errors_are_one_line(tmp_path: Path) -> None:
    text = tmp_path / "speech.wav"
    text.write_text("not a recording")
    run = emo("lipsync", text, "--out", tmp_path / "out")
    stdout, stderr = run.communicate(timeout=30)
    assert run.returncode == 1
    assert stdout == ""
    assert len(stderr.strip().splitlines()) == 1
    assert "cannot read" in stderr
