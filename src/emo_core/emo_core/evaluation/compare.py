"""Two runs on the same input: how their motor commands and faces differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_core.evaluation.metrics import lag_ms, opening, pearson, slope
from emo_core.evaluation.plots import pyplot
from emo_core.evaluation.track import Track
from emo_core.rates import FPS
from emo_core.viz.compare_film import Input, film

Array = NDArray[np.float64]

_COLOURS = ("#475569", "#dc2626")
#: No motor's curves are drawn larger than this share of its stroke would be.
_LEAST_SPAN = 0.1


def compare(first: Track, second: Track) -> dict[str, Any]:
    """Figures of `second` against `first`, on a common grid of 25 frames a second.

    Motors that only one of them has are not compared.

    Returns:
        `frames`; `motors`: name -> rms, max (in share of the stroke), r and lag_ms (positive:
        `second` is later); `all_motors_rms`; and of the human's face `landmarks_mm` (mean
        distance), `opening_r`, `opening_slope`, `opening_lag_ms`. What cannot be told is None.
    """
    grid = _grid(first.times_s, second.times_s)
    figures: dict[str, Any] = {"frames": len(grid), "motors": {}}
    common = [name for name in first.names if name in second.names]
    gaps = []
    for name in common:
        one, two = (_at(grid, track, name) for track in (first, second))
        gaps.append(two - one)
        figures["motors"][name] = {
            "rms": _rounded(float(np.sqrt(np.mean(gaps[-1] ** 2)))),
            "max": _rounded(float(np.abs(gaps[-1]).max())),
            "r": _rounded(pearson(two, one)),
            "lag_ms": _rounded(lag_ms(two, one, FPS)),
        }
    figures["all_motors_rms"] = _rounded(float(np.sqrt(np.mean(np.square(gaps))))) if gaps else None
    if len(first.faces) > 2 and len(second.faces) > 2:
        grid = _grid(first.face_times_s, second.face_times_s)
        near = [np.searchsorted(t.face_times_s, grid - 0.02) for t in (first, second)]
        before, after = (
            t.faces[np.clip(i, 0, len(t.faces) - 1)]
            for t, i in zip((first, second), near, strict=True)
        )
        figures["landmarks_mm"] = _rounded(float(np.linalg.norm(after - before, axis=-1).mean()))
        figures["opening_r"] = _rounded(pearson(opening(after), opening(before)))
        figures["opening_slope"] = _rounded(slope(opening(after), opening(before)))
        figures["opening_lag_ms"] = _rounded(lag_ms(opening(after), opening(before), FPS))
    return figures


def write(
    first: Track,
    second: Track,
    figures: Mapping[str, Any],
    settings: Sequence[tuple[str, str, str]],
    given: Input,
    out: Path,
) -> list[Path]:
    """The report: compare.md, .json, .png and, for robots with a picture, .mp4.

    Args:
        settings: what the runs were made with where that differs: name, of the first, the second.
        given: to both runs, for the film.
        out: the folder; it exists.
    """
    paths = [out / f"compare.{suffix}" for suffix in ("md", "json", "png")]
    paths[0].write_text(_text(first, second, figures, settings), encoding="utf-8")
    told = {**figures, "settings": {name: values for name, *values in settings}}
    paths[1].write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    _plot(first, second, paths[2])
    if first.robot.simulator is not None and second.robot.simulator is not None:
        paths.append(out / "compare.mp4")
        film(first, second, given, paths[-1])
    return paths


def _grid(one: Array, two: Array) -> Array:
    """Times that both runs cover, 25 a second."""
    start, end = max(one[0], two[0]), min(one[-1], two[-1])
    return np.asarray(start + np.arange(max(int((end - start) * FPS + 1e-6), 0) + 1) / FPS)


def _at(times: Array, track: Track, name: str) -> Array:
    column = track.motors[:, track.names.index(name)]
    return np.asarray(np.interp(times, track.times_s, column))


def _rounded(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def _text(
    first: Track,
    second: Track,
    figures: Mapping[str, Any],
    settings: Sequence[tuple[str, str, str]],
) -> str:
    rows = [
        f"| {name} | {each['rms']} | {each['max']} | {each['r']} | {each['lag_ms']} |"
        for name, each in figures["motors"].items()
    ]
    face = [
        f"- {label}: {figures[key]}"
        for key, label in (
            ("landmarks_mm", "human landmarks, mean distance, mm"),
            ("opening_r", "mouth opening, r"),
            ("opening_slope", "mouth opening, slope"),
            ("opening_lag_ms", "mouth opening, lag, ms"),
        )
        if key in figures
    ]
    made_with = [f"| {name} | {one} | {two} |" for name, one, two in settings]
    alone = [name for name in (*first.names, *second.names) if name not in figures["motors"]]
    return "\n".join(
        [
            f"# {second.name} against {first.name}",
            "",
            *(["| made with | first | second |", "|---|---|---|", *made_with, ""] * bool(settings)),
            f"{figures['frames']} frames; all motors: rms {figures['all_motors_rms']} of the "
            "stroke. A positive lag: the second is later.",
            "",
            "| motor | rms | max | r | lag, ms |",
            "|---|---|---|---|---|",
            *rows,
            "",
            *([f"Only one of the robots has {', '.join(alone)}.", ""] * bool(alone)),
            *face,
            "",
        ]
    )


def _plot(first: Track, second: Track, path: Path) -> None:
    """The human mouth, and every motor of either robot, laid over each other."""
    plt = pyplot()
    names = list(dict.fromkeys((*first.names, *second.names)))
    figure, axes = plt.subplots(
        len(names) + 1, 1, figsize=(10, 0.9 * len(names) + 1.8), sharex=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for track, colour in zip((first, second), _COLOURS, strict=True):
        drawn = {"color": colour, "lw": 1.0, "label": track.name}
        axes[0, 0].plot(track.face_times_s, opening(track.faces), **drawn)
        for axis, name in zip(axes[1:, 0], names, strict=True):
            if name in track.names:
                axis.plot(track.times_s, track.motors[:, track.names.index(name)], **drawn)
    for axis, name in zip(axes[:, 0], ["mouth, mm", *names], strict=True):
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
        axis.tick_params(labelsize=7)
    for axis in axes[1:, 0]:
        low, high = axis.get_ylim()
        middle, half = (low + high) / 2, max(high - low, _LEAST_SPAN) / 2
        axis.set_ylim(middle - half, middle + half)
        axis.locator_params(axis="y", nbins=2)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    axes[-1, 0].set_xlabel("time, s")
    figure.savefig(path, dpi=110)
    plt.close(figure)
