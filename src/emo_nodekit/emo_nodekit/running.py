"""Run nodes until they are told to stop: one executor for each node, on a thread of its own.

rclpy's EventsExecutor does nothing but what has arrived; its others look at all that a node has at
every wake-up (a chain of seven nodes in one process: 0.5 ms and 3.3 ms end to end, 1.7 % and 6.4 %
of a core). It is in rclpy from Jazzy's 7.1.4 on, under `experimental`. It has neither guard
conditions nor a message's info, and does all in the order of arrival: what comes faster than it is
done heaps up before services and timers. So it is for the stages between source and drivers, whose
work is short: nodes that have an attribute `event_driven = True`. One that cannot keep up all the
same gets the other executor, whose queues are bounded.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from emo_core.errors import EmoError
from emo_nodekit import HOPELESS

try:
    from rclpy.experimental.events_executor import EventsExecutor
except ImportError:  # Humble
    EventsExecutor = SingleThreadedExecutor

#: Niceness of the way from sound to motors, and of what may wait.
URGENT, PATIENT = -10, 5

#: Executors look up this often. Without a time EventsExecutor never waits: it takes two cores.
_LOOK_UP_S = 1.0
#: A timer that was not served for so long, in all of which there was work, waits behind a heap.
_BEAT_S, _BEHIND_S = 0.25, 1.0
#: Longer times between two pieces of work are the machine's (it was stopped, say), not the heap's.
_STALL_S = 0.1


class _Pace:
    """Whether an executor that does all in the order of arrival keeps up."""

    def __init__(self, node: Node) -> None:
        self._busy_s, self._last_s = 0.0, time.monotonic()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(_BEAT_S, self._beat, clock=steady)

    def _beat(self) -> None:
        self._busy_s = 0.0

    def is_behind(self) -> bool:
        """To be asked after each piece of work."""
        now_s = time.monotonic()
        self._busy_s += min(now_s - self._last_s, _STALL_S)
        self._last_s = now_s
        return self._busy_s > _BEHIND_S


def _executor(node: Node, event_driven: bool) -> Executor:
    executor: Executor
    try:
        kind = EventsExecutor if event_driven else SingleThreadedExecutor
        executor = kind(context=node.context)
    except (RuntimeError, OSError):  # it wants a stderr with a file descriptor
        executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    return executor


class Spinner:
    """Spins nodes in threads.

    A node may have `stop()`: called at the end, while it still spins, before it is destroyed.

    Attributes:
        failed: a node broke down.
        stuck: a node did not come back from what it did as all should end: `leave` the process.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = list(nodes)
        self._executors = [_executor(node, getattr(node, "event_driven", False)) for node in nodes]
        self._threads: list[threading.Thread] = []
        self._ended: list[threading.Event] = []
        self.failed = threading.Event()
        self.stuck = False
        for index, node in enumerate(self._nodes):
            ended = threading.Event()
            self._ended.append(ended)
            thread = threading.Thread(
                target=self._spin, args=(index, ended), name=node.get_name(), daemon=True
            )
            self._threads.append(thread)

    def start(self, freeze: bool = True) -> None:
        """Let the nodes work.

        Args:
            freeze: what exists by now is never looked at by the garbage collector. Not for nodes
                that come and go: they would stay for ever.
        """
        if freeze:
            gc.collect()
            gc.freeze()
        for thread in self._threads:
            thread.start()

    def _spin(self, index: int, ended: threading.Event) -> None:
        node = self._nodes[index]
        by_events = not isinstance(self._executors[index], SingleThreadedExecutor)
        pace = _Pace(node) if by_events else None
        try:
            while not ended.is_set() and node.context.ok():
                self._executors[index].spin_once(timeout_sec=_LOOK_UP_S)
                if pace is not None and pace.is_behind():
                    node.get_logger().warning("cannot keep up: from here on, old messages are lost")
                    self._executors[index].shutdown()
                    self._executors[index], pace = _executor(node, event_driven=False), None
        except ExternalShutdownException:
            pass
        except BaseException:
            self.failed.set()
            raise

    def stop(self) -> None:
        """End the nodes one by one, the last first: sources before the drivers they command.

        What nodes raise as they end comes out, chained, once all have ended.
        """
        self._stop(len(self._nodes))

    def _stop(self, count: int) -> None:
        """End the first `count` nodes."""
        if not count:
            return
        node = self._nodes[count - 1]
        try:
            try:
                if hasattr(node, "stop"):
                    node.stop()
            finally:
                self._end(count - 1)
        finally:  # unlike an ExitStack this keeps the first error, as context of the next
            self._stop(count - 1)

    def _end(self, index: int) -> None:
        """A node spins no more."""
        thread = self._threads[index]
        self._ended[index].set()
        # Work for an idle executor, so that it looks up; shutting it down under its own feet fails.
        self._executors[index].create_task(lambda: None)
        if thread.is_alive():
            thread.join(timeout=5.0)
        if thread.is_alive():
            self.stuck = True  # starved, or worse: it goes with the process
            return
        self._executors[index].shutdown(timeout_sec=2.0)
        self._nodes[index].destroy_node()


