"""How composed expressions move."""

from __future__ import annotations

import numpy as np
import pytest

from emo_core.face.alignment import canonical_face
from emo_core.mimic.action_units import UNITS, action_units
from emo_core.mimic.composition import (
    TrackerNoise,
    another_person,
    blinks,
    compose,
    own_way,
    perform,
)

LIDS = list(UNITS).index("lid_close")


def test_onsets_take_as_long_as_peoples() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        one = compose(rng)
        assert 0.45 <= (one.complete - one.start) / 25 <= 1.4  # 0.5 to 1.2 s, and a side's lag
        assert one.intensities.min() >= 0.0 and one.intensities.max() <= 1.0
        others = [u for u in range(len(UNITS)) if u != LIDS]  # lids also blink
        rising = one.intensities[one.start : one.complete + 1][:, others]
        assert (np.diff(rising, axis=0) >= -1e-9).all()
        assert np.allclose(one.intensities[one.complete][others], one.peak[others], atol=1e-3)
        assert np.abs(one.intensities[: one.start][:, others]).max(initial=0.0) < 1e-6
        assert one.complete <= one.release <= len(one.intensities)


def test_units_set_off_apart_and_faces_are_not_symmetric() -> None:
    rng = np.random.default_rng(1)
    spread, uneven = [], []
    for _ in range(100):
        one = compose(rng)
        used = np.flatnonzero(one.peak.max(1) > 0.1)
        half = [
            np.argmax(one.intensities[:, u, 0] > 0.5 * one.peak[u, 0]) for u in used if u != LIDS
        ]
        if len(half) > 1:
            spread.append(np.ptp(half))
        uneven.append(np.abs(np.diff(one.peak[used], axis=1)).max())
    assert np.mean(np.array(spread) >= 2) > 0.4
    assert np.mean(np.array(uneven) > 0.02) > 0.7


def test_the_same_seed_composes_the_same() -> None:
    first, second = (compose(np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first.intensities, second.intensities) and first.kind == second.kind


def test_blinks_close_the_lids_and_nothing_else() -> None:
    calm = blinks(np.random.default_rng(2), 60.0)
    assert not calm.peak.any()
    assert not np.delete(calm.intensities, LIDS, axis=1).any()
    closed = calm.intensities[:, LIDS, 0] > 0.4
    count = int((np.diff(closed.astype(int)) > 0).sum())
    assert 5 <= count <= 35  # 18 expected in a minute


def test_the_complete_expression_is_what_the_frames_come_to() -> None:
    face = canonical_face()
    rng = np.random.default_rng(4)
    composition = compose(rng)
    moved, peak = perform(face, own_way(action_units(face), rng), composition)
    held = moved[composition.complete : composition.release - 1]
    lips = slice(52, 92)  # blinks close the lids
    assert np.abs(held[:, lips] - peak[lips]).max() < 1e-3
    assert np.abs(moved[0, lips]).max() < 1e-6


def test_people_differ_but_stay_people() -> None:
    rng = np.random.default_rng(6)
    face = canonical_face()
    for _ in range(50):
        other = another_person(face, rng)
        assert 0.5 < np.linalg.norm(other - face, axis=1).mean() < 12.0
        assert (other[[159, 386], 1] > other[[145, 374], 1]).all()  # open eyes
        assert other[13, 1] > other[14, 1] - 1.0


def test_noise_is_that_of_the_stretches() -> None:
    rng = np.random.default_rng(7)
    shapes = rng.normal(0.0, 0.1, (3, 113, 2))
    stretches = [
        np.tensordot(rng.normal(0.0, 1.0, (20, 3)), shapes, axes=1)
        + np.linspace(0.0, rng.normal(), 20)[:, None, None]  # a drift, which is no noise
        + rng.normal()
        for _ in range(40)
    ]
    played = TrackerNoise(stretches).play(2000, rng)
    assert played.shape == (2000, 113, 2)
    expected = np.sqrt((shapes**2).sum(0))
    assert np.median(played.std(0) / expected) == pytest.approx(1.0, abs=0.1)
    assert np.abs(played.mean(0)).max() < 0.05
    assert np.linalg.matrix_rank(played.reshape(2000, -1), tol=1e-6) <= 3 + 1
    with pytest.raises(ValueError, match="at least one"):
        TrackerNoise([])
