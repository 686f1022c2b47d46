"""Clips without a film: composed expressions on the canonical face, with noise, in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emo_core.data.prepare import Clip, save_clip
from emo_core.face.alignment import canonical_face
from emo_core.mimic.action_units import action_units, show
from emo_core.mimic.composition import compose


def composed_clip(name: str, rng: np.random.Generator, noise_mm: float = 0.1) -> Clip:
    """One expression from rest to rest."""
    face = canonical_face()
    composition = compose(rng)
    faces = show(face, action_units(face), composition.intensities)
    faces = (faces + rng.normal(0.0, noise_mm, faces.shape)).astype(np.float32)
    return Clip(
        name,
        faces,
        np.repeat(np.eye(4, dtype=np.float32)[None], len(faces), axis=0),
        np.ones(len(faces), bool),
        np.zeros(0, np.float32),
        np.zeros((0, 80), np.float32),
    )


@pytest.fixture(scope="session")
def clips() -> list[Clip]:
    rng = np.random.default_rng(3)
    return [composed_clip(f"clip{i:02}", rng) for i in range(20)]


@pytest.fixture(scope="session")
def folder(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a folder of prepared clips."""
    out = tmp_path_factory.mktemp("faces")
    for clip in clips:
        save_clip(clip, out / f"{clip.name}.npz")
    return out
