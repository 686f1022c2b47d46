"""Score the predictive model: how near it comes, how far ahead it is, and when it is wrong.

What is filmed and what is composed is scored and reported apart. Filmed onsets are those of people
talking; composed ones are expressions on the real faces of people at rest, under the tracker's
real noise (`emo_core.mimic.composition`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_core.data.faces import rest_face
from emo_core.data.prepare import Clip
from emo_core.errors import EmoError
from emo_core.evaluation.clips import Progress
from emo_core.face.topology import robot_points
from emo_core.mimic.action_units import action_units
from emo_core.mimic.composition import (
    TrackerNoise,
    blinks,
    compose,
    own_way,
    perform,
)
from emo_core.mimic.expressions import (
    MIN_RISE_MM,
    REGIONS,
    Expression,
    calm_stretches,
    find_expressions,
)
from emo_core.mimic.predictive import PredictiveModel, Predictor
from emo_core.rates import FPS

Array = NDArray[np.float64]
Figures = dict[str, Any]

#: The answer is an alarm while it is so far ahead of the face (mean of a region's landmarks, mm).
ALARM_MM = 1.0
#: An alarm was right if the face came half of the way within twice the time foreseen, or this, s.
ALARM_S = 0.2
_REACHED = 0.5
#: FaceMesh settles in a clip's first frames.
_SETTLING = 3
#: Of the composed expressions and of their noise.
_SEED = 20240327
#: Calm: real faces at rest and real noise, played for so long, s at a time.
_CALM_S = 30.0


@dataclass(frozen=True)
class Run:
    """A sequence as the robot would live it: frames in, answers out. (T, 113, 2) mm each."""

    faces: Array  # relative to the static face; NaN where there was none
    answers: Array  # of `Predictor`
    seconds: Array  # (T,) foreseen by it
    onsets: list[Expression]
    goals: list[Array]  # what each onset comes to, (113, 2)

    calm: list[slice] = field(default_factory=list)  # where nothing moves

    def alarms(self) -> list[tuple[int, bool]]:
        """The frame of each alarm, and whether it was false."""
        lead = np.nan_to_num(self.answers - self.faces)
        size = np.linalg.norm(lead, axis=-1)
        ahead = np.max([size[:, region].mean(-1) for region in REGIONS.values()], axis=0)
        out = []
        for first, last in _stretches(ahead > ALARM_MM):
            top = first + int(np.argmax(ahead[first:last]))
            way = self.answers[top] - self.faces[first]
            deadline = top + round(max(2 * self.seconds[top], ALARM_S) * FPS)
            coming = self.faces[first : deadline + 1] - self.faces[first]
            gone = np.nan_to_num((coming * way).sum((1, 2)) / (way**2).sum())
            out.append((first, bool(gone.max() < _REACHED)))
        return out


def _stretches(mask: NDArray[np.bool_], bridge: int = 2) -> list[tuple[int, int]]:
    """Runs of True as (first, after the last); gaps of `bridge` frames do not part them."""
    out: list[tuple[int, int]] = []
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    for first, last in edges.reshape(-1, 2):
        if out and first - out[-1][1] <= bridge:
            out[-1] = (out[-1][0], int(last))
        else:
            out.append((int(first), int(last)))
    return out


def live(
    model: PredictiveModel,
    faces: Array,
    settings: dict[str, Any],
    onsets: Sequence[Expression] = (),
    goals: Sequence[Array] = (),
    calm: Sequence[slice] = (),
) -> Run:
    """(T, 113, 2) relative to the static face, through a fresh `Predictor`."""
    predictor = Predictor(model, np.zeros(faces.shape[1:]), **settings)
    answers = [predictor.feed(face) for face in faces]
    return Run(
        faces,
        np.array([answer.landmarks for answer in answers], np.float64),
        np.array([answer.seconds for answer in answers]),
        list(onsets),
        list(goals),
        list(calm),
    )


def evaluate_predictive(
    model: PredictiveModel,
    groups: dict[str, list[Clip]],
    strangers: Sequence[str],
    count: int = 400,
    calm_minutes: float = 10.0,
    progress: Progress | None = None,
    **settings: Any,
) -> Figures:
    """Score the model on the clips of several people.

    Args:
        groups: name -> clips of people that talk, none of them trained on.
        strangers: the groups whose people were not trained on either: expressions are composed
            on their faces.
        count: how many expressions are composed.
        calm_minutes: how long faces at rest are played.

    Returns:
        filmed (and filmed_by_group), composed, lead, false_alarms: see docs/mimic.md.

    Raises:
        EmoError: no clip has a calm stretch, or no face to compose on.
    """
    rng = np.random.default_rng(_SEED)
    everyone = [clip for clips in groups.values() for clip in clips]
    stretches = [_relative(clip)[s] for clip in everyone for s in _calm(clip)]
    if not stretches:
        raise EmoError("no clip has a third of a second of calm face: give clips that begin calm")
    noise = TrackerNoise(stretches)
    faces = [rest_face(clip) for name in strangers for clip in groups[name]]
    if not faces:
        raise EmoError("no face to compose expressions on: give clips of people not trained on")
    rests = [rest_face(clip) for clip in everyone]
    talking: dict[str, list[Run]] = {}
    done = 0
    for name, clips in groups.items():
        talking[name] = []
        for clip in clips:
            talking[name].append(_filmed(model, clip, settings))
            done += 1
            if progress:
                progress(done, len(everyone), "talking faces")
    composed = [_composed(model, faces[i % len(faces)], noise, rng, settings) for i in range(count)]
    random_pool = np.concatenate([run.faces for runs in talking.values() for run in runs])
    pool = random_pool[np.isfinite(random_pool).all((1, 2))]
    filmed = [run for runs in talking.values() for run in runs]
    return {
        "filmed": _errors(model, filmed, pool, rng),
        "filmed_by_group": {
            name: _errors(model, runs, pool, rng) for name, runs in talking.items()
        },
        "composed": _errors(model, [run for run, _ in composed], pool, rng),
        "lead": _lead(composed),
        "filmed_lead": _filmed_lead(filmed),
        "false_alarms": {
            "calm": _calm_alarms(model, rests, noise, calm_minutes, rng, settings),
            "calm_filmed": _alarms(filmed, calm=True),
            "talking": _alarms(filmed),
            "composed": _alarms([run for run, _ in composed]),
        },
    }


def _relative(clip: Clip) -> Array:
    return robot_points(clip.landmarks) - robot_points(rest_face(clip))


def _calm(clip: Clip) -> list[slice]:
    return calm_stretches(clip.landmarks)


def _filmed(model: PredictiveModel, clip: Clip, settings: dict[str, Any]) -> Run:
    faces = _relative(clip)[_SETTLING:]
    onsets = find_expressions(faces)
    goals = [faces[onset.peak] for onset in onsets]
    return live(model, faces, settings, onsets, goals, calm_stretches(faces))


@dataclass(frozen=True)
class _Truth:
    """What is known of a composed sequence."""

    peak: Array
    start: int
    complete: int
    release: int


def _composed(
    model: PredictiveModel,
    face: NDArray[np.float32],
    noise: TrackerNoise,
    rng: np.random.Generator,
    settings: dict[str, Any],
) -> tuple[Run, _Truth]:
    while True:
        composition = compose(rng)
        moved, peak = perform(face, own_way(action_units(face), rng), composition)
        if np.linalg.norm(peak, axis=-1).mean() >= MIN_RISE_MM:
            break
    faces = moved + noise.play(len(moved), rng)
    within = range(composition.start - 2, composition.complete)
    onsets = [
        o for o in find_expressions(faces)
        if o.activation in within and o.inputs[-1] < composition.complete
    ]  # fmt: skip
    run = live(model, faces, settings, onsets, [peak] * len(onsets))
    truth = _Truth(peak, composition.start, composition.complete, composition.release)
    return run, truth


def _distance(a: Array, b: Array) -> Array:
    """Of each landmark, mm."""
    out: Array = np.linalg.norm(a - b, axis=-1)
    return out


def _errors(
    model: PredictiveModel, runs: Sequence[Run], pool: Array, rng: np.random.Generator
) -> Figures:
    """Errors against the peak, at the onsets that the published selection finds.

    Mean over onsets and landmarks in mm; `over_hold` is over that of holding the current face.
    """
    guesses: dict[str, list[Array]] = {
        name: [] for name in ("model", "answer", "hold", "linear", "random")
    }
    waits, errors_s = [], []
    for run in runs:
        for onset, goal in zip(run.onsets, run.goals, strict=True):
            window = run.faces[onset.inputs.start : onset.inputs.stop]
            current = window[-1]
            ahead, _, seconds = model(window[None])
            wait = onset.peak - onset.inputs[-1]
            speed = (current - window[0]) / (len(window) - 1)
            drawn = pool[rng.integers(len(pool))]
            for name, guess in (
                ("model", current + ahead[0]),
                ("answer", run.answers[onset.inputs[-1]]),
                ("hold", current),
                ("linear", current + wait * speed),
                ("random", drawn),
            ):
                guesses[name].append(_distance(guess, goal))
            waits.append(wait / FPS)
            errors_s.append(abs(float(seconds[0]) - wait / FPS))
    if not waits:
        return {"onsets": 0}
    each = {name: np.array(values) for name, values in guesses.items()}
    hold = float(each["hold"].mean())
    return {
        "onsets": len(waits),
        "seconds_to_peak": _round(np.median(waits)),
        "seconds_error": _round(np.mean(errors_s)),
        "error_mm": {name: _round(values.mean()) for name, values in each.items()},
        "over_hold": {
            name: _round(values.mean() / hold) for name, values in each.items() if name != "hold"
        },
        "regions_over_hold": {
            region: _round(each["model"][:, at].mean() / each["hold"][:, at].mean())
            for region, at in REGIONS.items()
        },
        "per_landmark_mm": {
            name: [_round(value) for value in each[name].mean(0)] for name in ("model", "hold")
        },
    }


def _round(value: Any, digits: int = 3) -> float:
    return round(float(value), digits)


def _crossing(way: Array, first: int) -> float | None:
    """Frame at which `way` reaches half, between frames; None: never."""
    over = np.flatnonzero(way[first:] >= _REACHED)
    if not len(over):
        return None
    at = first + int(over[0])
    if at == first:
        return float(at)
    return at - 1 + float((_REACHED - way[at - 1]) / (way[at] - way[at - 1]))


def _lead(composed: Sequence[tuple[Run, _Truth]]) -> Figures:
    """How much earlier than plain mimicry half of a composed expression is reached."""
    leads, ours, plain = [], [], []
    for run, truth in composed:
        size = float((truth.peak**2).sum())
        begin, end = max(truth.start, 1), truth.release
        answer = _crossing((run.answers[:end] * truth.peak).sum((1, 2)) / size, begin)
        face = _crossing((run.faces[:end] * truth.peak).sum((1, 2)) / size, begin)
        held = slice(min(truth.complete, end - 1), end)
        ours.append(_distance(run.answers[held], truth.peak).mean())
        plain.append(_distance(run.faces[held], truth.peak).mean())
        if answer is not None and face is not None:
            leads.append(1000 * (face - answer) / FPS)
    return {
        "expressions": len(composed),
        "median_ms": _round(np.median(leads), 1),
        "p10_ms": _round(np.percentile(leads, 10), 1),
        "p90_ms": _round(np.percentile(leads, 90), 1),
        "each_ms": [_round(lead, 1) for lead in leads],
        "final_error_mm": {"answer": _round(np.mean(ours)), "mimicry": _round(np.mean(plain))},
    }


def _filmed_lead(runs: Sequence[Run]) -> Figures:
    """The same of filmed onsets, from where the distance begins to rise."""
    leads = []
    for run in runs:
        for onset, goal in zip(run.onsets, run.goals, strict=True):
            way = goal - run.faces[onset.start]
            both = [
                _crossing(
                    ((where[: onset.peak + 1] - run.faces[onset.start]) * way).sum((1, 2))
                    / float((way**2).sum()),
                    onset.start + 1,
                )
                for where in (run.answers, run.faces)
            ]
            if both[0] is not None and both[1] is not None:
                leads.append(1000 * (both[1] - both[0]) / FPS)
    if not leads:
        return {"onsets": 0}
    return {"onsets": len(leads), "median_ms": _round(np.median(leads), 1)}


def _alarms(runs: Sequence[Run], calm: bool = False) -> Figures:
    """Alarms in all frames, or in calm ones."""
    raised = false = frames = 0
    for run in runs:
        counted = np.full(len(run.faces), not calm)
        for stretch in run.calm if calm else ():
            counted[stretch] = True
        alarms = [wrong for first, wrong in run.alarms() if counted[first]]
        raised += len(alarms)
        false += sum(alarms)
        frames += int(counted.sum())
    minutes = max(frames, 1) / FPS / 60
    return {
        "minutes": _round(minutes, 2),
        "alarms": raised,
        "false": false,
        "alarms_per_minute": _round(raised / minutes, 2),
        "false_per_minute": _round(false / minutes, 2),
    }


def _calm_alarms(
    model: PredictiveModel,
    rests: Sequence[NDArray[np.float32]],
    noise: TrackerNoise,
    minutes: float,
    rng: np.random.Generator,
    settings: dict[str, Any],
) -> Figures:
    """Faces at rest that blink, under real noise: nothing comes, every alarm is false."""
    runs = []
    for _ in range(round(60 * minutes / _CALM_S)):
        rest = rests[rng.integers(len(rests))]
        moved, _ = perform(rest, action_units(rest), blinks(rng, _CALM_S))
        faces = moved + noise.play(len(moved), rng)
        runs.append(live(model, faces, settings))
    figures = _alarms(runs)
    figures["false"] = figures["alarms"]
    figures["false_per_minute"] = figures["alarms_per_minute"]
    return figures
