"""Tables of the page as HTML. What comes from messages is escaped: it is text, never markup."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from emo_dashboard.board import NodeState, ProcessState

_LEVELS = {"ok": "#5cb85c", "warning": "#e0a030", "error": "#e05050", "gone": "#a060c0"}
_STYLE = (
    "<style>.emo{width:100%;border-collapse:collapse;font-size:11px;line-height:1.25}"
    ".emo td,.emo th{padding:1px 4px;text-align:right;white-space:nowrap}"
    ".emo td:first-child,.emo th:first-child,.emo .t{text-align:left}.emo .t{white-space:normal}"
    ".emo th{font-weight:600;opacity:.6}.emo b{font-weight:600}"
    ".emo .bar{position:relative;height:10px;width:96px;background:#8883;border-radius:3px}"
    ".emo .bar i{position:absolute;top:0;bottom:0;left:0;background:#4a90e2aa;border-radius:3px}"
    ".emo .bar u{position:absolute;top:-2px;bottom:-2px;width:2px;background:#f0a040}"
    ".emo .dot{display:inline-block;width:8px;height:8px;border-radius:4px;margin-right:5px}"
    "</style>"
)


def _table(head: Sequence[str], rows: Iterable[str]) -> str:
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    return f"{_STYLE}<table class=emo><tr>{titles}</tr>{''.join(rows)}</table>"


def _number(value: float, digits: int = 1) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def status(
    sources: Mapping[str, tuple[str, float]], nodes: Sequence[NodeState], manual: bool
) -> str:
    """Who drives what, and what needs mending."""
    parts = []
    for group, (source, blend) in sources.items():
        fading = f" {100 * blend:.0f} %" if blend < 1.0 else ""
        parts.append(f"{escape(group)}: <b>{escape(source or 'at rest')}</b>{fading}")
    lines = [" &nbsp; ".join(parts) or "no arbiter is heard"]
    if manual:
        lines.append("<b style='color:#e0a030'>moved by hand</b>")
    troubled = [node for node in nodes if node.level != "ok"]
    for node in troubled[:4]:
        colour = _LEVELS[node.level]
        text = f"{node.name}: {node.message}"
        lines.append(f"<span style='color:{colour}'>{escape(text)}</span>")
    if nodes and not troubled:
        lines.append(f"<span style='color:{_LEVELS['ok']}'>all {len(nodes)} nodes are well</span>")
    if not nodes:
        lines.append("no node is heard")
    return f"<div style='font-size:12px;line-height:1.5;padding:0 10px'>{'<br>'.join(lines)}</div>"


def motors(
    names: Sequence[str], commanded: Sequence[float], measured: Sequence[float], drivers: str
) -> str:
    """Each motor's command (bar) and measured position (mark), both 0 to 1; NaN where not known."""
    rows = []
    for name, wanted, seen in zip(names, commanded, measured, strict=True):
        bar = "" if math.isnan(wanted) else f"<i style='width:{100 * _unit(wanted):.1f}%'></i>"
        mark = "" if math.isnan(seen) else f"<u style='left:{100 * _unit(seen):.1f}%'></u>"
        rows.append(
            f"<tr><td>{escape(name)}<td><div class=bar>{bar}{mark}</div>"
            f"<td>{_number(wanted, 2)}<td>{_number(seen, 2)}"
        )
    foot = f"<tr><td class=t colspan=4>{escape(drivers)}" if drivers else ""
    return _table(("motor", "", "command", "measured"), [*rows, foot])


def _unit(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def stages(latency_ms: Mapping[str, Mapping[str, tuple[float, float]]]) -> str:
    """What each stage of each pipeline adds, in ms."""
    rows = []
    for source, table in latency_ms.items():
        rows.append(f"<tr><td colspan=3><b>{escape(source)}</b>")
        for name, (p50, p95) in table.items():
            label = "sound or image to arbiter" if name == "total" else name
            rows.append(f"<tr><td>{escape(label)}<td>{_number(p50)}<td>{_number(p95)}")
    return _table(("stage", "p50 ms", "p95 ms"), rows or ["<tr><td colspan=3>nothing arrives"])


def health(nodes: Sequence[NodeState], processes: Sequence[ProcessState]) -> str:
    """Every node, every process."""
    rows = []
    for node in nodes:
        dot = f"<span class=dot style='background:{_LEVELS[node.level]}'></span>"
        rows.append(
            f"<tr title='{escape(node.message, quote=True)}'><td>{dot}{escape(node.name)}"
            f"<td>{_number(node.rate_hz)}<td>{_number(node.p50_ms)}<td>{_number(node.p95_ms)}"
            f"<td>{node.dropped}<td>{_number(node.temperature_c, 0)}"
        )
    used = [
        f"<tr><td>{escape(process.name)}<td>{_number(process.cpu_percent)}"
        f"<td>{_number(process.memory_mb, 0)}<td class=t>{escape(', '.join(process.nodes))}"
        for process in processes
    ]
    return (
        _table(("node", "rate/s", "p50 ms", "p95 ms", "lost", "°C"), rows)
        + "<br>"
        + _table(("process", "CPU %", "MB", "nodes"), used)
    )
