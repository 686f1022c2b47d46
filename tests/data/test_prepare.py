from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from emo_core.data.prepare import Clip, prepare_folder, resample
from emo_core.errors import EmoError
from emo_core.face.tracking import Track


@pytest.mark.data
def test_good_and_bad_clips_and_resuming(data_dir: Path, tmp_path: Path) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    shutil.copy(data_dir / "grid_s1" / "bbal9a.mp4", videos)
    (videos / "text.mp4").write_text("no video")
    results = dict(prepare_folder(videos, out, jobs=1))
    assert results["bbal9a"] is None
    assert "text.mp4" in str(results["text"])
    assert "text" in (out / "bad_clips.json").read_text()
    clip = Clip.load(out / "bbal9a.npz")
    assert clip.landmarks.shape == (75, 478, 3)
    assert len(clip.audio) == 48_000 or abs(len(clip.audio) - 48_000) < 640
    assert clip.mel.shape == ((len(clip.audio) - 640) // 320 + 1, 80)
    written = (out / "bbal9a.npz").stat().st_mtime_ns
    assert dict(prepare_folder(videos, out, jobs=1))["bbal9a"] is None
    assert (out / "bbal9a.npz").stat().st_mtime_ns == written


def test_a_clip_cut_short_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(EmoError, match=r"a\.npz"):
        Clip.load(tmp_path / "a.npz")


def test_other_frame_rates_are_resampled_in_time() -> None:
    times = np.arange(60) / 30
    landmarks = np.broadcast_to(times[:, None, None], (60, 478, 3)).astype(np.float32)
    pose = np.zeros((60, 4, 4), np.float32)
    valid = np.ones(60, bool)
    at_25, _, _ = resample(Track(landmarks, landmarks, pose, valid, 30.0), 25.0)
    assert at_25.shape == (50, 478, 3)
    np.testing.assert_allclose(at_25[:49, 0, 0], np.arange(49) / 25, atol=1e-5)


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(EmoError, match="no videos"):
        list(prepare_folder(tmp_path, tmp_path / "out"))
