"""Examples for the predictive model: windows of four frames of a face, relative to it at rest.

What to predict, as a way to go from the newest frame ("ahead"), is

- in onsets of filmed clips (`find_expressions`): to the frame where the distance peaks;
- in composed onsets (`emo_core.mimic.composition`), over calm faces and over talking ones: to the
  expression when complete;
- everywhere else, calm, talking, blinking, holding, releasing: nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_core.data.faces import rest_face
from emo_core.data.prepare import Clip
from emo_core.errors import EmoError
from emo_core.face.topology import NUM_LANDMARKS, ROBOT_LANDMARKS, robot_points
from emo_core.mimic.action_units import action_units
from emo_core.mimic.composition import (
    TrackerNoise,
    another_person,
    compose,
    own_way,
    perform,
    uneven_strength,
)
from emo_core.mimic.expressions import INPUT_FRAMES, calm_stretches, find_expressions
from emo_core.mimic.predictive import INPUTS
from emo_core.rates import FPS

Array = NDArray[np.float32]


@dataclass
class Windows:
    """Frames of many sequences end to end, and the windows of four that end in them."""

    frames: NDArray[np.float16]  # (N, 226) mm relative to the face at rest
    ends: NDArray[np.intp]  # (W,) rows of `frames`
    goals: NDArray[np.float16]  # (G, 226)
    goal: NDArray[np.intp]  # (W,) row of `goals`, or -1: nowhere to go
    seconds: Array  # (W,) until the goal is reached

    @staticmethod
    def of(sequences: Sequence[Sequence[Any]]) -> Windows:
        """From (frames (T, 113, 2), goals of it (g, 113, 2), goal (T,), seconds (T,)) each."""
        frames, ends, goals, goal, seconds = [], [], [], [], []
        at = known = 0
        for points, aims, which, wait in sequences:
            flat = points.reshape(len(points), INPUTS)
            rows = np.arange(INPUT_FRAMES - 1, len(points))
            seen = np.isfinite(flat).all(1)
            whole = np.array([seen[row - INPUT_FRAMES + 1 : row + 1].all() for row in rows], bool)
            rows = rows[whole]
            frames.append(np.nan_to_num(flat).astype(np.float16))
            ends.append(at + rows)
            goals.append(np.reshape(aims, (-1, INPUTS)).astype(np.float16))
            goal.append(np.where(which[rows] >= 0, which[rows] + known, -1))
            seconds.append(wait[rows])
            at += len(points)
            known += len(goals[-1])
        return Windows(
            np.concatenate(frames),
            np.concatenate(ends),
            np.concatenate([*goals, np.zeros((1, INPUTS), np.float16)]),
            np.concatenate(goal),
            np.concatenate(seconds).astype(np.float32),
        )

    def batch(self, which: NDArray[np.intp]) -> tuple[Array, Array, Array, Array]:
        """inputs (B, 4, 226), ahead (B, 226), whether there is somewhere to go (B,), seconds."""
        rows = self.ends[which, None] + np.arange(1 - INPUT_FRAMES, 1)
        inputs = self.frames[rows].astype(np.float32)
        goal = self.goal[which]
        going = (goal >= 0).astype(np.float32)
        ahead = (self.goals[goal].astype(np.float32) - inputs[:, -1]) * going[:, None]
        return inputs, ahead, going, self.seconds[which]


def filmed(clip: Clip, rng: np.random.Generator | None = None) -> list[Any]:
    """A clip as a sequence for `Windows`: its onsets have goals, its other frames none.

    With `rng` as another person might talk: mirrored, and moving more here and less there.
    """
    rest = robot_points(rest_face(clip))
    points = robot_points(clip.landmarks)
    onsets = find_expressions(points)
    moved = points - rest
    if rng is not None:
        strength = uneven_strength(rng)[ROBOT_LANDMARKS, None]
        moved = strength * moved[:, mirror()] * (-1.0, 1.0)
    which = np.full(len(points), -1)
    wait = np.zeros(len(points), np.float32)
    for i, onset in enumerate(onsets):
        rows = np.arange(onset.start + 1, onset.peak)
        which[rows] = i
        wait[rows] = (onset.peak - rows) / FPS
    goals = np.array([moved[onset.peak] for onset in onsets]).reshape(-1, *moved.shape[1:])
    return [moved.astype(np.float32), goals, which, wait]


def mirror() -> NDArray[np.intp]:
    """(113,): which landmark is each one's image on the other side of the face."""
    with resources.files("emo_core.face").joinpath("mirror.npy").open("rb") as stream:
        partner = np.load(stream).astype(np.intp)
    place = np.zeros(NUM_LANDMARKS, np.intp)
    place[ROBOT_LANDMARKS] = np.arange(len(ROBOT_LANDMARKS))
    row: NDArray[np.intp] = place[partner[ROBOT_LANDMARKS]]
    return row


