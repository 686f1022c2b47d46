"""What this process uses: it goes into the diagnostics of each of its nodes."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path

_STATM = Path("/proc/self/statm")
#: A shorter time than this says nothing of the CPU.
_SHORTEST_S = 0.5


class Usage:
    """CPU and memory of this process since the last call."""

    def __init__(self) -> None:
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._busy_s, self._at_s, self._share = time.process_time(), time.monotonic(), 0.0

    def __call__(self) -> dict[str, str]:
        """`process` (host:pid), `cpu_percent` (100: one core), `memory_mb` (resident; on Linux)."""
        busy_s, at_s = time.process_time(), time.monotonic()
        if at_s - self._at_s > _SHORTEST_S:
            self._share = (busy_s - self._busy_s) / (at_s - self._at_s)
            self._busy_s, self._at_s = busy_s, at_s
        said = {"process": self._name, "cpu_percent": f"{100 * self._share:.1f}"}
        with contextlib.suppress(OSError):  # macOS has no /proc
            pages = int(_STATM.read_text().split()[1])
            said["memory_mb"] = f"{pages * os.sysconf('SC_PAGE_SIZE') / 1e6:.0f}"
        return said
