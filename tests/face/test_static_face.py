from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emo_core.errors import EmoError
from emo_core.face.alignment import canonical_face
from emo_core.face.static_face import KeptFace, StaticCapture, load_face, save_static_face
from emo_core.face.topology import LIPS

DT = 1 / 30


def faces(frames: int, opening: float = 0.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    track = canonical_face() + rng.normal(0, 0.15, (frames, 478, 3))
    track[:, LIPS, 1] += opening * np.sin(0.6 * np.arange(frames))[:, None]
    return track.astype(np.float32)


def test_the_first_calm_second_is_taken_once() -> None:
    capture = StaticCapture()
    for face in faces(60, opening=4):
        assert capture.feed(face, DT) is None
    assert capture.calmest is not None
    got = [capture.feed(face, DT) for face in faces(60, seed=1)]
    when = [i for i, face in enumerate(got) if face is not None]
    assert len(when) == 1
    assert 25 <= when[0] <= 32  # a second after the words
    np.testing.assert_allclose(got[when[0]], canonical_face(), atol=0.3)
    capture.reset()  # on request, again
    assert any(capture.feed(face, DT) is not None for face in faces(40, seed=2))


def test_a_second_without_gaps() -> None:
    capture = StaticCapture()
    track = faces(120)
    track[::20] = np.nan
    assert all(capture.feed(face, DT) is None for face in track)
    assert capture.calmest is None
    with pytest.raises(ValueError, match="advance"):
        capture.feed(track[1], 0.0)


def test_a_blink_is_not_calm() -> None:
    from emo_core.face.topology import EYES

    track = faces(45)
    track[14:20, EYES, 1] -= 4
    capture = StaticCapture()
    got = [capture.feed(face, DT) is not None for face in track]
    assert not any(got[:40])


def test_kept_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    path = save_static_face(folder, "Ada L.", canonical_face())
    assert path.name == "Ada L..npz"
    np.testing.assert_allclose(load_face(path), canonical_face(), atol=1e-5)
    assert [p.name for p in folder.iterdir()] == [path.name]
    for name in ("", "../ada", "a/b", ".hidden"):
        with pytest.raises(EmoError, match="no name"):
            save_static_face(folder, name, canonical_face())
    (tmp_path / "file").write_text("")
    with pytest.raises(EmoError, match="--faces"):
        save_static_face(tmp_path / "file", "ada", canonical_face())


def test_one_person_by_name(tmp_path: Path) -> None:
    anna = KeptFace(str(tmp_path / "faces"), "anna")
    assert anna.missing and anna.load() is None
    assert "anna.npz" in anna.save(canonical_face())
    assert not anna.missing
    np.testing.assert_allclose(anna.load(), canonical_face(), atol=1e-4)
    nobody = KeptFace("", "")
    assert not nobody.missing and nobody.load() is None and nobody.path is None
    assert "no person" in nobody.save(canonical_face())
    with pytest.raises(EmoError, match="'anna'"):
        KeptFace("", "anna")
    with pytest.raises(EmoError, match="no name"):
        KeptFace(str(tmp_path), "../anna")
