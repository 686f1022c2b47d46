"""A node's own thread, which must not die unseen."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

#: So soon it is seen that a thread broke down.
_LOOK_S = 0.2


def start_worker(node: Node, name: str, work: Callable[[], None]) -> threading.Thread:
    """Do `work` in a thread.

    If it breaks down, so does the node: the process ends, and is started again. Else the node would
    look well, and do nothing.
    """
    broke_down = threading.Event()

    def look() -> None:
        if broke_down.is_set():
            raise RuntimeError(f"{name}: its thread broke down (see above)")

    def run() -> None:
        try:
            work()
        except BaseException:
            broke_down.set()
            raise

    # No guard condition, which EventsExecutor does not know.
    node.create_timer(_LOOK_S, look, clock=Clock(clock_type=ClockType.STEADY_TIME))
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
