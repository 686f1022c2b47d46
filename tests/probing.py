"""What tests of live nodes share: a node that listens, nodes that spin, and waiting."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from emo_nodekit.running import Spinner

#: Nothing that a test waits for is lost.
ALL = QoSProfile(depth=500, reliability=ReliabilityPolicy.RELIABLE)


class Probe(Node):
    """Publishes and collects."""

    def __init__(self) -> None:
        super().__init__("probe")

    def collect(self, kind: type, topic: str, profile: QoSProfile = ALL) -> list[Any]:
        seen: list[Any] = []
        self.create_subscription(kind, topic, seen.append, profile)
        return seen


Running = Callable[..., Probe]


@contextmanager
def spinning() -> Iterator[Running]:
    """`start(node, ...)` spins nodes and a probe until the block ends."""
    spinners: list[Spinner] = []

    def start(*nodes: Node) -> Probe:
        probe = Probe()
        spinners.append(Spinner([*nodes, probe]))
        spinners[-1].start()
        return probe

    yield start
    for spinner in spinners:
        assert not spinner.failed.is_set()
        spinner.stop()


def until(condition: Callable[[], Any], timeout_s: float = 20.0) -> None:
    """Wait for a condition; fails if it does not come true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)
