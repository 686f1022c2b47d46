"""Offsets between a clip's sound and its picture, on clips shifted by known amounts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emo_core.audio.mel import LogMel
from emo_core.evaluation.clips import EvalClip, load_clips
from emo_core.evaluation.lipsync import evaluate
from emo_core.evaluation.sync import Sync, SyncReference, pooled_lag_ms

T = 75


def curves(delay_ms: float, seed: int = 0) -> np.ndarray:
    """(T, 4): band-limited curves that are `delay_ms` late."""
    rng = np.random.default_rng(seed)
    t = np.arange(T)[:, None] / 25 - delay_ms / 1000
    hz, phase = rng.uniform(1, 4, (3, 4)), rng.uniform(0, 6.28, (3, 4))
    return np.sum(np.sin(2 * np.pi * hz * t[..., None, :] + phase), axis=1)


def sound_late(clip: EvalClip, ms: float) -> EvalClip:
    """The same clip, its sound `ms` later."""
    moved = np.roll(clip.clip.audio, round(ms * 16))
    return EvalClip(replace(clip.clip, audio=moved, mel=LogMel().feed(moved)))


@pytest.mark.parametrize("delay", [-75.0, -40.0, -13.0, 0.0, 20.0, 60.0])
def test_pooled_lag_finds_a_known_delay(delay: float) -> None:
    at = np.ones(T, bool)
    assert pooled_lag_ms(curves(delay), curves(0), at) == pytest.approx(delay, abs=2.0)


def test_pooled_lag_looks_only_where_it_is_told() -> None:
    at = np.arange(T) < 40
    mixed = np.where(at[:, None], curves(20), curves(-60))
    assert pooled_lag_ms(mixed, curves(0), at & (np.arange(T) < 37)) == pytest.approx(20, abs=2)


def test_pooled_lag_without_a_peak_is_nan() -> None:
    at, ramp = np.ones(T, bool), np.arange(T)[:, None] * np.ones(4)
    assert np.isnan(pooled_lag_ms(np.zeros((T, 4)), curves(0), at))
    assert np.isnan(pooled_lag_ms(ramp, -ramp, at))


def test_pooled_lag_of_nothing_is_nan() -> None:
    assert np.isnan(pooled_lag_ms(curves(0), curves(0), np.zeros(T, bool)))


def test_the_reference_finds_by_how_much_the_sound_is_late(prepared: Path) -> None:
    clips = load_clips(prepared)
    reference = SyncReference(clips.training)
    for clip in clips.clips:
        still = reference.offsets(clip)[0]
        assert abs(still) < 12
        for ms in (-30.0, 15.0, 40.0):
            moved = reference.offsets(sound_late(clip, ms))
            assert moved[0] - still == pytest.approx(ms, abs=5)


def test_jitter_is_what_the_halves_share() -> None:
    rng = np.random.default_rng(0)
    own, chance = rng.normal(0, 18, (4000, 1)), rng.normal(0, 12, (4000, 3))
    assert Sync(own + chance).jitter_ms == pytest.approx(18, abs=1)
    assert Sync(chance).jitter_ms < 4
    assert np.isnan(Sync(chance[:2]).jitter_ms)


def test_evaluation_takes_the_clips_offsets_off_the_models_lag(prepared: Path) -> None:
    clips = load_clips(prepared)
    late = (0.0, 24.0, -24.0)
    moved = [sound_late(clip, ms) for clip, ms in zip(clips.clips, late, strict=True)]
    reference = SyncReference(clips.training)
    sync = Sync.of(moved, reference)
    exact = sync.as_json(sync.offsets[:, 0])  # a model that is as late as the sound
    assert exact["clips"] == 3
    assert exact["model_abs_lag_ms"] == pytest.approx(0)
    assert sync.as_json([0.0, 0.0, np.nan])["clips"] == 2
    by_sound = {clip.clip.audio.tobytes(): clip for clip in clips.clips}
    got = evaluate(clips, lambda audio, _: by_sound[audio.tobytes()].clip.landmarks)
    figures = got.as_json()["sync"]
    assert isinstance(figures, dict)
    assert figures["model_abs_lag_ms"] == pytest.approx(figures["offset_abs_ms"])
