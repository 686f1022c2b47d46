"""The shipped models as what `evaluate` calls."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emo_core.lipsync.pipeline import Lipsync

Array = NDArray[np.float32]


class LipsyncPredictor:
    """Sound and static face in, landmarks out, by one variant of the lip-sync model.

    Args:
        variant: "full", "live", or whatever else `Lipsync.load` takes.

    Raises:
        EmoError: there is no such model.
    """

    def __init__(self, variant: str) -> None:
        self.variant = variant
        self.lookahead_ms = float(Lipsync.load(variant).lookahead_ms)

    def __call__(self, audio: Array, static: Array) -> Array:
        """(N,) at 16 kHz, (478, 3) mm -> (ceil(N / 640), 478, 3) mm. Nothing carries over."""
        return Lipsync.load(self.variant, static_face=static).animate(audio)
