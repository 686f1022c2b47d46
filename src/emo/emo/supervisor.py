"""One process for each entry of the graph, as launch_ros would run it, without launch_ros.

`./emo lipsync` uses it for the view, and with `--processes` for every node. Processes are started,
their output is prefixed with their name, a crashed one comes back with back-off, and at the end
all are stopped in order: the pipeline first, then the drivers (which bring the face to neutral),
then the view (which films it), and the recorder last. What only looks on (view, recorder,
dashboard) never ends the graph: one that cannot run is left out.
"""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from emo.backoff import FIRST_DELAY_S, Backoff, ending
from emo_core.errors import EmoError
from emo_nodekit import HOPELESS

#: This many ends in a row, none of them after a healthy run, are enough.
TRIES = 4

#: How long a process may take to follow SIGINT, and then SIGTERM, before SIGKILL. The drivers ease
#: to neutral within 1 s, the view finishes its film.
INTERRUPT_S, TERMINATE_S = 10.0, 2.0

#: Stop order by executable; all others go first.
STOP_ORDER = {"drivers": 1, "robot_view": 2, "recorder": 3}


class Entry(Protocol):
    """What the supervisor needs of an entry of the graph (`emo.graph.Process`)."""

    @property
    def name(self) -> str: ...
    @property
    def module(self) -> str: ...
    @property
    def executable(self) -> str: ...
    @property
    def isolated(self) -> bool: ...
    def ros_args(self) -> list[str]: ...


def command(entry: Entry) -> list[str]:
    """The command line of an entry.

    Not `python -m`, which would import whatever lies in the current folder first. Until the node
    has a handler of its own, SIGINT ends it without a word (SystemExit out of what is imported
    may not): Python starts with it blocked.
    """
    start = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, lambda *_: os._exit(0))\n"
        "signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])\n"
        '"" in sys.path and sys.path.remove("")\n'
        f"from {entry.module} import main\n"
        "sys.exit(main())"
    )
    return [sys.executable, "-c", start, *entry.ros_args()]


@dataclass
class _Child:
    name: str
    arguments: list[str]
    backoff: Backoff
    isolated: bool = False  # it only looks on
    stop_order: int = 0
    process: subprocess.Popen[str] | None = None
    reader: threading.Thread | None = None
    started_s: float = 0.0
    restart_at_s: float | None = None  # waiting for its next start
    restarts: int = 0
    last_line: str = field(default="", repr=False)


