"""From a folder of clips to a report, with models whose worth is known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from emo_core.errors import EmoError
from emo_core.evaluation import baselines
from emo_core.evaluation.clips import ClipSet, cache_folder, load_clips
from emo_core.evaluation.lipsync import Evaluation, evaluate, fit_length


class Oracle:
    """Knows the films: predicts them, changed as asked."""

    def __init__(self, clips: ClipSet, gain: float = 1.0, late: int = 0) -> None:
        self._by_sound = {clip.clip.audio.tobytes(): clip for clip in clips.clips}
        self._gain, self._late = gain, late

    def __call__(self, audio: np.ndarray, static: np.ndarray) -> np.ndarray:
        clip = self._by_sound[audio.tobytes()]
        np.testing.assert_array_equal(static, clip.static)
        moved = static + self._gain * (clip.clip.landmarks - static)
        return baselines.shifted(moved, self._late) if self._late else moved


def score(folder: Path, **change: float) -> Evaluation:
    clips = load_clips(folder)
    return evaluate(clips, Oracle(clips, **change))


def test_the_film_itself_is_perfect(prepared: Path) -> None:
    got = score(prepared)
    means, missing = got.means("model")
    assert got.error_over_static == pytest.approx(0, abs=1e-6)
    assert means["opening_r"] == pytest.approx(1)
    assert means["closure"] == means["closure_strict"] == 1
    assert means["abs_lag_ms"] == pytest.approx(0, abs=1e-6)
    assert missing == {}
    static, undefined = got.means("static")
    assert static["closure"] == 0.5
    assert undefined["opening_r"] == 3
    assert got.means("shifted")[0]["lag_ms"] == pytest.approx(40, abs=2)


def test_half_the_motion_is_half_the_error_and_half_the_slope(prepared: Path) -> None:
    got = score(prepared, gain=0.5)
    assert got.error_over_static == pytest.approx(0.5, abs=1e-4)
    assert got.means("model")[0]["opening_slope"] == pytest.approx(0.5, abs=0.02)


def test_a_late_film_has_its_lateness_as_lag(prepared: Path) -> None:
    means, _ = score(prepared, late=2).means("model")
    assert means["lag_ms"] == pytest.approx(80, abs=4)


def test_baselines_learn_from_the_training_split(prepared: Path) -> None:
    got = score(prepared)
    means = {name: got.means(name)[0] for name in got.per_clip}
    assert means["loudness"]["opening_r"] > 0.8  # here the mouth *is* the loudness
    assert means["loudness_causal"]["opening_r"] > 0.7
    assert means["nearest_neighbour"]["opening_r"] > 0.7
    assert abs(means["random"]["opening_r"]) < 0.4
    assert means["loudness"]["d_pl"] < means["static"]["d_pl"] < means["random"]["d_pl"]
    assert "split 'train'" in got.training_source
    assert "8 of 8" in got.training_source


def test_causal_loudness_hears_nothing_to_come() -> None:
    rng = np.random.default_rng(0)
    mel = rng.normal(-40, 5, (100, 80)).astype(np.float32)
    later = mel.copy()
    later[39:] += 20  # landmark frame 20 is at mel frame 40: frame 38 is the last it may hear
    before, after = (baselines.loudness_features(m, 50, future=0) for m in (mel, later))
    np.testing.assert_array_equal(before[:21], after[:21])
    assert not np.array_equal(before[21], after[21])


def test_mel_slices_are_the_full_models() -> None:
    mel = np.repeat(np.arange(200, dtype=np.float32)[:, None], 80, axis=1)
    slices = baselines.mel_slices(mel, 80).reshape(80, 25, 20)
    assert list(slices[30, :, 0]) == list(range(2 * 30 - 14, 2 * 30 + 11))
    assert slices[0, 0, 0] == 0  # beyond the start the first frame is repeated


def test_without_splits_each_clip_is_left_out_in_turn(prepared: Path, tmp_path: Path) -> None:
    for name in ("clip00", "clip01", "clip02"):
        shutil.copy(prepared / f"{name}.npz", tmp_path)
    got = score(tmp_path)
    assert len(got.clips) == 3
    assert "leave one out" in got.training_source
    assert got.means("nearest_neighbour")[0]["d_pl"] > 0.01  # its own frames are not its neighbours


def test_one_clip_alone_lacks_the_learned_baselines_and_says_so(
    prepared: Path, tmp_path: Path
) -> None:
    shutil.copy(prepared / "clip00.npz", tmp_path)
    figures = score(tmp_path).as_json()
    assert figures["baselines"]["loudness"] is None
    assert "nothing to fit on" in figures["baselines_unavailable"]["loudness"]
    clips = load_clips(tmp_path, train=prepared)
    other = evaluate(clips, Oracle(clips)).as_json()
    assert other["baselines"]["loudness"]["d_pl"] > 0


def test_json_has_its_documented_keys_and_no_nan(prepared: Path) -> None:
    figures = json.loads(json.dumps(score(prepared).as_json(), allow_nan=False))
    assert {"clips", "skipped", "model", "undefined", "error_over_static", "baselines"} <= set(
        figures
    )
    wanted = {"d_p", "d_v", "d_pl", "d_vl", "d_al", "d_ae", "opening_r", "width_r"}
    wanted |= {"opening_slope", "closure", "lag_ms", "abs_lag_ms", "jitter_mm"}
    assert wanted <= set(figures["model"])
    assert figures["baselines"]["static"]["opening_r"] is None
    for name in ("static", "random", "loudness", "nearest_neighbour", "shifted"):
        assert set(figures["baselines"][name]) == set(figures["model"])


def test_clips_are_chosen_by_name_or_split_and_broken_ones_are_named(
    prepared: Path, tmp_path: Path
) -> None:
    shutil.copytree(prepared, tmp_path / "some")
    broken = tmp_path / "some" / "clip09.npz"
    broken.write_bytes(broken.read_bytes()[:2000])
    clips = load_clips(tmp_path / "some")
    assert [clip.name for clip in clips.clips] == ["clip08", "clip10"]
    assert "clip09" in clips.skipped
    named = load_clips(prepared, names=["clip02"])
    assert [clip.name for clip in named.clips] == ["clip02"]
    assert "clip02" not in [clip.name for clip in named.training]
    assert len(load_clips(prepared, split="train").clips) == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "none"}, "no split 'none'"),
        ({"names": ["nobody"]}, "no clip nobody"),
    ],
)
def test_what_is_not_there_is_said(prepared: Path, arguments: dict, message: str) -> None:
    with pytest.raises(EmoError, match=message):
        load_clips(prepared, **arguments)


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(EmoError, match="no such folder"):
        load_clips(tmp_path / "none")
    with pytest.raises(EmoError, match="no videos"):
        load_clips(tmp_path)
    (tmp_path / "a.npz").write_bytes(b"not a clip")
    with pytest.raises(EmoError, match="can be used"):
        load_clips(tmp_path)
    (tmp_path / "splits.json").write_text("[1, 2")
    with pytest.raises(EmoError, match="not a table of splits"):
        load_clips(tmp_path)


def test_the_cache_is_outside_the_folder_and_its_own(tmp_path: Path) -> None:
    a, b = tmp_path / "x" / "grid", tmp_path / "y" / "grid"
    assert cache_folder(a) != cache_folder(b)
    assert cache_folder(a, tmp_path / "cache").parent == tmp_path / "cache"


def test_predictions_are_cut_or_held_to_the_films_length() -> None:
    faces = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((1, 478, 3), np.float32)
    assert list(fit_length(faces, 3)[:, 0, 0]) == [0, 1, 2]
    assert list(fit_length(faces, 7)[:, 0, 0]) == [0, 1, 2, 3, 4, 4, 4]
    with pytest.raises(EmoError, match="no frame"):
        fit_length(faces[:0], 3)


def test_report_is_written(prepared: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from emo_core.evaluation.plots import write_report

    got = score(prepared, gain=0.8)
    for path in write_report(got, tmp_path / "out", got.as_json()):
        assert path.stat().st_size > 100
    text = (tmp_path / "out" / "report.md").read_text()
    assert "**0.200**" in text
    rows = (tmp_path / "out" / "clips.csv").read_text().splitlines()
    assert len(rows) == 1 + 3 * len(got.per_clip)
