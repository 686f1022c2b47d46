"""What a model has to beat. Each is fitted on clips and draws a whole face, as a model does."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from emo_core.evaluation.clips import EvalClip

Array = NDArray[np.float32]

#: Frames of 20 ms that a baseline hears (0.5 s), and how many of them lie after the landmark
#: frame's time (240 ms): as the full model.
SLICE, SLICE_FUTURE = 25, 12
#: Neighbouring mel bands that the nearest neighbour averages.
SLICE_BANDS = 4
_LOWEST_BAND = 4  # its lower edge is 232 Hz


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
        drawn: Array = self._pool[rng.integers(0, len(self._pool), clip.frames)]
        return drawn


def slice_index(frames: int, mel_frames: int, future: int) -> NDArray[np.intp]:
    """(frames, 25): the mel frames that landmark frame n hears.

    They are 2n - 26 + future .. 2n - 2 + future: with future 0 nothing after the frame's time,
    sample 640 n, is heard (mel frame k ends at sample 320 k + 640). Beyond the clip's ends the
    first and the last mel frame are repeated.
    """
    last = 2 * np.arange(frames)[:, None] - 2 + future
    return np.clip(last + np.arange(1 - SLICE, 1), 0, mel_frames - 1)


def loudness_features(mel: Array, frames: int, future: int = SLICE_FUTURE) -> Array:
    """Loudness of the 25 mel frames that each landmark frame hears: (K, 80) dB -> (frames, 26).

    Loudness is the power above 232 Hz in dB (rumble below it says nothing of the mouth); the last
    column is 1.
    """
    power = np.power(10.0, mel[:, _LOWEST_BAND:].astype(np.float64) / 10).sum(axis=1)
    level = 10 * np.log10(power + 1e-9)
    heard = level[slice_index(frames, len(mel), future)]
    features: Array = np.concatenate([heard, np.ones((frames, 1))], axis=1).astype(np.float32)
    return features


class LoudnessRegression:
    """Ridge regression of the displacement from the static face on loudness alone."""

    #: Mel frames heard after the frame's time: the full model's look-ahead.
    future = SLICE_FUTURE

    def __init__(self, training: Sequence[EvalClip], ridge: float = 100.0) -> None:
        gram = ridge * np.eye(SLICE + 1)
        cross = np.zeros((SLICE + 1, training[0].static.size))
        for clip in training:
            valid = clip.clip.valid
            x = self._features(clip)[valid].astype(np.float64)
            gram += x.T @ x
            cross += x.T @ clip.displacement[valid].reshape(len(x), -1)
        self._weights = np.linalg.solve(gram, cross).astype(np.float32)

    def _features(self, clip: EvalClip) -> Array:
        return loudness_features(clip.clip.mel, clip.frames, self.future)

    def predict(self, clip: EvalClip) -> Array:
        """(T, 478, 3): static face + regressed displacement."""
        moved = self._features(clip) @ self._weights
        return np.asarray(clip.static + moved.reshape(clip.frames, *clip.static.shape))


class CausalLoudnessRegression(LoudnessRegression):
    """The same without look-ahead."""

    future = 0


def mel_slices(mel: Array, frames: int) -> Array:
    """For each frame the 25 log-mel frames it hears, bands averaged by 4: (K, 80) -> (T, 500).

    240 ms of look-ahead, as the full model has.
    """
    coarse = mel.reshape(len(mel), -1, SLICE_BANDS).mean(axis=-1)
    heard: Array = coarse[slice_index(frames, len(mel), SLICE_FUTURE)]
    return heard.reshape(frames, -1)


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
    "loudness_causal": CausalLoudnessRegression,
    "nearest_neighbour": NearestNeighbour,
}