class Supervisor:
    """Runs the graph's processes while its `with` block lasts.

    Args:
        graph: the entries, as from `emo.graph.build_graph`.
        environment: of the children (`emo.ros_setup.ensure_ros`).
        write: takes each line of output, prefixed with its process's name.
        first_delay_s: the first restart's delay; doubled by every further failure in a row.
    """

    def __init__(
        self,
        graph: Sequence[Entry],
        environment: Mapping[str, str],
        write: Callable[[str], None] | None = None,
        first_delay_s: float = FIRST_DELAY_S,
    ) -> None:
        self._children = [
            _Child(
                entry.name,
                command(entry),
                Backoff(first_delay_s),
                entry.isolated,
                STOP_ORDER.get(entry.executable, 0),
            )
            for entry in graph
        ]
        self._environment = {
            "RCUTILS_CONSOLE_OUTPUT_FORMAT": "[{severity}] {message}",
            **environment,
            "PYTHONUNBUFFERED": "1",
        }
        self._write = write or (lambda line: print(line, file=sys.stderr, flush=True))
        # Not a SimpleQueue: a signal handler that outlasts `get`'s timeout leaves that waiting for
        # ever (seen with CPython 3.11: Ctrl-C on a busy machine was not heeded).
        self._ended: queue.Queue[_Child] = queue.Queue()
        # Children die with this process, even when it is killed. Linux only; looked up before the
        # fork, where little may be done.
        self._prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of those that run, by name."""
        return {
            child.name: child.process.pid
            for child in self._children
            if child.process is not None and child.process.poll() is None
        }

    @property
    def restarts(self) -> dict[str, int]:
        """How often each process was started again, by name."""
        return {child.name: child.restarts for child in self._children}

    @property
    def came_back_s(self) -> dict[str, float]:
        """When each process that is not only looking on was last started again, monotonic s."""
        return {c.name: c.started_s for c in self._children if c.restarts and not c.isolated}

    def __enter__(self) -> Supervisor:
        try:
            for child in self._children:
                self._start(child)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def watch(self, duration_s: float) -> bool:
        """Look after the processes for a while: note ends, start again what is due.

        Returns:
            Whether any process still runs or is about to.

        Raises:
            EmoError: a process ended with `HOPELESS`, or again and again; one that only looks on
                is left out instead.
        """
        deadline_s = time.monotonic() + duration_s
        while True:
            now_s = time.monotonic()
            for child in self._children:
                if child.restart_at_s is not None and child.restart_at_s <= now_s:
                    child.restarts += 1
                    self._start(child)
            due = [c.restart_at_s for c in self._children if c.restart_at_s is not None]
            timeout_s = min([deadline_s, *due]) - now_s
            if timeout_s <= 0:
                return bool(due) or bool(self.pids)
            try:
                self._note_end(self._ended.get(timeout=timeout_s))
            except queue.Empty:
                continue

    def stop(self) -> None:
        """Stop all, in order; nothing is left running afterwards."""
        for child in self._children:
            child.restart_at_s = None
        try:
            for order in sorted({child.stop_order for child in self._children}):
                group = [child for child in self._children if child.stop_order == order]
                self._signal(group, signal.SIGINT, INTERRUPT_S)
                self._signal(group, signal.SIGTERM, TERMINATE_S)
        finally:  # also after a second Ctrl-C
            self._signal(self._children, signal.SIGKILL, 10.0)
            for child in self._children:
                if child.reader is not None:
                    child.reader.join(timeout=1.0)

    def _start(self, child: _Child) -> None:
        child.restart_at_s = None
        child.started_s = time.monotonic()
        try:
            # A session of its own: the terminal's Ctrl-C comes to this process only, which then
            # stops the others in order.
            child.process = subprocess.Popen(
                child.arguments, env={**self._environment, **child.backoff.environment()},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, errors="replace", start_new_session=True,
                preexec_fn=self._before_exec,
            )  # fmt: skip
        except OSError as error:
            self._give_up(
                child,
                f"cannot start the process {child.name}: {error.strerror}",
                "Close other programs, or run the graph in one process (without --processes)",
            )
            return
        child.reader = threading.Thread(target=self._read, args=(child, child.process), daemon=True)
        child.reader.start()

    def _before_exec(self) -> None:
        """In the child, between fork and exec."""
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        if self._prctl is not None:
            self._prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG

    def _read(self, child: _Child, process: subprocess.Popen[str]) -> None:
        """Pass the output on until the process ends (one thread for each process)."""
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                text = line.rstrip()
                if text:
                    child.last_line = text
                    self._write(f"[{child.name}] {text}")
        process.wait()
        self._ended.put(child)

    def _note_end(self, child: _Child) -> None:
        assert child.process is not None
        status = child.process.returncode
        if status == 0:
            self._write(f"[{child.name}] ended: its work is done, or it was interrupted by hand")
            return
        said = f": {child.last_line}" if child.last_line else ""
        if status == HOPELESS:
            self._give_up(child, f"the process {child.name} cannot run{said}")
            return
        how, now_s = ending(status), time.monotonic()
        delay_s = child.backoff.ended(status, now_s - child.started_s)
        if child.backoff.failures >= TRIES:
            why = f"the process {child.name} ended {TRIES} times in a row ({how}){said}"
            self._give_up(child, why, "Mend the cause and run again")
            return
        child.restart_at_s = now_s + delay_s
        self._write(f"[{child.name}] ended ({how}): starting it again in {delay_s:.1f} s")

    def _give_up(self, child: _Child, why: str, remedy: str = "") -> None:
        """The graph ends with this process, or goes on without it, if it only looked on."""
        if not child.isolated:
            raise EmoError(". ".join(filter(None, (why, remedy))))
        self._write(f"[{child.name}] {why} (the graph goes on without it)")

    def _signal(self, children: Sequence[_Child], number: signal.Signals, wait_s: float) -> None:
        """Send a signal to those that run, with all they started, and wait for their end."""
        running = [
            child.process
            for child in children
            if child.process is not None and child.process.poll() is None
        ]
        for process in running:
            try:
                if number == signal.SIGKILL:
                    os.killpg(process.pid, number)
                else:
                    process.send_signal(number)
            except ProcessLookupError:
                continue
        deadline_s = time.monotonic() + wait_s
        for process in running:
            try:
                process.wait(timeout=max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue
