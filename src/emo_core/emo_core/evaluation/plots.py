"""Pictures and a page of an evaluation (matplotlib, no window)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_core.evaluation.lipsync import Evaluation
from emo_core.evaluation.metrics import between_voiced, closed_below, opening
from emo_core.face.alignment import canonical_face
from emo_core.face.topology import LIPS_INNER, LIPS_OUTER, LOWER_OVAL
from emo_core.rates import FPS

FILM, MODEL, BASE, CLOSED = "#1f2937", "#d9480f", "#94a3b8", "#e2e8f0"
#: Columns of the tables: key, heading, digits.
COLUMNS = (
    ("d_pl", "lips+jaw error, mm", 2),
    ("opening_r", "opening r", 3),
    ("width_r", "width r", 3),
    ("opening_slope", "slope", 2),
    ("closure", "closure", 3),
    ("closure_paired", "closure, paired", 3),
    ("abs_lag_ms", "absolute lag, ms", 1),
    ("jitter_mm", "jitter, mm/frame", 2),
)
PUBLISHED = (
    ("d_p", "D-P, mm", 2),
    ("d_v", "D-V, mm/frame", 2),
    ("d_pl", "D-PL, mm", 2),
    ("d_vl", "D-VL, mm/frame", 2),
    ("d_al", "D-AL, mm²", 1),
    ("d_ae", "D-AE, mm²", 1),
)
LABELS = {
    "model": "model",
    "static": "static face",
    "random": "random frames",
    "loudness_causal": "loudness regression, causal",
    "loudness": "loudness regression",
    "nearest_neighbour": "nearest neighbour",
    "shifted": "model, one frame late",
}


def pyplot() -> Any:
    """Matplotlib without a window, in our style."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 9})
    return plt


