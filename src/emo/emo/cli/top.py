"""Health of a running graph in the terminal: rates, latency, drops, CPU, memory, temperatures.

Reads /diagnostics and the arbiter's commands of the ROS domain that this shell chose
(ROS_DOMAIN_ID), else of the one emo that runs on this machine. Ends with q or Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import select
import shutil
import sys
import time
from typing import TYPE_CHECKING

from emo.cli import add_json, add_namespace
from emo_core.errors import EmoError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emo_dashboard.board import Board, NodeState

PERIOD_S = 1.0

_COLOURS = {"ok": "", "warning": "\033[33m", "error": "\033[31m", "gone": "\033[35m"}
_PLAIN = "\033[0m"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--once", action="store_true", help="print once, and end")
    add_namespace(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Look, and show, until it is enough."""
    import emo_nodekit  # noqa: F401 (before numpy: it sets the number of BLAS threads)
    from emo.attach import join_graph

    domain = join_graph(args.namespace)
    from emo_dashboard.listener import listening

    live = sys.stdout.isatty() and not args.json and not args.once
    with listening(args.namespace) as listener, _keys(live):
        listener.gather()
        while True:
            board, now_s = listener.board, time.monotonic()
            if not board.nodes(now_s) and (args.once or not live):
                raise EmoError(
                    f"nothing is heard in ROS domain {domain}: start a graph, or set ROS_DOMAIN_ID "
                    "to the robot's domain"
                )
            if args.json:
                indent = 2 if args.once else None
                print(json.dumps(board.summary(now_s), indent=indent), flush=True)
            else:
                width, height = shutil.get_terminal_size() if live else (160, 10_000)
                lines = page(board, now_s, domain, width, live)[: height - 1]
                print(("\033[H\033[J" if live else "") + "\n".join(lines), flush=True)
            if args.once:
                return 0
            listener.spin(PERIOD_S)
            if live and _quits():
                return 0


def page(board: Board, now_s: float, domain: int, width: int, colours: bool) -> list[str]:
    """What the terminal shows, line by line."""
    nodes, processes = board.nodes(now_s), board.processes(now_s)
    cpu = sum(process.cpu_percent for process in processes)
    memory = sum(process.memory_mb for process in processes)
    drives = ", ".join(f"{group}: {s or 'at rest'}" for group, (s, _) in board.sources.items())
    lines = [
        f"emo, ROS domain {domain}: {len(nodes)} nodes, {len(processes)} processes, "
        f"CPU {cpu:.0f} % of a core, {_cell(memory, 0, 0)} MB" + (f"   {drives}" if drives else ""),
        "",
        f"{'NODE':34} {'RATE/s':>7} {'p50 ms':>8} {'p95 ms':>8} {'DROPPED':>7} {'°C':>4}  STATE",
    ]
    lines += [_line(node, width, colours) for node in nodes]
    lines += ["", f"{'PROCESS':34} {'CPU %':>7} {'MB':>8}  NODES"]
    for process in processes:
        head = f"{process.name:34} {_cell(process.cpu_percent, 7, 1)} "
        lines.append(f"{head}{_cell(process.memory_mb, 8, 0)}  {' '.join(process.nodes)}"[:width])
    for source, stages in board.latency_ms(now_s).items():
        parts = [f"{name} {p50:.1f}/{p95:.1f}" for name, (p50, p95) in stages.items()]
        lines += [
            "",
            f"{source}, ms added by each stage (p50/p95):",
            f"  {'  '.join(parts)}"[:width],
        ]
    return lines


def _line(node: NodeState, width: int, colours: bool) -> str:
    numbers = (
        f"{_cell(node.rate_hz, 7, 1)} {_cell(node.p50_ms, 8, 1)} {_cell(node.p95_ms, 8, 1)} "
        f"{node.dropped:7d} {_cell(node.temperature_c, 4, 0)}"
    )
    facts = "  ".join(f"{name} {value}" for name, value in node.facts.items())
    state = facts if node.level == "ok" else f"{node.level}: {node.message}"
    text = f"{node.name:34} {numbers}  {state}"[:width]
    colour = _COLOURS[node.level] if colours else ""
    return f"{colour}{text}{_PLAIN}" if colour else text


def _cell(value: float, width: int, digits: int) -> str:
    return f"{'-' if math.isnan(value) else f'{value:.{digits}f}':>{width}}"


@contextlib.contextmanager
def _keys(live: bool) -> Iterator[None]:
    """Single keys are read without Enter, and not shown, while the block lasts."""
    if not live or not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _quits() -> bool:
    """Whether q was pressed."""
    if not sys.stdin.isatty():
        return False
    return bool(select.select([sys.stdin], [], [], 0)[0]) and sys.stdin.read(1) in "qQ"
