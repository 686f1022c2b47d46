"""Metrics of talking landmarks against filmed ones: numpy, on arrays, milliseconds per clip.

Faces are metric (mm, x to the image's right, y up, z towards the camera, head pose removed),
shape (T, 478, 3), at `fps` frames per second. A metric that a clip cannot have (no closed frame,
a series that never moves) is NaN; `average` leaves NaNs out of the mean and counts them.

The six distances D-P .. D-AE are the ones published for learned facial animation of robots (after
Zhou et al. 2020, MakeItTalk, section 5: D-L, D-V, D-A, there on normalised 2-D landmarks); here
they are in millimetres and 3-D.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo_core.face.topology import (
    LEFT_EYE,
    LIPS_INNER,
    LIPS_JAW,
    LOWER_LIP_INNER,
    MOUTH_CORNERS,
    RIGHT_EYE,
    UPPER_LIP_INNER,
)

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

#: Closed: inner-lip gap below this share of the video's percentile below, in the video's mm.
CLOSED_SHARE = 0.25
CLOSED_PERCENTILE = 95.0
#: Lags searched by the cross-correlation, in seconds to either side.
MAX_LAG_S = 0.4
#: A frame is silence when no voiced frame is nearer than this many seconds.
SILENCE_MARGIN_S = 0.2
#: A series whose standard deviation is below this (mm) has no shape to correlate.
FLAT_MM = 1e-6


def opening(face: ArrayLike) -> FloatArray:
    """Inner-lip gap |p13 - p14| in mm: (..., 478, 2 or 3) -> (...)."""
    face = np.asarray(face, dtype=np.float64)
    gap = face[..., UPPER_LIP_INNER, :] - face[..., LOWER_LIP_INNER, :]
    return np.asarray(np.linalg.norm(gap, axis=-1))


def width(face: ArrayLike) -> FloatArray:
    """Distance of the mouth's corners |p61 - p291| in mm: (..., 478, 2 or 3) -> (...)."""
    face = np.asarray(face, dtype=np.float64)
    right, left = MOUTH_CORNERS
    return np.asarray(np.linalg.norm(face[..., right, :] - face[..., left, :], axis=-1))


def shoelace_area(contour: ArrayLike) -> FloatArray:
    """Area in mm^2 enclosed by points in order: (..., P, 2 or 3) -> (...), from x and y.

    A = |sum_i x_i y_(i+1) - x_(i+1) y_i| / 2, frontal projection.
    """
    points = np.asarray(contour, dtype=np.float64)
    x, y = points[..., 0], points[..., 1]
    twice = x * np.roll(y, -1, axis=-1) - np.roll(x, -1, axis=-1) * y
    return np.asarray(np.abs(twice.sum(axis=-1)) / 2)


def _mean(values: FloatArray, keep: BoolArray) -> float:
    return float(values[keep].mean()) if keep.any() else float("nan")


def _mask(keep: ArrayLike | None, length: int) -> BoolArray:
    return np.ones(length, dtype=bool) if keep is None else np.asarray(keep, dtype=bool)


def position_error(predicted: ArrayLike, true: ArrayLike, valid: ArrayLike | None = None) -> float:
    """Mean over frames and points of |predicted - true| in mm; (T, P, D) each, `valid` (T,)."""
    gap = np.linalg.norm(np.asarray(predicted, float) - np.asarray(true, float), axis=-1)
    return _mean(gap.mean(axis=-1), _mask(valid, len(gap)))


def velocity_error(predicted: ArrayLike, true: ArrayLike, valid: ArrayLike | None = None) -> float:
    """Mean of |(p_t - p_(t-1)) - (q_t - q_(t-1))| in mm/frame; (T, P, D) each.

    Only pairs of neighbouring valid frames count; NaN where there is none.
    """
    keep = _mask(valid, len(np.asarray(predicted)))
    steps = np.diff(np.asarray(predicted, float), axis=0) - np.diff(np.asarray(true, float), axis=0)
    return _mean(np.linalg.norm(steps, axis=-1).mean(axis=-1), keep[1:] & keep[:-1])


