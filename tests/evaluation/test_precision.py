"""Networks in half precision say the same; TensorRT is asked for by name, and only where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from emo_core import inference
from emo_core.audio.sources import load_audio
from emo_core.errors import EmoError
from emo_core.evaluation import precision
from emo_core.paths import models_dir
from emo_core.robot.description import RobotDescription
from emo_core.robot.inverse_model import InverseModel

HELLO = Path(__file__).parents[2] / "src" / "emo" / "emo" / "data" / "hello.flac"


def test_half_precision_against_full(tmp_path):
    pytest.importorskip("onnx", reason="pip install -r requirements/train.txt")
    rows = precision.measure(load_audio(HELLO), RobotDescription.load("sim"), tmp_path)
    found = {row.network: row for row in rows if row.way == precision.ROUNDED}
    assert set(found) == {
        "apc", "audio2landmark_full", "audio2landmark_live", "predictive", "inverse_sim"
    }  # fmt: skip
    for row in found.values():
        assert 0.0 < row.mean < 0.02 * row.spread  # rounded, and of no account
        assert row.ms > 0.0 < row.cpu_ms
    assert found["audio2landmark_full"].most < 0.05  # mm, of any point at any time
    assert found["audio2landmark_live"].most < 0.05
    assert found["predictive"].most < 0.05
    assert found["inverse_sim"].most < 0.02  # of a motor's range
    with pytest.raises(EmoError, match="a second of speech"):
        precision.measure(np.zeros(100, np.float32), RobotDescription.load("sim"), tmp_path)


def test_a_rounded_network_answers_in_halves(tmp_path):
    pytest.importorskip("onnx", reason="pip install -r requirements/train.txt")
    robot = RobotDescription.load("sim")
    folder = tmp_path / robot.inverse_model
    precision.round_to_half(models_dir() / robot.inverse_model, folder)
    shipped, rounded = InverseModel.load(robot), InverseModel.load(robot, folder)
    face = np.random.default_rng(0).normal(size=226)
    commands = rounded(face)
    np.testing.assert_array_equal(commands, commands.astype(np.float16))
    assert np.any(commands != shipped(face))


class _Session:
    """What ONNX Runtime would be asked for."""

    def __init__(self, path: str, options: Any, providers: list[Any]) -> None:
        self.providers = providers
        self.begun = ["TensorrtExecutionProvider", "CPUExecutionProvider"]

    def get_providers(self) -> list[str]:
        return self.begun


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An ONNX Runtime that was built with TensorRT."""
    monkeypatch.setattr(ort, "get_available_providers", _Session("", None, []).get_providers)
    monkeypatch.setattr(ort, "InferenceSession", _Session)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_the_cpu_is_used_unless_tensorrt_is_asked_for(monkeypatch, tensorrt, tmp_path):
    for value in ("", "cpu"):
        monkeypatch.setenv(inference.VARIABLE, value)
        assert inference.open_session(tmp_path).providers == ["CPUExecutionProvider"]
    for value, half in (("tensorrt", "False"), ("tensorrt-half", "True")):
        monkeypatch.setenv(inference.VARIABLE, value)
        (name, options), rest = inference.open_session(tmp_path).providers
        assert (name, rest) == ("TensorrtExecutionProvider", "CPUExecutionProvider")
        assert options["trt_fp16_enable"] == half
        assert Path(options["trt_engine_cache_path"]).is_relative_to(tmp_path)
        assert Path(options["trt_engine_cache_path"]).is_dir()


def test_tensorrt_that_does_not_start_is_said(monkeypatch, tensorrt, tmp_path):
    monkeypatch.setenv(inference.VARIABLE, "tensorrt")
    monkeypatch.setattr(_Session, "get_providers", lambda self: ["CPUExecutionProvider"])
    with pytest.raises(EmoError, match="TensorRT does not start"):
        inference.open_session(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(EmoError, match="set XDG_CACHE_HOME"):
        inference.open_session(tmp_path)


def test_tensorrt_where_there_is_none_is_said(monkeypatch):
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setenv(inference.VARIABLE, "tensorrt")
    with pytest.raises(EmoError, match="has no TensorRT"):
        InverseModel.load(RobotDescription.load("sim"))
    monkeypatch.setenv(inference.VARIABLE, "gpu")
    with pytest.raises(EmoError, match="EMO_INFERENCE is 'gpu': give cpu, tensorrt"):
        InverseModel.load(RobotDescription.load("sim"))
