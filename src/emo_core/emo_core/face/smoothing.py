"""Landmarks without the tracker's shaking, and with their motion.

FaceMesh sees each image for itself, so a still face trembles by some tenths of a millimetre. A
moving average, or a low-pass filter such as the One-Euro filter (Casiez, Roussel and Vogel 2012),
takes off the tremble and with it the quick openings of the mouth, and it lags. Here each region of
the face decides for itself, at once and from all of its landmarks together, whether the newest
frame differs from the smoothed face by more than noise does: noise is drawn in slowly, motion is
let through. How strong the noise is depends on camera, light and distance: it is measured as the
faces pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from emo_core.face.alignment import canonical_face
from emo_core.face.topology import (
    EYEBROWS,
    EYES,
    LEFT_IRIS,
    LIPS,
    LOWER_OVAL,
    NUM_LANDMARKS,
    RIGHT_IRIS,
)

Array = NDArray[np.float32]

#: The landmarks by which each region decides; all others go with the nearest of these.
_REGIONS = (EYEBROWS, EYES, LIPS, LOWER_OVAL, np.concatenate([RIGHT_IRIS, LEFT_IRIS]))
_ANCHORS = np.concatenate(_REGIONS)
_FIRST = np.cumsum([0, *map(len, _REGIONS[:-1])])
_COUNT = np.array([len(region) for region in _REGIONS])
#: Longer without a face than this, and the next one is a new beginning, s.
_GAP_S = 0.5


@dataclass(frozen=True)
class Smoothing:
    """What is noise and what is motion. The defaults were set on filmed faces (docs/mimic.md)."""

    rest_s: float = 0.5  # time constant with which a still face is followed
    noise_mm: float = 0.16  # level of the noise to begin with, and its limits: rms per axis
    least_noise_mm: float = 0.10
    most_noise_mm: float = 0.25
    adapt_s: float = 1.0  # how fast the level is learned
    #: The level is so many times the median roughness: noise is not white, and some is motion.
    margin: float = 1.6
    gate: float = 3.0  # half of a difference of so many levels is let through
    steepness: float = 8.0
    release_s: float = 0.1  # what began to move is followed closely for so long, without steps


class Smoother:
    """A stream of metric faces, smoothed. Deterministic; `reset` for another person."""

    def __init__(self, settings: Smoothing | None = None) -> None:
        self._settings = settings or Smoothing()
        self.reset()

    def reset(self) -> None:
        """Forget face and noise."""
        self._noise = np.full(len(_REGIONS), self._settings.noise_mm)
        self._forget_face()

    def _forget_face(self) -> None:
        self._face: NDArray[np.float64] | None = None
        self._missing_s = 0.0
        self._open = np.zeros(len(_REGIONS))
        self._before: list[NDArray[np.float64]] = []

    def feed(self, face: Array, dt_s: float) -> Array:
        """One metric face float32 (478, 3) mm, `dt_s` after the last -> the smoothed one.

        A face that is not finite (none was seen) comes back as it is; after 0.5 s without one the
        next is taken as it comes.

        Raises:
            ValueError: not a face's shape, time that does not advance.
        """
        if face.shape != (NUM_LANDMARKS, 3):
            raise ValueError(f"expected ({NUM_LANDMARKS}, 3) landmarks, got {face.shape}")
        if not dt_s > 0:
            raise ValueError(f"time must advance, got {dt_s} s")
        if dt_s > _GAP_S:
            self._forget_face()
        if not np.isfinite(face).all():
            self._before = []
            self._missing_s += dt_s
            if self._missing_s > _GAP_S:
                self._forget_face()
            return face
        self._missing_s = 0.0
        new = face.astype(np.float64)
        self._listen(new, dt_s)
        if self._face is None:
            self._face = new
            return face
        settings = self._settings
        error = new - self._face
        levels = _rms(error[_ANCHORS, :2]) / self._noise
        through = 1.0 / (1.0 + (settings.gate / np.maximum(levels, 1e-9)) ** settings.steepness)
        self._open = np.maximum(through, self._open * np.exp(-dt_s / settings.release_s))
        slow = 1.0 - np.exp(-dt_s / settings.rest_s)
        gain = slow + (1.0 - slow) * self._open
        self._face = self._face + gain[_region_of(), None] * error
        smoothed: Array = self._face.astype(np.float32)
        return smoothed

    def _listen(self, face: NDArray[np.float64], dt_s: float) -> None:
        """Learn the noise: the median of the second difference, which motion hardly enters."""
        now = face[_ANCHORS, :2]
        if len(self._before) == 2:
            settings = self._settings
            rough = _rms((now - 2 * self._before[1] + self._before[0]) / np.sqrt(6.0))
            higher = np.where(settings.margin * rough > self._noise, 0.5, -0.5)
            self._noise = np.clip(
                self._noise * np.exp(higher * min(dt_s / settings.adapt_s, 1.0)),
                settings.least_noise_mm,
                settings.most_noise_mm,
            )
        self._before = [*self._before[-1:], now]


def smooth_track(metric: Array, fps: float, settings: Smoothing | None = None) -> Array:
    """A whole track (T, 478, 3) mm, as the stream would: causal, NaN where there was no face."""
    smoother = Smoother(settings)
    smoothed: Array = np.empty_like(metric)
    for i, face in enumerate(metric):
        smoothed[i] = smoother.feed(face, 1.0 / fps)
    return smoothed


def _rms(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Per region, root mean square per axis of (anchors, 2)."""
    squares = np.add.reduceat((xy * xy).sum(-1), _FIRST)
    level: NDArray[np.float64] = np.sqrt(squares / (2 * _COUNT))
    return level


@lru_cache(maxsize=1)
def _region_of() -> NDArray[np.intp]:
    """Each landmark's region (478,): its own, or the nearest anchor's on the canonical face."""
    at = canonical_face()[:, :2].astype(np.float64)
    by_anchor = np.repeat(np.arange(len(_REGIONS)), _COUNT)
    skin = _ANCHORS[: -_COUNT[-1]]  # nothing goes with the irises but themselves
    distance = np.linalg.norm(at[:, None] - at[None, skin], axis=-1)
    region: NDArray[np.intp] = by_anchor[distance.argmin(1)]
    region[_ANCHORS] = by_anchor
    return region
