"""What a model has to beat. Each is fitted on clips and draws a whole face, as a model does."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from emo_core.evaluation.clips import EvalClip

Array = NDArray[np.float32]

#: Blocks of 20 ms before the frame that the loudness regression hears (200 ms, causal).
LOUDNESS_BLOCKS = 10
_BLOCK = 320
_QUIET_DB = -70.0
#: Mel frames in a slice, how many of them lie after the frame's time (240 ms), and how many
#: neighbouring bands are averaged.
SLICE, SLICE_FUTURE, SLICE_BANDS = 25, 12, 4


class Baseline(Protocol):
    """Fitted once, then asked for each clip."""

    def predict(self, clip: EvalClip) -> Array:
        """Landmarks (T, 478, 3) in metric mm for a clip: its sound and static face may be used."""
        ...


class StaticFace:
    """The mean of the frames before speech, for ever."""

    def predict(self, clip: EvalClip) -> Array:
        """(T, 478, 3), all frames alike."""
        return np.repeat(clip.static[None], clip.frames, axis=0)


class RandomFrames:
    """Real frames, each drawn at random from the training clips (seeded by the clip's name)."""

    def __init__(self, training: Sequence[EvalClip]) -> None:
        self._pool = np.concatenate([c.clip.landmarks[c.clip.valid] for c in training])

    def predict(self, clip: EvalClip) -> Array:
        """(T, 478, 3), frames of other clips, unchanged."""
        rng = np.random.default_rng(zlib.crc32(clip.name.encode()))
        return np.asarray(self._pool[rng.integers(0, len(self._pool), clip.frames)])


def loudness_features(audio: Array, frames: int) -> Array:
    """Level in dB of the `LOUDNESS_BLOCKS` 20 ms blocks before each frame's time, and a 1.

    (N,) at 16 kHz -> (frames, LOUDNESS_BLOCKS + 1). Causal: frame n hears samples before 640 n.
    """
    blocks = 2 * frames
    padded = np.zeros(blocks * _BLOCK, dtype=np.float32)
    kept = audio[: len(padded)]
    padded[: len(kept)] = kept
    power = np.square(padded.reshape(blocks, _BLOCK)).mean(axis=1)
    level = np.maximum(10 * np.log10(power + 1e-12), _QUIET_DB)
    level = np.concatenate([np.full(LOUDNESS_BLOCKS, _QUIET_DB), level])
    at = 2 * np.arange(frames)[:, None] + np.arange(LOUDNESS_BLOCKS)  # blocks 2n-10 .. 2n-1
    return np.concatenate([level[at], np.ones((frames, 1))], axis=1).astype(np.float32)


class LoudnessRegression:
    """Ridge regression of the displacement from the static face on causal loudness."""

    def __init__(self, training: Sequence[EvalClip], ridge: float = 1.0) -> None:
        gram = ridge * np.eye(LOUDNESS_BLOCKS + 1)
        cross = np.zeros((LOUDNESS_BLOCKS + 1, training[0].static.size))
        for clip in training:
            valid = clip.clip.valid
            x = loudness_features(clip.clip.audio, clip.frames)[valid].astype(np.float64)
            gram += x.T @ x
            cross += x.T @ clip.displacement[valid].reshape(len(x), -1)
        self._weights = np.linalg.solve(gram, cross).astype(np.float32)

    def predict(self, clip: EvalClip) -> Array:
        """(T, 478, 3): static face + regressed displacement."""
        moved = loudness_features(clip.clip.audio, clip.frames) @ self._weights
        return np.asarray(clip.static + moved.reshape(clip.frames, *clip.static.shape))


def mel_slices(mel: Array, frames: int) -> Array:
    """For each frame the 25 log-mel frames around it, bands averaged by 4: (K, 80) -> (T, 500).

    Frame n takes mel frames 2n - 14 .. 2n + 10: 240 ms of look-ahead, as the full model has.
    Beyond the clip's ends the first and the last mel frame are repeated.
    """
    coarse = mel.reshape(len(mel), -1, SLICE_BANDS).mean(axis=-1)
    last = 2 * np.arange(frames)[:, None] - 2 + SLICE_FUTURE
    at = np.clip(last + np.arange(1 - SLICE, 1), 0, len(mel) - 1)
    return np.asarray(coarse[at].reshape(frames, -1))


class NearestNeighbour:
    """The displacement of the training frame whose mel slice is nearest (Euclidean, dB)."""

    def __init__(self, training: Sequence[EvalClip]) -> None:
        slices, moved = [], []
        for clip in training:
            valid = clip.clip.valid
            slices.append(mel_slices(clip.clip.mel, clip.frames)[valid])
            moved.append(clip.displacement[valid])
        self._slices = np.concatenate(slices)
        self._moved = np.concatenate(moved)
        self._norms = np.square(self._slices).sum(axis=1)

    def predict(self, clip: EvalClip) -> Array:
        """(T, 478, 3): static face + displacement of the nearest frame."""
        query = mel_slices(clip.clip.mel, clip.frames)
        nearest = np.argmin(self._norms - 2 * query @ self._slices.T, axis=1)
        return np.asarray(clip.static + self._moved[nearest])


def shifted(prediction: Array, frames: int = 1) -> Array:
    """The prediction `frames` late, its first frame held: what an error in timing alone costs."""
    return np.concatenate([np.repeat(prediction[:1], frames, axis=0), prediction[:-frames]])


#: Those that need clips to be fitted on, by the name they have in reports.
FITTED = {
    "random": RandomFrames,
    "loudness": LoudnessRegression,
    "nearest_neighbour": NearestNeighbour,
}
