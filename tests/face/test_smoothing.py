from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emo_core.face.alignment import canonical_face
from emo_core.face.smoothing import Smoother, smooth_track
from emo_core.face.topology import LIPS, LOWER_OVAL, ROBOT_LANDMARKS

NOISE_MM = 0.15
MOUTH = np.concatenate([LIPS, LOWER_OVAL])


def trembling(frames: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, NOISE_MM, (frames, 478, 3))
    return (canonical_face() + noise).astype(np.float32)


def way(track: np.ndarray) -> float:
    steps = np.linalg.norm(np.diff(track[:, ROBOT_LANDMARKS, :2], axis=0), axis=-1)
    return float(np.percentile(steps, 95))


@pytest.mark.parametrize("fps", [15.0, 25.0, 30.0, 60.0])
def test_a_still_face_stands_still(fps: float) -> None:
    track = trembling(120)
    smoothed = smooth_track(track, fps)
    assert way(track) > 0.4
    assert way(smoothed[10:]) < 0.1
    off = np.linalg.norm(smoothed[60:] - canonical_face(), axis=-1)
    assert off.mean() < 2 * NOISE_MM  # where it is, too


def test_a_quick_mouth_is_neither_late_nor_smaller() -> None:
    opening = np.zeros(75)
    opening[25:28] = [5, 9, 5]  # a syllable
    opening[40:] = 8 * np.clip((np.arange(35) + 1) / 3, 0, 1)
    track = trembling(75)
    track[:, MOUTH, 1] -= opening[:, None].astype(np.float32)
    shown = canonical_face()[MOUTH, 1].mean() - smooth_track(track, 25.0)[:, MOUTH, 1].mean(1)
    np.testing.assert_allclose(shown, opening, atol=0.4)


def test_a_moving_mouth_lets_no_noise_into_the_brows() -> None:
    track = trembling(100)
    brows = [70, 63, 105, 300, 293, 334]
    still = smooth_track(track, 25.0)[20:, brows]
    track[:, MOUTH, 1] += 5 * np.sin(np.arange(100))[:, None].astype(np.float32)
    talking = smooth_track(track, 25.0)[20:, brows]
    np.testing.assert_array_equal(talking, still)


def test_the_noise_of_a_poor_camera_is_learned() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 0.35, (200, 478, 3))
    track = (canonical_face() + noise).astype(np.float32)
    smoothed = smooth_track(track, 30.0)
    assert way(smoothed[90:]) < 0.25 * way(track[90:])


def test_no_face_stays_none_and_then_starts_anew() -> None:
    track = trembling(60)
    track[20:25] = np.nan
    track[25:] += 5.0
    smoothed = smooth_track(track, 25.0)
    assert np.isnan(smoothed[20:25]).all()
    assert np.isfinite(smoothed[25:]).all()
    assert abs(float((smoothed[25:] - track[25:]).mean())) < 0.1
    gone = trembling(60)
    gone[20:45] = np.nan
    np.testing.assert_array_equal(smooth_track(gone, 25.0)[45], gone[45])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 4), st.floats(0.005, 0.2))
def test_between_what_was_shown_and_what_is_seen(seed: int, spread: float, dt_s: float) -> None:
    """Every step goes towards the newest face and not past it: nothing overshoots or grows."""
    rng = np.random.default_rng(seed)
    smoother = Smoother()
    shown = smoother.feed(canonical_face(), dt_s)
    for _ in range(10):
        seen = (canonical_face() + rng.normal(0, spread, (478, 3))).astype(np.float32)
        now = smoother.feed(seen, dt_s)
        assert (now >= np.minimum(shown, seen) - 1e-3).all()
        assert (now <= np.maximum(shown, seen) + 1e-3).all()
        shown = now


def test_reset_forgets() -> None:
    smoother = Smoother()
    track = trembling(40)
    first = [smoother.feed(face, 0.04) for face in track]
    smoother.reset()
    again = [smoother.feed(face, 0.04) for face in track]
    np.testing.assert_array_equal(first, again)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="478"):
        Smoother().feed(np.zeros((468, 3), np.float32), 0.04)
    with pytest.raises(ValueError, match="advance"):
        Smoother().feed(canonical_face(), 0.0)
