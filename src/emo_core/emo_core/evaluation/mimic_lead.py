"""How far ahead of plain mimicry the robot is, and whether it lifts its brows as people do.

Expressions are composed on real faces at rest, under the tracker's real noise, and played to the
whole closed loop (`emo_core.evaluation.mimic`) twice: with prediction, and as plain mimicry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emo_core.errors import EmoError
from emo_core.evaluation.clips import EvalClip, Progress
from emo_core.evaluation.mimic import TAKES, Figures, Pair, Shot, Stage, perform_track, score
from emo_core.face.topology import ROBOT_LANDMARKS, robot_points
from emo_core.face.tracking import FaceTracker
from emo_core.mimic.action_units import action_units, show
from emo_core.mimic.composition import Composition, TrackerNoise, compose, own_way
from emo_core.mimic.expressions import MIN_RISE_MM, calm_stretches
from emo_core.rates import FPS
from emo_core.robot.description import RobotDescription

Array = NDArray[np.float32]

_SEED = 20240327
#: Half of the way is what counts as being there.
_HALF = 0.5
#: The goal: the robot is shown the face at rest, then the complete expression; s each. What it
#: looks like is the mean over the last of each.
_SHOWN_S, _LOOKED_S = 1.2, 0.8


@dataclass(frozen=True)
class Played:
    """One expression, and what the robot made of it."""

    composition: Composition
    person: Array  # (T, 478, 3) mm, tracked and smoothed
    ahead: Shot  # with prediction
    plain: Shot
    goal: Shot  # at rest, then at the complete expression

    def way(self, shot: Shot, of: str) -> NDArray[np.float64]:
        """(T,) share of the way from rest to the goal, along it; over the 113 landmarks."""
        rest, goal = self.ends(of)
        along = robot_points(getattr(shot, of)) - rest
        direction = goal - rest
        return np.asarray((along * direction).sum((1, 2)) / (direction**2).sum())

    def ends(self, of: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The robot at rest, and at the goal: (113, 2) mm each."""
        faces = robot_points(getattr(self.goal, of))
        shown, looked = round(_SHOWN_S * FPS), round(_LOOKED_S * FPS)
        return np.nanmean(faces[shown - looked : shown], 0), np.nanmean(faces[-looked:], 0)

    def lead_ms(self, of: str) -> float | None:
        """How much earlier than plain mimicry half of the way is gone; None: it is not gone."""
        window = slice(max(self.composition.start, 1), self.composition.release)
        crossings = [_crossing(self.way(shot, of), window) for shot in (self.ahead, self.plain)]
        if crossings[0] is None or crossings[1] is None:
            return None
        return 1000 * (crossings[1] - crossings[0]) / FPS

    def final_error(self, shot: Shot, of: str) -> float:
        """Mean distance of the 113 landmarks from the goal while the expression is held, mm."""
        first = min(self.composition.complete, self.composition.release - 1)
        held = robot_points(getattr(shot, of))[first : self.composition.release]
        gap = np.nanmean(held, 0) - self.ends(of)[1]
        return float(np.linalg.norm(gap, axis=-1).mean())


def _crossing(way: NDArray[np.float64], window: slice) -> float | None:
    """Frame, between frames, at which half of the way is gone and stays so for three frames."""
    over = np.nan_to_num(way, nan=-1.0) >= _HALF
    for n in range(window.start, window.stop):
        if over[n : n + 3].all():
            if over[n - 1] or np.isnan(way[n - 1]):
                return float(n)
            return n - 1 + float((_HALF - way[n - 1]) / (way[n] - way[n - 1]))
    return None


def expressions(
    robot: RobotDescription,
    clips: Sequence[EvalClip],
    faces: Sequence[Array],
    count: int,
    takes: int = TAKES,
    progress: Progress | None = None,
) -> Figures:
    """Play `count` composed expressions.

    Args:
        clips: whose calm stretches the tracker's noise is taken from.
        faces: people at rest, (478, 3) metric mm, to compose on; in turn.

    Returns:
        brow_height: `score` of plain mimicry; `ahead`: the same with prediction; lead: of the
        robot as seen, and of the skin.

    Raises:
        EmoError: no clip has a calm stretch.
    """
    rng = np.random.default_rng(_SEED)
    stretches = [
        robot_points(clip.displacement)[stretch]
        for clip in clips
        for stretch in calm_stretches(clip.clip.landmarks)
    ]
    if not stretches:
        raise EmoError("no clip has a third of a second of calm face: give clips that begin calm")
    noise = TrackerNoise(stretches)
    played = []
    with FaceTracker() as finder:
        stage = Stage(robot, finder, takes)
        for n in range(count):
            played.append(_play(stage, faces[n % len(faces)], noise, rng, n))
            if progress:
                progress(n + 1, count, "composed expressions")
    return {
        "expressions": count,
        **score([Pair("", one.person, one.plain) for one in played], ("brow_height",)),
        "ahead": score([Pair("", one.person, one.ahead) for one in played], ("brow_height",)),
        "lead": {of: _leads(played, of) for of in ("seen", "skin")},
    }


def _play(
    stage: Stage, face: Array, noise: TrackerNoise, rng: np.random.Generator, number: int
) -> Played:
    fields = own_way(action_units(face), rng)
    while True:
        composition = compose(rng)
        peak = show(face, fields, composition.peak[None])
        if np.linalg.norm(robot_points(peak[0] - face), axis=-1).mean() >= MIN_RISE_MM:
            break
    track = show(face, fields, composition.intensities)
    track[:, ROBOT_LANDMARKS, :2] += noise.play(len(track), rng)
    still = np.repeat(np.stack([face, peak[0]]), round(_SHOWN_S * FPS), axis=0)
    shots = []
    for shown, predict in ((track, True), (track, False), (still, False)):
        person, commands = perform_track(stage.robot, shown.astype(np.float32), face, predict)
        shots.append((person, stage(commands, number=number)))
    return Played(composition, shots[0][0], *(shot for _, shot in shots))


def _leads(played: Sequence[Played], of: str) -> Figures:
    leads = [lead for one in played if (lead := one.lead_ms(of)) is not None]
    errors = np.array(
        [[one.final_error(shot, of) for shot in (one.ahead, one.plain)] for one in played]
    )
    ahead, plain = np.nanmean(errors, axis=0)
    p10, median, p90 = np.percentile(leads, [10, 50, 90]) if leads else [np.nan] * 3
    return {
        "reached": len(leads),
        "median_ms": float(median),
        "p10_ms": float(p10),
        "p90_ms": float(p90),
        "final_error_mm": {"ahead": float(ahead), "plain": float(plain)},
    }
