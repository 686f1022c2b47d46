"""The report of `./emo bench`: Markdown for people, JSON for programs, plots."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from emo.bench.dashboard import NO_BROWSER, SEEN
from emo_core import __version__


def machine() -> dict[str, Any]:
    """Where it was measured, and how busy it was before."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line]
    return {
        "emo": __version__,
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "ros": os.environ.get("ROS_DISTRO") or "jazzy (wheels)",
        "load_before": round(os.getloadavg()[0], 2),
    }


def markdown(report: dict[str, Any]) -> str:
    """The whole report; parts that were not measured are not there."""
    where = report["machine"]
    lines = ["# Benchmark", "", f"emo {where['emo']}, {where['processor']}, {where['cores']} cores,"
             f" {where['memory_gb']} GB, {where['system']}, ROS 2 {where['ros']}.", ""]  # fmt: skip
    if where["load_before"] > 0.3:
        lines += [f"**The machine was busy before (load {where['load_before']}): latencies are "
                  "those of a loaded machine.**", ""]  # fmt: skip
    for part, reason in report.get("failed", {}).items():
        lines += [f"**{part} failed: {reason}**", ""]
    if report.get("runs"):
        lines += _runs(report["runs"], report["seconds"])
    if report.get("costs"):
        lines += ["## One frame on one core", ""]
        lines += table(("job", "way", "ms", "frames/s"), [
            (cost["job"], f"**{cost['way']}**" if cost["ours"] else cost["way"], cost["ms"],
             1e3 / cost["ms"] if cost["ms"] else None)
            for cost in report["costs"]
        ])  # fmt: skip
        lines += ["", "Bold: the way the nodes go. The others are baselines, timed in turns with "
                  "it; from sound to face in turns with each other only, after it, over a whole "
                  "clip. Empty: what it needs is not installed.", ""]  # fmt: skip
    if report.get("motors"):
        rows = [list(row.values()) for row in report["motors"]]
        lines += ["## With motors", "", *table(list(report["motors"][0]), rows), ""]
    if report.get("length"):
        rows = [list(row.values()) for row in report["length"]]
        lines += ["## With the recording's length (`./emo animate`, start-up included)", "",
                  *table(list(report["length"][0]), rows), ""]  # fmt: skip
    if report.get("robots"):
        lines += ["## With robots at once (both pipelines)", "", *table(
            ("robots", "cores", "MB", "p95 ms, lipsync", "p95 ms, mimic", "dropped"),
            [(row["robots"], row["cores"], row["memory_mb"], row["p95_ms"].get("lipsync"),
              row["p95_ms"].get("mimic"), row["dropped"]) for row in report["robots"]],
        ), ""]  # fmt: skip
    if report.get("dashboard"):
        lines += _dashboard(report["dashboard"], report["seconds"])
    if report.get("hours"):
        lines += _hours(report["hours"])
    return "\n".join(lines)


def _runs(runs: dict[str, Any], seconds: float) -> list[str]:
    lines = [f"## Live graphs, {seconds:g} s", ""]
    rows, stages = [], []
    for name, result in runs.items():
        for pipeline, figures in result["pipelines"].items():
            total = figures["end_to_end_ms"]
            rows.append((name, pipeline, total["p50"], total["p95"], total["p99"],
                         figures["frames"], figures["dropped"]))  # fmt: skip
            stages.append((name, pipeline, " -> ".join(
                f"{stage} {value['p50']:.1f}" for stage, value in figures["stages_ms"].items()
                if value["p50"] is not None
            )))  # fmt: skip
    lines += table(("graph", "pipeline", "p50 ms", "p95 ms", "p99 ms", "frames", "dropped"), rows)
    lines += ["", "From capture to the write to the servos. By stage, p50 in ms:", ""]
    lines += table(("graph", "pipeline", "stages"), stages)
    lines += ["", "![latency](latency.png)", ""]
    lines += table(
        ("graph", "start-up, s", "cores busy", "memory, MB"),
        [(name, result["startup_s"], sum(result["cores"].values()),
          sum(result["memory_mb"].values())) for name, result in runs.items()],
    )  # fmt: skip
    lines += ["", "Start-up is from the command to the first pipeline's command at the servos (for "
              "mimicry it includes the look at the person's face at rest). Memory is the "
              "proportional set size, the most of each process.", ""]  # fmt: skip
    lines += ["| graph | process | cores | MB |", "|---|---|---|---|"]
    for name, result in runs.items():
        for process, cores in sorted(result["cores"].items(), key=lambda item: -item[1]):
            memory = result["memory_mb"][process]
            lines.append(f"| {name} | {process} | {cell(cores)} | {cell(memory)} |")
    return [*lines, ""]


def _hours(hours: dict[str, Any]) -> list[str]:
    dropped = ", ".join(f"{name} {count}" for name, count in hours["dropped"].items())
    load = hours["load"]
    lines = ["## A long run (both pipelines)", "", *table(("what", "measured"), [
        ("hours", hours["hours"]), ("memory growth, %", 100 * hours["memory_growth"]),
        ("frames dropped", dropped), ("sound to lips, ms", hours["skew_ms"]),
        ("drift of sound to lips, ms", hours["drift_ms"]),
        ("load of the machine, median (most)", f"{load['median']:.1f} ({load['most']:.1f})"),
    ]), "", "Memory of each process in the second and in the last tenth of the run:",
        ""]  # fmt: skip
    rows = [(name, each["niceness"], each["before_mb"], each["after_mb"],
             each["after_mb"] - each["before_mb"])
            for name, each in hours["processes"].items()]  # fmt: skip
    rows.sort(key=lambda row: -row[-1])
    lines += table(("process", "niceness", "before, MB", "after, MB", "grown by, MB"), rows)
    return [*lines, "", "![over time](hours.png)", ""]


def _dashboard(figures: dict[str, Any], seconds: float) -> list[str]:
    rounds = figures["rounds"]
    lines = [f"## The dashboard (both pipelines, {rounds} rounds of {seconds:g} s, in turns)", ""]
    rows = []
    for way, each in figures["ways"].items():
        for name, values in each["p95_ms"].items():
            ratio = figures["ratios"].get(way, {}).get(name)
            spread = (
                ratio and f"{ratio['median']:.3f} ({ratio['least']:.3f} to {ratio['most']:.3f})"
            )
            rows.append((way, name, median(values), spread, each["dropped"],
                         *(100 * median(each[key]) if each[key] else None
                           for key in ("dashboard_cores", "browser_cores"))))  # fmt: skip
    lines += table(("dashboard", "pipeline", "p95 ms", "p95 over the same round's without it",
                    "dropped", "dashboard, % of a core", "browser, % of a core"), rows)  # fmt: skip
    if SEEN not in figures["ways"]:
        lines += ["", f"Left out: {SEEN} ({NO_BROWSER})."]
    return [*lines, "", "Medians of the rounds (and their range). Who looks runs on this machine, "
            "at the lowest priority; from elsewhere means that nothing is drawn here.", "",
            "![dashboard](dashboard.png)", ""]  # fmt: skip


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """A Markdown table."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return lines + [f"| {' | '.join(map(cell, row))} |" for row in rows]


def cell(value: Any) -> str:
    """Three digits that count."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)
