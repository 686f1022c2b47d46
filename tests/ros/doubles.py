"""Stand-ins for the trained models: the contracts of `Apc` and `Audio2Landmark`, no weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_core.face.alignment import canonical_face
from emo_core.face.topology import LIPS_INNER

Array = NDArray[np.float32]


class Apc:
    """Features = the 80 mel bands, unchanged."""

    dim = 80

    @classmethod
    def load(cls, directory: Path | None = None) -> Apc:
        return cls()

    def reset(self) -> None:
        pass

    def feed(self, mel: Array) -> Array:
        return np.asarray(mel, np.float32).reshape(-1, 80)


class Audio2Landmark:
    """The mouth opens with the level of mel frames 2n-2+L/20; otherwise the static face."""

    dim = 80

    def __init__(self, lookahead_ms: int, static: Array, gain: float) -> None:
        self.lookahead_ms = lookahead_ms
        self._static, self._gain = static, gain
        self.reset()

    @classmethod
    def load(
        cls, name: str = "audio2landmark_full", static_face: Any = None, mouth_gain: float = 1.0
    ) -> Audio2Landmark:
        static = canonical_face() if static_face is None else static_face
        return cls(80 if name.endswith("live") else 240, np.asarray(static), mouth_gain)

    def reset(self) -> None:
        self._mel = 0
        self._frame = 0

    def feed(self, features: Array) -> list[Array]:
        faces = []
        for row in features:
            while self._mel == 2 * self._frame - 2 + self.lookahead_ms // 20:
                faces.append(self._face(float(row.mean())))
                self._frame += 1
            self._mel += 1
        return faces

    def _face(self, level_db: float) -> Array:
        face = self._static.astype(np.float32).copy()
        opening = self._gain * 10.0 * np.clip((level_db + 60.0) / 60.0, 0.0, 1.0)
        face[LIPS_INNER[10:], 1] -= opening
        return face
