"""Expressions composed of action units on a real face at rest, moving as people move.

Nothing here was filmed but the face and the tracker's noise. Which units go together follows the
prototypes of the basic emotions (Ekman, Friesen and Hager 2002); an onset takes 0.5 to 1.2 s along
a minimum-jerk path (Flash and Hogan 1985), stretched unevenly, its units setting off and arriving
at different times and more on one side than on the other; then hold, offset, and blinks over all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_core.face.alignment import canonical_face
from emo_core.face.topology import NUM_LANDMARKS, RIGID_WEIGHTS, robot_points
from emo_core.mimic.action_units import UNITS, show
from emo_core.rates import FPS

Array = NDArray[np.float64]

#: Emotion -> unit -> intensity from, to.
PROTOTYPES: dict[str, dict[str, tuple[float, float]]] = {
    "happiness": {
        "lip_corner_pull": (0.5, 1.0),
        "cheek_raise": (0.2, 0.9),
        "jaw_drop": (0.0, 0.35),
    },
    "surprise": {"brow_raise": (0.5, 1.0), "jaw_drop": (0.3, 1.0)},
    "sadness": {
        "lip_corner_depress": (0.4, 1.0),
        "chin_raise": (0.2, 0.8),
        "brow_drop": (0.0, 0.5),
    },
    "anger": {"brow_drop": (0.5, 1.0), "chin_raise": (0.1, 0.8), "cheek_raise": (0.0, 0.5)},
    "disgust": {
        "nose_wrinkle": (0.5, 1.0),
        "lip_corner_depress": (0.0, 0.7),
        "brow_drop": (0.0, 0.6),
    },
    "fear": {"brow_raise": (0.4, 1.0), "brow_drop": (0.2, 0.6), "jaw_drop": (0.1, 0.6)},
    "kiss": {"pucker": (0.5, 1.0), "lid_close": (0.0, 0.6)},
}
#: Share of prototypes, of single units, of two or three units at random.
_SHARES = (0.65, 0.2, 0.15)
ONSET_S, HOLD_S, OFFSET_S = (0.5, 1.2), (0.5, 1.5), (0.5, 1.5)
#: Units that follow set off this share of the onset later, at most.
_LATEST = 0.3
_BLINKS_PER_S, _BLINK_CLOSE_S, _BLINK_OPEN_S = 0.3, (0.08, 0.16), (0.15, 0.3)
_ORDER = list(UNITS)
_LIDS = _ORDER.index("lid_close")


@dataclass(frozen=True)
class Composition:
    """Units over time, T frames at 25 Hz."""

    intensities: Array  # (T, 10, 2) right and left, blinks included
    peak: Array  # (10, 2) of the expression when complete
    start: int  # the last frame at rest
    complete: int  # the first frame with all units there
    release: int  # the first frame of the offset
    kind: str


def minimum_jerk(share: Array) -> Array:
    """Way done, 0 to 1, after a share of the time (Flash and Hogan 1985)."""
    u = np.clip(share, 0.0, 1.0)
    way: Array = u**3 * (10 - 15 * u + 6 * u**2)
    return way


def compose(rng: np.random.Generator, lead_s: tuple[float, float] = (0.5, 1.5)) -> Composition:
    """One expression from rest to rest, `lead_s` seconds of calm before it."""
    kind, units = _pick(rng)
    onset = rng.uniform(*ONSET_S)
    lead, hold, offset = (rng.uniform(*span) for span in (lead_s, HOLD_S, OFFSET_S))
    total = lead + onset + hold + offset + 0.3
    time = np.arange(round(total * FPS)) / FPS
    peak = np.zeros((len(UNITS), 2))
    intensities = np.zeros((len(time), len(UNITS), 2))
    first = rng.integers(len(units))
    starts, ends = [], []
    for i, (unit, amount) in enumerate(units.items()):
        delay = 0.0 if i == first else rng.uniform(0.0, _LATEST) * onset
        duration = (onset - delay) * (1.0 if i == first else rng.uniform(0.8, 1.0))
        uneven, tilt = np.exp(rng.normal(0.0, 0.2)), np.exp(rng.normal(0.0, 0.12))
        lag = rng.normal(0.0, 0.02)
        release = lead + onset + hold + rng.uniform(0.0, 0.2)
        for side in (0, 1):
            begin = lead + delay + abs(lag) * (side == int(lag > 0))
            level = min(1.0, amount * (tilt if side else 1.0 / tilt))
            up = minimum_jerk(np.clip((time - begin) / duration, 0, 1) ** uneven)
            down = minimum_jerk((time - release) / offset)
            row = _ORDER.index(unit)
            peak[row, side] = level
            intensities[:, row, side] = level * up * (1.0 - down)
            starts.append(begin)
            ends.append(begin + duration)
    _blink(rng, time, intensities)
    return Composition(
        intensities,
        peak,
        int(min(starts) * FPS),
        int(np.ceil(max(ends) * FPS)),
        int((lead + onset + hold) * FPS),
        kind,
    )


def blinks(rng: np.random.Generator, seconds: float) -> Composition:
    """A calm face that blinks."""
    time = np.arange(round(seconds * FPS)) / FPS
    intensities = np.zeros((len(time), len(UNITS), 2))
    _blink(rng, time, intensities)
    end = len(time)
    return Composition(intensities, np.zeros((len(UNITS), 2)), end, end, end, "calm")


def _pick(rng: np.random.Generator) -> tuple[str, dict[str, float]]:
    way = rng.choice(3, p=_SHARES)
    if way == 0:
        kind = str(rng.choice(list(PROTOTYPES)))
        vigour = rng.uniform(0.6, 1.0)
        units = {
            unit: vigour * rng.uniform(low, high) for unit, (low, high) in PROTOTYPES[kind].items()
        }
        return kind, {unit: amount for unit, amount in units.items() if amount > 0.05}
    count = 1 if way == 1 else int(rng.integers(2, 4))
    chosen = rng.choice(_ORDER, count, replace=False)
    return "+".join(chosen), {str(unit): float(rng.uniform(0.35, 1.0)) for unit in chosen}


def _blink(rng: np.random.Generator, time: Array, intensities: Array) -> None:
    """Close the lids for a moment at random times; in place."""
    for at in np.flatnonzero(rng.random(len(time)) < _BLINKS_PER_S / FPS):
        close, reopen = rng.uniform(*_BLINK_CLOSE_S), rng.uniform(*_BLINK_OPEN_S)
        since = time - time[at] + rng.uniform(0.0, 1.0 / FPS)
        closed = minimum_jerk(since / close) * (1.0 - minimum_jerk((since - close) / reopen))
        level = rng.uniform(0.5, 1.0) * closed[:, None]
        intensities[:, _LIDS] = np.maximum(intensities[:, _LIDS], level)


def another_person(face: NDArray[Any], rng: np.random.Generator) -> NDArray[np.float32]:
    """A face at rest (478, 3) mm in other proportions: smooth random changes, about 2 mm."""
    terms = _terms()
    weights = rng.normal(0.0, 1.0, (terms.shape[1], 3)) * (1.4, 1.4, 0.7)
    changed = np.asarray(face, np.float64) + terms @ weights
    return changed.astype(np.float32)


def own_way(fields: Array, rng: np.random.Generator) -> Array:
    """Action units (10, 2, 478, 3) as one person does them: stronger here, weaker there, aslant."""
    out = np.empty_like(fields)
    for u in range(len(fields)):
        angle = rng.normal(0.0, 0.15)
        mixed = fields[u].copy()
        for side, sign in ((0, -1.0), (1, 1.0)):
            x, y = fields[u, side, :, 0], fields[u, side, :, 1]
            mixed[side, :, 0] = np.cos(angle) * x - sign * np.sin(angle) * y
            mixed[side, :, 1] = sign * np.sin(angle) * x + np.cos(angle) * y
        out[u] = mixed * uneven_strength(rng)[:, None]
    out[:, :, list(RIGID_WEIGHTS)] = fields[:, :, list(RIGID_WEIGHTS)]
    return out


def uneven_strength(rng: np.random.Generator) -> Array:
    """Factors around 1 that vary smoothly over the face, (478,)."""
    terms = _terms()
    strength: Array = np.exp(terms @ rng.normal(0.0, 0.12, terms.shape[1]))
    return strength


def _terms() -> Array:
    """Smooth functions over the face, each of about unit size: (478, 9)."""
    x, y = (canonical_face()[:, axis].astype(np.float64) / 60.0 for axis in (0, 1))
    y = y - y.mean()
    columns = [np.ones(NUM_LANDMARKS), x, y, x * y, x**2 - 0.5, y**2 - 0.5, np.abs(x) - 0.5]
    terms: Array = np.stack([*columns, np.sin(3 * y), np.cos(3 * y)], axis=1)
    return terms


def perform(face: NDArray[Any], fields: Array, composition: Composition) -> tuple[Array, Array]:
    """The robot's landmarks of a composed expression, without noise.

    Returns:
        (T, 113, 2) mm relative to the face at rest, and the complete expression (113, 2).
    """
    both = np.concatenate([composition.intensities, composition.peak[None]])
    moved = robot_points(show(face, fields, both)) - robot_points(face)
    return moved[:-1], moved[-1]


class TrackerNoise:
    """The tracker's noise on real calm faces, played in random order.

    Args:
        stretches: tracked calm stretches (n, 113, 2) mm. Their mean and trend are taken off; what
            is left is nearly white in time and goes together over the face, as it is in them.
    """

    def __init__(self, stretches: list[Array]) -> None:
        if not stretches:
            raise ValueError("noise needs at least one calm stretch")
        self._residuals = [_detrended(np.asarray(s, np.float64)) for s in stretches]

    def play(self, frames: int, rng: np.random.Generator) -> Array:
        """(frames, 113, 2) mm."""
        parts: list[Array] = []
        while sum(map(len, parts)) < frames:
            part = self._residuals[rng.integers(len(self._residuals))]
            parts.append(part[:: rng.choice([-1, 1])])
        played: Array = np.concatenate(parts)[:frames]
        return played


def _detrended(values: Array) -> Array:
    time = np.arange(len(values)) - (len(values) - 1) / 2
    centred = values - values.mean(0)
    slope = np.tensordot(time, centred, axes=1) / max(float(time @ time), 1e-9)
    lost = max(1, len(values) - 2)  # degrees of freedom
    detrended: Array = (centred - time[:, None, None] * slope) * np.sqrt(len(values) / lost)
    return detrended
