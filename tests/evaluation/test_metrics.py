"""Exact numbers on signals whose answer is known by construction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emo_core.evaluation import metrics
from emo_core.face.topology import LIPS_INNER, LIPS_JAW, NUM_LANDMARKS

FPS = 25.0
T = 75


def sine(delay_ms: float = 0.0, hz: float = 2.3, frames: int = T) -> np.ndarray:
    """An opening of 6 +- 5 mm that is `delay_ms` late."""
    t = np.arange(frames) / FPS - delay_ms / 1000
    return 6 + 5 * np.sin(2 * np.pi * hz * t)


def speechlike(seed: int, delay_ms: float = 0.0, frames: int = T) -> np.ndarray:
    """A sum of sines up to 5 Hz, positive: band-limited, so that a delay of 13 ms is exact."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames) / FPS - delay_ms / 1000
    waves = [
        rng.uniform(0.3, 1) * np.sin(2 * np.pi * hz * t + rng.uniform(0, 6.28))
        for hz in (0.7, 1.6, 2.9, 4.1, 5.0)
    ]
    return 6 + np.sum(waves, axis=0)


def face_with_opening(gap: np.ndarray, seed: int = 0) -> np.ndarray:
    """(T, 478, 3): a still random face whose lower inner lip moves so that |13 - 14| = gap."""
    still = np.random.default_rng(seed).normal(0, 30, (NUM_LANDMARKS, 3))
    faces = np.repeat(still[None], len(gap), axis=0)
    faces[:, 14] = faces[:, 13] - np.stack([0 * gap, gap, 0 * gap], axis=-1)
    return faces


ALL_VOICED = np.ones(T, dtype=bool)


@pytest.mark.parametrize("delay", [-90.0, -40.0, -13.0, 0.0, 13.0, 20.0, 27.0, 85.0])
def test_lag_finds_a_known_delay_within_one_millisecond(delay: float) -> None:
    assert metrics.lag_ms(sine(delay), sine()) == pytest.approx(delay, abs=1.0)


@given(seed=st.integers(0, 10_000), delay=st.floats(-60, 60))
@settings(max_examples=40, deadline=None)
def test_lag_of_speechlike_curves(seed: int, delay: float) -> None:
    assert metrics.lag_ms(speechlike(seed, delay), speechlike(seed)) == pytest.approx(delay, abs=4)


def test_lag_sign_late_is_positive() -> None:
    late = np.roll(speechlike(1), 2)
    assert metrics.lag_ms(late[4:-4], speechlike(1)[4:-4]) == pytest.approx(80, abs=2)


def test_lag_ignores_scale_offset_and_untracked_frames() -> None:
    true, predicted = speechlike(3), 2 + 0.5 * speechlike(3, 13)
    valid = np.ones(T, dtype=bool)
    valid[20:24] = False
    predicted[20:24] = 1e3
    assert metrics.lag_ms(predicted, true, valid=valid) == pytest.approx(13, abs=2)


def test_lag_of_a_flat_series_is_nan() -> None:
    assert np.isnan(metrics.lag_ms(np.full(T, 3.0), sine()))
    assert np.isnan(metrics.lag_ms(sine(), np.full(T, 3.0)))


