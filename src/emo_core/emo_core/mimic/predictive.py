"""The predictive model at run time: a face as tracked -> the face it is about to make.

Trained by `emo_core.training.predictive`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo_core.errors import EmoError
from emo_core.face.topology import NUM_LANDMARKS, ROBOT_LANDMARKS
from emo_core.mimic.expressions import INPUT_FRAMES, robot_xy
from emo_core.models import load_model
from emo_core.paths import models_dir
from emo_core.rates import FPS

Array = NDArray[np.float32]

POINTS = len(ROBOT_LANDMARKS)
INPUTS = 2 * POINTS
#: Which points, in which order, in which units.
LANDMARK_SCHEMA = "facemesh113xy-mm-1"
NAME = "predictive"
REMEDY = "Restore it from the repository, or train it: ./emo train predictive"

#: Confidence at which a prediction begins to count, and at which it counts in full. These and the
#: next were set on validation clips, so that faces that talk or keep still raise no false alarm.
CONFIDENCE = (0.5, 0.65)
#: A peak that is near gains little by going ahead, and is mostly speech: so much more confidence is
#: asked of one in the first time (s) or less, none of one in the second or more.
NEAR_S, NEAR_MORE = (0.1, 0.5), 0.6
#: Trust in the prediction falls from 1 to 0 in no less than this, s.
TRUST_FALL_S = 0.30
#: Time constant with which the face goes ahead, s.
SMOOTHING_S = 0.03
#: Frames further apart than this have no common motion, s: the window begins again.
MAX_GAP_S = 0.15
_STEP_S = 1.0 / FPS


@dataclass(frozen=True)
class Prediction:
    """One frame's answer."""

    landmarks: Array  # (478, 3) or (113, 2) mm, as they were fed: where the robot should go
    seconds: float  # until the person is there, as foreseen; 0 while the robot mimics
    confidence: float  # of the model, in [0, 1]
    trust: float  # share of the way ahead that is gone, 0: plain mimicry


class PredictiveModel:
    """Four frames -> the way ahead, on ONNX Runtime, one thread. Read one with `load`."""

    def __init__(self, session: Any) -> None:
        self._session = session

    @classmethod
    def load(cls, folder: str | Path | None = None) -> PredictiveModel:
        """Open `models/predictive`, or another folder.

        Raises:
            EmoError: missing, damaged, or made for other landmarks.
        """
        path = models_dir() / NAME if folder is None else Path(folder)
        expected = {"kind": "predictive", "landmarks": LANDMARK_SCHEMA, "fps": FPS}
        _, session = load_model(path, expected, REMEDY)
        shape = session.get_inputs()[0].shape[1:]
        if shape != [INPUT_FRAMES, INPUTS]:
            raise EmoError(
                f"{path / 'model.onnx'}: reads {shape}, not [{INPUT_FRAMES}, {INPUTS}]. {REMEDY}"
            )
        return cls(session)

    def __call__(self, windows: ArrayLike) -> tuple[Array, Array, Array]:
        """Frames 40 ms apart, newest last, relative to the face at rest: (B, 4, 113, 2) mm.

        Returns:
            ahead (B, 113, 2) mm from the newest frame to the coming peak, confidence (B,) in
            [0, 1], seconds until then (B,).
        """
        flat = np.asarray(windows, np.float32).reshape(-1, INPUT_FRAMES, INPUTS)
        names = ["ahead", "confidence", "seconds"]
        ahead, confidence, seconds = self._session.run(names, {"window": flat})
        return ahead.reshape(-1, POINTS, 2), confidence, seconds


