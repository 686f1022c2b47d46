"""Model files that are replaced, damaged or deleted while the graph runs on them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not set up: the first ./emo lipsync installs it")
pytest.importorskip("emo_interfaces.msg", reason="emo's messages are not built: ./emo lipsync")

from emo_interfaces.msg import MotorCommand
from probing import Probe, spinning
from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter
from sounds import write_float_wav
from videos import film_a_face
from waiting import until

from emo.composed import Composed
from emo.graph import build_graph
from emo.options import GraphOptions
from emo_core.audio.sources import load_audio
from emo_core.errors import EmoError
from emo_core.face.alignment import canonical_face
from emo_core.lipsync.pipeline import Lipsync
from emo_core.paths import config_dir, models_dir
from emo_core.robot.mapping import LandmarksToMotors

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("ros")]

ROOT = Path(__file__).resolve().parents[2]
HELLO = ROOT / "src" / "emo" / "emo" / "data" / "hello.flac"


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped models, which everything uses."""
    copy = tmp_path / "share" / "models"
    shutil.copytree(models_dir(), copy)
    (tmp_path / "share" / "config").symlink_to(config_dir())
    monkeypatch.setenv("EMO_SHARE", str(tmp_path / "share"))
    return copy


def spoil(models: Path) -> None:
    """Cut, write over, delete, and another robot's in its place: each kind in the open file."""
    for name in ("audio2landmark_full", "audio2landmark_live", "predictive"):
        model = models / name / "model.onnx"
        model.write_bytes(model.read_bytes()[:1000])
    for path in (models / "inverse_emo22").iterdir():
        (models / "inverse_sim" / path.name).write_bytes(path.read_bytes())
    (models / "inverse_sim" / "profile.npz").write_bytes(b"no archive")
    shutil.rmtree(models / "apc")


def change(composed: Composed, name: str, **values: object) -> SetParametersResult:
    """Set parameters of a node in its own thread, as its service does."""
    node = next(each for each in composed.nodes if each.get_name() == name)
    done: list[SetParametersResult] = []
    parameters = [Parameter(each, value=value) for each, value in values.items()]
    node.executor.create_task(lambda: done.append(node.set_parameters_atomically(parameters)))
    until(lambda: done)
    return done[0]


def test_speech_goes_on_with_the_models_it_began_with(models: Path, tmp_path: Path) -> None:
    samples = load_audio(HELLO)[:48_000]
    write_float_wav(tmp_path / "speech.wav", samples, 16_000)
    offline = Lipsync.load("full").animate(load_audio(tmp_path / "speech.wav"))
    expected = LandmarksToMotors.load("sim", canonical_face())(offline)
    options = GraphOptions(source="file", speech=str(tmp_path / "speech.wav"), view=False)
    probe = Probe()
    commands: list[Any] = probe.collect(MotorCommand, "lipsync/motor_command")
    with spinning(probe), Composed(build_graph(options)) as composed:
        until(lambda: len(commands) > 10)
        spoil(models)
        assert not commands[-1].end_of_stream, "in mid-stream"
        refused = change(composed, "audio2landmark", model="audio2landmark_live")
        assert not refused.successful and "damaged" in refused.reason
        refused = change(composed, "audio2landmark", model=str(models / "inverse_sim"))
        assert not refused.successful and "kind is 'inverse'" in refused.reason
        until(lambda: commands[-1].end_of_stream)
        assert not composed.failed
    sent = np.array([each.positions for each in commands])
    np.testing.assert_allclose(sent, expected, atol=1e-4)
    with pytest.raises(EmoError, match=r"inverse_sim.*(damaged|robot|not)"):
        Composed(build_graph(options))


@pytest.mark.slow
def test_mimicry_goes_on_with_the_models_it_began_with(models: Path, tmp_path: Path) -> None:
    video = film_a_face(tmp_path / "face.mp4", frames=150)
    options = GraphOptions(pipeline="mimic", camera="file", video=str(video), view=False)
    probe = Probe()
    commands: list[Any] = probe.collect(MotorCommand, "mimic/motor_command")
    with spinning(probe), Composed(build_graph(options)) as composed:
        until(lambda: sum(each.valid for each in commands) > 10)
        spoil(models)
        before = len(commands)
        until(lambda: commands[-1].end_of_stream)
        assert not composed.failed
    later = [each for each in commands[before:] if each.active]
    assert len(later) > 10 and all(each.valid for each in later)
    moved = np.array([each.positions for each in later])
    assert np.isfinite(moved).all() and np.ptp(moved, axis=0).max() > 0.1
