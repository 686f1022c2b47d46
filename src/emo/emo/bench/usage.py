"""CPU and memory of a process and all that it starts, read from /proc while it runs (Linux)."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_MODULE = re.compile(r"from emo_?\w*\.(\w+) import main")
_NAMESPACE = re.compile(r"__ns:=/([\w/]+)")


@dataclass(frozen=True)
class Sample:
    """A process in one look at all: unix time, CPU seconds so far, MB (PSS), niceness."""

    time_s: float
    name: str
    pid: int
    cpu_s: float
    memory_mb: float
    niceness: int = 0


class Usage:
    """Watches `pid` and its descendants while the `with` block lasts.

    Memory is the proportional set size: what processes share counts once in all.
    """

    def __init__(self, pid: int, period_s: float = 0.25) -> None:
        self._pid, self._period_s = pid, period_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="usage", daemon=True)
        self.samples: list[Sample] = []
        #: (unix time, the machine's load: its mean over a minute) of each look.
        self.load: list[tuple[float, float]] = []

    def __enter__(self) -> Usage:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(self._period_s):
            now_s = time.time()
            self.load.append((now_s, os.getloadavg()[0]))
            for pid in family(self._pid):
                with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
                    self.samples.append(_look(pid, now_s))  # unless it has just ended

    def cores(self, from_s: float, to_s: float) -> dict[str, float]:
        """Name -> cores kept busy between two unix times."""
        seen: dict[tuple[str, int], list[Sample]] = {}
        for sample in self.samples:
            if from_s <= sample.time_s <= to_s:
                seen.setdefault((sample.name, sample.pid), []).append(sample)
        busy: dict[str, float] = {}
        for (name, _), each in seen.items():
            used = each[-1].cpu_s - each[0].cpu_s
            busy[name] = busy.get(name, 0.0) + used / max(to_s - from_s, 1e-3)
        return busy

    def memory(self) -> list[tuple[float, dict[str, float]]]:
        """(unix time, name -> MB) of each look, in order."""
        looks: dict[float, dict[str, float]] = {}
        for sample in self.samples:
            look = looks.setdefault(sample.time_s, {})
            look[sample.name] = look.get(sample.name, 0.0) + sample.memory_mb
        return sorted(looks.items())

    def niceness(self) -> dict[str, int]:
        """Name -> niceness, as it was in the end."""
        return {sample.name: sample.niceness for sample in self.samples}


def family(pid: int) -> Iterator[int]:
    """`pid` and its descendants."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with contextlib.suppress(OSError, IndexError, ValueError):
                parent = int(_stat(int(path.name))[1])
                children.setdefault(parent, []).append(int(path.name))
    ahead = [pid]
    while ahead:
        known = ahead.pop()
        yield known
        ahead += children.get(known, [])


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third on, `state`: its name may hold blanks."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _look(pid: int, now_s: float) -> Sample:
    fields = _stat(pid)
    cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kilobytes = int(next(line for line in text.splitlines() if line.startswith("Pss:")).split()[1])
    return Sample(now_s, _name(pid), pid, cpu_s, kilobytes / 1024, int(fields[16]))


def _name(pid: int) -> str:
    """`lipsync/normalization`; `emo` for the command itself."""
    text = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    module = _MODULE.search(text)
    if module is None or module.group(1) == "cli":
        return "emo"
    namespace = _NAMESPACE.search(text)
    return f"{namespace.group(1)}/{module.group(1)}" if namespace else module.group(1)
