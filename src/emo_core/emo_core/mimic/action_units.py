"""Ten action units of a face as displacement fields on the 478-point mesh.

Expression videos are scarce, so expressions are composed: each unit says where brows, lids, lips
and jaw go at its greatest intensity (tables below, in mm or in shares of the face's own lid
aperture and mouth width), and the rest of the skin follows smoothly. The units are those of the
Facial Action Coding System (Ekman, Friesen and Hager 2002); the amounts are ours: drawn up from
its descriptions and checked by eye and against filmed mouth openings and blinks.

Every unit has a right and a left half (the person's own), so that faces need not be symmetric.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_core.face.alignment import canonical_face
from emo_core.face.topology import (
    LEFT_EYE,
    LEFT_EYEBROW,
    LIPS_INNER,
    LIPS_OUTER,
    LOWER_OVAL,
    NUM_LANDMARKS,
    RIGHT_EYE,
    RIGHT_EYEBROW,
    RIGID_WEIGHTS,
)
from emo_core.viz.draw import mesh_edges

Array = NDArray[np.float64]
#: FaceMesh index -> displacement (x outward, y up, z towards the camera) in mm.
Moves = dict[int, tuple[float, float, float]]

#: Names, and the numbers of the Facial Action Coding System.
UNITS = {
    "brow_raise": "1 + 2",
    "brow_drop": "4",
    "cheek_raise": "6",
    "nose_wrinkle": "9",
    "chin_raise": "17",
    "jaw_drop": "26",
    "lip_corner_pull": "12",
    "lip_corner_depress": "15",
    "pucker": "18",
    "lid_close": "43",
}
#: Lips and lids that close come no nearer than FaceMesh shows them when they touch, mm.
LIP_CONTACT_MM, LID_CONTACT_MM = 0.3, 1.0


class _Half:
    """One side's points, each contour from the corner or the outer end to the middle."""

    def __init__(self, side: int) -> None:
        right = side < 0
        brow, eye = (RIGHT_EYEBROW, RIGHT_EYE) if right else (LEFT_EYEBROW, LEFT_EYE)
        self.brow_upper, self.brow_lower = brow[:5], brow[5:]
        self.upper_lid, self.lower_lid = eye[1:8], eye[:8:-1]
        upper = slice(0, 6) if right else slice(10, 4, -1)
        lower = [0, 19, 18, 17, 16, 15] if right else [10, 11, 12, 13, 14, 15]
        self.outer_upper, self.outer_lower = LIPS_OUTER[upper], LIPS_OUTER[lower]
        self.inner_upper, self.inner_lower = LIPS_INNER[upper], LIPS_INNER[lower]
        self.oval = LOWER_OVAL[:11] if right else LOWER_OVAL[:9:-1]  # ear to chin
        # FaceMesh indices without a contour of their own: cheek under the eye, nose wing,
        # fold beside the mouth.
        self.cheek = (50, 101, 118) if right else (280, 330, 347)
        self.wing = (48, 64, 98, 129) if right else (278, 294, 327, 358)
        self.fold = (205, 206, 207) if right else (425, 426, 427)


_HALVES = {-1: _Half(-1), 1: _Half(1)}
#: Points in the middle of the lips and chin: both halves' contours end there.
_MIDLINE = frozenset(map(int, (LIPS_OUTER[5], LIPS_OUTER[15], LIPS_INNER[5], LIPS_INNER[15], 152)))
#: How softly one half of the face passes into the other.
_MIDDLE_MM = 4.0
_PINNED = np.array(sorted(set(RIGID_WEIGHTS) - {108, 151, 337}))


def action_units(face: NDArray[Any]) -> Array:
    """The fields of one person: metric face at rest (478, 3) -> (10, 2, 478, 3) in mm.

    Axis 0 as `UNITS`, axis 1 right and left half. A face shows `face + sum(intensity * field)`,
    intensities in [0, 1]; `show` adds them up with lids and lips kept from crossing.
    """
    at_rest: Array = np.asarray(face, dtype=np.float64)
    left = 1.0 / (1.0 + np.exp(-canonical_face()[:, 0].astype(np.float64) / _MIDDLE_MM))
    fields = np.zeros((len(UNITS), 2, NUM_LANDMARKS, 3))
    for u, name in enumerate(UNITS):
        moves: Moves = {}
        for side, half in _HALVES.items():
            for point, (x, y, z) in _RULES[name](at_rest, half).items():
                moves[point] = (0.0 if point in _MIDLINE else side * x, y, z)
        whole = _spread(np.array([*moves]), np.array([*moves.values()]))
        fields[u] = np.stack([1.0 - left, left])[..., None] * whole
    return fields


