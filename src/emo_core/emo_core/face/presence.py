"""What a robot shows while the face it follows is gone: it holds, then rests, and never jumps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

#: The last expression is held for so long, then eased to rest in so long; s.
HOLD_S, EASE_S = 0.5, 1.0
#: A face that comes back is taken up in so long, s; sooner after a short loss, whose share of the
#: loss itself is given below.
RETURN_S, _RETURN_SHARE = 0.3, 3.0
#: Faces further apart than this are a loss between them, s.
_GAP_S, _NOMINAL_S = 0.25, 0.04


class Presence:
    """A stage over displacements from the face at rest, (n, 3) mm; NaN where there was no face.

    Any array will do, as gaze angles.

    Displacements, not faces: rest is 0 for whoever comes next. All transitions are minimum-jerk
    (Flash and Hogan 1985).
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """At rest, nobody there."""
        self._last: NDArray[np.float64] | None = None  # shown when the face was lost
        self._shown: NDArray[np.float64] | None = None
        self._offset: NDArray[np.float64] | None = None  # shown less seen, when it came back
        self._lost_s = 0.0
        self._back_s, self._return_s = 0.0, RETURN_S

    @property
    def resting(self) -> bool:
        """Nobody is there, and nothing is left to ease."""
        return self._last is None or self._lost_s >= HOLD_S + EASE_S

    def feed(self, displacement: Array, dt_s: float) -> tuple[Array, bool]:
        """The newest, `dt_s` after the last -> what to show, and whether it is a face's own."""
        if np.isfinite(displacement).all():
            if dt_s > _GAP_S:
                self.feed(np.full_like(displacement, np.nan), dt_s - _NOMINAL_S)
                dt_s = _NOMINAL_S
            seen = displacement.astype(np.float64)
            if self._shown is None:
                self._offset, self._back_s, self._return_s = -seen, 0.0, RETURN_S
            elif self._lost_s > 0.0:
                self._offset, self._back_s = self._shown - seen, 0.0
                self._return_s = min(RETURN_S, _RETURN_SHARE * self._lost_s)
            self._lost_s = 0.0
            shown = seen
            if self._offset is not None:
                self._back_s += dt_s
                left = 1.0 - _minimum_jerk(self._back_s / self._return_s)
                shown = seen + left * self._offset
                if left <= 0.0:
                    self._offset = None
            self._shown = self._last = shown
            return shown.astype(np.float32), True
        if self._last is None:
            return np.zeros(displacement.shape, np.float32), False
        self._lost_s += dt_s
        left = 1.0 - _minimum_jerk((self._lost_s - HOLD_S) / EASE_S)
        self._shown = left * self._last
        return self._shown.astype(np.float32), False


def fill(metric: Array, rest: Array, fps: float) -> Array:
    """A track (T, 478, 3) mm with NaN -> none: held, eased to `rest` (478, 3), taken up again."""
    presence = Presence()
    shown = [presence.feed(face - rest, 1.0 / fps)[0] for face in metric]
    return np.stack(shown) + rest


def _minimum_jerk(share: float) -> float:
    """0 at share 0 and before, 1 at 1 and after."""
    u = min(max(share, 0.0), 1.0)
    return u**3 * (10.0 - 15.0 * u + 6.0 * u * u)
