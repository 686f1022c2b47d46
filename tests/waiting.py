"""Waiting for what other threads and processes do. No ROS."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def until(condition: Callable[[], Any], timeout_s: float = 40.0, step_s: float = 0.002) -> None:
    """Wait for a condition; fails if it does not come true.

    The time is for a machine under load: where all is well, none of it is used.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain"
        time.sleep(step_s)
