"""What each unit does to a face."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emo_core.face.alignment import canonical_face, fit_similarity
from emo_core.face.topology import EYEBROWS, EYES, LIPS, RIGID_WEIGHTS
from emo_core.mimic.action_units import UNITS, action_units, show

FACE = canonical_face().astype(np.float64)
FIELDS = action_units(FACE)
CHIN, LEFT_CORNER, RIGHT_CORNER = 152, 291, 61
UPPER_LIDS, LOWER_LIDS = [159, 386], [145, 374]


def at(unit: str, level: float = 1.0) -> np.ndarray:
    """Both halves of one unit: (478, 3) displacement."""
    intensities = np.zeros((1, len(UNITS), 2))
    intensities[0, list(UNITS).index(unit)] = level
    return show(FACE, FIELDS, intensities)[0] - FACE


@pytest.mark.parametrize(
    ("unit", "points", "axis", "sign", "least_mm"),
    [
        ("brow_raise", EYEBROWS, 1, 1, 4.0),
        ("brow_drop", EYEBROWS, 1, -1, 1.0),
        ("cheek_raise", LOWER_LIDS, 1, 1, 1.0),
        ("nose_wrinkle", [0, 37, 267], 1, 1, 1.5),
        ("chin_raise", [CHIN, 17], 1, 1, 1.0),
        ("jaw_drop", [CHIN, 14, 17], 1, -1, 6.0),
        ("lip_corner_pull", [LEFT_CORNER, RIGHT_CORNER], 1, 1, 3.0),
        ("lip_corner_depress", [LEFT_CORNER, RIGHT_CORNER], 1, -1, 3.0),
        ("pucker", [0, 17, LEFT_CORNER, RIGHT_CORNER], 2, 1, 0.9),
        ("lid_close", UPPER_LIDS, 1, -1, 4.0),
    ],
)
def test_each_unit_moves_what_it_is_named_for(
    unit: str, points: list[int], axis: int, sign: int, least_mm: float
) -> None:
    assert (sign * at(unit)[points, axis] >= least_mm).all()


def test_corners_go_apart_when_pulled_and_together_when_puckered() -> None:
    for unit, sign in (("lip_corner_pull", 1), ("pucker", -1)):
        moved = at(unit)
        assert sign * (moved[LEFT_CORNER, 0] - moved[RIGHT_CORNER, 0]) > 6.0


@pytest.mark.parametrize(
    ("unit", "still"),
    [
        ("brow_raise", LIPS), ("jaw_drop", EYES), ("jaw_drop", EYEBROWS), ("pucker", EYES),
        ("lid_close", LIPS), ("lip_corner_depress", EYEBROWS),
    ],
)  # fmt: skip
def test_units_leave_the_rest_of_the_face(unit: str, still: np.ndarray) -> None:
    assert np.abs(at(unit)[still]).max() < 0.2


def test_the_skull_stays_so_the_tracker_would_not_turn_the_head() -> None:
    rigid = np.array(list(RIGID_WEIGHTS))
    weights = np.array(list(RIGID_WEIGHTS.values()))
    weights = weights / weights.sum()
    for unit in UNITS:
        scale, rotation, translation = fit_similarity(
            (FACE + at(unit))[rigid], FACE[rigid], weights
        )
        assert abs(scale - 1) < 0.01 and np.abs(translation).max() < 0.8, unit
        assert np.abs(rotation - np.eye(3)).max() < 0.02, unit


def test_halves_move_their_side() -> None:
    pull = FIELDS[list(UNITS).index("lip_corner_pull")]
    for half, own, other in ((0, RIGHT_CORNER, LEFT_CORNER), (1, LEFT_CORNER, RIGHT_CORNER)):
        assert np.linalg.norm(pull[half, own]) > 5.0
        assert np.linalg.norm(pull[half, other]) < 0.1


def test_a_symmetric_face_moves_symmetrically() -> None:
    for unit in UNITS:
        moved = at(unit)
        for left, right in ((291, 61), (386, 159), (334, 105), (397, 172)):
            assert np.abs(moved[left] * (-1, 1, 1) - moved[right]).max() < 0.3, unit


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_lids_and_lips_never_cross(seed: int) -> None:
    rng = np.random.default_rng(seed)
    faces = show(FACE, FIELDS, rng.uniform(0.0, 1.0, (20, len(UNITS), 2)))
    for upper, lower in ((159, 145), (386, 374), (158, 153), (13, 14), (82, 87), (312, 317)):
        gap = faces[:, upper, 1] - faces[:, lower, 1]
        assert gap.min() >= min(FACE[upper, 1] - FACE[lower, 1], 0.3) - 1e-6


def test_closed_lids_are_as_far_apart_as_facemesh_shows_them() -> None:
    moved = FACE + at("lid_close")
    gap = moved[UPPER_LIDS, 1] - moved[LOWER_LIDS, 1]
    assert (gap < 1.2).all() and (gap > 0.5).all()  # filmed blinks: 0.5 to 2 mm
