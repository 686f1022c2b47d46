"""Sound-to-lip skew of a film of the robot: do its lips move when its sound says they should?

Its mouth opening, as FaceMesh sees it, is compared with the mouth opening that the offline
animation of its sound track asks for. Positive: the lips are late (sound early). Viewers notice
from +45 ms (sound early) and -125 ms (sound late) on (ITU-R BT.1359).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emo_core.audio.sources import load_audio
from emo_core.errors import EmoError
from emo_core.evaluation.metrics import cross_correlation, lag_ms, opening, pearson
from emo_core.face.alignment import to_metric
from emo_core.face.topology import NUM_LANDMARKS
from emo_core.face.tracking import FaceTracker, VideoFile
from emo_core.rates import SAMPLE_RATE

Array = NDArray[np.float64]

#: Noticed beyond these, ms (ITU-R BT.1359-1: sound early; sound late).
NOTICED_MS = (-125.0, 45.0)
#: A window must move this much (standard deviation, mm) and correlate this well to be judged.
LEAST_MOTION_MM, LEAST_R = 1.0, 0.5
#: Both curves are compared on this grid.
GRID_FPS = 50.0
MAX_SKEW_S = 0.5


@dataclass(frozen=True)
class Skew:
    """Skew in ms of each judged window and of the film as a whole (positive: lips late)."""

    window_start_s: list[float]
    window_ms: list[float]
    whole_ms: float
    r: float  # Pearson's r of the two curves once the skew is taken out
    unjudged: int  # windows without motion, or that correlate too little
    face_found: float  # share of frames

    def as_json(self) -> dict[str, object]:
        """p50 and p95 are those of the absolute skew; median_ms is signed."""
        late = np.array(self.window_ms)
        size = np.abs(late)
        low, high = NOTICED_MS
        return {
            "windows": len(late),
            "windows_unjudged": self.unjudged,
            "abs_p50_ms": float(np.percentile(size, 50)),
            "abs_p95_ms": float(np.percentile(size, 95)),
            "max_abs_ms": float(size.max()),
            "median_ms": float(np.median(late)),
            "whole_ms": self.whole_ms,
            "r": self.r,
            "face_found": self.face_found,
            "noticed_share": float(np.mean((late < low) | (late > high))),
            "within_itu_r_bt1359": bool(np.all((late >= low) & (late <= high))),
        }


def seen_opening(video: Path) -> tuple[Array, Array]:
    """Times (T,) in s from the video's start, and mouth opening (T,) in mm, NaN where no face.

    Times are those the file states for each frame, not a count of frames.

    Raises:
        EmoError: not a video.
    """
    times: list[float] = []
    screen: list[NDArray[np.float32]] = []
    missing = np.full((NUM_LANDMARKS, 3), np.nan, dtype=np.float32)
    with VideoFile(video) as film, FaceTracker() as tracker:
        for time, picture in film.timed_frames():
            times.append(time)
            found = tracker.track(picture)
            screen.append(missing if found is None else found)
    if not times:
        raise EmoError(f"{video} has no frames")
    metric, _ = to_metric(np.stack(screen))
    return np.array(times), opening(metric)


def sound_offset_s(reference: NDArray[np.float32], sound: NDArray[np.float32]) -> float:
    """When, in `sound`, `reference` starts (s, may be negative); both (N,) at 16 kHz.

    The peak of their cross-correlation by FFT, to a sample.

    Raises:
        EmoError: one is not in the other.
    """
    size = 1 << int(np.ceil(np.log2(len(reference) + len(sound))))
    spectrum = np.fft.rfft(sound, size) * np.conj(np.fft.rfft(reference, size))
    products = np.fft.irfft(spectrum, size)
    peak = int(np.argmax(products))
    energy = float(np.sqrt(np.sum(np.square(sound)) * np.sum(np.square(reference))))
    if energy == 0 or products[peak] < 0.3 * energy:
        raise EmoError("the reference is not the speech in this film: give the recording it speaks")
    return (peak if peak < size // 2 else peak - size) / SAMPLE_RATE


def skew_of_curves(
    seen_s: Array,
    seen_mm: Array,
    wanted_mm: Array,
    wanted_start_s: float = 0.0,
    wanted_fps: float = 25.0,
    window_s: float = 3.0,
    hop_s: float = 0.5,
) -> Skew:
    """Skew of a seen curve (times and mm, (T,)) against a wanted one at `wanted_fps`, (N,).

    Both are put on one grid of 50 Hz by linear interpolation; each window of `window_s` gives the
    lag of `metrics.lag_ms` within half a second.

    Raises:
        EmoError: no window moves and correlates enough to be judged.
    """
    found = np.isfinite(seen_mm)
    wanted_s = wanted_start_s + np.arange(len(wanted_mm)) / wanted_fps
    if found.sum() < 2:
        raise EmoError("no face was found in the film: is it the picture of a robot's face?")
    start, end = max(seen_s[0], wanted_s[0]), min(seen_s[-1], wanted_s[-1])
    grid = np.arange(start, end, 1 / GRID_FPS)
    seen = np.interp(grid, seen_s[found], seen_mm[found])
    wanted = np.interp(grid, wanted_s, wanted_mm)
    size, hop = round(window_s * GRID_FPS), round(hop_s * GRID_FPS)
    reach = round(MAX_SKEW_S * GRID_FPS)
    starts, lags, unjudged = [], [], 0
    for first in range(0, max(len(grid) - size, 0) + 1, hop):
        a, b = seen[first : first + size], wanted[first : first + size]
        if len(a) < 3 * reach or b.std() < LEAST_MOTION_MM:
            unjudged += 1
            continue
        r = cross_correlation(a, b, reach)
        lag = lag_ms(a, b, GRID_FPS, max_lag_s=MAX_SKEW_S)
        if np.isnan(lag) or np.nanmax(r) < LEAST_R or abs(lag) >= 1000 * MAX_SKEW_S:
            unjudged += 1
            continue
        starts.append(float(grid[first]))
        lags.append(lag)
    if not lags:
        raise EmoError(
            "the film's mouth never follows its sound closely enough to measure a skew "
            f"(windows of {window_s:g} s, r at least {LEAST_R:g})"
        )
    whole = lag_ms(seen, wanted, GRID_FPS, max_lag_s=MAX_SKEW_S)
    aligned = np.interp(grid - whole / 1000, wanted_s, wanted_mm)
    return Skew(starts, lags, whole, pearson(seen, aligned), unjudged, float(found.mean()))


def skew_of_film(
    video: Path, reference: Path | None = None, variant: str = "full", window_s: float = 3.0
) -> Skew:
    """Skew of a film such as robot.mp4.

    Args:
        video: the film, with sound.
        reference: the recording it speaks; its animation is the wanted curve, placed where the
            film's sound track has it. Without one the film's own sound track is animated.
        variant: the model that animates.

    Raises:
        EmoError: an input cannot be used; nothing could be judged.
    """
    from emo_core.lipsync.pipeline import Lipsync

    sound = load_audio(video)
    speech = load_audio(reference) if reference else sound
    starts = sound_offset_s(speech, sound) if reference else 0.0
    wanted = opening(Lipsync.load(variant).animate(speech))
    seen_s, seen_mm = seen_opening(video)
    return skew_of_curves(seen_s, seen_mm, wanted, starts, window_s=window_s)
