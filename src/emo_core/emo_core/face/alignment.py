"""Screen face <-> metric face: a weighted similarity Procrustes fit of skull-fixed points.

Metric frame: millimetres, x to the image's right, y up, z towards the camera, head pose and
scale removed; the canonical face's outer eye corners are 90 mm apart
(Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns").
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_core.face.topology import NUM_LANDMARKS, RIGID_WEIGHTS

Array = NDArray[np.float32]

_RIGID = np.array(list(RIGID_WEIGHTS))
_WEIGHTS = np.array(list(RIGID_WEIGHTS.values())) / sum(RIGID_WEIGHTS.values())
#: Screen axes (x right, y down, z away from the camera) -> metric axes.
_FLIP = np.array([1.0, -1.0, -1.0])


@lru_cache(maxsize=1)
def canonical_face() -> Array:
    """The frozen canonical face, float32 (478, 3) in mm. Read-only.

    Generalized Procrustes mean of the faces it was made from, mirrored and averaged; changing it
    changes every model (`emo_core.training.canonical` makes it).
    """
    with resources.files("emo_core.face").joinpath("canonical_face.npy").open("rb") as stream:
        face: Array = np.load(stream)
    face.setflags(write=False)
    return face


def fit_similarity(
    source: NDArray[Any], target: NDArray[Any], weights: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Weighted similarity with `target ~ scale * rotation @ source + translation`.

    Args:
        source: (..., n, 3). target: (n, 3). weights: (n,), summing to 1.

    Returns:
        scale (...,), rotation (..., 3, 3), translation (..., 3).
    """
    source = source.astype(np.float64)
    target = target.astype(np.float64)
    source_mean = np.einsum("n,...nd->...d", weights, source)
    target_mean = weights @ target
    source_centred = source - source_mean[..., None, :]
    covariance = np.einsum("n,nd,...ne->...de", weights, target - target_mean, source_centred)
    u, singular, vt = np.linalg.svd(covariance)
    sign = np.ones_like(singular)
    sign[..., -1] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = (u * sign[..., None, :]) @ vt
    variance = np.einsum("n,...nd,...nd->...", weights, source_centred, source_centred)
    scale = (singular * sign).sum(-1) / np.maximum(variance, 1e-12)
    translation = target_mean - scale[..., None] * np.einsum(
        "...de,...e->...d", rotation, source_mean
    )
    return scale, rotation, translation


def to_metric(screen: Array, canonical: Array | None = None) -> tuple[Array, Array]:
    """Screen landmarks (..., 478, 3) in px (z in px too, away from the camera) -> metric.

    Returns:
        metric (..., 478, 3) in mm, and pose (..., 4, 4) with
        `screen = pose @ metric` in homogeneous coordinates.
        Frames that are not finite give NaN.
    """
    if screen.shape[-2:] != (NUM_LANDMARKS, 3):
        raise ValueError(f"expected (..., {NUM_LANDMARKS}, 3) landmarks, got {screen.shape}")
    target = canonical_face() if canonical is None else canonical
    finite = np.isfinite(screen).all(axis=(-1, -2), keepdims=True)
    flipped = np.where(finite, screen, 0.0) * _FLIP
    scale, rotation, translation = fit_similarity(flipped[..., _RIGID, :], target[_RIGID], _WEIGHTS)
    metric = scale[..., None, None] * np.einsum("...de,...ne->...nd", rotation, flipped)
    metric += translation[..., None, :]
    inverse = np.zeros((*scale.shape, 4, 4))
    turned = np.swapaxes(rotation, -1, -2) / np.maximum(scale, 1e-12)[..., None, None]
    inverse[..., :3, :3] = _FLIP[:, None] * turned
    inverse[..., :3, 3] = -np.einsum("...de,...e->...d", inverse[..., :3, :3], translation)
    inverse[..., 3, 3] = 1.0
    nan = np.where(finite, 0.0, np.nan)
    return (metric + nan).astype(np.float32), (inverse + nan).astype(np.float32)


def to_screen(metric: Array, pose: Array) -> Array:
    """Metric landmarks (..., n, 3) in mm and pose (..., 4, 4) -> screen landmarks in px."""
    turned = np.einsum("...de,...ne->...nd", pose[..., :3, :3], metric)
    screen: Array = (turned + pose[..., None, :3, 3]).astype(np.float32)
    return screen
