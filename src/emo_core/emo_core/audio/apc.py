"""APC speech representation at run time: a causal GRU run once along the stream.

Source: Chung & Glass 2020, "Generative pre-training for speech with autoregressive predictive
coding". Trained by `emo_core.training.apc`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_core.audio.mel import FMAX, FMIN, HOP, N_MELS, WINDOW
from emo_core.models import load_model
from emo_core.paths import models_dir
from emo_core.rates import SAMPLE_RATE

Array = NDArray[np.float32]

#: What the features were computed from; a model of other settings is refused.
MEL_SETTINGS = {
    "sample_rate": SAMPLE_RATE,
    "hop": HOP,
    "window": WINDOW,
    "n_mels": N_MELS,
    "fmin": FMIN,
    "fmax": FMAX,
}
REMEDY = "Restore it from the repository, or train it: ./emo train apc"
#: How many frames ahead the model foresees sound.
SHIFTS = (1, 3, 5, 10)
#: Frames at a time: bounds the memory of a long recording.
_BLOCK = 1000


class Apc:
    """Log-mel in, features out: the normalized frame and the GRU's top state, side by side."""

    def __init__(self, session: Any, config: dict[str, Any]) -> None:
        self._session = session
        self._layers, self._hidden = config["layers"], config["hidden"]
        self.dim = N_MELS + self._hidden
        self.reset()

    @classmethod
    def load(cls, folder: str | Path | None = None) -> Apc:
        """Open `models/apc`, or another folder.

        Raises:
            EmoError: missing, damaged, or made for other features.
        """
        path = models_dir() / "apc" if folder is None else Path(folder)
        expected = {"kind": "apc", "mel": MEL_SETTINGS}
        config, session = load_model(path, expected, REMEDY, {"layers": 1, "hidden": 1})
        return cls(session, config)

    def reset(self) -> None:
        """Forget the past."""
        self._state = self._rest(1)

    def feed(self, mel: Array) -> Array:
        """Next log-mel frames (k, 80) in dB -> features (k, dim)."""
        out = [np.zeros((0, self.dim), np.float32)]
        for at in range(0, len(mel), _BLOCK):
            features, self._state = self._session.run(
                ["features", "next_state"],
                {"mel": mel[None, at : at + _BLOCK], "state": self._state},
            )
            out.append(features[0])
        return np.concatenate(out)

    def features(self, mels: Array) -> Array:
        """Recordings that begin together (B, K, 80) in dB -> features (B, K, dim); no state kept.

        For training: many at a time are several times as fast as one after the other.
        """
        feeds = {"mel": mels, "state": self._rest(len(mels))}
        out: Array = self._session.run(["features"], feeds)[0]
        return out

    def _rest(self, batch: int) -> Array:
        return np.zeros((self._layers, batch, self._hidden), np.float32)

    def predict(self, mel: Array) -> tuple[Array, dict[int, Array]]:
        """A whole recording (K, 80) in dB -> normalized log-mel (K, 80) and, for each of `SHIFTS`,
        the prediction (K, 80): at row t, the normalized frame t + shift as foreseen at t.
        """
        names = [f"pred_{shift}" for shift in SHIFTS]
        feeds = {"mel": mel[None], "state": self._rest(1)}
        features, *predictions = self._session.run(["features", *names], feeds)
        foreseen = {shift: p[0] for shift, p in zip(SHIFTS, predictions, strict=True)}
        return features[0, :, :N_MELS], foreseen
