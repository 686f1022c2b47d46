"""A node's own thread, which must not die unseen."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rclpy.node import Node


def start_worker(node: Node, name: str, work: Callable[[], None]) -> threading.Thread:
    """Do `work` in a thread.

    If it breaks down, so does the node: the process ends, and is started again. Else the node would
    look well, and do nothing.
    """

    def break_down() -> None:
        raise RuntimeError(f"{name}: its thread broke down (see above)")

    alarm = node.create_guard_condition(break_down)

    def run() -> None:
        try:
            work()
        except BaseException:
            alarm.trigger()
            raise

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
