"""Is somebody speaking? Causal, from the level above a noise floor that is tracked on the way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emo_core.audio.mel import HOP
from emo_core.rates import SAMPLE_RATE

_ABOVE_FLOOR_DB = 12.0
_MIN_LEVEL_DB = -55.0
_FLOOR_RISE_DB_PER_S = 3.0
_HANGOVER_FRAMES = 12  # 240 ms: stops between words are not silence


class SpeechActivity:
    """One flag for each 20 ms of samples.

    The noise floor follows the level down at once and up at 3 dB/s; speech is 12 dB above it and
    above -55 dBFS, and the 240 ms after it.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start afresh, in silence."""
        self._held = np.zeros(0, np.float32)
        self._floor_db = -60.0
        self._hang = 0

    def feed(self, samples: NDArray[np.float32]) -> list[bool]:
        """Next samples, float32 (n,) -> a flag for each 320 of them, in order."""
        held = np.concatenate([self._held, samples])
        count = len(held) // HOP
        self._held = held[count * HOP :].copy()
        power = np.square(held[: count * HOP].astype(np.float64)).reshape(count, HOP).mean(axis=1)
        flags = []
        for level in 10.0 * np.log10(power + 1e-10):
            rise = self._floor_db + _FLOOR_RISE_DB_PER_S * HOP / SAMPLE_RATE
            self._floor_db = max(-80.0, min(float(level), rise))
            loud = level > max(self._floor_db + _ABOVE_FLOOR_DB, _MIN_LEVEL_DB)
            flags.append(bool(loud) or self._hang > 0)
            self._hang = _HANGOVER_FRAMES if loud else max(0, self._hang - 1)
        return flags