def plot_curves(evaluation: Evaluation, path: Path, count: int = 6) -> None:
    """Filmed and predicted mouth opening over time: clips spread from the best r to the worst."""
    plt = pyplot()
    r = np.array([scores["opening_r"] for scores in evaluation.per_clip["model"]])
    order = np.argsort(-np.nan_to_num(r, nan=-1.0))
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).astype(int))]
    figure, axes = plt.subplots(
        len(chosen), 1, figsize=(9, 1.7 * len(chosen) + 0.6), squeeze=False, layout="constrained"
    )
    for axis, index in zip(axes[:, 0], chosen, strict=True):
        clip, scores = evaluation.clips[index], evaluation.per_clip["model"][index]
        film = opening(clip.clip.landmarks)
        time = np.arange(clip.frames) / FPS
        speech = np.flatnonzero(between_voiced(clip.voiced))
        if len(speech):
            axis.axvspan(time[speech[0]], time[speech[-1]], color="#f1f5f9", lw=0)
        axis.axhline(closed_below(film, clip.clip.valid), color=BASE, lw=0.8, ls=":")
        axis.plot(time, film, color=FILM, lw=1.4, label="film")
        predicted = opening(evaluation.predictions[index])
        axis.plot(time, predicted, color=MODEL, lw=1.4, label="model")
        axis.set_title(
            f"{clip.name}   r {scores['opening_r']:.2f}   slope {scores['opening_slope']:.2f}   "
            f"closure {scores['closure']:.2f}   lag {scores['lag_ms']:+.0f} ms",
            loc="left",
            fontsize=9,
        )
        axis.set_ylabel("opening, mm")
        axis.set_xlim(0, time[-1])
        axis.set_ylim(bottom=0)
    axes[0, 0].legend(loc="upper right", frameon=False, ncols=2)
    axes[-1, 0].set_xlabel("time, s (shaded: speech; dotted: closed below)")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def plot_error_map(evaluation: Evaluation, path: Path) -> None:
    """Mean error of each landmark, drawn on the canonical face: static face beside model."""
    plt = pyplot()
    static, model = landmark_errors(evaluation)
    face = canonical_face()
    top = float(max(static.max(), model.max()))
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 4.8), layout="constrained")
    for axis, error, title in zip(axes, (static, model), ("static face", "model"), strict=True):
        for contour in (LIPS_OUTER, LIPS_INNER):
            ring = face[np.append(contour, contour[0])]
            axis.plot(ring[:, 0], ring[:, 1], color=CLOSED, lw=1, zorder=0)
        axis.plot(face[LOWER_OVAL, 0], face[LOWER_OVAL, 1], color=CLOSED, lw=1, zorder=0)
        dots = axis.scatter(
            face[:, 0], face[:, 1], c=error, s=16, cmap="inferno_r", vmin=0, vmax=top, lw=0
        )
        axis.set_title(f"{title}: mean {error.mean():.2f} mm over all landmarks", fontsize=9)
        axis.set_aspect("equal")
        axis.axis("off")
    figure.colorbar(dots, ax=axes, label="mean distance from the film, mm", shrink=0.8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def landmark_errors(
    evaluation: Evaluation,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean over clips and tracked frames of each landmark's error in mm: static (478,), model."""
    static, model = [], []
    for clip, prediction in zip(evaluation.clips, evaluation.predictions, strict=True):
        valid = clip.clip.valid
        film = clip.clip.landmarks[valid].astype(np.float64)
        static.append(np.linalg.norm(clip.static - film, axis=-1).mean(axis=0))
        model.append(np.linalg.norm(prediction[valid] - film, axis=-1).mean(axis=0))
    return np.mean(static, axis=0), np.mean(model, axis=0)


def plot_bars(evaluation: Evaluation, path: Path) -> None:
    """The model beside every baseline, a panel for each metric; thin lines: quartiles of clips."""
    plt = pyplot()
    shown = [column for column in COLUMNS if column[0] != "closure_paired"] + [PUBLISHED[4]]
    names = [name for name in LABELS if name in evaluation.per_clip]
    figure, axes = plt.subplots(2, 4, figsize=(11, 5.2), layout="constrained")
    for axis, (key, heading, digits) in zip(axes.flat, shown, strict=True):
        for row, name in enumerate(names):
            values = np.array([scores[key] for scores in evaluation.per_clip[name]])
            values = values[~np.isnan(values)]
            if not len(values):
                axis.text(0, row, " none", va="center", fontsize=8, color=BASE)
                continue
            mean = float(values.mean())
            axis.barh(row, mean, color=MODEL if name == "model" else BASE, height=0.66)
            low, high = np.percentile(values, [25, 75])
            axis.plot([low, high], [row, row], color=FILM, lw=1)
            axis.text(
                max(mean, high, 0), row, f" {mean:.{digits}f}", va="center", fontsize=8, color=FILM
            )
        axis.set_title(heading, loc="left", fontsize=9)
        axis.set_yticks(range(len(names)), [LABELS[name] for name in names])
        axis.invert_yaxis()
        axis.margins(x=0.22)
    for axis in axes[:, 1:].flat:
        axis.set_yticklabels([])
    figure.savefig(path, dpi=130)
    plt.close(figure)


def table(
    rows: Mapping[str, Mapping[str, float]], columns: tuple[tuple[str, str, int], ...]
) -> str:
    """A Markdown table of means, one row for each of model and baselines."""

    def cell(value: float, digits: int) -> str:
        return "-" if np.isnan(value) else f"{value:.{digits}f}"

    lines = [
        "| | " + " | ".join(heading for _, heading, _ in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for name, scores in rows.items():
        cells = (cell(scores[key], digits) for key, _, digits in columns)
        lines.append(f"| {LABELS.get(name, name)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _figures(heading: str, figures: object) -> str:
    return f"\n## {heading}\n\n```json\n{json.dumps(figures, indent=1)}\n```\n" if figures else ""


def write_report(evaluation: Evaluation, out: Path, figures: Mapping[str, object]) -> list[Path]:
    """`report.md`, `report.json`, `clips.csv` and three pictures in OUT; returns what it wrote."""
    out.mkdir(parents=True, exist_ok=True)
    plot_bars(evaluation, out / "bars.png")
    plot_curves(evaluation, out / "curves.png")
    plot_error_map(evaluation, out / "error_map.png")
    (out / "report.json").write_text(json.dumps(figures, indent=1) + "\n")
    keys = list(evaluation.per_clip["model"][0])
    lines = ["who,clip," + ",".join(keys)]
    for name, scores in evaluation.per_clip.items():
        for clip, score in zip(evaluation.clips, scores, strict=True):
            lines.append(f"{name},{clip.name}," + ",".join(f"{score[key]:.5g}" for key in keys))
    (out / "clips.csv").write_text("\n".join(lines) + "\n")
    means = {name: evaluation.means(name)[0] for name in LABELS if name in evaluation.per_clip}
    skipped = "".join(f"- {name}: {why}\n" for name, why in sorted(evaluation.skipped.items()))
    (out / "report.md").write_text(
        f"# Lip sync on {len(evaluation.clips)} clips\n\n"
        f"Lips+jaw error / static face's error: **{evaluation.error_over_static:.3f}**\n\n"
        f"{table(means, COLUMNS)}\n\n{table(means, PUBLISHED)}\n\n"
        f"Baselines fitted on: {evaluation.training_source}.\n\n"
        "![Model and baselines](bars.png)\n\n![Mouth opening](curves.png)\n\n"
        "![Error by landmark](error_map.png)\n"
        + _figures("Closed loop", figures.get("closed_loop"))
        + _figures("Sync of the clips", figures.get("sync"))
        + (f"\n## Clips left out\n\n{skipped}" if skipped else "")
    )
    names = ("report.md", "report.json", "clips.csv", "bars.png", "curves.png", "error_map.png")
    return [out / name for name in names]
