"""What tests of live nodes share: a node that listens, and nodes that spin."""

from __future__ import annotations

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


#: What the fixture `running` gives: `running(node, ...)` spins nodes and a probe.
Running = Callable[..., Probe]


@contextmanager
def spinning(*nodes: Node) -> Iterator[Callable[..., None]]:
    """Nodes spin, and those of each `spin(node, ...)`, until the block ends.

    It fails if one of them broke down.
    """
    spinners: list[Spinner] = []

    def spin(*nodes: Node) -> None:
        spinners.append(Spinner(nodes))
        spinners[-1].start()

    if nodes:
        spin(*nodes)
    try:
        yield spin
        assert not any(spinner.failed.is_set() for spinner in spinners), "a node broke down"
    finally:
        for spinner in spinners:
            spinner.stop()
