"""How cost grows: with the length of a recording, with robots at once, with hours."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from emo.bench.live import EMO, run, write_speech
from emo.bench.usage import Usage
from emo.options import BOTH
from emo.ros_domain import CHOICES
from emo_core.errors import EmoError
from emo_core.evaluation.skew import skew_of_film


def with_length(speech: Path, lengths_s: Sequence[float], folder: Path) -> list[dict[str, float]]:
    """`./emo animate` on recordings of several lengths: seconds it takes, most memory (MB)."""
    rows = []
    for length_s in lengths_s:
        write_speech(speech, length_s, folder / "length.wav")
        start = time.monotonic()
        process = subprocess.Popen(
            [*EMO, "animate", str(folder / "length.wav"), "-o", str(folder / "length.npz")],
            stdout=subprocess.DEVNULL,
        )
        with Usage(process.pid, 0.05) as usage:  # wait4's maximum would count this process, too
            status = process.wait()
        if status:
            raise EmoError(f"emo animate failed on {length_s:g} s of {speech}")
        wall_s = time.monotonic() - start
        rows.append({
            "recording_s": length_s,
            "wall_s": wall_s,
            "times_real_time": length_s / wall_s,
            "memory_mb": max((sum(look.values()) for _, look in usage.memory()), default=0.0),
        })  # fmt: skip
    return rows


def with_robots(
    counts: Sequence[int], speech: Path, video: Path, folder: Path
) -> list[dict[str, Any]]:
    """Both pipelines of several robots at once, each in a ROS domain of its own.

    So it is whatever domain this shell chose, in which only one could run.
    """
    environment = {name: value for name, value in os.environ.items() if name not in CHOICES}
    rows = []
    for count in counts:
        with ThreadPoolExecutor(count) as pool:
            tasks = [
                pool.submit(
                    run, BOTH, speech, video, folder / f"robots{count}_{i}", environment=environment
                )
                for i in range(count)
            ]
            results = [task.result() for task in tasks]
        figures = [each for result in results for each in result["pipelines"].items()]
        rows.append({
            "robots": count,
            "cores": sum(sum(result["cores"].values()) for result in results),
            "memory_mb": sum(sum(result["memory_mb"].values()) for result in results),
            "p95_ms": {name: max(f["end_to_end_ms"]["p95"] for n, f in figures if n == name)
                       for name, _ in figures},
            "dropped": sum(figure["dropped"] for _, figure in figures),
        })  # fmt: skip
    return rows


def with_hours(result: dict[str, Any], film: Path) -> dict[str, Any]:
    """What changed during one long run of both pipelines (`run` with its film).

    Returns:
        `memory_growth`: share by which memory is larger in the last tenth of the run than in the
        second (the first is warming up); `processes`: name -> `before_mb`, `after_mb`, the same
        for each, and its `niceness`; `load`: of the machine meanwhile, `median` and `most`;
        `drift_ms`: how much later lips are, relative to the sound, in the film's last tenth than
        in its first; `skew_ms`: how late they are all along; `dropped`: frames, by pipeline.
    """
    first, last = result["commands_s"]
    looks = [look for at_s, look in result["memory"] if first <= at_s <= last]
    names = sorted({name for look in looks for name in look})
    memory = np.array([[look.get(name, 0.0) for name in names] for look in looks])
    tenth = max(1, len(looks) // 10)
    before, after = memory[tenth : 2 * tenth].mean(0), memory[-tenth:].mean(0)
    load = [value for at_s, value in result["load"] if first <= at_s <= last]
    skew = skew_of_film(film)
    starts, late = np.array(skew.window_start_s), np.array(skew.window_ms)
    length = (last - first) / 10
    early, end = late[starts < starts.min() + length], late[starts > starts.max() - length]
    return {
        "hours": (last - first) / 3600,
        "memory_growth": float(after.sum() / before.sum() - 1.0),
        "processes": {
            name: {
                "before_mb": float(before[i]),
                "after_mb": float(after[i]),
                "niceness": result["niceness"][name],
            }
            for i, name in enumerate(names)
        },
        "load": {"median": float(np.median(load)), "most": float(max(load))},
        "drift_ms": float(np.median(end) - np.median(early)),
        "skew_ms": float(np.median(late)),
        "dropped": {name: each["dropped"] for name, each in result["pipelines"].items()},
    }
