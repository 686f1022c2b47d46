"""The lip-sync pipeline without ROS: samples -> log-mel -> APC -> faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emo_core.audio.apc import Apc
from emo_core.audio.mel import LogMel
from emo_core.face.topology import NUM_LANDMARKS
from emo_core.lipsync import VARIANTS
from emo_core.lipsync.audio2landmark import Audio2Landmark
from emo_core.rates import FRAME

Array = NDArray[np.float32]


class Lipsync:
    """16 kHz samples in, faces at 25 Hz out; frame n belongs to samples 640 n to 640 (n + 1)."""

    def __init__(self, mel: LogMel, apc: Apc, audio2landmark: Audio2Landmark) -> None:
        self._mel = mel
        self._apc = apc
        self._audio2landmark = audio2landmark
        self.lookahead_ms = audio2landmark.lookahead_ms
        self.reset()

    @classmethod
    def load(
        cls,
        variant: str | Path = "full",
        static_face: Array | None = None,
        mouth_gain: float = 1.0,
        apc: str | Path | None = None,
    ) -> Lipsync:
        """Open the models: `full` (240 ms look-ahead), `live` (80 ms), or a model's folder.

        Raises:
            EmoError: a model is missing, damaged, or made for something else.
        """
        name = VARIANTS.get(str(variant), variant)
        model = Audio2Landmark.load(name, static_face, mouth_gain)
        return cls(LogMel(), Apc.load(apc), model)

    def reset(self) -> None:
        """Forget the past: the next sample fed is sample 0."""
        self._mel.reset()
        self._apc.reset()
        self._audio2landmark.reset()
        self._samples = 0
        self._frames = 0

    def feed(self, samples: Array) -> Array:
        """Next samples (n,) -> the faces they complete, (f, 478, 3) metric mm."""
        self._samples += len(samples)
        return self._run(samples)

    def flush(self) -> Array:
        """End of the recording -> the faces still due: ceil(samples / 640) in all."""
        due = -(-self._samples // FRAME)
        silence = np.zeros(FRAME * (due + 2 - self._samples // FRAME) + 16 * self.lookahead_ms)
        before = self._frames
        return self._run(silence.astype(np.float32))[: due - before]

    def animate(self, samples: Array) -> Array:
        """A whole recording (N,) -> its faces (ceil(N / 640), 478, 3); as `feed` then `flush`."""
        self.reset()
        return np.concatenate([self.feed(samples), self.flush()])

    def _run(self, samples: Array) -> Array:
        mel = self._mel.feed(samples)
        if not len(mel):
            return np.zeros((0, NUM_LANDMARKS, 3), np.float32)
        faces = self._audio2landmark.feed(self._apc.feed(mel))
        self._frames += len(faces)
        return faces
