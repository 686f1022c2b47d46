"""The plots of `./emo bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_COLOURS = plt.get_cmap("tab10")


def plot(report: dict[str, Any], folder: Path) -> list[Path]:
    """A picture of each part that was measured.

    latency.png (by stage), memory.png (of each graph over time), hours.png (of each process, and
    the load), dashboard.png (each round's p95).
    """
    paths = []
    if report.get("runs"):
        paths += [_latency(report["runs"], folder), _memory(report["runs"], folder)]
    if report.get("hours"):
        (result,) = report["runs"].values()
        paths.append(_processes(result, folder))
    if report.get("dashboard"):
        paths.append(_dashboard(report["dashboard"], folder))
    return paths


def _latency(runs: dict[str, Any], folder: Path) -> Path:
    bars = [
        (f"{name}: {pipeline}" if len(result["pipelines"]) > 1 else name, figures)
        for name, result in runs.items()
        for pipeline, figures in result["pipelines"].items()
    ]
    stages = list(dict.fromkeys(stage for _, figures in bars for stage in figures["stages_ms"]))
    figure, axes = plt.subplots(figsize=(9, 1.6 + 0.4 * len(bars)), layout="constrained")
    for y, (_, figures) in enumerate(bars):
        left = 0.0
        for stage, value in figures["stages_ms"].items():
            width = value["p50"] or 0.0
            axes.barh(y, width, left=left, color=_COLOURS(stages.index(stage) % 10))
            left += width
        if figures["end_to_end_ms"]["p95"] is not None:
            axes.plot(figures["end_to_end_ms"]["p95"], y, "k|", markersize=14)
    axes.set_yticks(range(len(bars)), [label for label, _ in bars])
    axes.invert_yaxis()
    axes.set_xlabel("ms from capture to the servos: p50 of each stage; | p95 of the whole")
    patches = [plt.Rectangle((0, 0), 1, 1, color=_COLOURS(i % 10)) for i in range(len(stages))]
    figure.legend(patches, stages, fontsize=7, loc="outside right upper")
    return _saved(figure, folder / "latency.png")


def _memory(runs: dict[str, Any], folder: Path) -> Path:
    figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
    for name, result in runs.items():
        times, looks = zip(*result["memory"], strict=True)
        axes.plot(times, [sum(look.values()) for look in looks], label=name)
    axes.set_xlabel("s since the command")
    axes.set_ylabel("MB, all processes")
    axes.set_ylim(0)
    axes.legend(fontsize=7)
    return _saved(figure, folder / "memory.png")


def _processes(result: dict[str, Any], folder: Path) -> Path:
    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 5), sharex=True, height_ratios=(3, 1),
                                          layout="constrained")  # fmt: skip
    names = sorted({name for _, look in result["memory"] for name in look})
    for name in names:
        seen = [(at_s / 3600, look[name]) for at_s, look in result["memory"] if name in look]
        above.plot(*zip(*seen, strict=True), label=name)
    above.set_ylabel("MB (PSS)")
    above.set_ylim(0)
    above.legend(fontsize=7, ncols=2)
    times, load = zip(*result["load"], strict=True)
    below.plot([at_s / 3600 for at_s in times], load, color="k")
    below.set_ylabel("load")
    below.set_ylim(0)
    below.set_xlabel("hours since the command")
    return _saved(figure, folder / "hours.png")


def _dashboard(figures: dict[str, Any], folder: Path) -> Path:
    names = list(dict.fromkeys(n for each in figures["ways"].values() for n in each["p95_ms"]))
    figure, panels = plt.subplots(1, len(names), figsize=(9, 3), squeeze=False,
                                  layout="constrained")  # fmt: skip
    for axes, name in zip(panels[0], names, strict=True):
        for x, (way, each) in enumerate(figures["ways"].items()):
            values = each["p95_ms"][name]
            axes.plot([x] * len(values), values, "o", color=_COLOURS(x), label=way)
        axes.set_xticks([])
        axes.set_ylim(0)
        axes.set_title(name, fontsize=9)
        axes.set_ylabel("p95 of each round, ms")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=7, loc="outside lower center", ncols=3)
    return _saved(figure, folder / "dashboard.png")


def _saved(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path
