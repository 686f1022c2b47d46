"""Make the canonical face: generalized Procrustes mean over people (Gower 1975).

`./emo data canonical FOLDER...`, one folder of videos for each person. Changing the canonical
face changes every model: it is frozen, and made again only for a new version.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from emo_core.face.alignment import fit_similarity
from emo_core.face.topology import (
    LEFT_EYE,
    LEFT_EYEBROW,
    LIPS_INNER,
    LIPS_OUTER,
    LOWER_LIP_INNER,
    LOWER_OVAL,
    NUM_LANDMARKS,
    OUTER_EYE_CORNERS,
    RIGHT_EYE,
    RIGHT_EYEBROW,
    UPPER_LIP_INNER,
)

Array = NDArray[np.float32]
Array64 = NDArray[np.float64]

OUTER_EYE_DISTANCE_MM = 90.0
FOREHEAD, CHIN = 10, 152
#: Points on the plane of symmetry, top to bottom.
MIDLINE = [10, 151, 9, 8, 168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 164, 0, 11, 12, 13]
MIDLINE += [14, 15, 16, 17, 18, 200, 199, 175, 152]
_IRIS_MIRROR = [473, 476, 475, 474, 477, 468, 471, 470, 469, 472]
_ITERATIONS = 30


def mirror_indices(face: Array64) -> NDArray[np.int64]:
    """(478,): for each point its mirror image, from a face (478, 3) with its mouth open.

    The plane of symmetry is fitted to the contours, whose pairs are known; the rest are matched
    across it at least total distance (the mesh's own edges are not symmetric).
    """
    from scipy.optimize import linear_sum_assignment

    known = np.arange(NUM_LANDMARKS)
    for right, left in ((RIGHT_EYEBROW, LEFT_EYEBROW), (RIGHT_EYE, LEFT_EYE)):
        known[right], known[left] = left, right
    for ring in (LIPS_OUTER, LIPS_INNER):
        upper = ring[:11]
        known[upper] = upper[::-1]
        lower = np.concatenate([ring[10:], ring[:1]])
        known[lower] = lower[::-1]
    known[LOWER_OVAL] = LOWER_OVAL[::-1]
    known[468:] = _IRIS_MIRROR
    fixed = np.concatenate([np.flatnonzero(known != np.arange(NUM_LANDMARKS)), MIDLINE])
    weights = np.zeros(NUM_LANDMARKS)
    weights[fixed] = 1 / len(fixed)
    flipped = face * [-1, 1, 1]
    scale, rotation, translation = fit_similarity(flipped, face[known], weights)
    reflected = scale * flipped @ rotation.T + translation
    cost = np.linalg.norm(reflected[:, None] - face[None], axis=-1)
    cost[fixed] = 1e6
    cost[:, known[fixed]] = 1e6
    cost[fixed, known[fixed]] = 0
    mirror = np.asarray(linear_sum_assignment(cost)[1], np.int64)
    if not (mirror[mirror] == np.arange(NUM_LANDMARKS)).all():
        raise ValueError("the face given is too far from symmetric to tell mirror images")
    return mirror


def procrustes_mean(people: Sequence[Array]) -> Array64:
    """Frames (T, 478, 3) in px for each person -> mean shape (478, 3), unit size.

    Each person counts the same, however many frames there are.
    """
    flipped = [frames.astype(np.float64) * [1, -1, -1] for frames in people]
    mean = _normalized(flipped[0][0])
    uniform = np.full(len(mean), 1 / len(mean))
    for _ in range(_ITERATIONS):
        means = []
        for frames in flipped:
            scale, rotation, translation = fit_similarity(frames, mean, uniform)
            aligned = scale[:, None, None] * np.einsum("tde,tne->tnd", rotation, frames)
            means.append((aligned + translation[:, None]).mean(0))
        mean = _normalized(np.mean(means, axis=0))
    return mean


def procrustes_face(people: Sequence[Array]) -> tuple[Array, NDArray[np.int64]]:
    """All frames (T, 478, 3) in px of each person -> canonical face (478, 3) mm, mirror table."""
    mirror = mirror_indices(procrustes_mean([sorted_by_gap(p)[-len(p) // 5 :] for p in people]))
    calm = procrustes_mean([sorted_by_gap(p)[: max(1, len(p) // 5)] for p in people])
    return _upright(calm, mirror), mirror


def sorted_by_gap(screen: Array) -> Array:
    """Frames (T, 478, 3) that show a face, by their lip gap, closed mouths first."""
    screen = screen[np.isfinite(screen).all(axis=(1, 2))]
    gap = np.linalg.norm(screen[:, UPPER_LIP_INNER] - screen[:, LOWER_LIP_INNER], axis=-1)
    return screen[np.argsort(gap)]


def _normalized(face: Array64) -> Array64:
    centred = face - face.mean(0)
    return np.asarray(centred / centred.std())


def _upright(face: Array64, mirror: NDArray[np.int64]) -> Array:
    """Mirror-symmetric about x = 0, forehead over chin, eye corners 90 mm apart, centroid at 0."""
    right, left = OUTER_EYE_CORNERS
    uniform = np.full(len(face), 1 / len(face))
    for _ in range(3):  # the first mean is symmetric; the rest settles the axes
        mirrored = (face * [-1, 1, 1])[mirror]
        scale, rotation, translation = fit_similarity(mirrored, face, uniform)
        face = (face + scale * mirrored @ rotation.T + translation) / 2
        x = face[left] - face[right]
        x /= np.linalg.norm(x)
        y = face[FOREHEAD] - face[CHIN]
        y -= (y @ x) * x
        y /= np.linalg.norm(y)
        face = face @ np.stack([x, y, np.cross(x, y)]).T
        face -= face[:468].mean(0)
    face *= OUTER_EYE_DISTANCE_MM / np.linalg.norm(face[left] - face[right])
    return face.astype(np.float32)
