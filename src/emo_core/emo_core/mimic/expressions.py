"""Where expressions begin and where they peak, in a track of landmarks.

The selection is that of Hu et al. 2024, "Human-robot facial coexpression" (Science Robotics 9):
the distance of all landmarks to the first frame, smoothed, tells how far the face is from rest;
where its acceleration peaks, an expression sets off, and the frames there are the model's input;
where the distance peaks, the expression is complete, and that frame is what to predict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_core.face.topology import robot_points
from emo_core.rates import FPS

Array = NDArray[np.float64]

#: Frames that the model sees, 40 ms apart, the newest one frame after the acceleration's peak.
INPUT_FRAMES = 4
_AFTER_ACTIVATION = 1
#: Standard deviation of the smoothing, s.
SMOOTHING_S = 0.04
#: Distance is measured to the median of so many first frames: one alone is noise of 0.3 mm.
FIRST_FRAMES = 5
#: An expression moves the landmarks at least so far (mean, mm), and peaks within so many seconds.
MIN_RISE_MM = 0.5
MAX_ONSET_S = 1.5
#: The peak is where this share of the rise is done: a held expression creeps on for long.
_DONE = 0.95
#: A calm face: the mean motion of no region's landmarks is faster, over 0.2 s, mm per s.
CALM_MM_S = 3.0
#: The 113 landmarks by region, in their order: brows, eyes, lips, lower face oval.
REGIONS = {
    "brows": slice(0, 20),
    "eyes": slice(20, 52),
    "lips": slice(52, 92),
    "jaw": slice(92, 113),
}


@dataclass(frozen=True)
class Expression:
    """One onset, in frames of its track."""

    start: int  # the last frame before the distance rises
    activation: int  # the acceleration's peak
    peak: int  # the expression is complete
    rise: float  # mm, mean over landmarks

    @property
    def inputs(self) -> range:
        """The frames the model sees; the last is the newest."""
        last = self.activation + _AFTER_ACTIVATION
        return range(last - INPUT_FRAMES + 1, last + 1)


@dataclass(frozen=True)
class Curves:
    """What the selection looks at, each (T,)."""

    distance: Array  # mm, mean over landmarks
    smoothed: Array  # mm
    acceleration: Array  # mm / s^2


def curves(landmarks: NDArray[Any], fps: float = FPS) -> Curves:
    """Distance to the first frames and its acceleration.

    Args:
        landmarks: (T, 478, 3) or (T, 113, 2) mm; frames without a face are NaN, and are bridged.

    Raises:
        ValueError: no frame has a face.
    """
    points = robot_points(landmarks)
    seen = np.isfinite(points).all(axis=(1, 2))
    if not seen.any():
        raise ValueError("no frame has a face")
    rest = np.median(points[seen][:FIRST_FRAMES], axis=0)
    frames = np.arange(len(points))
    distance = np.linalg.norm(points[seen] - rest, axis=-1).mean(-1)
    bridged: Array = np.interp(frames, frames[seen], distance)
    smoothed = smooth(bridged, SMOOTHING_S * fps)
    acceleration = np.gradient(np.gradient(smoothed)) * fps**2
    return Curves(bridged, smoothed, acceleration)


def smooth(values: Array, deviation: float) -> Array:
    """Gaussian smoothing along the first axis, `deviation` in frames; the ends are held."""
    reach = max(1, round(3 * deviation))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(deviation, 1e-3)) ** 2)
    kernel /= kernel.sum()
    widths = [(reach, reach)] + [(0, 0)] * (values.ndim - 1)
    padded = np.pad(values, widths, mode="edge")
    out = np.zeros_like(values)
    for i, weight in enumerate(kernel):
        out += weight * padded[i : i + len(values)]
    return out


def find_expressions(
    landmarks: NDArray[Any], fps: float = FPS, min_rise: float = MIN_RISE_MM
) -> list[Expression]:
    """All onsets of a track, in order; the published selection takes the one that rises highest.

    Args:
        landmarks: (T, 478, 3) or (T, 113, 2) mm, NaN where there was no face: an onset whose
            frames are not all seen is left out.
        min_rise: smallest rise of the mean distance, mm.
    """
    found: list[Expression] = []
    points = robot_points(landmarks)
    seen = np.isfinite(points).all(axis=(1, 2))
    if not seen.any():
        return found
    of_track = curves(landmarks, fps)
    for low, high in _rises(of_track.smoothed, min_rise):
        rise = of_track.smoothed[high] - of_track.smoothed[low]
        done = of_track.smoothed[low : high + 1] - of_track.smoothed[low] >= _DONE * rise
        peak = low + int(np.argmax(done))
        if peak - low < 2:
            continue
        activation = low + int(np.argmax(of_track.acceleration[low:peak]))
        one = Expression(low, activation, peak, float(rise))
        first, last = one.inputs[0], one.inputs[-1]
        fits = first >= 0 and last < peak and peak - activation <= MAX_ONSET_S * fps
        if fits and seen[first : peak + 1].all():
            found.append(one)
    return found


def _rises(values: Array, least: float) -> list[tuple[int, int]]:
    """Valley and summit of every rise by `least`: a fall by less than half of that is no summit."""
    out: list[tuple[int, int]] = []
    low = high = 0
    for i, value in enumerate(values):
        if value > values[high]:
            high = i
        fallen = values[high] - value
        if fallen > 0.5 * least or i == len(values) - 1:
            if values[high] - values[low] >= least:
                out.append((low, high))
            low = high = i
        elif value < values[low] and values[high] - values[low] < least:
            low = high = i
    return out


def calm_stretches(
    landmarks: NDArray[Any], fps: float = FPS, shortest_s: float = 0.32
) -> list[slice]:
    """Where a face neither speaks nor blinks nor changes: stretches of frames.

    A stretch is calm by its motion over 0.2 s, not by its noise, which stays as it is. Its last
    0.2 s are left out, where what comes next may set off, and the first three frames of a track,
    where FaceMesh settles.
    """
    points = robot_points(landmarks)
    seen = np.isfinite(points).all(axis=(1, 2))
    filled = np.where(seen[:, None, None], points, 0.0)
    window = max(3, round(0.2 * fps))
    mean = smooth(filled, window / 3.46)  # as wide as a box of `window` frames
    speed = np.linalg.norm(np.gradient(mean, axis=0), axis=-1) * fps
    fastest = np.max([speed[:, region].mean(-1) for region in REGIONS.values()], axis=0)
    calm = (fastest < CALM_MM_S) & seen
    calm[:3] = False
    edges = np.flatnonzero(np.diff(np.concatenate([[False], calm, [False]]).astype(int)))
    least = round(shortest_s * fps)
    ends = [(int(a), int(b) - window * (b < len(points))) for a, b in edges.reshape(-1, 2)]
    return [slice(a, b) for a, b in ends if b - a >= least]
