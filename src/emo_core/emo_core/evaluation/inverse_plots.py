"""Pictures of an inverse model's evaluation (matplotlib, no window)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from emo_core.evaluation.executed import Executed
from emo_core.evaluation.inverse import InverseScores
from emo_core.evaluation.plots import BASE, CLOSED, FILM, MODEL, pyplot
from emo_core.face.alignment import canonical_face
from emo_core.face.topology import LIPS_INNER, LIPS_OUTER, LOWER_OVAL, ROBOT_LANDMARKS

#: First place of each part of the face among the 113 points.
_PARTS = {"brows": 0, "eyes": 20, "lips": 52, "jaw": 92}
_LABELS = {
    "nearest_neighbour": "nearest neighbour",
    "random_face": "random face",
    "random_commands": "random commands",
}


def write_plots(scores: InverseScores, executed: Executed | None, out: Path) -> list[Path]:
    """Write `motors.png`; of what was executed `landmarks.png`, `map.png`; return their paths."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / "motors.png"]
    plot_motors(scores, paths[0])
    if executed is not None:
        paths += [out / "landmarks.png", out / "map.png"]
        plot_landmarks(executed, paths[1])
        plot_map(executed, paths[2])
    return paths


def plot_motors(scores: InverseScores, path: Path) -> None:
    """Mean absolute error of each motor's command, beside the baselines'."""
    plt = pyplot()
    rows = np.arange(len(scores.names))
    figure, axis = plt.subplots(figsize=(7, 0.3 * len(rows) + 1.2), layout="constrained")
    axis.barh(rows, scores.l1["model"], color=MODEL, height=0.6, label="inverse model")
    for (name, label), marker in zip(_LABELS.items(), "dos", strict=True):
        axis.plot(scores.l1[name], rows, marker, color=BASE, label=label)
    axis.set_yticks(rows, [name.replace("_", " ") for name in scores.names])
    axis.invert_yaxis()
    axis.set_xlabel("mean absolute error of the command, strokes")
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=130)
    plt.close(figure)


def plot_landmarks(executed: Executed, path: Path) -> None:
    """Error of each of the 113 points of a face made again, beside a random face's."""
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(9, 3), layout="constrained")
    places = np.arange(len(executed.seen))
    axis.bar(places, executed.seen_random, color=CLOSED, width=1.0, label="random face, seen")
    axis.bar(places, executed.seen, color=BASE, width=0.8, label="made again, seen by FaceMesh")
    axis.plot(places, executed.seen_repeated, ".", color=FILM, ms=3, label="same commands, seen")
    axis.bar(places, executed.true, color=MODEL, width=0.8, label="made again, on the skin")
    for name, first in _PARTS.items():
        axis.axvline(first - 0.5, color=FILM, lw=0.5)
        axis.text(first, axis.get_ylim()[1], f" {name}", va="top", fontsize=8, color=FILM)
    axis.set_xlabel("landmark")
    axis.set_ylabel("distance, mm")
    axis.margins(x=0)
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=130)
    plt.close(figure)


def plot_map(executed: Executed, path: Path) -> None:
    """The same on the skin itself, drawn on the face."""
    plt = pyplot()
    face = canonical_face()
    points = face[ROBOT_LANDMARKS]
    top = float(executed.true_random.max())
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 4.8), layout="constrained")
    for axis, error, title in zip(
        axes,
        (executed.true_random, executed.true),
        ("random face", "face made again"),
        strict=True,
    ):
        for contour in (LIPS_OUTER, LIPS_INNER):
            ring = face[np.append(contour, contour[0])]
            axis.plot(ring[:, 0], ring[:, 1], color=CLOSED, lw=1, zorder=0)
        axis.plot(face[LOWER_OVAL, 0], face[LOWER_OVAL, 1], color=CLOSED, lw=1, zorder=0)
        dots = axis.scatter(
            points[:, 0], points[:, 1], c=error, s=16, cmap="inferno_r", vmin=0, vmax=top, lw=0
        )
        axis.set_title(f"{title}: mean {error.mean():.2f} mm", fontsize=9)
        axis.set_aspect("equal")
        axis.axis("off")
    figure.colorbar(dots, ax=axes, label="mean distance from the face asked for, mm", shrink=0.8)
    figure.savefig(path, dpi=130)
    plt.close(figure)
