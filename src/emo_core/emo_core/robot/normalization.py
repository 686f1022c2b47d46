"""Human landmarks in a robot's proportions (DESIGN section 5).

Per point and axis: `clip(alpha * (human - human_static), -edge_lo, +edge_hi) + robot_static`.
The robot's static face and edges come from motor babbling and live beside its inverse model.

Lips are special in one way: what the eye reads is whether they touch, and a millimetre decides.
FaceMesh sees touching lips of a person some tenths of a millimetre to 2 mm apart, those of a
robot at another distance, and alpha < 1 would shut a mouth that is only just open. So the gap
between opposite points of the inner lips is carried over as it is, not scaled (`_carry_gap`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo_core.errors import EmoError
from emo_core.face.topology import LIPS_INNER, NUM_LANDMARKS, ROBOT_LANDMARKS

Array = NDArray[np.float64]

DEFAULT_ALPHA = 0.9
POINTS = len(ROBOT_LANDMARKS)


@dataclass(frozen=True)
class Profile:
    """A robot's face as FaceMesh sees it, in metric mm; each (113, 2)."""

    static: Array
    edge_lo: Array
    edge_hi: Array

    @classmethod
    def load(cls, path: Path) -> Profile:
        """Read `profile.npz`. Raises EmoError if it is not one."""
        try:
            with np.load(path, allow_pickle=False) as data:
                parts = [
                    np.asarray(data[key], np.float64) for key in ("static", "edge_lo", "edge_hi")
                ]
        except (OSError, ValueError, KeyError) as error:
            raise EmoError(
                f"{path}: not a robot profile ({error}). Train the inverse model again"
            ) from error
        if any(part.shape != (POINTS, 2) or not np.isfinite(part).all() for part in parts):
            raise EmoError(f"{path}: needs three ({POINTS}, 2) arrays. Train the inverse model again")
        return cls(*parts)

    def save(self, path: Path) -> None:
        """Write `profile.npz`."""
        arrays = {key: getattr(self, key).astype(np.float32) for key in ("static", "edge_lo", "edge_hi")}
        np.savez(path, **arrays)


def robot_points(face: ArrayLike) -> Array:
    """(..., 478, 3) metric face or (..., 113, 2) robot landmarks -> (..., 113, 2) float64."""
    face = np.asarray(face, dtype=np.float64)
    if face.shape[-2:] == (NUM_LANDMARKS, 3):
        return face[..., ROBOT_LANDMARKS, :2]
    if face.shape[-2:] == (POINTS, 2):
        return face
    raise ValueError(f"expected (..., {NUM_LANDMARKS}, 3) or (..., {POINTS}, 2), got {face.shape}")


class Normalizer:
    """Metric human face -> the robot face that shows the same, flattened.

    Args:
        human_static: the person at rest, (478, 3) or (113, 2) metric mm.
        profile: the robot's.
        alpha: scale of all displacements.
    """

    def __init__(
        self, human_static: ArrayLike, profile: Profile, alpha: float = DEFAULT_ALPHA
    ) -> None:
        self._static = robot_points(human_static)
        if self._static.shape != (POINTS, 2) or not np.isfinite(self._static).all():
            raise ValueError("human_static: expected one finite face")
        self._profile = profile
        self._alpha = alpha

    def __call__(self, face: ArrayLike) -> NDArray[np.float32]:
        """(478, 3) | (T, 478, 3) | (..., 113, 2) metric mm -> (226,) | (T, 226) float32 mm.

        Order: ROBOT_LANDMARKS, x then y of each point.
        """
        human = robot_points(face)
        moved = self._alpha * (human - self._static)
        moved = np.clip(moved, -self._profile.edge_lo, self._profile.edge_hi)
        out = moved + self._profile.static
        return out.reshape(*out.shape[:-2], 2 * POINTS).astype(np.float32)
