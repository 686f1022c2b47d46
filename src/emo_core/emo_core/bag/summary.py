"""What is in a recording: rates, gaps, losses, latency by stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_core.bag.reader import Bag

#: A silence of so many usual distances between messages, and of so many ms, is a gap...
_GAP, _GAP_MS = 3.0, 60.0
#: ... on a topic that has so many messages a second; others speak when they have something to say.
_STEADY_HZ = 10.0


def topics(bag: Bag) -> dict[str, dict[str, Any]]:
    """Topic -> type, count, rate_hz, largest_gap_ms, gaps, lost, kilobytes; in alphabetic order.

    `gaps`: see `gaps` below.
    """
    rows = {}
    for name in sorted(bag.types):
        times = bag.log_ns.get(name)
        if times is None:
            continue
        steps = np.diff(np.sort(times)) * 1e-6
        span = float(times.max() - times.min()) * 1e-9
        rows[name] = {
            "type": bag.types[name],
            "count": len(times),
            "rate_hz": round((len(times) - 1) / span, 2) if span > 0 else None,
            "largest_gap_ms": round(float(steps.max()), 1) if len(steps) else None,
            "gaps": len(gaps(times)),
            "lost": bag.lost[name],
            "kilobytes": round(bag.sizes[name] / 1000, 1),
        }
    return rows


def gaps(times_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Silences (n, 2) in a topic that is steady otherwise: last message before, first after, ns."""
    times = np.sort(times_ns)
    steps = np.diff(times) * 1e-6
    if len(steps) == 0 or len(steps) * 1e3 < _STEADY_HZ * steps.sum():
        return np.zeros((0, 2), np.int64)
    at = np.flatnonzero((steps > _GAP * np.median(steps)) & (steps > _GAP_MS))
    return np.stack([times[at], times[at + 1]], axis=1)


@dataclass
class Commands:
    """A topic of MotorCommand.

    Attributes:
        rows: motor -> (when it was asked, ns; positions), each motor where it was named.
        frames: source -> frame numbers.
        ages_ms: source -> (T, stages), of messages that have as many stages as the first.
    """

    rows: dict[str, tuple[list[int], list[float]]] = field(default_factory=dict)
    frames: dict[str, list[int]] = field(default_factory=dict)
    ages_ms: dict[str, list[list[float]]] = field(default_factory=dict)

    @property
    def dropped(self) -> dict[str, int]:
        """Source -> frames missing in its numbers; a number that falls begins a new stream."""
        missing = {}
        for source, numbers in self.frames.items():
            steps = np.diff(np.array(numbers, np.int64))
            missing[source] = int((steps[steps > 1] - 1).sum())
        return missing


def commands(bag: Bag, topic: str) -> Commands:
    """Read a topic of MotorCommand."""
    found = Commands()
    for raw in bag.messages([topic]):
        message = bag.decode(raw)
        for name, position in zip(message.names, message.positions, strict=False):
            times, values = found.rows.setdefault(name, ([], []))
            times.append(raw.publish_ns)
            values.append(position)
        found.frames.setdefault(message.source, []).append(message.frame)
        ages = found.ages_ms.setdefault(message.source, [])
        if not ages or len(ages[0]) == len(message.stage_ms):
            ages.append(list(message.stage_ms))
    return found


def latency(ages_ms: Sequence[Sequence[float]], stages: Sequence[str]) -> dict[str, Any]:
    """Percentiles of each stage's own time, and of all of them, ms.

    Args:
        ages_ms: of each message, from its stamp to the publication by each stage.
        stages: their names; what is not named is called by its number.
    """
    table: NDArray[np.float64] = np.array(ages_ms, np.float64)
    if table.size == 0:
        return {}
    own = np.diff(table, axis=1, prepend=0.0)
    names = [*stages, *(f"stage {i}" for i in range(len(stages), own.shape[1]))]
    figures = {name: _percentiles(own[:, i]) for i, name in enumerate(names[: own.shape[1]])}
    return {**figures, "all": _percentiles(table[:, -1])}


def _percentiles(values: NDArray[np.float64]) -> Mapping[str, float]:
    return {f"p{p}": round(float(np.percentile(values, p)), 2) for p in (50, 95, 99)}