class Stop:
    """Set by SIGINT and SIGTERM, in the main thread.

    No lock, since a handler may interrupt itself and whoever waits; and no work for a Python
    handler, which would come too late for a `wait` that is just about to begin: the interpreter
    itself writes the signal's number to a pipe.
    """

    def __init__(self) -> None:
        self._read, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        self._numbers = {signal.SIGINT, signal.SIGTERM}
        self._before = {
            number: signal.signal(number, lambda number, frame: None) for number in self._numbers
        }
        self._number = 0  # of the signal that came

    def wait(self, timeout_s: float) -> bool:
        """Whether it is set, after `timeout_s` at most."""
        if not self._number and select.select([self._read], [], [], timeout_s)[0]:
            self._number = min(self._numbers.intersection(os.read(self._read, 4096)), default=0)
        return self._number > 0

    @property
    def status(self) -> int:
        """Exit status of a process that ended by it: 0 after SIGINT, by which graphs are ended.

        After SIGTERM it is 128 + 15, as shells have it: who looks after the process sees that its
        work was not done.
        """
        return 128 + signal.SIGTERM if self._number == signal.SIGTERM else 0

    def is_set(self) -> bool:
        """Whether it is set."""
        return self.wait(0.0)

    def release(self) -> None:
        """The signals do again what they did before: nobody waits here any more."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)


def stop_event() -> Stop:
    """An event that SIGINT and SIGTERM set (main thread only)."""
    return Stop()


def leave(status: int) -> NoReturn:
    """End the process at once: a thread that comes back from an executor as it ends aborts it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def be_nice(value: int) -> None:
    """The niceness of this thread and of those it starts: below 0 for what must be on time.

    Where that is not allowed (it takes root, or `nice` in /etc/security/limits.conf) nothing
    changes.
    """
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, value)


def run(
    create_nodes: Callable[[], list[Node]],
    args: Sequence[str] | None = None,
    niceness: int = URGENT,
) -> int:
    """`main` of a node's executable.

    Returns:
        Exit status: `Stop.status` after a signal, 1 if a node broke down, 2 if it cannot run (one
        line says why).
    """
    be_nice(niceness)
    rclpy.init(
        args=list(sys.argv if args is None else args),
        signal_handler_options=SignalHandlerOptions.NO,
    )
    stop = stop_event()
    try:
        spinner = Spinner(create_nodes())
    except EmoError as error:
        print(error, file=sys.stderr)
        rclpy.try_shutdown()
        return HOPELESS
    spinner.start()
    while not stop.wait(0.5) and not spinner.failed.is_set():
        pass
    spinner.stop()
    rclpy.try_shutdown()
    # Launch and the terminal may both interrupt: the second must not kill what ends by the first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    status = 1 if spinner.failed.is_set() else stop.status
    if spinner.stuck:
        leave(status)
    return status
