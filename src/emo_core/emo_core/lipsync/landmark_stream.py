"""Numbered landmark frames from feature rows, whichever model makes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emo_core.audio.mel import HOP
from emo_core.errors import EmoError
from emo_core.face.topology import NUM_LANDMARKS
from emo_core.lipsync.audio2landmark import Audio2Landmark
from emo_core.rates import FRAME

Array = NDArray[np.float32]

ROWS_PER_FRAME = FRAME // HOP
#: A model that takes over hears so many rows of the past first, 2 s: what its state remembers.
PAST = 100


class LandmarkStream:
    """An Audio2Landmark model whose frames have numbers, and which can be replaced on the way.

    No frame number is left out or given twice: a model that looks less far ahead catches up at
    once, one that looks further is silent until it is there.
    """

    def __init__(self, model: Audio2Landmark) -> None:
        self.model = model
        self.restart(0)

    def restart(self, row: int) -> int:
        """Forget the past; the stream goes on at feature row `row`.

        Returns:
            How many rows to leave out: a frame begins with an even one.
        """
        skipped = -row % ROWS_PER_FRAME
        self.model.reset()
        self._next = self._past_from = (row + skipped) // ROWS_PER_FRAME  # frames
        self._past = np.zeros((0, self.model.dim), np.float32)
        self._due = np.zeros((0, NUM_LANDMARKS, 3), np.float32)
        self._known = 0  # frames to come that the model before has made
        return skipped

    def feed(self, rows: Array) -> tuple[int, Array]:
        """Next feature rows (k, dim) -> number of the first frame, and the faces (f, 478, 3) mm."""
        made = self.model.feed(rows)
        faces = np.concatenate([self._due, made[self._known :]])
        self._known = max(0, self._known - len(made))
        self._due = self._due[:0]
        self._past = np.concatenate([self._past, rows])
        excess = max(0, len(self._past) - PAST) // ROWS_PER_FRAME
        self._past = self._past[excess * ROWS_PER_FRAME :]
        self._past_from += excess
        first = self._next
        self._next += len(faces)
        return first, faces

    def replace(self, model: Audio2Landmark) -> None:
        """Another model takes over, with the frame that comes next.

        Raises:
            EmoError: it wants other features; everything stays as it was.
        """
        if model.dim != self.model.dim:
            raise EmoError(
                f"the model wants {model.dim} features a row, speech has {self.model.dim}: it was "
                "trained with another APC"
            )
        model.reset()
        made = model.feed(self._past)
        ready = self._next - self._past_from
        self._due, self._known = made[ready:], max(0, ready - len(made))
        self.model = model
