"""How well do the clips' own sound and picture agree? What lag measures besides the model.

Clips cut from longer recordings are often not in sync to less than a frame (GRID: within one frame,
Niu and Mak 2023, "On the audio-visual synchronization for lip-to-speech synthesis"), and each
clip's offset adds to the lag of whatever is scored on it. Here a predictor that knows nothing of
the model, ridge regression fitted on training clips, tells each clip's offset; offsets of a clip's
two halves, measured apart, tell how much of that is the clip (a constant) and how much is chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo_core.evaluation.baselines import mel_slices
from emo_core.evaluation.clips import EvalClip
from emo_core.evaluation.metrics import between_voiced, pearson
from emo_core.face.topology import LIPS_JAW
from emo_core.rates import FPS

FloatArray = NDArray[np.float64]

#: Offsets are searched this many frames to either side, and found strictly inside.
REACH = 3
#: Frames before and after speech in which the mouth already, or still, moves.
_MARGIN = 4


def pooled_lag_ms(predicted: ArrayLike, true: ArrayLike, at: ArrayLike, fps: float = FPS) -> float:
    """How late (T, C) curves are against others, in ms, all channels judged together.

    r_k = correlation of predicted[t + k] with true[t] over all channels, each less its mean, for
    the t of `at` (T,) bool; then the vertex of the parabola through the highest r_k and its
    neighbours. NaN where nothing moves, fewer than 3 frames are left, or the peak is not inside
    `REACH`.
    """
    p, q = np.asarray(predicted, dtype=np.float64), np.asarray(true, dtype=np.float64)
    frames = np.flatnonzero(np.asarray(at, dtype=bool))
    frames = frames[(frames >= REACH) & (frames < len(p) - REACH)]
    if len(frames) < 3:
        return float("nan")
    still = q[frames] - q[frames].mean(axis=0)
    r = np.zeros(2 * REACH + 1)
    for index in range(len(r)):
        moved = p[frames + index - REACH]
        moved = moved - moved.mean(axis=0)
        size = np.sqrt(np.square(moved).sum() * np.square(still).sum())
        r[index] = (moved * still).sum() / size if size > 0 else 0.0
    best = int(np.argmax(r))
    if not 0 < best < 2 * REACH:
        return float("nan")
    before, peak, after = r[best - 1 : best + 2]
    bend = before - 2 * peak + after
    vertex = (before - after) / (2 * bend) if bend < 0 else 0.0
    return float((best - REACH + vertex) * 1000.0 / fps)


class SyncReference:
    """Lips and jaw from half a second of log-mel by ridge regression, and the lag it finds.

    Its zero is the median of the clips it was fitted on.
    """

    def __init__(self, training: Sequence[EvalClip], ridge: float = 300.0) -> None:
        heard = np.concatenate([self._heard(clip)[clip.clip.valid] for clip in training])
        moved = np.concatenate([self._lips(clip)[clip.clip.valid] for clip in training])
        self._mean, self._scale = heard.mean(axis=0), heard.std(axis=0) + 1e-3
        x = (heard - self._mean) / self._scale
        self._rest = moved.mean(axis=0)
        gram = x.T @ x + ridge * np.eye(x.shape[1])
        self._weights = np.linalg.solve(gram, x.T @ (moved - self._rest))
        self._zero = 0.0
        self._zero = float(np.nanmedian([self.offsets(clip)[0] for clip in training]))

    @staticmethod
    def _heard(clip: EvalClip) -> FloatArray:
        return mel_slices(clip.clip.mel, clip.frames).astype(np.float64)

    @staticmethod
    def _lips(clip: EvalClip) -> FloatArray:
        return clip.displacement[:, LIPS_JAW].reshape(clip.frames, -1).astype(np.float64)

    def offsets(self, clip: EvalClip) -> tuple[float, float, float]:
        """How late the clip's sound is against its picture, in ms: whole, first, second half."""
        predicted = (self._heard(clip) - self._mean) / self._scale @ self._weights + self._rest
        near = np.convolve(between_voiced(clip.voiced), np.ones(2 * _MARGIN + 1), "same") > 0
        spoken = near & clip.clip.valid
        true = np.nan_to_num(self._lips(clip))
        frames = np.flatnonzero(spoken)
        middle = int(frames[len(frames) // 2]) if len(frames) else 0
        first = np.arange(clip.frames) < middle
        parts = (spoken, spoken & first, spoken & ~first)
        whole, early, late = (pooled_lag_ms(predicted, true, part) - self._zero for part in parts)
        return whole, early, late


@dataclass(frozen=True)
class Sync:
    """Offsets of the clips, ms (n, 3): whole, first half, second half; NaN where none was found."""

    offsets: FloatArray

    @staticmethod
    def of(clips: Sequence[EvalClip], reference: SyncReference) -> Sync:
        """Offsets of the clips by a reference that was fitted on others."""
        return Sync(np.array([reference.offsets(clip) for clip in clips], dtype=np.float64))

    @property
    def jitter_ms(self) -> float:
        """Standard deviation of what both halves of a clip share: the clips' own, without noise.

        The square root of the halves' covariance, 0 where that is negative.
        """
        halves = self.offsets[np.isfinite(self.offsets).all(axis=1), 1:]
        if len(halves) < 3:
            return float("nan")
        return float(np.sqrt(max(0.0, np.cov(halves.T)[0, 1])))

    def as_json(self, lags: ArrayLike) -> dict[str, float | int | None]:
        """Keys as in docs/evaluation.md; `lags` are the model's on the same clips, ms (n,)."""
        lag = np.asarray(lags, dtype=np.float64)
        own = lag - self.offsets[:, 0]
        halves = self.offsets[np.isfinite(self.offsets).all(axis=1), 1:]
        values = {
            "offset_mean_ms": _mean(self.offsets[:, 0]),
            "offset_abs_ms": _mean(np.abs(self.offsets[:, 0])),
            "offset_sd_ms": self.jitter_ms,
            "halves_r": pearson(halves[:, 0], halves[:, 1]),
            "model_lag_ms": _mean(own),
            "model_abs_lag_ms": _mean(np.abs(own)),
        }
        known = {key: None if np.isnan(value) else value for key, value in values.items()}
        return {"clips": int(np.isfinite(own).sum()), **known}


def _mean(values: FloatArray) -> float:
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if len(kept) else float("nan")
