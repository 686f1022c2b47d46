"""latency.csv of a run -> latency.json: frames, drops, and percentiles of each stage."""

from __future__ import annotations

import array
import csv
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PERCENTILES = (50, 95, 99)
#: Columns before the ages (ms since `stamp`), which stand in the order a frame passes them.
_ABOUT = ("frame", "stamp", "driver", "source")
#: What lies between one age and the one before goes by the later one's name, but for these: what
#: lies before a pipeline's first stage, and the two last.
_NAMES = {
    "speech_features": "microphone_and_speech_features",
    "face_tracking": "camera_and_face_tracking",
    "received": "transport_to_drivers",
    "written": "drivers",
}


def summarize(
    path: Path, sources: Sequence[str], expected: Mapping[str, int] | None = None
) -> dict[str, dict[str, Any]]:
    """Figures of one run, for each of `sources` (pipelines).

    A frame's age is that of the write, its arrival that at the first driver. Dropped are the
    frames of the stream that never came to the drivers; those that came and found their motors
    driven by another source are not written, and have no age.

    Args:
        expected: source -> frames in its recording, where that is known: what was left out before
            it had a number is dropped, too.

    Returns:
        source -> `{"frames", "written", "dropped", "end_to_end_ms": {"p50", "p95", "p99"},
        "stages_ms": {...}}`; the percentiles are None where there were no frames.
    """
    rows: dict[str, array.array[float]] = {source: array.array("d") for source in sources}
    ages: list[str] = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            ages = [name for name in reader.fieldnames or () if name not in _ABOUT]
            for row in reader:
                # A killed process leaves a line unfinished; the next one may have gone on in it.
                if row["source"] in rows and None not in row and None not in row.values():
                    times = (row["stamp"], row["frame"], *(row[age] or "nan" for age in ages))
                    rows[row["source"]].extend(float(time) for time in times)
    except FileNotFoundError:  # no driver got as far as that
        pass
    known = expected or {}
    return {name: _figures(values, ages, known.get(name, 0)) for name, values in rows.items()}


def first_stamp(path: Path, source: str) -> float | None:
    """When the first frame of `source` that the drivers heard of was captured, in s, if any."""
    if not path.exists():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        rows = (row for row in csv.DictReader(file) if row["source"] == source)
        return min((float(row["stamp"]) for row in itertools.islice(rows, 10)), default=None)


def _figures(values: array.array[float], names: Sequence[str], least: int = 0) -> dict[str, Any]:
    """Figures of rows (n, 2 + ages): stamp (s), frame number, ages; two rows for two drivers."""
    table = (np.frombuffer(values, np.float64) if values else np.zeros(0)).reshape(
        -1, 2 + len(names)
    )
    places, index = np.unique(table[:, :2], axis=0, return_inverse=True)
    ages = np.full((len(places), len(names)), np.nan)
    np.fmin.at(ages, index.reshape(-1), table[:, 2:])
    passed = np.isfinite(ages).any(axis=0)  # a stage of another pipeline has no age
    passed[-2:] = True
    ages, names = (
        ages[:, passed],
        [name for name, kept in zip(names, passed, strict=True) if kept],
    )
    frames = places[:, 1]
    # In the order of stamps a number that falls begins a new stream.
    streams = np.cumsum(np.diff(frames, prepend=0.0) < 0)
    expected = 0
    for stream in np.unique(streams):
        numbers = frames[streams == stream]
        expected += int(numbers.max() - (numbers.min() if stream else 0)) + 1
    stages = np.diff(ages, axis=1, prepend=0.0)
    total = ages[:, -1] if names else np.zeros(0)
    return {
        "frames": len(frames),
        "written": int(np.isfinite(total).sum()),
        "dropped": max(expected, least) - len(frames),
        "end_to_end_ms": _percentiles(total),
        "stages_ms": {
            _NAMES.get(name, name): _percentiles(stages[:, i]) for i, name in enumerate(names)
        },
    }


def _percentiles(values: NDArray[np.float64]) -> dict[str, float | None]:
    known = values[np.isfinite(values)]
    return {
        f"p{percent}": round(float(np.percentile(known, percent)), 3) if len(known) else None
        for percent in _PERCENTILES
    }
