"""Sound-to-lip skew on curves and sounds whose skew is known."""

from __future__ import annotations

import numpy as np
import pytest

from emo_core.errors import EmoError
from emo_core.evaluation.skew import skew_of_curves, sound_offset_s


def mouth(t: np.ndarray) -> np.ndarray:
    """An opening in mm at times t (s), band-limited below 4 Hz."""
    waves = [np.sin(2 * np.pi * hz * t + hz) for hz in (0.8, 1.7, 2.6, 3.7)]
    return 6 + np.sum(waves, axis=0)


@pytest.mark.parametrize("late_ms", [-60.0, 0.0, 13.0, 41.0, 130.0])
def test_known_skew(late_ms: float) -> None:
    t = np.arange(0, 20, 1 / 30) + 0.004  # filmed at 30 fps, a fraction of a frame off the grid
    seen = 2 + 0.7 * mouth(t - late_ms / 1000)
    got = skew_of_curves(t, seen, mouth(np.arange(500) / 25.0)).as_json()
    assert got["median_ms"] == pytest.approx(late_ms, abs=1.5)
    assert got["whole_ms"] == pytest.approx(late_ms, abs=1.5)
    assert got["abs_p95_ms"] == pytest.approx(abs(late_ms), abs=4)
    assert got["within_itu_r_bt1359"] is (late_ms < 45)
    assert got["r"] > 0.98


def test_skew_that_drifts_shows_in_the_windows() -> None:
    t = np.arange(0, 30, 0.04)
    seen = mouth(t - 0.004 * t)  # 0 at the start, 120 ms late after 30 s
    skew = skew_of_curves(t, seen, mouth(np.arange(750) / 25.0))
    middle = np.array(skew.window_start_s) + 1.5
    np.testing.assert_allclose(skew.window_ms, 4 * middle, atol=6)


def test_lost_frames_are_bridged_and_counted() -> None:
    t = np.arange(0, 20, 0.04)
    seen = mouth(t - 0.02)
    seen[::7] = np.nan
    skew = skew_of_curves(t, seen, mouth(np.arange(500) / 25.0))
    assert skew.whole_ms == pytest.approx(20, abs=3)
    assert skew.face_found == pytest.approx(6 / 7, abs=0.01)


def test_a_still_face_cannot_be_judged() -> None:
    t = np.arange(0, 20, 0.04)
    with pytest.raises(EmoError, match="never follows"):
        skew_of_curves(t, np.full(len(t), 3.0), mouth(t))
    with pytest.raises(EmoError, match="no face"):
        skew_of_curves(t, np.full(len(t), np.nan), mouth(t))


def test_sound_offset_is_exact_to_a_sample() -> None:
    rng = np.random.default_rng(0)
    speech = rng.normal(0, 0.1, 32_000).astype(np.float32)
    film = np.concatenate([np.zeros(5123, np.float32), 0.5 * speech, np.zeros(8000, np.float32)])
    film += rng.normal(0, 0.01, len(film)).astype(np.float32)
    assert sound_offset_s(speech, film) == 5123 / 16_000
    assert sound_offset_s(film, speech) == -5123 / 16_000
    with pytest.raises(EmoError, match="not the speech"):
        sound_offset_s(rng.normal(0, 0.1, 32_000).astype(np.float32), film)
