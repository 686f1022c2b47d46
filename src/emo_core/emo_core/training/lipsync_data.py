"""Clips -> sequences for Audio2Landmark: voices changed beforehand, lips as coordinates of a basis.

Each clip is heard in several versions; the first is as recorded. A version may begin with the end
of another clip, with a quiet room, or with digital silence, so that the network meets every kind
of past; it ends with the silence that drains the look-ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emo_core.audio.mel import FLOOR_DB, N_MELS
from emo_core.data.prepare import Clip
from emo_core.evaluation.voice import static_face, voiced_frames
from emo_core.face.alignment import canonical_face
from emo_core.face.topology import (
    LIPS,
    LIPS_JAW,
    LOWER_LIP_INNER,
    MOUTH_CORNERS,
    NUM_LANDMARKS,
    UPPER_LIP_INNER,
)
from emo_core.training.augment import another_voice

Array = NDArray[np.float32]

#: Numbers of a face: x, y and z of each landmark, 1434.
COORDINATES = 3 * NUM_LANDMARKS
TAIL_ROWS = 26
#: Mel frames are judged from here up: below, a room's noise.
_QUIET_QUANTILE = 0.1


@dataclass(frozen=True)
class Lips:
    """A clip's target: displacement from its static face, where the face was seen."""

    name: str
    person: int
    static: Array  # (478, 3)
    displacement: Array  # (T, 1434), zeros where not valid
    valid: NDArray[np.bool_]  # (T,)
    mel: Array  # (K, 80)

    @staticmethod
    def of(clip: Clip, person: int) -> Lips:
        """Static face by `evaluation.voice`, the same one that evaluation uses."""
        voiced = voiced_frames(clip.audio, len(clip.landmarks))
        static = static_face(clip.landmarks, voiced, clip.valid).astype(np.float32)
        displacement = np.nan_to_num(clip.landmarks - static).reshape(len(clip.landmarks), -1)
        return Lips(clip.name, person, static, displacement, clip.valid, clip.mel)


@dataclass(frozen=True)
class Basis:
    """Displacements as coordinates: `displacement ~ coordinates @ decoder`, (K,) -> (1434,)."""

    decoder: Array  # (K, 1434)
    encoder: Array  # (1434, K)

    @staticmethod
    def fit(clips: Sequence[Lips], components: int) -> Basis:
        """Principal components with the points that matter weighted up.

        Coordinates are scaled so that a squared error in them is the weighted squared error in
        mm; what the mouth's opening and width lose is counted beside it.
        """
        weights = np.repeat(np.sqrt(point_weights()), 3)
        seen = [clip.displacement[clip.valid] for clip in clips]
        rng = np.random.default_rng(0)
        seen += [d - d[rng.integers(len(d))] for d in seen[::4]]  # from other static faces
        data = np.concatenate(seen) * weights
        _, vectors = np.linalg.eigh((data.T @ data).astype(np.float64))
        leading = vectors[:, ::-1][:, :components]
        encoder = (weights[:, None] * leading).astype(np.float32)
        decoder = (leading / weights[:, None]).T.astype(np.float32)
        return Basis(decoder, encoder)


def point_weights() -> Array:
    """Weight of each point's squared error, (478,): lips 4, jaw 2, the rest 0.5."""
    weights = np.full(NUM_LANDMARKS, 0.5, np.float32)
    weights[LIPS_JAW] = 2.0
    weights[LIPS] = 4.0
    return weights


def mouth_readings() -> Array:
    """(1434, 2): displacement -> change of mouth opening (13 to 14) and width (61 to 291) in mm."""
    out = np.zeros((NUM_LANDMARKS, 3, 2), np.float32)
    out[UPPER_LIP_INNER, 1, 0], out[LOWER_LIP_INNER, 1, 0] = 1, -1
    out[MOUTH_CORNERS[0], 0, 1], out[MOUTH_CORNERS[1], 0, 1] = -1, 1
    return np.asarray(out.reshape(-1, 2))


