"""The curves by which expressions are selected, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emo_core.mimic.expressions import Curves, Expression
from emo_core.rates import FPS


def plot_selection(
    path: Path, name: str, curves: Curves, found: Sequence[Expression], fps: float = FPS
) -> None:
    """Distance to rest and its acceleration over time, with onsets, inputs and peaks, to a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    time = np.arange(len(curves.distance)) / fps
    above.plot(time, curves.distance, color="#94a3b8", lw=1, label="distance to rest")
    above.plot(time, curves.smoothed, color="#1f2937", lw=1.5, label="smoothed")
    below.plot(time, curves.acceleration, color="#1f2937", lw=1.5)
    greatest = max(found, key=lambda one: one.rise, default=None)
    for one in found:
        colour = "#d9480f" if one is greatest else "#f2a97e"
        for axis in (above, below):
            axis.axvspan(time[one.inputs[0]], time[one.inputs[-1]], color=colour, alpha=0.25, lw=0)
        above.plot(time[one.peak], curves.smoothed[one.peak], "v", color=colour, ms=8)
        below.plot(time[one.activation], curves.acceleration[one.activation], "o", color=colour)
    above.set_ylabel("mm, mean of 113 points")
    below.set_ylabel("acceleration, mm/s²")
    below.set_xlabel("time, s")
    above.set_title(f"{name}: shaded, the model's inputs; triangles, the peaks to predict")
    above.legend(frameon=False, loc="best")
    for axis in (above, below):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
