"""Clips made up: a face whose opening follows the loudness of its sound."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from emo_core.audio.mel import LogMel
from emo_core.data.prepare import Clip, save_clip
from emo_core.face.alignment import canonical_face

FRAMES = 75
RATE = 16_000


def make_clip(name: str, seed: int, frames: int = FRAMES) -> Clip:
    """Speech-like bursts from 0.6 to 2.4 s; lips and jaw open with their envelope, 40 ms early."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames * 640) / RATE

    def envelope(at: np.ndarray) -> np.ndarray:
        inside = (at > 0.6) & (at < 2.4)
        wave = 0.5 - 0.5 * np.cos(2 * np.pi * rates[0] * at + phases[0])
        return np.where(inside, np.clip(1.4 * wave - 0.2, 0, 1), 0)

    rates, phases = rng.uniform(2.0, 3.2, 1), rng.uniform(0, 6.28, 1)
    pitch = rng.uniform(90, 200)
    voice = np.sign(np.sin(2 * np.pi * pitch * t)) * 0.2 * envelope(t)
    audio = (voice + 1e-3 * rng.normal(size=len(t))).astype(np.float32)
    gap = 10 * envelope(np.arange(frames) / 25 + 0.04)
    face = np.repeat(canonical_face()[None], frames, axis=0).astype(np.float32)
    below = canonical_face()[:, 1] <= canonical_face()[14, 1]  # lower lip, chin
    face[:, below, 1] -= gap[:, None]
    face[:, [61, 291], 0] += gap[:, None] * [[-0.2, 0.2]] * np.sign(face[0, [291], 0])
    face[..., :2] += rng.normal(0, 0.05, (frames, 478, 2)).astype(np.float32)
    identity = rng.normal(0, 1.0, (478, 3)).astype(np.float32)
    identity[14] = identity[13]
    face += identity
    return Clip(
        name,
        face,
        np.repeat(np.eye(4, dtype=np.float32)[None], frames, axis=0),
        np.ones(frames, dtype=bool),
        audio,
        LogMel().feed(audio),
    )


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `./emo data prepare` leaves it: 8 clips to train on, 3 to test."""
    folder = tmp_path_factory.mktemp("prepared")
    names = [f"clip{n:02d}" for n in range(11)]
    for seed, name in enumerate(names):
        save_clip(make_clip(name, seed), folder / f"{name}.npz")
    splits = {"train": names[:8], "test": names[8:]}
    (folder / "splits.json").write_text(json.dumps(splits))
    return folder