def static_readings() -> Array:
    """(1434, 6): a face -> its mouth at rest in cm: three gaps, the heights of the lips, width."""
    out = np.zeros((NUM_LANDMARKS, 3, 6), np.float32)
    for column, (upper, lower) in enumerate([(82, 87), (13, 14), (312, 317), (0, 13), (14, 17)]):
        out[upper, 1, column], out[lower, 1, column] = 0.1, -0.1
    out[MOUTH_CORNERS[0], 0, 5], out[MOUTH_CORNERS[1], 0, 5] = -0.1, 0.1
    return out.reshape(-1, 6)


def another_static(clip: Lips, rng: np.random.Generator) -> Array:
    """Displacement (1434,) of another static face of the same person: up to three of its frames.

    Some people rest with their mouth open: a network that has only met closed mouths before
    speech never closes theirs.
    """
    frames = rng.choice(np.flatnonzero(clip.valid), size=int(rng.integers(1, 4)))
    other: Array = clip.displacement[frames].mean(0)
    return other


@dataclass(frozen=True)
class People:
    """The people trained on, to recognize them by: what is learned of one misleads with others."""

    means: Array  # (P, 1434) their static faces' means
    shape_points: NDArray[np.int64]  # points that tell people apart whatever they say
    radius_mm: float  # RMS distance within which a static face is theirs

    @staticmethod
    def of(clips: Sequence[Lips]) -> People:
        """Means of the static faces; the radius holds 98 % of them."""
        people = sorted({clip.person for clip in clips})
        statics = [np.stack([c.static for c in clips if c.person == p]) for p in people]
        means = np.stack([s.mean(0) for s in statics])
        face = canonical_face()
        points = np.flatnonzero(face[:468, 1] > face[LIPS, 1].max() + 5.0)
        off = [
            np.sqrt(np.square(s - m)[:, points].sum(-1).mean(-1))
            for s, m in zip(statics, means, strict=True)
        ]
        radius = float(np.percentile(np.concatenate(off), 98))
        return People(means.reshape(len(people), -1), points, radius)


@dataclass(frozen=True)
class HeardClip:
    """One version of one clip: log-mel rows and where in them its frame 0 lies."""

    clip: int  # -1: nobody speaks, the face rests
    mel: Array  # (R, 80)
    start: int  # in mel rows, even


def versions(clips: Sequence[Lips], count: int, rng: np.random.Generator) -> list[list[HeardClip]]:
    """`count` versions of every clip; version 0 as recorded."""
    out = []
    for version in range(count):
        batch = []
        for index, clip in enumerate(clips):
            if version == 0:
                tail = np.full((TAIL_ROWS, N_MELS), FLOOR_DB, np.float32)
                batch.append(HeardClip(index, np.concatenate([clip.mel, tail]), 0))
                continue
            before = _before(clips, clip, rng)
            after = quiet(clip.mel, TAIL_ROWS, rng)
            if rng.random() < 0.5:
                after[:] = FLOOR_DB
            mel = another_voice(np.concatenate([before, clip.mel, after]), rng)
            batch.append(HeardClip(index, mel, len(before)))
        if version:
            for _ in range(max(1, len(clips) // 16)):
                room = quiet(clips[int(rng.integers(len(clips)))].mel, 176, rng)
                batch.append(HeardClip(-1, another_voice(room, rng), 0))
        out.append(batch)
    return out


def quiet(mel: Array, rows: int, rng: np.random.Generator) -> Array:
    """The recording's room with nobody speaking: its quietest frames, drawn at random."""
    level = mel.mean(1)
    calm = mel[level <= np.quantile(level, _QUIET_QUANTILE)]
    drawn: Array = calm[rng.integers(len(calm), size=rows)].copy()
    return drawn


def _before(clips: Sequence[Lips], clip: Lips, rng: np.random.Generator) -> Array:
    kind = rng.random()
    rows = 2 * int(rng.integers(5, 40))
    if kind < 0.4:
        return np.zeros((0, N_MELS), np.float32)
    if kind < 0.5:
        return np.full((rows, N_MELS), FLOOR_DB, np.float32)
    if kind < 0.65:
        return quiet(clip.mel, rows, rng)
    other = clips[int(rng.integers(len(clips)))].mel
    return other[len(other) - rows :]