def show(face: NDArray[Any], fields: Array, intensities: NDArray[Any]) -> Array:
    """Faces at rest (478, 3) + units at intensities (T, 10, 2) -> (T, 478, 3) mm."""
    moved = np.tensordot(np.asarray(intensities, np.float64), fields, axes=([1, 2], [0, 1]))
    shown: Array = face + moved
    for half in _HALVES.values():
        _keep_apart(shown, face, half.upper_lid, half.lower_lid, LID_CONTACT_MM)
        _keep_apart(shown, face, half.inner_upper[1:], half.inner_lower[1:], LIP_CONTACT_MM)
    return shown


def _keep_apart(
    shown: Array,
    face: NDArray[Any],
    upper: NDArray[np.intp],
    lower: NDArray[np.intp],
    contact: float,
) -> None:
    """Lift `upper` and push `lower` until their gap is `contact`, or the one at rest; in place."""
    least = np.minimum(face[upper, 1] - face[lower, 1], contact)
    missing = np.maximum(least - (shown[:, upper, 1] - shown[:, lower, 1]), 0.0)
    shown[:, upper, 1] += 0.5 * missing
    shown[:, lower, 1] -= 0.5 * missing


def _spread(at: NDArray[np.intp], wanted: Array) -> Array:
    """Known displacements at some points -> (478, 3): harmonic on the mesh, 0 where pinned."""
    known = np.zeros(NUM_LANDMARKS, bool)
    values = np.zeros((NUM_LANDMARKS, 3))
    known[_PINNED] = True
    known[468:] = True  # irises: gaze is no expression
    known[at] = True
    values[at] = wanted
    laplacian = _laplacian()
    free = ~known
    values[free] = np.linalg.solve(
        laplacian[np.ix_(free, free)], -laplacian[np.ix_(free, known)] @ values[known]
    )
    return values


@lru_cache(maxsize=1)
def _laplacian() -> Array:
    laplacian = np.zeros((NUM_LANDMARKS, NUM_LANDMARKS))
    for a, b in mesh_edges():
        laplacian[[a, b], [b, a]] = -1.0
    np.fill_diagonal(laplacian, -laplacian.sum(1))
    return laplacian


def _move(
    moves: Moves, points: NDArray[np.intp] | tuple[int, ...], x: object, y: object, z: object = 0.0
) -> None:
    """Add displacements, each a number or one for every point."""
    n = len(points)
    each = [np.broadcast_to(np.asarray(v, np.float64), n) for v in (x, y, z)]
    for i, point in enumerate(points):
        before = moves.get(int(point), (0.0, 0.0, 0.0))
        added = (before[0] + each[0][i], before[1] + each[1][i], before[2] + each[2][i])
        moves[int(point)] = (float(added[0]), float(added[1]), float(added[2]))


def _still(*contours: NDArray[np.intp]) -> Moves:
    moves: Moves = {}
    for contour in contours:
        _move(moves, contour, 0.0, 0.0)
    return moves


def _aperture(face: Array, half: _Half) -> Array:
    opening: Array = np.maximum(face[half.upper_lid, 1] - face[half.lower_lid, 1], 0.0)
    return opening


def _mouth_width(face: Array) -> float:
    return float(np.linalg.norm(face[LIPS_OUTER[10]] - face[LIPS_OUTER[0]]))


def _lips(half: _Half) -> tuple[NDArray[np.intp], ...]:
    return half.outer_upper, half.outer_lower, half.inner_upper, half.inner_lower


# From the outer end of a brow or lid, or the corner of the mouth, to the middle.
_LID = np.sin(np.linspace(0.35, np.pi - 0.35, 7))
_FROM_CORNER = np.array([1.0, 0.82, 0.58, 0.36, 0.16, 0.0])
_TO_MIDDLE = np.array([0.0, 0.35, 0.65, 0.88, 0.98, 1.0])


def _brow_raise(face: Array, half: _Half) -> Moves:
    moves = _still(half.lower_lid, *_lips(half))
    rise = np.array([5.0, 6.3, 7.0, 6.6, 5.6])
    _move(moves, half.brow_upper, 0.3, rise)
    _move(moves, half.brow_lower, 0.3, 0.95 * rise)
    _move(moves, half.upper_lid, 0.0, 0.07 * _aperture(face, half).max() * _LID)
    return moves


