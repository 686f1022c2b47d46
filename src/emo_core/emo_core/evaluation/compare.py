"""Two runs on the same input: how their motor commands and faces differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_core.evaluation.metrics import lag_ms, opening, pearson, slope
from emo_core.evaluation.plots import pyplot
from emo_core.files import whole_file
from emo_core.rates import FPS, SAMPLE_RATE
from emo_core.robot.description import RobotDescription
from emo_core.robot.sim.render import Renderer
from emo_core.viz import draw
from emo_core.viz.video import VideoWriter

Array = NDArray[np.float64]

COLOURS = ("#475569", "#dc2626")


@dataclass(frozen=True)
class Track:
    """What one run made, at the times of the input it belongs to.

    Attributes:
        name: of the run, for people.
        times_s: (T,) of the commands, increasing, from the beginning of the input.
        motors: (T, M) commands.
        names: of the motors.
        face_times_s: (F,) of the human landmarks, increasing.
        faces: (F, 478, 3) human landmarks, mm; F may be 0.
    """

    name: str
    times_s: Array
    motors: Array
    names: tuple[str, ...]
    face_times_s: Array
    faces: NDArray[np.float32]


def compare(first: Track, second: Track) -> dict[str, Any]:
    """Figures of `second` against `first`, on a common grid of 25 frames a second.

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
    figures["all_motors_rms"] = _rounded(float(np.sqrt(np.mean(np.square(gaps)))))
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
    robot: RobotDescription,
    sound: NDArray[np.float32],
    out: Path,
) -> list[Path]:
    """The report: compare.md, .json, .png and, for a robot with a picture, .mp4.

    Args:
        sound: (n,) what was heard, 16 kHz, from the beginning of the input; may be empty.
        out: the folder; it exists.
    """
    paths = [out / f"compare.{suffix}" for suffix in ("md", "json", "png")]
    paths[0].write_text(_text(first, second, figures), encoding="utf-8")
    paths[1].write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    _plot(first, second, paths[2])
    if robot.simulator is not None:
        paths.append(out / "compare.mp4")
        _film(first, second, robot, sound, paths[-1])
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


def _text(first: Track, second: Track, figures: Mapping[str, Any]) -> str:
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
    head = [
        f"# {second.name} against {first.name}",
        "",
        f"{figures['frames']} frames; all motors: rms {figures['all_motors_rms']} of the stroke. "
        "A positive lag: the second is later.",
        "",
        "| motor | rms | max | r | lag, ms |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows, "", *face, ""])


def _plot(first: Track, second: Track, path: Path) -> None:
    plt = pyplot()
    names = [name for name in first.names if name in second.names]
    figure, axes = plt.subplots(
        len(names), 1, figsize=(10, 1.1 * len(names) + 0.8), sharex=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axis, name in zip(axes[:, 0], names, strict=True):
        for track, colour in zip((first, second), COLOURS, strict=True):
            values = track.motors[:, track.names.index(name)]
            axis.plot(track.times_s, values, color=colour, lw=1.0, label=track.name)
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
        axis.set_ylim(-0.02, 1.02)
        axis.set_yticks([])
    axes[0, 0].legend(loc="upper right", frameon=False, ncols=2)
    axes[-1, 0].set_xlabel("time, s")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _film(
    first: Track,
    second: Track,
    robot: RobotDescription,
    sound: NDArray[np.float32],
    path: Path,
) -> None:
    """Both robots, first on the left, as commanded (without the servos' lag)."""
    render = Renderer(robot)
    width, height = render.size
    head = 40
    size = (2 * width, height + head)
    end = max(first.times_s[-1], second.times_s[-1])
    rate = SAMPLE_RATE if len(sound) else None
    with whole_file(path) as part, VideoWriter(part, size, FPS, rate) as writer:
        if len(sound):
            writer.add_audio(sound[: round((end + 1 / FPS) * SAMPLE_RATE)])
        for frame in range(int(end * FPS) + 1):
            image = draw.canvas(size)
            for i, track in enumerate((first, second)):
                motors = _pose(track, frame / FPS, robot)
                image[head:, i * width : (i + 1) * width] = render(motors)
                draw.put_text(image, track.name, (i * width + 16, 8), 20, draw.TEXT, bold=True)
            writer.add_frame(image, frame / FPS)


def _pose(track: Track, time_s: float, robot: RobotDescription) -> Array:
    """(M,) of the robot at a time; motors the run does not name are at neutral."""
    pose = np.asarray(robot.neutral, np.float64).copy()
    index: Sequence[str] = robot.names
    for column, name in enumerate(track.names):
        if name in index:
            at = np.interp(time_s, track.times_s, track.motors[:, column])
            pose[index.index(name)] = at
    return pose