def published(
    predicted: ArrayLike, true: ArrayLike, valid: ArrayLike | None = None
) -> dict[str, float]:
    """The six published distances between two (T, 478, 3) faces, lower is better.

    d_p, d_v: `position_error` (mm) and `velocity_error` (mm/frame) over all landmarks;
    d_pl, d_vl: the same over the 61 of lips and jaw (d_pl is the *lips+jaw error*);
    d_al, d_ae: mean |difference of `shoelace_area`| (mm^2) of the inner lips, and of the eyes
    (both eyes' areas added up before the difference).
    """
    p, q = np.asarray(predicted, dtype=np.float64), np.asarray(true, dtype=np.float64)
    keep = _mask(valid, len(p))
    lips = np.abs(shoelace_area(p[:, LIPS_INNER]) - shoelace_area(q[:, LIPS_INNER]))

    def eyes(face: FloatArray) -> FloatArray:
        return shoelace_area(face[:, LEFT_EYE]) + shoelace_area(face[:, RIGHT_EYE])

    return {
        "d_p": position_error(p, q, keep),
        "d_v": velocity_error(p, q, keep),
        "d_pl": position_error(p[:, LIPS_JAW], q[:, LIPS_JAW], keep),
        "d_vl": velocity_error(p[:, LIPS_JAW], q[:, LIPS_JAW], keep),
        "d_al": _mean(lips, keep),
        "d_ae": _mean(np.abs(eyes(p) - eyes(q)), keep),
    }


