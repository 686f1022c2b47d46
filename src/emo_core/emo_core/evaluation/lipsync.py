"""Score a predictor of landmarks from sound on filmed clips, beside what it has to beat."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from emo_core.errors import EmoError
from emo_core.evaluation.baselines import FITTED, Baseline, StaticFace, shifted
from emo_core.evaluation.clips import ClipSet, EvalClip, Progress
from emo_core.evaluation.metrics import average, score_clip
from emo_core.evaluation.sync import Sync, SyncReference

Array = NDArray[np.float32]
Scores = dict[str, float]

#: (audio float32 (N,) at 16 kHz, static face (478, 3) mm) -> landmarks (T', 478, 3) mm at 25 Hz.
Predictor = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class Evaluation:
    """Scores of a model and of the baselines, clip by clip and as means."""

    clips: list[EvalClip]
    predictions: list[Array]  # (T, 478, 3) for each clip, NaN-free
    per_clip: dict[str, list[Scores]]  # "model" and each baseline -> scores in the clips' order
    skipped: dict[str, str]
    training_source: str
    unavailable: dict[str, str] = field(default_factory=dict)  # baseline -> why it is missing
    sync: Sync | None = None  # the clips' own; None without training clips

    def means(self, who: str) -> tuple[Scores, dict[str, int]]:
        """Means over clips of "model" or a baseline, and how many clips each metric lacks."""
        return average(self.per_clip[who])

    @property
    def error_over_static(self) -> float:
        """Lips+jaw error of the model over that of the static face (ratio of the means)."""
        return _ratio(self.means("model")[0]["d_pl"], self.means("static")[0]["d_pl"])

    def as_json(self) -> dict[str, object]:
        """Stable keys, for `--json` and `report.json` (documented in docs/evaluation.md)."""
        model, undefined = self.means("model")
        baselines: dict[str, dict[str, float | None] | None] = {
            name: finite(self.means(name)[0]) for name in self.per_clip if name != "model"
        }
        return {
            "clips": len(self.clips),
            "skipped": self.skipped,
            "baseline_training": self.training_source,
            "model": finite(model),
            "undefined": undefined,
            "error_over_static": finite({"x": self.error_over_static})["x"],
            "baselines": baselines | dict.fromkeys(self.unavailable, None),
            "baselines_unavailable": self.unavailable,
            "sync": self.sync and self.sync.as_json([s["lag_ms"] for s in self.per_clip["model"]]),
        }


def finite(scores: Mapping[str, float]) -> dict[str, float | None]:
    """NaN -> None, which JSON can say."""
    return {key: None if np.isnan(value) else value for key, value in scores.items()}


def _ratio(value: float, base: float) -> float:
    return value / base if base > 0 else float("nan")


def fit_length(prediction: Array, frames: int) -> Array:
    """Exactly `frames` frames: cut, or the last one held (a recording may end inside a frame)."""
    if len(prediction) >= frames:
        return prediction[:frames]
    if not len(prediction):
        raise EmoError("the model gave no frame for a clip: is its recording empty?")
    missing = np.repeat(prediction[-1:], frames - len(prediction), axis=0)
    return np.concatenate([prediction, missing])


def evaluate(clips: ClipSet, predict: Predictor, progress: Progress | None = None) -> Evaluation:
    """Score `predict` and every baseline on the clips.

    Baselines that learn are fitted once on `clips.training`, or, where that is empty, for each
    clip on all others of `clips.clips`; with a single clip and no training they are reported as
    unavailable.
    """
    scored = clips.clips
    once = _fit(clips.training) if clips.training else {}
    unavailable: dict[str, str] = {}
    if not clips.training and len(scored) < 2:
        why = "one clip and no training clips: nothing to fit on (give --train DIR)"
        unavailable = dict.fromkeys(FITTED, why)
    names = ["model", "static", *(n for n in FITTED if n not in unavailable), "shifted"]
    per_clip: dict[str, list[Scores]] = {name: [] for name in names}
    predictions: list[Array] = []
    for index, clip in enumerate(scored):
        prediction = fit_length(predict(clip.clip.audio, clip.static), clip.frames)
        predictions.append(prediction)
        faces = {
            "model": prediction,
            "static": StaticFace().predict(clip),
            "shifted": shifted(prediction),
        }
        fitted = once
        if not once and not unavailable:
            fitted = _fit([other for other in scored if other is not clip])
        faces |= {name: baseline.predict(clip) for name, baseline in fitted.items()}
        for name, face in faces.items():
            per_clip[name].append(
                score_clip(face, clip.clip.landmarks, clip.voiced, clip.clip.valid)
            )
        if progress:
            progress(index + 1, len(scored), "scoring")
    sync = Sync.of(scored, SyncReference(clips.training)) if clips.training else None
    return Evaluation(
        scored, predictions, per_clip, clips.skipped, clips.training_source, unavailable, sync
    )


def _fit(training: Sequence[EvalClip]) -> dict[str, Baseline]:
    return {name: kind(training) for name, kind in FITTED.items()}
