"""Where expressions set off and peak."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emo_core.data import prepare
from emo_core.data.faces import names_of, rest_face, training_id
from emo_core.data.prepare import Clip
from emo_core.errors import EmoError
from emo_core.face.tracking import Track
from emo_core.mimic.composition import minimum_jerk
from emo_core.mimic.expressions import (
    MIN_RISE_MM,
    calm_stretches,
    curves,
    find_expressions,
)

FPS = 25


def onset(start: float, duration: float, frames: int = 75, mm: float = 3.0) -> np.ndarray:
    """All landmarks go up together along a minimum-jerk path: (frames, 113, 2)."""
    way = mm * minimum_jerk((np.arange(frames) / FPS - start) / duration)
    return way[:, None, None] * np.broadcast_to([0.0, 1.0], (113, 2))


@pytest.mark.parametrize("duration", [0.5, 0.8, 1.2])
def test_an_onset_is_found_where_its_acceleration_peaks(duration: float) -> None:
    (found,) = find_expressions(onset(1.0, duration))
    # s(u) = 10 u^3 - 15 u^4 + 6 u^5 accelerates most at u = (3 - sqrt 3) / 6 and is 95 % done at
    # u = 0.811.
    assert abs(found.activation - FPS * (1.0 + 0.2113 * duration)) <= 1.0
    assert abs(found.peak - FPS * (1.0 + 0.811 * duration)) <= 1.5
    assert found.rise == pytest.approx(3.0, rel=0.02)
    assert len(found.inputs) == 4
    assert found.inputs[-1] == found.activation + 1


def test_what_rises_little_is_no_expression() -> None:
    assert find_expressions(onset(1.0, 0.8, mm=0.9 * MIN_RISE_MM)) == []
    noise = np.random.default_rng(0).normal(0.0, 0.1, (100, 113, 2))
    assert find_expressions(noise) == []


def test_an_onset_that_was_not_all_seen_is_left_out() -> None:
    faces = onset(1.0, 0.8)
    faces[32] = np.nan
    assert find_expressions(faces) == []
    assert find_expressions(np.full((30, 113, 2), np.nan)) == []
    with pytest.raises(ValueError, match="no frame"):
        curves(np.full((30, 113, 2), np.nan))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_onsets_are_in_order_and_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    faces = np.cumsum(rng.normal(0.0, 0.4, (150, 113, 2)), axis=0)
    found = find_expressions(faces)
    for one in found:
        assert one.inputs[0] >= 0 and one.inputs[-1] < one.peak
        assert one.start <= one.activation < one.peak
        assert one.rise >= MIN_RISE_MM
    assert all(a.peak <= b.start for a, b in itertools.pairwise(found))


def test_calm_is_where_nothing_moves() -> None:
    rng = np.random.default_rng(1)
    faces = onset(1.0, 0.6) + rng.normal(0.0, 0.1, (75, 113, 2))
    stretches = calm_stretches(faces)
    calm = np.concatenate([np.arange(s.start, s.stop) for s in stretches])
    assert not set(calm) & set(range(28, 37))  # from 6 % to 94 % of the way
    assert len(calm) > 40


def test_rest_of_a_clip_without_speech_is_its_beginning(clips: list[Clip]) -> None:
    for clip in clips[:5]:
        first = clip.landmarks[:8].mean(0)
        assert np.abs(rest_face(clip) - first).mean() < 0.1  # two means of noise of 0.1 mm


def test_splits_without_a_table_do_not_overlap(folder: Path) -> None:
    parts = [names_of(folder, split) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [16, 2, 2]
    assert sorted(itertools.chain(*parts)) == names_of(folder)


def test_training_clips_are_known_again_under_another_name(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    assert training_id(other) == training_id(folder)
    (other / "clip00.npz").unlink()
    assert training_id(other) != training_id(folder)
    table = {"train": ["a", "b"], "val": ["c"], "test": ["clip03"]}
    for place in (folder.parent / "listed", other):
        place.mkdir(exist_ok=True)
        (place / "splits.json").write_text(json.dumps(table))
    assert training_id(other) == training_id(folder.parent / "listed")  # listed, if not prepared
    assert names_of(other, "test") == ["clip03"]
    (other / "splits.json").write_text("{}")
    with pytest.raises(EmoError, match="no list 'val'"):
        names_of(other, "val")


def test_data_expressions(folder: Path, tmp_path: Path, emo: Callable[..., Any]) -> None:
    result = emo("data", "expressions", folder, "-o", tmp_path, "--curves", 2, "--json")
    assert result.status == 0, result.err
    figures = json.loads(result.out)
    found = json.loads((tmp_path / "expressions.json").read_text())
    assert figures["clips"] == len(found) == 20
    assert figures["expressions"] == sum(map(len, found.values())) > 0
    assert len(list((tmp_path / "curves").glob("*.png"))) == 2


def test_data_expressions_without_a_folder(tmp_path: Path, emo: Callable[..., Any]) -> None:
    assert "no such folder" in emo("data", "expressions", tmp_path / "none").error_line


def test_a_silent_video_will_do_where_sound_is_not_needed(
    clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_sound(path: object) -> np.ndarray:
        raise EmoError(f"{path} has no sound")

    faces = clips[0].landmarks
    track = Track(faces, faces, clips[0].pose, clips[0].valid, 25.0)
    monkeypatch.setattr(prepare, "track_video", lambda path: track)
    monkeypatch.setattr(prepare, "load_audio", no_sound)
    with pytest.raises(EmoError, match="no sound"):
        prepare.prepare_clip("a.mp4")
    silent = prepare.prepare_clip("a.mp4", sound=False)
    assert silent.audio.size == 0 and silent.mel.shape == (0, 80)
    assert np.array_equal(silent.landmarks, faces)