def composed(
    rests: Sequence[Array],
    noise: TrackerNoise,
    count: int,
    people: int,
    rng: np.random.Generator,
    talk: Sequence[Any] = (),
) -> list[Any]:
    """`count` composed expressions as sequences for `Windows`.

    Args:
        rests: real faces at rest (478, 3), from which `people` others are made.
        talk: filmed sequences to lay them over; without, they play over calm.
    """
    faces = []
    for _ in range(people):
        first, second = rng.choice(len(rests), 2)
        share = rng.uniform(-0.2, 1.2)
        face = another_person((1 - share) * rests[first] + share * rests[second], rng)
        faces.append((face, own_way(action_units(face), rng)))
    out = []
    for _ in range(count):
        face, fields = faces[rng.integers(people)]
        composition = compose(rng)
        moved, peak = perform(face, fields, composition)
        rows = np.arange(composition.start + 1, min(composition.complete, len(moved)))
        goals = peak[None]
        if len(talk):
            beneath = talk[rng.integers(len(talk))][0]
            kept = min(len(moved), len(beneath))
            moved = moved[:kept] + beneath[:kept]
            rows = rows[rows < kept]
            # The words go on: only the composed part is to be foreseen.
            goals = peak[None] + beneath[rows]
        else:
            moved = moved + rng.uniform(0.5, 1.5) * noise.play(len(moved), rng)
        which = np.full(len(moved), -1)
        wait = np.zeros(len(moved), np.float32)
        which[rows] = np.arange(len(rows)) if len(talk) else 0
        wait[rows] = (composition.complete - rows) / FPS
        out.append([moved.astype(np.float32), goals, which, wait])
    return out


def rest_changes(clips: Sequence[Clip]) -> Array:
    """How faces at rest differ within a clip: calm stretches' means less the first's, (n, 226)."""
    out = []
    for clip in clips:
        points = robot_points(clip.landmarks)
        means = [points[stretch].mean(0) for stretch in calm_stretches(points)]
        out += [(mean - means[0]).reshape(INPUTS) for mean in means[1:]]
    changes: Array = np.array(out, np.float32).reshape(-1, INPUTS)
    return changes


def tracker_noise(clips: Sequence[Clip]) -> TrackerNoise:
    """The noise of the landmarks while the faces keep still.

    Raises:
        EmoError: none does.
    """
    stretches = []
    for clip in clips:
        points = robot_points(clip.landmarks)
        stretches += [points[stretch] for stretch in calm_stretches(points)]
    if not stretches:
        raise EmoError(
            "no face in these clips keeps still for a third of a second, so there is no telling "
            "the tracker's noise: add clips that begin with a calm face"
        )
    return TrackerNoise(stretches)


def wander(changes: Array, count: int, rng: np.random.Generator) -> Array:
    """The face at rest is not quite the static face, and drifts: (count, 4, 226) mm.

    Args:
        changes: as from `rest_changes`.
    """
    if not len(changes):
        return np.zeros((count, INPUT_FRAMES, INPUTS), np.float32)
    offset, drift = (
        changes[rng.integers(len(changes), size=count)] * rng.uniform(-0.5, 1.0, (count, 1))
        for _ in range(2)
    )
    time_s = np.arange(1 - INPUT_FRAMES, 1) / FPS  # drifts there within two seconds
    moved: Array = (offset[:, None] + 0.5 * drift[:, None] * time_s[:, None]).astype(np.float32)
    return moved
