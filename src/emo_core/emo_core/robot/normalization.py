"""Human landmarks in a robot's proportions.

Per point and axis: `clip(alpha * (human - human_static), -edge_lo, +edge_hi) + robot_static`.
The robot's static face and edges come from motor babbling and live beside its inverse model.

Lips need two things more, because what the eye reads is whether they touch, and a millimetre
decides. A person's static face may have its lips apart while the robot's are closed; so first the
static face's lips are brought together (`close_lips`), and closed means closed for both. And the
gap between opposite points of the inner lips is carried over in full, whatever alpha is
(`_carry_gap`): scaled down, a mouth that is only just open would look shut.

Lips sideways and lids up and down are scaled by `alpha / DEFAULT_ALPHA`, in full as a rule: how
wide a mouth is, and whether an eye is shut, shows at once, and robots have the range for it. So are
brows up and down, and `BROW_GAIN` is given in advance.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo_core.errors import EmoError
from emo_core.face.topology import (
    EYEBROWS,
    EYES,
    LIPS,
    LIPS_INNER,
    LIPS_OUTER,
    LOWER_OVAL,
    ROBOT_LANDMARKS,
    robot_points,
)
from emo_core.npz import open_npz

Array = NDArray[np.float64]

DEFAULT_ALPHA = 0.9
POINTS = len(ROBOT_LANDMARKS)
#: FaceMesh sees lips that touch this far apart (mm, vertically).
CONTACT_MM = 0.4
#: A robot that talks shows 0.88 to 0.95 of the gap asked for (validation clips in the closed loop):
#: servos and the camera's blur round it off. Some of that is given in advance.
GAP_GAIN = 1.05
#: Of what a person's brow height does the inverse model makes 0.85 (robot `sim`; `emo22` 0.77), as
#: the robots' self-models see it (expressions composed on faces of validation clips). The robot's
#: own faces it makes in full, but a person's other landmarks never quite fit the brows.
BROW_GAIN = 1.2
#: Share of the gap that the lower lip opens, and how much of that the chin follows.
_LOWER_SHARE, _CHIN_SHARE = 0.75, 0.7


def _rows(indices: NDArray[np.intp]) -> NDArray[np.intp]:
    """FaceMesh indices -> places among the 113."""
    place = {int(index): row for row, index in enumerate(ROBOT_LANDMARKS)}
    return np.array([place[int(index)] for index in indices])


#: Places, among the 113, of opposite points of the lips, corners left out: (9,) each.
INNER_UP, INNER_LOW = _rows(LIPS_INNER[1:10]), _rows(LIPS_INNER[:10:-1])
_OUTER_UP, _OUTER_LOW = _rows(LIPS_OUTER[1:10]), _rows(LIPS_OUTER[:10:-1])
_MIDDLE = 4
_CHIN = _rows(LOWER_OVAL)
#: How far each point of the lower oval goes with the chin: 0 at the ears, 1 at the chin.
_CHIN_WEIGHTS = np.sin(np.linspace(0.0, np.pi, len(LOWER_OVAL))) ** 2
#: Scale of each point and axis, relative to alpha.
_RELATIVE = np.ones((POINTS, 2))
_RELATIVE[_rows(LIPS), 0] = _RELATIVE[_rows(EYES), 1] = 1.0 / DEFAULT_ALPHA
_RELATIVE[_rows(EYEBROWS), 1] = BROW_GAIN / DEFAULT_ALPHA


@dataclass(frozen=True)
class Profile:
    """A robot's face as FaceMesh sees it, in metric mm; each (113, 2)."""

    static: Array
    edge_lo: Array
    edge_hi: Array

    @classmethod
    def load(cls, path: Path) -> Profile:
        """Read `profile.npz`. Raises EmoError if it is not one."""
        with open_npz(path, "a robot profile", "Train the inverse model again") as data:
            parts = [np.asarray(data[key], np.float64) for key in ("static", "edge_lo", "edge_hi")]
        if any(part.shape != (POINTS, 2) or not np.isfinite(part).all() for part in parts):
            raise EmoError(
                f"{path}: needs three ({POINTS}, 2) arrays. Train the inverse model again"
            )
        return cls(*parts)

    def save(self, path: Path) -> None:
        """Write `profile.npz`."""
        np.savez(
            path,
            static=self.static.astype(np.float32),
            edge_lo=self.edge_lo.astype(np.float32),
            edge_hi=self.edge_hi.astype(np.float32),
        )


def close_lips(static: Array) -> Array:
    """(113, 2) mm with the lips apart -> the same face with the lips in touch."""
    closed = static.copy()
    apart = static[INNER_UP, 1] - static[INNER_LOW, 1]
    excess = np.maximum(apart - CONTACT_MM, 0.0)
    for up, low in ((INNER_UP, INNER_LOW), (_OUTER_UP, _OUTER_LOW)):
        closed[up, 1] -= (1.0 - _LOWER_SHARE) * excess
        closed[low, 1] += _LOWER_SHARE * excess
    closed[_CHIN, 1] += _LOWER_SHARE * _CHIN_SHARE * excess[_MIDDLE] * _CHIN_WEIGHTS
    return closed


class Normalizer:
    """Metric human face -> the robot face that shows the same, flattened.

    Args:
        human_static: the person at rest, (478, 3) or (113, 2) metric mm.
        profile: the robot's.
        alpha: scale of displacements, of lips sideways and lids `alpha / DEFAULT_ALPHA`, of brows
            up and down `BROW_GAIN` times that.
    """

    def __init__(
        self, human_static: ArrayLike, profile: Profile, alpha: float = DEFAULT_ALPHA
    ) -> None:
        self.set_static(human_static)
        self._profile = profile
        self._scale = alpha * _RELATIVE

    def set_static(self, human_static: ArrayLike) -> None:
        """Another person at rest, (478, 3) or (113, 2) metric mm.

        Raises:
            ValueError: not one finite face.
        """
        static = robot_points(human_static)
        if static.shape != (POINTS, 2) or not np.isfinite(static).all():
            raise ValueError("human_static: expected one finite face")
        self._static = close_lips(static)

    def __call__(self, face: ArrayLike) -> NDArray[np.float32]:
        """(478, 3) | (T, 478, 3) | (..., 113, 2) metric mm -> (226,) | (T, 226) float32 mm.

        Order: ROBOT_LANDMARKS, x then y of each point.
        """
        human = robot_points(face)
        moved = self._scale * (human - self._static)
        moved = np.clip(moved, -self._profile.edge_lo, self._profile.edge_hi)
        out = moved + self._profile.static
        self._carry_gap(human, out)
        return out.reshape(*out.shape[:-2], 2 * POINTS).astype(np.float32)

    def _carry_gap(self, human: Array, out: Array) -> None:
        """Give `out`'s inner lips the human's vertical gap beyond contact, and a little more."""
        static = self._profile.static
        touching = static[INNER_UP, 1] - static[INNER_LOW, 1]
        apart = human[..., INNER_UP, 1] - human[..., INNER_LOW, 1]
        wanted = GAP_GAIN * np.maximum(apart - CONTACT_MM, 0.0) + touching
        excess = wanted - (out[..., INNER_UP, 1] - out[..., INNER_LOW, 1])
        for up, low in ((INNER_UP, INNER_LOW), (_OUTER_UP, _OUTER_LOW)):
            out[..., up, 1] += (1.0 - _LOWER_SHARE) * excess
            out[..., low, 1] -= _LOWER_SHARE * excess
