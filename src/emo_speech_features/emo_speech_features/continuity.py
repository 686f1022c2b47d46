"""A stream of chunks that may overlap or have holes, made continuous again. No clock, no ROS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emo_core.rates import FRAME

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Piece:
    """Samples to feed on.

    Attributes:
        samples: (n,) that continue the stream without a hole.
        restart: None, or the index of samples[0] in the stream where everything begins anew.
        fault: what was wrong ("" if nothing).
        count: samples missing or repeated, or how many its number went back.
    """

    samples: Samples
    restart: int | None = None
    fault: str = ""
    count: int = 0


class Continuity:
    """Small gaps become silence; longer ones start the stream anew, on a landmark frame's boundary.

    So does a stream whose numbers go back by more than that: no chunk comes so late.

    Args:
        max_gap: longest gap in samples that is filled.
    """

    def __init__(self, max_gap: int) -> None:
        self._max_gap = max_gap
        self._next: int | None = None

    def feed(self, first: int, samples: Samples) -> Piece:
        """A chunk whose first sample has index `first`."""
        end = first + len(samples)
        if self._next is None or (first == 0 and self._next > 0):
            fault = "" if first == 0 else "joined"
            return self._restart(first, samples, fault, 0)
        missing = first - self._next
        if missing > self._max_gap:
            return self._restart(first, samples, "gap", missing)
        if missing < -self._max_gap - len(samples):
            return self._restart(first, samples, "back", -missing)
        if missing > 0:
            self._next = end
            filled = np.concatenate([np.zeros(missing, np.float32), samples])
            return Piece(filled, fault="gap", count=missing)
        if missing < 0:
            kept = samples[-missing:]
            self._next = max(self._next, end)
            return Piece(kept, fault="repeated", count=len(samples) - len(kept))
        self._next = end
        return Piece(samples)

    def _restart(self, first: int, samples: Samples, fault: str, count: int) -> Piece:
        start = -(-first // FRAME) * FRAME
        kept = samples[start - first :]
        if len(kept) == 0 and len(samples) > 0:
            # The boundary lies beyond this chunk: wait for it.
            self._next = None
            return Piece(kept, fault=fault, count=count)
        self._next = first + len(samples)
        return Piece(kept, restart=start, fault=fault, count=count)
