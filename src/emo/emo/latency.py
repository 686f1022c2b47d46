"""latency.csv of a run -> latency.json: frames, drops, and percentiles of each stage."""

from __future__ import annotations

import array
import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PERCENTILES = (50, 95, 99)
#: Columns that are ages (ms since `stamp`), in the order in which a frame passes them.
_AGES = (
    "speech_features",
    "audio2landmark",
    "normalization",
    "inverse_model",
    "arbiter",
    "received",
    "written",
)
#: What lies between one age and the one before; the first is microphone and transport, too.
_STAGES = (
    "microphone_and_speech_features",
    "audio2landmark",
    "normalization",
    "inverse_model",
    "arbiter",
    "transport_to_drivers",
    "drivers",
)


def summarize(path: Path) -> dict[str, Any]:
    """Figures of one run.

    A frame's age is that of the write, its arrival that at the first driver. Dropped are the
    frames of the stream that never came to the bus.

    Returns:
        `{"frames", "dropped", "end_to_end_ms": {"p50", "p95", "p99"}, "stages_ms": {...}}`; the
        percentiles are None where there were no frames.
    """
    rows: array.array[float] = array.array("d")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if None in row.values():
                    continue  # the line that a killed process did not finish
                place = float(row["stamp"]), float(row["frame"])
                rows.extend((*place, *(float(row[age]) for age in _AGES)))
    except FileNotFoundError:  # no driver got as far as that
        pass
    table = np.frombuffer(rows, np.float64) if rows else np.zeros(0)
    table = table.reshape(-1, 2 + len(_AGES))
    return _figures(table)


def _figures(table: NDArray[np.float64]) -> dict[str, Any]:
    """Figures of rows (n, 2 + ages): stamp (s), frame number, ages; two rows for two drivers."""
    places, index = np.unique(table[:, :2], axis=0, return_inverse=True)
    ages = np.full((len(places), len(_AGES)), np.inf)
    np.minimum.at(ages, index.reshape(-1), table[:, 2:])
    frames = places[:, 1]
    # In the order of stamps a number that falls begins a new stream.
    streams = np.cumsum(np.diff(frames, prepend=0.0) < 0)
    expected = 0
    for stream in np.unique(streams):
        numbers = frames[streams == stream]
        expected += int(numbers.max() - (numbers.min() if stream else 0)) + 1
    stages = np.diff(ages, axis=1, prepend=0.0)
    return {
        "frames": len(frames),
        "dropped": expected - len(frames),
        "end_to_end_ms": _percentiles(ages[:, -1]),
        "stages_ms": {name: _percentiles(stages[:, i]) for i, name in enumerate(_STAGES)},
    }


def _percentiles(values: NDArray[np.float64]) -> dict[str, float | None]:
    known = values[np.isfinite(values)]
    return {
        f"p{percent}": round(float(np.percentile(known, percent)), 3) if len(known) else None
        for percent in _PERCENTILES
    }