def _brow_drop(face: Array, half: _Half) -> Moves:
    moves = _still(half.lower_lid, *_lips(half))
    drop = np.array([1.2, 2.2, 3.2, 4.0, 4.2])
    inward = np.array([0.2, 0.6, 1.2, 2.0, 2.4])
    _move(moves, half.brow_upper, -inward, -drop, 0.5)
    _move(moves, half.brow_lower, -inward, -drop, 0.5)
    _move(moves, half.upper_lid, 0.0, -0.10 * _aperture(face, half).max() * _LID)
    return moves


def _cheek_raise(face: Array, half: _Half) -> Moves:
    moves: Moves = {}
    opening = _aperture(face, half)
    _move(moves, half.lower_lid, 0.0, 0.24 * opening)
    _move(moves, half.upper_lid, 0.0, -0.10 * opening)
    _move(moves, half.brow_lower, 0.0, -np.array([0.9, 0.7, 0.4, 0.1, 0.0]))
    _move(moves, half.brow_upper, 0.0, -np.array([0.7, 0.5, 0.3, 0.1, 0.0]))
    _move(moves, half.cheek, 0.3, 2.6, 0.8)
    for contour in _lips(half):
        _move(moves, contour, 0.0, 0.6 * _FROM_CORNER)
    _move(moves, half.oval, 0.0, 0.0)
    return moves


def _nose_wrinkle(face: Array, half: _Half) -> Moves:
    moves = _still(half.oval)
    _move(moves, half.wing, 0.6, 2.4)
    _move(moves, half.fold, 0.3, 1.6)
    lift = 2.6 * np.array([0.25, 0.6, 0.95, 1.0, 0.9, 0.8])
    _move(moves, half.outer_upper, 0.0, lift)
    _move(moves, half.inner_upper, 0.0, 0.8 * lift)
    _move(moves, half.outer_lower[1:], 0.0, 0.12 * lift[1:])
    _move(moves, half.inner_lower[1:], 0.0, 0.12 * lift[1:])
    drop = np.array([0.4, 0.9, 1.5, 2.2, 2.6])
    _move(moves, half.brow_upper, -0.3 * drop, -drop)
    _move(moves, half.brow_lower, -0.3 * drop, -drop)
    opening = _aperture(face, half)
    _move(moves, half.lower_lid, 0.0, 0.12 * opening)
    _move(moves, half.upper_lid, 0.0, -0.10 * opening)
    return moves


def _chin_raise(face: Array, half: _Half) -> Moves:
    moves = _still(half.upper_lid, half.lower_lid)
    up = np.array([0.0, 0.0, 0.0, 0.0, 0.1, 0.3, 0.7, 1.1, 1.4, 1.6, 1.6])
    _move(moves, half.oval, 0.0, up)
    _move(moves, half.outer_lower, 0.0, np.array([-0.9, 0.4, 1.6, 2.4, 2.8, 2.9]), 0.8)
    _move(moves, half.outer_upper[1:], 0.0, np.array([-0.3, 0.3, 0.8, 1.0, 1.0]))
    _move(moves, half.inner_lower, 0.0, np.array([-0.8, 0.0, 0.8, 1.2, 1.4, 1.4]), 0.6)
    _move(moves, half.inner_upper[1:], 0.0, np.array([-0.2, 0.4, 0.9, 1.1, 1.1]))
    return moves


def _jaw_drop(face: Array, half: _Half) -> Moves:
    """The mandible turns about the ears; the oval's share of it is that of filmed openings."""
    moves = _still(half.upper_lid, half.lower_lid)
    drop = 15.0
    chin = 0.6 * drop * np.array([0.0, 0.0, 0.0, 0.02, 0.13, 0.26, 0.39, 0.54, 0.74, 0.91, 1.0])
    _move(moves, half.oval, -0.05 * chin, -chin, -0.5 * chin)
    lower = np.array([0.22, 0.48, 0.74, 0.90, 0.98, 1.0])
    inward = np.array([-1.2, -1.1, -0.8, -0.5, -0.2, 0.0])
    _move(moves, half.outer_lower, inward, -0.95 * drop * lower, -0.2 * drop * lower)
    _move(moves, half.inner_lower, inward, -drop * lower, -0.2 * drop * lower)
    upper = np.array([0.12, 0.02, -0.05, -0.08, -0.08])
    _move(moves, half.outer_upper[1:], inward[1:], -drop * upper)
    _move(moves, half.inner_upper[1:], inward[1:], -drop * upper)
    return moves


