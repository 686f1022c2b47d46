"""`./emo eval` as a user runs it, with a model that stands still."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from emo.cli import main
from emo_core.evaluation import clips as clips_module


class Still:
    """A model that predicts the static face, opened by the loudness of nothing."""

    lookahead_ms = 240.0

    def __init__(self, variant: str) -> None:
        assert variant == "full"

    def __call__(self, audio: np.ndarray, static: np.ndarray) -> np.ndarray:
        return np.repeat(static[None], -(-len(audio) // 640), axis=0)


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    predictors = pytest.importorskip("emo_core.evaluation.predictors")
    monkeypatch.setattr(predictors, "LipsyncPredictor", Still)


def test_json_is_one_object_on_standard_output(
    still: None, prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "lipsync", str(prepared), "--json", "--debug"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["clips"] == 3
    assert figures["split"] == "test"
    assert figures["variant"] == "full"
    assert figures["error_over_static"] == 1.0
    assert figures["model"]["closure"] == 0.5
    assert figures["undefined"]["opening_r"] == 3


def test_tables_name_every_baseline(
    still: None, prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "lipsync", str(prepared), "--clips", "clip08", "--debug"]) == 0
    said = capsys.readouterr().out
    for word in ("static face", "random frames", "loudness regression", "nearest neighbour"):
        assert word in said
    assert "1.000" in said


def test_report_folder(still: None, prepared: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "report"
    assert main(["eval", "lipsync", str(prepared), "--json", "--debug", "--out", str(out)]) == 0
    written = {path.name for path in out.iterdir()}
    assert {"report.md", "report.json", "clips.csv", "bars.png", "curves.png"} <= written
    assert json.loads((out / "report.json").read_text())["clips"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lipsync", "/nowhere"], "no such folder"),
        (["apc", "/nowhere"], "/nowhere"),
        (["skew", "/nowhere.mp4"], "/nowhere.mp4"),
        (["skew", "x.mp4", "--window", "0.5"], "--window must be at least"),
    ],
)
def test_errors_are_one_line(
    still: None, arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", *arguments]) == 1
    said = capfd.readouterr().err.strip()
    assert said.startswith("emo: error:")
    assert message in said
    assert len(said.splitlines()) == 1


def test_evenly_spread() -> None:
    assert clips_module.spread(list("abcde"), 3) == ["a", "c", "e"]
    assert clips_module.spread(list("ab"), 3) == ["a", "b"]
