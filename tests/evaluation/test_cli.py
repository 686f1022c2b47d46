"""`./emo eval` as a user runs it, with a model that stands still; and on real videos."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emo_core.evaluation import clips as clips_module
from emo_core.evaluation import predictors

Emo = Callable[..., Any]


class Still:
    """A model that predicts the static face."""

    lookahead_ms = 240.0

    def __init__(self, variant: str) -> None:
        assert variant == "full"

    def __call__(self, audio: np.ndarray, static: np.ndarray) -> np.ndarray:
        return np.repeat(static[None], -(-len(audio) // 640), axis=0)


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictors, "LipsyncPredictor", Still)


def test_json_is_one_object_on_standard_output(still: None, emo: Emo, prepared: Path) -> None:
    figures = json.loads(emo("eval", "lipsync", prepared, "--json", "--debug").out)
    assert figures["clips"] == 3
    assert figures["split"] == "test"
    assert figures["variant"] == "full"
    assert figures["error_over_static"] == 1.0
    assert figures["model"]["closure"] == 0.5
    assert figures["undefined"]["opening_r"] == 3


def test_tables_name_every_baseline(still: None, emo: Emo, prepared: Path) -> None:
    result = emo("eval", "lipsync", prepared, "--clips", "clip08")
    assert result.status == 0
    for word in ("static face", "random frames", "loudness regression", "nearest neighbour"):
        assert word in result.out
    assert "1.000" in result.out


def test_report_folder(still: None, emo: Emo, prepared: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    assert emo("eval", "lipsync", prepared, "--json", "--out", out).status == 0
    written = {path.name for path in out.iterdir()}
    assert {"report.md", "report.json", "clips.csv", "bars.png", "curves.png"} <= written
    assert json.loads((out / "report.json").read_text())["clips"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lipsync", "/nowhere"], "no such folder"),
        (["lipsync", "/nowhere", "--train-clips", "0"], "--train-clips must be at least 1"),
        (["lipsync", os.path.dirname(__file__), "--out", __file__], "is not a folder"),
        (["skew", "/nowhere.mp4"], "/nowhere.mp4"),
        (["skew", "x.mp4", "--window", "0.5"], "--window must be at least"),
    ],
)
def test_errors_are_one_line(still: None, emo: Emo, arguments: list[str], message: str) -> None:
    assert message in emo("eval", *arguments).error_line


def test_help_of_each_part(emo: Emo) -> None:
    for what in ("lipsync", "apc", "skew"):
        result = emo("eval", what, "--help")
        assert result.status == 0
        assert "--json" in result.out


def test_evenly_spread() -> None:
    assert clips_module.spread(list("abcde"), 3) == ["a", "c", "e"]
    assert clips_module.spread(list("ab"), 3) == ["a", "b"]


@pytest.mark.data
def test_raw_videos_are_tracked_once(still: None, emo: Emo, data_dir: Path, tmp_path: Path) -> None:
    """Three MPEG-1 clips, one of them spoilt: named, skipped, and the rest scored."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for video in sorted((data_dir / "grid_other").glob("*.mpg"))[:2]:
        (folder / video.name).symlink_to(video)
    (folder / "spoilt.mpg").write_bytes(b"no video at all")
    arguments = ("eval", "lipsync", folder, "--cache", tmp_path / "cache", "--json")
    result = emo(*arguments)
    figures = json.loads(result.out)
    assert figures["clips"] == 2
    assert "spoilt" in figures["skipped"]
    assert "skipped spoilt" in result.err
    assert "leave one out" in figures["baseline_training"]
    assert figures["baselines"]["loudness"]["d_pl"] > 0
    stored = sorted((tmp_path / "cache").glob("*/*.npz"))
    assert len(stored) == 2
    before = [path.stat().st_mtime_ns for path in stored]
    again = json.loads(emo(*arguments).out)
    assert [path.stat().st_mtime_ns for path in stored] == before
    assert again["model"] == figures["model"]
    assert "spoilt" in again["skipped"]


@pytest.mark.data
def test_closed_loop_follows_the_film(data_dir: Path, tmp_path: Path) -> None:
    """A filmed face, through motors, servos, picture and FaceMesh, is still seen to speak."""
    from emo_core.evaluation.closed_loop import closed_loop

    clip = clips_module.load_clips(
        data_dir / "grid_s4", names=["bbwgza"], max_training=1, cache=tmp_path
    ).clips[0]
    frozen = np.repeat(clip.static[None], clip.frames, axis=0)
    got = closed_loop([clip], [frozen])
    assert got.film[0]["face_found"] == 1.0
    assert got.film[0]["opening_r"] > 0.7
    assert got.film[0]["opening_slope"] > 0.4
    assert abs(got.film[0]["lag_ms"]) < 40
    assert got.model[0]["opening_slope"] == pytest.approx(0, abs=0.05)
