"""Errors of predicting coming frames, on frames made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emo_core.audio.sources import recordings_in
from emo_core.errors import EmoError
from emo_core.evaluation.apc import shift_errors


def test_a_ramp_repeated_errs_by_the_shift_and_foreseen_by_nothing() -> None:
    frames = np.repeat(np.arange(50, dtype=np.float32)[:, None], 80, axis=1)
    foreseen = {n: frames + n for n in (1, 3, 5, 10)}
    for n, (error, last, count) in shift_errors(frames, foreseen).items():
        assert count == 50 - n
        assert error == 0
        assert last / count == n


def test_prediction_is_compared_with_the_frame_it_is_for() -> None:
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(40, 80)).astype(np.float32)
    perfect = np.concatenate([frames[3:], np.full((3, 80), 99, np.float32)])
    error, last, count = shift_errors(frames, {3: perfect})[3]
    assert (error, count) == (0, 37)
    assert last / count == pytest.approx(np.abs(frames[3:] - frames[:-3]).mean(), rel=1e-5)


@pytest.mark.parametrize("length", [0, 1, 3])
def test_a_recording_shorter_than_the_shift_counts_nothing(length: int) -> None:
    frames = np.ones((length, 80), np.float32)
    assert shift_errors(frames, {3: frames})[3] == (0, 0, 0)


def test_recordings_are_found_in_sub_folders(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.FLAC").touch()
    (tmp_path / "y.wav").touch()
    (tmp_path / "notes.txt").touch()
    assert [p.name for p in recordings_in(tmp_path)] == ["x.FLAC", "y.wav"]
    with pytest.raises(EmoError, match="no such folder"):
        recordings_in(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EmoError, match="no recordings"):
        recordings_in(tmp_path / "empty")