def pearson(x: ArrayLike, y: ArrayLike) -> float:
    """Pearson's r of two (T,) series; NaN where either never moves or T < 3."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(x) < 3 or x.std() < FLAT_MM or y.std() < FLAT_MM:
        return float("nan")
    return float(np.mean((x - x.mean()) * (y - y.mean())) / (x.std() * y.std()))


def slope(predicted: ArrayLike, true: ArrayLike) -> float:
    """Least-squares slope of predicted on true, cov(p, q) / var(q); NaN where true never moves.

    1 is the right amount of movement; a face that never moves has 0.
    """
    p, q = np.asarray(predicted, dtype=np.float64), np.asarray(true, dtype=np.float64)
    if len(q) < 3 or q.std() < FLAT_MM:
        return float("nan")
    return float(np.mean((p - p.mean()) * (q - q.mean())) / q.var())


def between_voiced(voiced: ArrayLike) -> BoolArray:
    """(T,) True from the first voiced frame to the last, both included; none voiced: all False."""
    voiced = np.asarray(voiced, dtype=bool)
    inside = np.zeros(len(voiced), dtype=bool)
    where = np.flatnonzero(voiced)
    if len(where):
        inside[where[0] : where[-1] + 1] = True
    return inside


def closed_below(true_opening: ArrayLike, valid: ArrayLike | None = None) -> float:
    """The video's closing threshold in mm: 25 % of its 95th percentile of opening (valid frames).

    The same millimetres judge the prediction: one that is too small everywhere is closed.
    """
    values = np.asarray(true_opening, dtype=np.float64)
    values = values[_mask(valid, len(values))]
    if not len(values):
        return float("nan")
    return CLOSED_SHARE * float(np.percentile(values, CLOSED_PERCENTILE))


def closure(
    predicted_opening: ArrayLike,
    true_opening: ArrayLike,
    voiced: ArrayLike,
    valid: ArrayLike | None = None,
    tolerance: int = 1,
) -> float:
    """Balanced accuracy of closed against open frames, in speech; 0.5 for a face that never moves.

    Let theta = `closed_below(true)`, c_t = [true_t < theta], p_t = [predicted_t < theta]. Of the
    frames from the first voiced to the last (both included; valid ones), a truly closed frame is
    right when p is closed at *some* frame of t-tolerance .. t+tolerance, a truly open one when p
    is open at some such frame (neighbours beyond the voiced stretch count, beyond the clip there
    are none). Closure = (share of closed frames right + share of open frames right) / 2.

    The tolerance lies on the prediction's side only. Were the truth's neighbours asked instead
    ("p_t equals the truth at some t' near t"), a face frozen shut would be right in all closed
    frames and also in the open ones beside them, and score above 0.5 for doing nothing. With the
    prediction's neighbours a frozen face is right in all frames of one class and none of the
    other: exactly 0.5. What it cannot see is flicker: a face that opens and shuts from frame to
    frame is near everything (frames drawn at random score about 0.85). Read it beside the rules
    that flicker does not please: `closure_paired` and tolerance 0 (`closure_strict`).

    Args: series in mm, (T,); `voiced`, `valid` (T,) bool.
    Returns NaN where the stretch has no closed or no open frame, or nothing is voiced.
    """
    shut, wide, closed, p_closed = _closed_frames(predicted_opening, true_opening, voiced, valid)
    right = np.where(closed, _dilate(p_closed, tolerance), _dilate(~p_closed, tolerance))
    return _balanced(right, shut, wide)


def closure_paired(
    predicted_opening: ArrayLike,
    true_opening: ArrayLike,
    voiced: ArrayLike,
    valid: ArrayLike | None = None,
    tolerance: int = 1,
) -> float:
    """As `closure`, but a wrong frame is forgiven only where both curves cross theta nearby.

    Frame t with p_t != c_t is right when the prediction has the state c_t within `tolerance`
    frames *and* the truth has the state p_t within as many: an edge, displaced by no more than
    that. A face that never moves scores 0.5, and flicker is forgiven at the video's edges only.
    """
    shut, wide, closed, p_closed = _closed_frames(predicted_opening, true_opening, voiced, valid)
    here = np.where(closed, _dilate(p_closed, tolerance), _dilate(~p_closed, tolerance))
    there = np.where(p_closed, _dilate(closed, tolerance), _dilate(~closed, tolerance))
    return _balanced((closed == p_closed) | (here & there), shut, wide)


def _closed_frames(
    predicted_opening: ArrayLike,
    true_opening: ArrayLike,
    voiced: ArrayLike,
    valid: ArrayLike | None,
) -> tuple[BoolArray, BoolArray, BoolArray, BoolArray]:
    """Judged closed frames, judged open frames, closed in the video, closed as predicted: (T,)."""
    true, predicted = np.asarray(true_opening, float), np.asarray(predicted_opening, float)
    keep = _mask(valid, len(true))
    theta = closed_below(true, keep)
    judged = between_voiced(voiced) & keep
    closed = true < theta
    return judged & closed, judged & ~closed, closed, predicted < theta


def _balanced(right: BoolArray, shut: BoolArray, wide: BoolArray) -> float:
    if not shut.any() or not wide.any():
        return float("nan")
    return float(right[shut].mean() + right[wide].mean()) / 2


def _dilate(flags: BoolArray, reach: int) -> BoolArray:
    """True where a flag is set at most `reach` frames away; nothing beyond the ends."""
    out = flags.copy()
    for k in range(1, min(reach, len(flags) - 1) + 1):
        out[k:] |= flags[:-k]
        out[:-k] |= flags[k:]
    return out


def cross_correlation(
    predicted: ArrayLike, true: ArrayLike, max_lag: int, valid: ArrayLike | None = None
) -> FloatArray:
    """Pearson's r of predicted[t + k] with true[t] over their overlap, k = -max_lag .. max_lag.

    Means and deviations are those of the overlap, so a slow drift or the clip's ends do not pull
    the peak. Returns (2 max_lag + 1,); NaN where a side is flat. `valid` masks frames (T,).
    """
    p, q = np.asarray(predicted, dtype=np.float64), np.asarray(true, dtype=np.float64)
    keep = _mask(valid, len(q))
    out = np.full(2 * max_lag + 1, np.nan)
    for index, k in enumerate(range(-max_lag, max_lag + 1)):
        late, early = slice(max(k, 0), len(p) + min(k, 0)), slice(max(-k, 0), len(q) - max(k, 0))
        both = keep[late] & keep[early]
        out[index] = pearson(p[late][both], q[early][both])
    return out


def lag_ms(
    predicted: ArrayLike,
    true: ArrayLike,
    fps: float = 25.0,
    valid: ArrayLike | None = None,
    max_lag_s: float = MAX_LAG_S,
) -> float:
    """How late the prediction is, in ms (positive: late, negative: early).

    The peak of `cross_correlation` r_k within `max_lag_s` (at most a third of the clip), then the
    vertex of the parabola through it and its neighbours: d = (r- - r+) / (2 (r- - 2 r0 + r+))
    frames. Of several peaks the highest counts, each lag weighted by its overlap (1 - |k| / T):
    speech repeats itself, and the nearer of two equal peaks is the lag. From there r is climbed
    unweighted, so the weight moves no peak. At the end of the range there is no parabola and the
    end is returned. NaN where a series is flat or nothing correlates positively.
    """
    length = len(np.asarray(true))
    reach = min(round(max_lag_s * fps), length // 3)
    r = cross_correlation(predicted, true, reach, valid)
    if np.isnan(r).all() or np.nanmax(r) <= 0:
        return float("nan")
    r = np.where(np.isnan(r), -1.0, r)
    best = int(np.argmax(r * (1 - np.abs(np.arange(-reach, reach + 1)) / length)))
    while (step := int(np.argmax(r[max(best - 1, 0) : best + 2])) - min(best, 1)) != 0:
        best += step
    shift = 0.0
    if 0 < best < len(r) - 1:
        before, peak, after = r[best - 1], r[best], r[best + 1]
        bend = before - 2 * peak + after
        if bend < 0:
            shift = float((before - after) / (2 * bend))
    return (best - reach + shift) * 1000.0 / fps


def silence(voiced: ArrayLike, fps: float = 25.0) -> BoolArray:
    """(T,) True where no voiced frame is within `SILENCE_MARGIN_S`: the face should be at rest."""
    return ~_dilate(np.asarray(voiced, dtype=bool), round(SILENCE_MARGIN_S * fps))


def jitter(face: ArrayLike, at: ArrayLike) -> float:
    """Mean of |p_t - p_(t-1)| over lips and jaw in mm/frame, both frames being in `at` (T,).

    `at` is `silence(...)`, and the frames tracked. NaN without such frames. A filmed face has some
    too (tracking noise, breath): read it beside the video's own.
    """
    face, at = np.asarray(face, dtype=np.float64), np.asarray(at, dtype=bool)
    steps = np.linalg.norm(np.diff(face[:, LIPS_JAW], axis=0), axis=-1).mean(axis=-1)
    return _mean(steps, at[1:] & at[:-1])


def score_clip(
    predicted: ArrayLike,
    true: ArrayLike,
    voiced: ArrayLike,
    valid: ArrayLike | None = None,
    fps: float = 25.0,
) -> dict[str, float]:
    """Every metric of one clip; faces (T, 478, 3) metric mm, `voiced` and `valid` (T,) bool.

    Keys: those of `published`; opening_r, width_r, opening_slope; closure, closure_paired,
    closure_strict (tolerance 0); lag_ms (signed), abs_lag_ms; jitter_mm, jitter_video_mm (the
    film's own).
    """
    p, q = np.asarray(predicted, dtype=np.float64), np.asarray(true, dtype=np.float64)
    if p.shape != q.shape:
        raise ValueError(f"predicted {p.shape} and true {q.shape} differ in shape")
    keep = _mask(valid, len(q))
    p_open, q_open = opening(p), opening(q)
    lag = lag_ms(p_open, q_open, fps, keep)
    quiet = silence(voiced, fps) & keep
    return {
        **published(p, q, keep),
        "opening_r": pearson(p_open[keep], q_open[keep]),
        "width_r": pearson(width(p)[keep], width(q)[keep]),
        "opening_slope": slope(p_open[keep], q_open[keep]),
        "closure": closure(p_open, q_open, voiced, keep),
        "closure_paired": closure_paired(p_open, q_open, voiced, keep),
        "closure_strict": closure(p_open, q_open, voiced, keep, tolerance=0),
        "lag_ms": lag,
        "abs_lag_ms": abs(lag),
        "jitter_mm": jitter(p, quiet),
        "jitter_video_mm": jitter(q, quiet),
    }


def average(scores: Sequence[Mapping[str, float]]) -> tuple[dict[str, float], dict[str, int]]:
    """Means over clips, NaNs left out, and for each metric that had any, how many clips it lacks.

    A metric that no clip has stays NaN. All mappings hold the same keys.
    """
    means: dict[str, float] = {}
    missing: dict[str, int] = {}
    for key in scores[0] if scores else ():
        values = np.array([score[key] for score in scores], dtype=np.float64)
        known = values[~np.isnan(values)]
        means[key] = float(known.mean()) if len(known) else float("nan")
        if len(known) < len(values):
            missing[key] = len(values) - len(known)
    return means, missing
