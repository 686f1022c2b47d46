"""Pictures of an evaluation of the predictive model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emo_core.face.alignment import canonical_face
from emo_core.face.topology import ROBOT_LANDMARKS


def plot_predictive(figures: Mapping[str, Any], folder: Path) -> list[Path]:
    """Where on the face the model is better than holding, and how leads spread; PNG files."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [name for name in ("filmed", "composed") if figures[name]["onsets"]]
    points = canonical_face()[ROBOT_LANDMARKS, :2]
    figure = Figure(figsize=(4.2 * len(shown) + 4.4, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(shown) + 1)
    for axis, name in zip(axes, shown, strict=False):
        model, hold = (np.array(figures[name]["per_landmark_mm"][who]) for who in ("model", "hold"))
        dots = axis.scatter(
            *points.T, c=model / hold, s=hold * 30, cmap="RdYlGn_r", vmin=0.2, vmax=1.2
        )
        axis.set_title(f"{name}: error / hold-current error")
        axis.set_aspect("equal")
        axis.axis("off")
        figure.colorbar(dots, ax=axis, shrink=0.6)
    axes[-1].hist(figures["lead"]["each_ms"], bins=30, color="#d9480f")
    axes[-1].set_xlabel("lead over plain mimicry, ms")
    axes[-1].set_ylabel("composed expressions")
    axes[-1].spines[["top", "right"]].set_visible(False)
    path = folder / "predictive.png"
    figure.savefig(path, dpi=120)
    return [path]