@given(scale=st.floats(-2, 2), offset=st.floats(-10, 10), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_slope_is_the_scale(scale: float, offset: float, seed: int) -> None:
    true = speechlike(seed)
    assert metrics.slope(scale * true + offset, true) == pytest.approx(scale, abs=1e-9)


def test_scaled_by_eight_tenths_has_slope_eight_tenths() -> None:
    assert metrics.slope(0.8 * sine(), sine()) == pytest.approx(0.8, abs=1e-12)
    assert np.isnan(metrics.slope(sine(), np.full(T, 2.0)))
    assert metrics.slope(np.full(T, 2.0), sine()) == pytest.approx(0.0, abs=1e-12)


@given(seed=st.integers(0, 1000), gain=st.floats(0.01, 10), offset=st.floats(-10, 10))
@settings(max_examples=40, deadline=None)
def test_pearson_is_blind_to_gain_and_offset_and_symmetric(
    seed: int, gain: float, offset: float
) -> None:
    x, y = speechlike(seed), speechlike(seed + 1)
    r = metrics.pearson(x, y)
    assert -1 <= r <= 1
    assert metrics.pearson(gain * x + offset, y) == pytest.approx(r, abs=1e-7)
    assert metrics.pearson(y, x) == pytest.approx(r, abs=1e-12)
    assert metrics.pearson(x, -x) == pytest.approx(-1)


def test_pearson_of_a_constant_is_nan() -> None:
    assert np.isnan(metrics.pearson(np.ones(T), sine()))
    assert np.isnan(metrics.pearson([1.0, 2.0], [1.0, 2.0]))


# --- closure -------------------------------------------------------------------------------------

TRUE = np.array([8, 8, 8, 1, 1, 8, 8, 8, 1, 8, 8, 8], dtype=float)  # threshold 2 mm; 3 closed
VOICED = np.ones(len(TRUE), dtype=bool)


def test_closed_is_a_quarter_of_the_95th_percentile() -> None:
    assert metrics.closed_below(np.linspace(0, 10, 101)) == pytest.approx(0.25 * 9.5)


def test_closure_of_the_truth_is_one_and_of_its_opposite_nought() -> None:
    assert metrics.closure(TRUE, TRUE, VOICED) == 1.0
    assert metrics.closure(9 - TRUE, TRUE, VOICED, tolerance=0) == 0.0


@pytest.mark.parametrize("level", [0.0, 1.9, 2.0, 8.0, 50.0])
@given(seed=st.integers(0, 1000), tolerance=st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_a_face_that_never_moves_scores_one_half(level: float, seed: int, tolerance: int) -> None:
    rng = np.random.default_rng(seed)
    true = rng.choice([0.5, 8.0], T)
    true[:2] = 0.5, 8.0
    frozen = np.full(T, level)
    assert metrics.closure(frozen, true, ALL_VOICED, tolerance=tolerance) == 0.5
    assert metrics.closure_paired(frozen, true, ALL_VOICED, tolerance=tolerance) == 0.5


def test_closure_forgives_one_frame_not_two() -> None:
    late = np.full(len(TRUE), 8.0)
    late[[4, 5, 9]] = 1.0  # every closure one frame late
    assert metrics.closure(late, TRUE, VOICED) == 1.0
    assert metrics.closure_paired(late, TRUE, VOICED) == 1.0
    later = np.full(len(TRUE), 8.0)
    later[[6, 10]] = 1.0  # two frames late: no closed frame is right, every open one is
    assert metrics.closure(later, TRUE, VOICED) == 0.5


def test_closure_counts_each_class_alike() -> None:
    one_missed = TRUE.copy()
    one_missed[8] = 8.0  # 2 of 3 closed frames right, 9 of 9 open ones
    assert metrics.closure(one_missed, TRUE, VOICED) == pytest.approx((2 / 3 + 1) / 2)
    shut_too_long = np.full(len(TRUE), 1.0)
    shut_too_long[:2] = 8.0  # all closed right; open right: frames 0, 1, 2 of 9
    assert metrics.closure(shut_too_long, TRUE, VOICED) == pytest.approx((1 + 3 / 9) / 2)


def test_closure_is_judged_in_the_videos_millimetres() -> None:
    assert metrics.closure(0.2 * TRUE, TRUE, VOICED) == 0.5  # shape right, but never above 2 mm
    assert metrics.closure(3 + TRUE, TRUE, VOICED) == 0.5  # shape right, but never closed


def test_closure_looks_between_first_and_last_voiced_frame_only() -> None:
    voiced = np.zeros(len(TRUE), dtype=bool)
    voiced[[2, 6]] = True
    wrong_outside = TRUE.copy()
    wrong_outside[[0, 8, 10]] = 1.0, 8.0, 1.0
    assert metrics.closure(wrong_outside, TRUE, voiced) == 1.0
    assert np.isnan(metrics.closure(TRUE, TRUE, np.zeros(len(TRUE), dtype=bool)))
    only_open = np.zeros(len(TRUE), dtype=bool)
    only_open[5:8] = True
    assert np.isnan(metrics.closure(TRUE, TRUE, only_open))


def test_closure_leaves_untracked_frames_out() -> None:
    valid = np.ones(len(TRUE), dtype=bool)
    valid[8] = False
    missed = TRUE.copy()
    missed[8] = 8.0
    assert metrics.closure(missed, TRUE, VOICED, valid) == 1.0


def test_flicker_pleases_the_tolerance_but_not_the_other_two_rules() -> None:
    flicker = np.where(np.arange(T) % 2 == 0, 0.0, 8.0)
    true = np.where(np.arange(T) % 10 < 4, 0.5, 8.0)
    assert metrics.closure(flicker, true, ALL_VOICED) == 1.0
    assert metrics.closure(flicker, true, ALL_VOICED, tolerance=0) == pytest.approx(0.5, abs=0.03)
    # of 4 closed frames the outer 2 lie at an edge, of 6 open ones too; half of the rest is right
    paired = metrics.closure_paired(flicker, true, ALL_VOICED)
    assert paired == pytest.approx(((2 + 1) / 4 + (2 + 2) / 6) / 2, abs=0.05)


@given(seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_the_three_closures_are_in_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true, predicted = rng.choice([0.5, 8.0], (2, T))
    strict = metrics.closure(predicted, true, ALL_VOICED, tolerance=0)
    paired = metrics.closure_paired(predicted, true, ALL_VOICED)
    assert strict <= paired <= metrics.closure(predicted, true, ALL_VOICED)


# --- the six distances, areas, jitter ---------------------------------------------------------


def test_area_of_a_rectangle_and_a_circle() -> None:
    rectangle = np.array([[0, 0], [4, 0], [4, 3], [0, 3]], dtype=float)
    assert metrics.shoelace_area(rectangle) == 12.0
    assert metrics.shoelace_area(rectangle[::-1]) == 12.0  # either way round
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    circle = 5 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=-1)
    assert metrics.shoelace_area(circle) == pytest.approx(np.pi * 25, rel=1e-4)


@given(shift=st.tuples(*[st.floats(-9, 9)] * 3), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_a_constant_shift_is_its_length_in_position_and_nothing_else(
    shift: tuple[float, float, float], seed: int
) -> None:
    true = np.random.default_rng(seed).normal(0, 30, (8, NUM_LANDMARKS, 3))
    got = metrics.published(true + np.array(shift), true)
    length = float(np.linalg.norm(shift))
    assert got["d_p"] == pytest.approx(length, abs=1e-9)
    assert got["d_pl"] == pytest.approx(length, abs=1e-9)
    for key in ("d_v", "d_vl", "d_al", "d_ae"):
        assert got[key] == pytest.approx(0, abs=1e-7)


def test_lips_jaw_error_counts_its_61_points_only() -> None:
    true = np.zeros((4, NUM_LANDMARKS, 3))
    moved = true.copy()
    moved[:, LIPS_JAW] += [3, 4, 12]  # 13 mm, in 3-D
    got = metrics.published(moved, true)
    assert len(LIPS_JAW) == 61
    assert got["d_pl"] == pytest.approx(13)
    assert got["d_p"] == pytest.approx(13 * 61 / 478)
    assert got["d_v"] == 0


def test_velocity_is_per_frame_and_needs_two_valid_neighbours() -> None:
    true = np.zeros((4, NUM_LANDMARKS, 3))
    moving = true.copy()
    moving[..., 1] = 2.0 * np.arange(4)[:, None]  # 2 mm per frame
    assert metrics.velocity_error(moving, true) == pytest.approx(2)
    assert np.isnan(metrics.velocity_error(moving, true, [True, False, True, False]))
    assert metrics.position_error(moving, true, [False, True, False, False]) == pytest.approx(2)


def test_area_difference_of_the_lips() -> None:
    angle = np.linspace(0, 2 * np.pi, len(LIPS_INNER), endpoint=False)
    true = np.zeros((3, NUM_LANDMARKS, 3))
    true[:, LIPS_INNER, 0], true[:, LIPS_INNER, 1] = np.cos(angle), np.sin(angle)
    unit = float(metrics.shoelace_area(true[0, LIPS_INNER]))
    assert metrics.published(2 * true, true)["d_al"] == pytest.approx(3 * unit)


def test_opening_and_width_are_distances() -> None:
    face = face_with_opening(np.array([0.0, 1.5, 7.0]))
    np.testing.assert_allclose(metrics.opening(face), [0, 1.5, 7.0], atol=1e-12)
    assert metrics.width(face).shape == (3,)
    flat = np.zeros((NUM_LANDMARKS, 2))
    flat[61], flat[291] = (-25, 1), (25, 1)
    assert metrics.width(flat) == 50


def test_silence_keeps_away_from_voice() -> None:
    voiced = np.zeros(30, dtype=bool)
    voiced[12:15] = True
    quiet = metrics.silence(voiced)
    assert list(np.flatnonzero(~quiet)) == list(range(7, 20))  # 5 frames = 200 ms to each side


def test_jitter_in_millimetres_per_frame() -> None:
    face = np.zeros((10, NUM_LANDMARKS, 3))
    face[::2, :, 0] = 0.3
    assert metrics.jitter(face, np.ones(10, dtype=bool)) == pytest.approx(0.3)
    assert metrics.jitter(0 * face, np.ones(10, dtype=bool)) == 0
    assert np.isnan(metrics.jitter(face, np.zeros(10, dtype=bool)))


# --- a whole clip ---------------------------------------------------------------------------------


def test_score_clip_of_the_truth_itself() -> None:
    true = face_with_opening(np.clip(speechlike(5) * 2 - 8, 0, None))
    true[:, 61, 0] += speechlike(6)
    voiced = np.zeros(T, dtype=bool)
    voiced[20:60] = True
    got = metrics.score_clip(true, true, voiced)
    assert got["d_p"] == got["d_v"] == got["d_al"] == got["d_ae"] == 0
    assert got["opening_r"] == pytest.approx(1)
    assert got["width_r"] == pytest.approx(1)
    assert got["opening_slope"] == pytest.approx(1)
    assert got["closure"] == 1
    assert got["lag_ms"] == pytest.approx(0, abs=1e-9)
    assert got["jitter_mm"] == got["jitter_video_mm"]


def test_score_clip_of_a_static_face_has_no_r_and_scores_one_half() -> None:
    true = face_with_opening(np.clip(speechlike(5) * 2 - 8, 0, None))
    static = np.repeat(true[:1], T, axis=0)
    got = metrics.score_clip(static, true, ALL_VOICED)
    assert np.isnan(got["opening_r"])
    assert np.isnan(got["lag_ms"])
    assert got["opening_slope"] == pytest.approx(0, abs=1e-12)
    assert got["closure"] == 0.5


def test_score_clip_refuses_different_shapes() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        metrics.score_clip(np.zeros((4, 478, 3)), np.zeros((5, 478, 3)), np.ones(5))


def test_average_leaves_nan_out_and_counts_it() -> None:
    means, missing = metrics.average([{"a": 1.0, "b": np.nan}, {"a": np.nan, "b": np.nan}])
    assert means["a"] == 1.0
    assert np.isnan(means["b"])
    assert missing == {"a": 1, "b": 2}
    assert metrics.average([]) == ({}, {})


@pytest.mark.parametrize("hz", [0.4, 1.0, 3.0, 4.0])
@pytest.mark.parametrize("delay", [-30.0, 13.0])
def test_lag_of_slow_and_fast_sines(hz: float, delay: float) -> None:
    """Neither the overlap's weight nor the neighbouring period moves the peak."""
    assert metrics.lag_ms(sine(delay, hz), sine(0, hz)) == pytest.approx(delay, abs=2.5)
