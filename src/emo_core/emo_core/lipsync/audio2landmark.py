"""Audio2Landmark at run time: speech features -> facial landmarks at 25 Hz.

Trained by `emo_core.training.audio2landmark`. Landmark frame n shows time n / 25 s; with
look-ahead L it needs feature rows up to 2 n - 2 + L / 20 ms, that is samples up to 640 n + 16 L.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_core.errors import EmoError
from emo_core.face.alignment import canonical_face
from emo_core.face.topology import LIPS, LOWER_OVAL, NUM_LANDMARKS
from emo_core.lipsync import MAX_MOUTH_GAIN, VARIANTS
from emo_core.models import load_model
from emo_core.paths import models_dir

Array = NDArray[np.float32]

LANDMARK_SCHEMA = "facemesh478-mm-1"
REMEDY = "Restore it from the repository, or train it: ./emo train audio2landmark"
#: Pairs of rows at a time: bounds the memory of a long recording.
_BLOCK = 1000


class Audio2Landmark:
    """Feature rows in, faces out, one for every two rows; deterministic, no clock.

    Args:
        static_face: the speaker's face at rest (478, 3) metric mm; None: the canonical face.
        mouth_gain: scales the vertical displacement of the mouth; 1 is as learned.

    Attributes:
        lookahead_ms: how far the newest sample a frame needs lies after the frame's own time.
        static_face: the speaker's face at rest.
    """

    def __init__(
        self,
        session: Any,
        config: dict[str, Any],
        static_face: Array | None = None,
        mouth_gain: float = 1.0,
    ) -> None:
        self._session = session
        self.lookahead_ms = config["lookahead_ms"]
        self.dim = config["features"]
        self._shape = (config["layers"], 1, config["hidden"])
        self._delay = self.lookahead_ms // 40 - 1
        self.adjust(static_face, mouth_gain)
        self.reset()

    def adjust(self, static_face: Array | None, mouth_gain: float) -> None:
        """Another talker's face, another gain, from the next frame on; the stream goes on.

        Raises:
            EmoError: of no use; everything stays as it was.
        """
        if not 0.0 <= mouth_gain <= MAX_MOUTH_GAIN:
            raise EmoError(f"mouth_gain is {mouth_gain}: give 0 to {MAX_MOUTH_GAIN:g}")
        static = canonical_face() if static_face is None else np.asarray(static_face, np.float32)
        if static.shape != (NUM_LANDMARKS, 3) or not np.isfinite(static).all():
            raise EmoError(f"the static face must be finite, (478, 3); got {static.shape}")
        self.static_face = static
        self._static_input = ((static - canonical_face()) / 10.0).reshape(1, -1)
        self._gain = mouth_gains(mouth_gain)

    @classmethod
    def load(
        cls,
        name: str | Path = VARIANTS["full"],
        static_face: Array | None = None,
        mouth_gain: float = 1.0,
    ) -> Audio2Landmark:
        """Open `models/<name>`, or the folder `name`.

        Raises:
            EmoError: missing, damaged, or made for other landmarks.
        """
        folder = Path(name) if Path(name).is_dir() else models_dir() / name
        expected = {"kind": "audio2landmark", "landmarks": LANDMARK_SCHEMA}
        counts = {"lookahead_ms": 0, "features": 1, "layers": 1, "hidden": 1}
        config, session = load_model(folder, expected, REMEDY, counts)
        return cls(session, config, static_face, mouth_gain)

    def reset(self) -> None:
        """Forget the past: the next row fed is row 0."""
        self._state = np.zeros(self._shape, np.float32)
        self._held = np.zeros((1 + 2 * max(0, -self._delay), self.dim), np.float32)
        self._to_drop = max(0, self._delay)

    def feed(self, features: Array) -> Array:
        """Next feature rows (k, dim) -> the faces they complete, (f, 478, 3) metric mm."""
        if features.ndim != 2 or features.shape[1] != self.dim:
            raise EmoError(
                f"Audio2Landmark wants {self.dim} features a row, got {features.shape}: "
                "the APC model and the Audio2Landmark model are not of one training"
            )
        held = np.concatenate([self._held, features])
        count = len(held) // 2
        self._held = held[2 * count :]
        pairs = held[: 2 * count].reshape(count, 2 * self.dim)
        faces = [np.zeros((0, NUM_LANDMARKS, 3), np.float32)]
        for at in range(0, count, _BLOCK):
            displacement, self._state = self._session.run(
                ["displacement", "next_state"],
                {
                    "pairs": pairs[None, at : at + _BLOCK],
                    "static": self._static_input,
                    "state": self._state,
                },
            )
            kept = displacement[0, self._to_drop :].reshape(-1, NUM_LANDMARKS, 3)
            self._to_drop = max(0, self._to_drop - displacement.shape[1])
            kept[..., 1] *= self._gain
            faces.append(self.static_face + kept)
        return np.concatenate(faces)


def mouth_gains(gain: float) -> Array:
    """Factor on each point's vertical displacement, (478,): `gain` at lips and chin.

    It fades to 1 over 30 mm around them, over 15 mm above the lips.
    """
    face = canonical_face()
    mouth = face[np.concatenate([LIPS, LOWER_OVAL[4:-4]])]
    distance = np.linalg.norm(face[:, None] - mouth[None], axis=-1).min(1)
    reach_mm = np.where(face[:, 1] < mouth[:, 1].max(), np.float32(30), np.float32(15))
    inside = np.clip(1.0 - distance / reach_mm, 0.0, 1.0)
    gains: Array = (1.0 + (gain - 1.0) * inside).astype(np.float32)
    return gains