def _lip_corner_pull(face: Array, half: _Half) -> Moves:
    moves = _still(half.upper_lid)
    out = 0.13 * _mouth_width(face)
    up = 5.0
    _move(moves, half.outer_upper, out * _FROM_CORNER, up * _FROM_CORNER**1.5, -3 * _FROM_CORNER)
    _move(moves, half.inner_upper, out * _FROM_CORNER, up * _FROM_CORNER**1.5, -3 * _FROM_CORNER)
    rise = up * _FROM_CORNER**1.8
    _move(moves, half.outer_lower[1:], (out * _FROM_CORNER)[1:], rise[1:], -2 * _FROM_CORNER[1:])
    _move(moves, half.inner_lower[1:], (out * _FROM_CORNER)[1:], rise[1:], -2 * _FROM_CORNER[1:])
    # Pulled sideways, the lips get thinner.
    _move(moves, half.outer_upper, 0.0, -0.7 * _TO_MIDDLE)
    _move(moves, half.outer_lower, 0.0, 0.6 * _TO_MIDDLE)
    _move(moves, half.fold, 1.8, 2.6, 1.0)
    _move(moves, half.cheek, 0.4, 1.6, 0.8)
    _move(moves, half.lower_lid, 0.0, 0.06 * _aperture(face, half))
    bulge = np.array([0.0, 0.0, 0.3, 0.8, 1.2, 1.0, 0.5, 0.2, 0.0, 0.0, 0.0])
    _move(moves, half.oval, bulge, 0.4 * bulge)
    return moves


def _lip_corner_depress(face: Array, half: _Half) -> Moves:
    moves = _still(half.upper_lid, half.lower_lid)
    down = 4.5 * _FROM_CORNER**1.7
    for contour in (half.outer_upper, half.inner_upper):
        _move(moves, contour, 0.8 * _FROM_CORNER, -down)
    for contour in (half.outer_lower[1:], half.inner_lower[1:]):
        _move(moves, contour, 0.8 * _FROM_CORNER[1:], -0.9 * down[1:])
    _move(moves, half.fold, 0.2, -1.2)
    _move(moves, half.oval, 0.0, -np.array([0, 0, 0, 0.1, 0.3, 0.5, 0.5, 0.3, 0.1, 0.0, 0.0]))
    return moves


def _pucker(face: Array, half: _Half) -> Moves:
    moves = _still(half.upper_lid, half.lower_lid)
    middle = 0.5 * (face[LIPS_OUTER[0], 0] + face[LIPS_OUTER[10], 0])
    for contour, thicker in (
        (half.outer_upper, 1.0),
        (half.inner_upper, 0.2),
        (half.outer_lower, -1.0),
        (half.inner_lower, -0.2),
    ):
        inward = -0.30 * np.abs(face[contour, 0] - middle)
        forward = np.array([1.0, 2.0, 3.0, 3.6, 3.9, 4.0])
        first = 0 if contour is half.outer_upper or contour is half.inner_upper else 1
        _move(moves, contour[first:], inward[first:], thicker * _TO_MIDDLE[first:], forward[first:])
    _move(moves, half.fold, -1.8, 0.0)
    inward = -np.array([0.0, 0.0, 0.2, 0.5, 0.8, 0.6, 0.3, 0.1, 0.0, 0.0, 0.0])
    _move(moves, half.oval, inward, 0.0)
    return moves


def _lid_close(face: Array, half: _Half) -> Moves:
    moves = _still(*_lips(half))
    opening = np.maximum(_aperture(face, half) - LID_CONTACT_MM, 0.0)
    _move(moves, half.upper_lid, 0.0, -0.85 * opening)
    _move(moves, half.lower_lid, 0.0, 0.15 * opening)
    _move(moves, half.brow_upper, 0.0, 0.0)
    _move(moves, half.brow_lower, 0.0, 0.0)
    return moves


_RULES = {
    "brow_raise": _brow_raise,
    "brow_drop": _brow_drop,
    "cheek_raise": _cheek_raise,
    "nose_wrinkle": _nose_wrinkle,
    "chin_raise": _chin_raise,
    "jaw_drop": _jaw_drop,
    "lip_corner_pull": _lip_corner_pull,
    "lip_corner_depress": _lip_corner_depress,
    "pucker": _pucker,
    "lid_close": _lid_close,
}
