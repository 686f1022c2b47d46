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
from emo_core.face.alignment import canonical_face
from emo_core.face.topology import NUM_LANDMARKS, ROBOT_LANDMARKS, ROBOT_SCHEMA, robot_points
from emo_core.mimic.expressions import INPUT_FRAMES, REGIONS
from emo_core.models import load_model
from emo_core.paths import models_dir
from emo_core.rates import FPS

Array = NDArray[np.float32]

POINTS = len(ROBOT_LANDMARKS)
INPUTS = 2 * POINTS
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
#: What goes ahead, (113, 1): all but the lids. They mostly blink, which is over before it is
#: foreseen, and beside a talking mouth the model foresees blinks that never come.
_GOES_AHEAD = np.ones((POINTS, 1))
_GOES_AHEAD[REGIONS["eyes"]] = 0.0


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
        expected = {"kind": "predictive", "landmarks": ROBOT_SCHEMA, "fps": FPS}
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
    answer goes ahead to the coming expression, and back without a step when it proves wrong. The
    lids are always the face's own.

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
        static = robot_points(static_face)
        if static.shape != (POINTS, 2) or not np.isfinite(static).all():
            raise ValueError("static_face: expected one finite face, (478, 3) or (113, 2)")
        self._static = static

    def reset(self) -> None:
        """Forget what was seen."""
        self._seen: deque[tuple[float, NDArray[np.float64]]] = deque()
        self._ahead = self._foreseen = np.zeros((POINTS, 2))
        self._trust = self._last_confidence = self._seconds = 0.0

    def feed(
        self, landmarks: ArrayLike, time_s: float | None = None, follow: bool = True
    ) -> Prediction:
        """The newest frame -> where the robot should go.

        Args:
            landmarks: (478, 3) or (113, 2) metric mm. Not finite: no face; given back as it is,
                and what was seen is forgotten.
            time_s: when it was taken; None: 40 ms after the last. Any frame rate will do. A frame
                no newer than the last one replaces it.
            follow: False: plain mimicry is wanted, or it is no face that moves by itself (held, or
                eased to rest): trust falls as when the model gets unsure.
        """
        face = np.asarray(landmarks, np.float32)
        if face.shape not in ((NUM_LANDMARKS, 3), (POINTS, 2)):
            raise ValueError(f"expected (478, 3) or (113, 2) landmarks, got {face.shape}")
        if not np.isfinite(face).all():
            self.reset()
            return Prediction(face, 0.0, 0.0, 0.0)
        points = robot_points(face)
        step = self._remember(points, time_s)
        confidence = 0.0
        window = self._window() if follow else None
        if window is not None:
            ahead, sureness, seconds = self._model(window[None] - self._static)
            self._foreseen = _GOES_AHEAD * ahead[0]
            confidence, self._seconds = float(sureness[0]), float(seconds[0])
        low, high = self._thresholds
        sure = min(confidence, self._last_confidence)  # one frame alone may be the tracker's slip
        self._last_confidence = confidence
        sure -= float(np.interp(self._seconds, NEAR_S, (NEAR_MORE, 0.0)))
        wanted = float(np.clip((sure - low) / (high - low), 0.0, 1.0))
        self._trust = max(wanted, self._trust - step / TRUST_FALL_S)
        share = 1.0 - np.exp(-step / SMOOTHING_S)
        self._ahead = self._ahead + share * (self._trust * self._foreseen - self._ahead)
        out = face.copy()
        if face.shape == (POINTS, 2):
            out += self._ahead.astype(np.float32)
        else:
            out[ROBOT_LANDMARKS, :2] += self._ahead.astype(np.float32)
        return Prediction(out, self._seconds if self._trust > 0 else 0.0, confidence, self._trust)

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


class Foresight:
    """The stage of the mimic pipeline: what a person shows -> what the robot should show.

    Attributes:
        enabled: False: plain mimicry. May change at any time; the face goes over without a step.

    Args:
        model: see `PredictiveModel.load`.
    """

    def __init__(self, model: PredictiveModel, enabled: bool = True) -> None:
        self._predictor = Predictor(model, canonical_face())
        self.enabled = enabled

    def reset(self) -> None:
        """Forget what was seen."""
        self._predictor.reset()

    def feed(
        self, points: Array | None, static: Array | None, valid: bool, time_s: float
    ) -> Prediction | None:
        """One frame of the tracked person, as `PersonFrame` has it; None: there is nothing to show.

        Args:
            points: (478, 3) metric mm, or None.
            static: the same at rest; without it nothing is foreseen.
            valid: the person is seen; if not, the points are held or eased to rest.
            time_s: when it was taken.
        """
        if points is None:
            self._predictor.reset()
            return None
        if static is not None:
            self._predictor.set_static(static)
        follow = self.enabled and valid and static is not None
        return self._predictor.feed(points, time_s, follow)
