"""The state of a graph as its messages tell it: nodes, processes, latency, sources. No clock.

Read by `./emo top` and by the dashboard.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from emo_interfaces.msg import ArbiterState, MotorCommand

from emo_motor_drivers.journal import STAGES

#: A node reports once a second; one not heard for so long is gone.
GONE_S = 3.5
#: One that was gone for so long is forgotten.
FORGOTTEN_S = 60.0
#: Percentiles of the stages are of the frames of so long.
WINDOW_S = 10.0

LEVELS = {
    DiagnosticStatus.OK: "ok",
    DiagnosticStatus.WARN: "warning",
    DiagnosticStatus.ERROR: "error",
    DiagnosticStatus.STALE: "gone",
}
#: Groups of motors that follow one source each, and the arbiter's word for none.
GROUPS, AT_REST = ("mouth", "eye", "gaze"), "at rest"
#: Values of a status that have a column of their own.
_COLUMNS = (
    "rate_hz",
    "latency_p50_ms",
    "latency_p95_ms",
    "dropped",
    "process",
    "cpu_percent",
    "memory_mb",
    "temperature_c",
)


@dataclass(frozen=True)
class NodeState:
    """What a node said of itself last; NaN for what it does not tell.

    Attributes:
        level: ok, warning, error or gone.
        dropped: frames lost on their way to it.
        process: host:pid.
        temperature_c: of its hottest motor.
        facts: what else it tells.
    """

    name: str
    level: str
    message: str
    rate_hz: float
    p50_ms: float
    p95_ms: float
    dropped: int
    process: str
    temperature_c: float
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ProcessState:
    """One process of the graph; its nodes share what it uses."""

    name: str
    nodes: tuple[str, ...]
    cpu_percent: float
    memory_mb: float


class Board:
    """Takes messages as they come; every method takes monotonic seconds where time matters.

    Args:
        namespace: the robot's, without leading slash; diagnostics of others are left alone.
    """

    def __init__(self, namespace: str = "") -> None:
        self._place = f"{namespace.strip('/')}/" if namespace.strip("/") else ""
        self._heard: dict[str, tuple[float, DiagnosticStatus, dict[str, str]]] = {}
        self._stages: dict[str, deque[tuple[float, list[float]]]] = {}
        self._sources: dict[str, tuple[str, float]] = {}

    def diagnostics(self, message: DiagnosticArray, now_s: float) -> None:
        """A message of /diagnostics. Those of others than emo's nodes are left alone."""
        for status in message.status:
            if status.hardware_id == "emo" and status.name.startswith(self._place):
                facts = {item.key: item.value for item in status.values}
                if status.name == f"{self._place}arbiter":
                    self._note_sources(facts)
                self._heard[status.name] = (now_s, status, facts)

    def command(self, message: MotorCommand, now_s: float) -> None:
        """What the arbiter selected: `stage_ms` tells where its latency comes from."""
        stages = STAGES.get(message.source, ())
        if len(message.stage_ms) == len(stages) > 0:
            rows = self._stages.setdefault(message.source, deque())
            rows.append((now_s, list(message.stage_ms)))
            while now_s - rows[0][0] > WINDOW_S:
                rows.popleft()

    def arbiter(self, message: ArbiterState) -> None:
        """Who drives which group of motors."""
        states = zip(message.groups, message.sources, message.blend, strict=False)
        self._sources = {group: (source, float(blend)) for group, source, blend in states}

    def _note_sources(self, facts: Mapping[str, str]) -> None:
        """The arbiter tells of changes only; who came later learns from its diagnostics."""
        for group in GROUPS:
            source = facts.get(group, "").replace(AT_REST, "")
            known = self._sources.get(group)
            if group in facts and (known is None or known[0] != source):
                self._sources[group] = (source, 1.0)

    @property
    def sources(self) -> dict[str, tuple[str, float]]:
        """Group of motors -> (the source it follows, how far the cross-fade to it has come).

        The source is empty where the group is at rest.
        """
        return dict(self._sources)

    def nodes(self, now_s: float) -> list[NodeState]:
        """Every node heard within the last minute, by name."""
        self._heard = {
            name: heard for name, heard in self._heard.items() if now_s - heard[0] < FORGOTTEN_S
        }
        return [
            _node(status, facts, now_s - heard_s)
            for _, (heard_s, status, facts) in sorted(self._heard.items())
        ]

    def processes(self, now_s: float) -> list[ProcessState]:
        """The processes of the nodes that are not gone, the busiest first."""
        nodes: dict[str, list[str]] = {}
        used: dict[str, tuple[float, float]] = {}
        for name, (heard_s, _, facts) in sorted(self._heard.items(), key=lambda item: item[1][0]):
            if now_s - heard_s < GONE_S and "process" in facts:
                nodes.setdefault(facts["process"], []).append(name)
                used[facts["process"]] = _number(facts, "cpu_percent"), _number(facts, "memory_mb")
        states = [ProcessState(p, tuple(sorted(names)), *used[p]) for p, names in nodes.items()]
        return sorted(states, key=lambda state: -np.nan_to_num(state.cpu_percent))

    def latency_ms(self, now_s: float) -> dict[str, dict[str, tuple[float, float]]]:
        """source -> stage -> (median, 95th percentile) of what each stage adds, and "total"."""
        table = {}
        for source, rows in self._stages.items():
            recent = [ages for heard_s, ages in rows if now_s - heard_s <= WINDOW_S]
            if not recent:
                continue
            ages = np.array(recent)
            added = np.diff(ages, axis=1, prepend=0.0)
            columns = [*zip(STAGES[source], added.T, strict=True), ("total", ages[:, -1])]
            table[source] = {
                name: (float(np.median(values)), float(np.percentile(values, 95)))
                for name, values in columns
            }
        return table

    def slowest_ms(self, source: str, now_s: float, span_s: float) -> float:
        """Age of a source's oldest frame at the arbiter within `span_s`; 0 if there was none."""
        rows = self._stages.get(source, ())
        return max((ages[-1] for at_s, ages in rows if now_s - at_s <= span_s), default=0.0)

    def summary(self, now_s: float) -> dict[str, Any]:
        """Everything as one JSON object; null for what is not told."""
        return {
            "nodes": {
                node.name: {
                    "level": node.level,
                    "message": node.message,
                    "rate_hz": _or_none(node.rate_hz),
                    "latency_ms": {"p50": _or_none(node.p50_ms), "p95": _or_none(node.p95_ms)},
                    "dropped": node.dropped,
                    "process": node.process,
                    "temperature_c": _or_none(node.temperature_c),
                    **({"facts": node.facts} if node.facts else {}),
                }
                for node in self.nodes(now_s)
            },
            "processes": {
                process.name: {
                    "nodes": list(process.nodes),
                    "cpu_percent": _or_none(process.cpu_percent),
                    "memory_mb": _or_none(process.memory_mb),
                }
                for process in self.processes(now_s)
            },
            "stages_ms": {
                source: {name: {"p50": p50, "p95": p95} for name, (p50, p95) in stages.items()}
                for source, stages in self.latency_ms(now_s).items()
            },
            "sources": {group: source for group, (source, _) in self.sources.items()},
        }


def _node(status: DiagnosticStatus, facts: Mapping[str, str], silent_s: float) -> NodeState:
    gone = silent_s >= GONE_S
    dropped = _number(facts, "dropped")
    return NodeState(
        name=status.name,
        level="gone" if gone else LEVELS.get(status.level, "error"),
        message=f"not heard for {silent_s:.0f} s" if gone else status.message,
        rate_hz=0.0 if gone else _number(facts, "rate_hz"),
        p50_ms=_number(facts, "latency_p50_ms"),
        p95_ms=_number(facts, "latency_p95_ms"),
        dropped=int(dropped) if np.isfinite(dropped) else 0,
        process=facts.get("process", ""),
        temperature_c=_number(facts, "temperature_c"),
        facts={key: value for key, value in facts.items() if key not in _COLUMNS},
    )


def _number(facts: Mapping[str, str], name: str) -> float:
    """A value as a number; NaN where it is none."""
    try:
        return float(facts.get(name, "nan"))
    except ValueError:
        return float("nan")


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value
