from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emo_core.errors import EmoError
from emo_core.face.static_face import load_face
from emo_core.face.tracking import track_video

CLIP = Path("grid_s1") / "bbal9a.mp4"


@pytest.mark.data
def test_a_talking_head(data_dir: Path, tmp_path: Path) -> None:
    track = track_video(data_dir / CLIP)
    assert track.metric.shape == (75, 478, 3)
    assert track.fps == 25.0
    assert track.valid.all()
    eyes = np.linalg.norm(track.metric[:, 33] - track.metric[:, 263], axis=-1)
    assert eyes.mean() == pytest.approx(90, abs=5)
    opening = track.metric[:, 13, 1] - track.metric[:, 14, 1]
    assert opening[:9].max() < 1.0  # he begins with his mouth shut
    assert opening.max() > 8.0  # and opens it
    rigid = track.metric[:, [168, 6, 10, 151]]
    assert rigid.std(axis=0).max() < 1.0  # head motion is gone
    track.save(tmp_path / "face.npz")
    face = load_face(tmp_path / "face.npz")
    np.testing.assert_allclose(face, track.metric[:25].mean(0), atol=1e-3)


def test_face_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.savez(tmp_path / "shape.npz", landmarks=np.zeros((2, 468, 3)), fps=25.0)
    np.savez(tmp_path / "lost.npz", landmarks=np.full((2, 478, 3), np.nan), fps=25.0)
    for name in ("text", "other", "shape", "lost", "missing"):
        with pytest.raises(EmoError, match=f"{name}.npz"):
            load_face(tmp_path / f"{name}.npz")