class Predictor:
    """A stream of faces in, for each the face the robot should show; deterministic, no clock.

    While the model is unsure the answer is the face as it is: plain mimicry. As it gets sure, the
    answer goes ahead to the coming expression, and back without a step when it proves wrong.

    Args:
        model: see `PredictiveModel.load`.
        static_face: the person at rest, (478, 3) or (113, 2) metric mm.
    """

    def __init__(
        self,
        model: PredictiveModel,
        static_face: ArrayLike,
        confidence: tuple[float, float] = CONFIDENCE,
    ) -> None:
        self._model = model
        self._thresholds = confidence
        self.set_static(static_face)
        self.reset()

    def set_static(self, static_face: ArrayLike) -> None:
        """Another person, or the same at rest again; what was seen stays seen.

        Raises:
            ValueError: not one finite face.
        """
        static = robot_xy(np.asarray(static_face))
        if static.shape != (POINTS, 2) or not np.isfinite(static).all():
            raise ValueError("static_face: expected one finite face, (478, 3) or (113, 2)")
        self._static = static

    def reset(self) -> None:
        """Forget what was seen."""
        self._seen: deque[tuple[float, NDArray[np.float64]]] = deque()
        self._ahead = np.zeros((POINTS, 2))
        self._trust = self._last_confidence = 0.0

    def feed(self, landmarks: ArrayLike, time_s: float | None = None) -> Prediction:
        """The newest frame -> where the robot should go.

        Args:
            landmarks: (478, 3) or (113, 2) metric mm. Not finite: no face; given back as it is,
                and what was seen is forgotten.
            time_s: when it was taken; None: 40 ms after the last. Any frame rate will do. A frame
                no newer than the last one replaces it.
        """
        face = np.asarray(landmarks, np.float32)
        if face.shape not in ((NUM_LANDMARKS, 3), (POINTS, 2)):
            raise ValueError(f"expected (478, 3) or (113, 2) landmarks, got {face.shape}")
        if not np.isfinite(face).all():
            self.reset()
            return Prediction(face, 0.0, 0.0, 0.0)
        points = robot_xy(face)
        step = self._remember(points, time_s)
        ahead, confidence, seconds = np.zeros((POINTS, 2)), 0.0, 0.0
        window = self._window()
        if window is not None:
            foreseen = self._model(window[None] - self._static)
            ahead = foreseen[0][0].astype(np.float64)
            confidence, seconds = float(foreseen[1][0]), float(foreseen[2][0])
        low, high = self._thresholds
        sure = min(confidence, self._last_confidence)  # one frame alone may be the tracker's slip
        self._last_confidence = confidence
        sure -= float(np.interp(seconds, NEAR_S, (NEAR_MORE, 0.0)))
        wanted = float(np.clip((sure - low) / (high - low), 0.0, 1.0))
        self._trust = max(wanted, self._trust - step / TRUST_FALL_S)
        share = 1.0 - np.exp(-step / SMOOTHING_S)
        self._ahead += share * (self._trust * ahead - self._ahead)
        out = face.copy()
        if face.shape == (POINTS, 2):
            out += self._ahead.astype(np.float32)
        else:
            out[ROBOT_LANDMARKS, :2] += self._ahead.astype(np.float32)
        return Prediction(out, seconds if self._trust > 0 else 0.0, confidence, self._trust)

    def _remember(self, points: NDArray[np.float64], time_s: float | None) -> float:
        """Keep a frame; returns the time since the last one, s."""
        last = self._seen[-1][0] if self._seen else None
        if time_s is None:
            time_s = 0.0 if last is None else last + _STEP_S
        if last is not None and time_s <= last:
            time_s = last
            self._seen.pop()
        elif last is not None and time_s - last > MAX_GAP_S:
            self._seen.clear()
        self._seen.append((time_s, points))
        while len(self._seen) > 2 and self._seen[1][0] <= time_s - (INPUT_FRAMES - 1) * _STEP_S:
            self._seen.popleft()
        return _STEP_S if last is None else min(time_s - last, MAX_GAP_S)

    def _window(self) -> NDArray[np.float64] | None:
        """The last four frames 40 ms apart, (4, 113, 2), between those seen; None: too few."""
        times = np.array([time for time, _ in self._seen])
        wanted = times[-1] - _STEP_S * np.arange(INPUT_FRAMES - 1, -1, -1)
        if times[0] > wanted[0] + 1e-6:
            return None
        at = np.clip(np.searchsorted(times, wanted + 1e-9, side="right") - 1, 0, len(times) - 2)
        share = np.clip((wanted - times[at]) / (times[at + 1] - times[at]), 0.0, 1.0)
        frames = np.stack([points for _, points in self._seen])
        window: NDArray[np.float64] = (
            frames[at] * (1.0 - share)[:, None, None] + frames[at + 1] * share[:, None, None]
        )
        return window
