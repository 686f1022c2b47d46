"""What tests of live nodes share: ROS 2 in a domain of its own, and nodes that spin.

This file is read where ROS is not installed, too: what needs it is imported by the fixtures.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from emo import ros_domain

if TYPE_CHECKING:
    from probing import Probe, Running
    from rclpy.node import Node


@pytest.fixture(scope="module")
def ros() -> Iterator[None]:
    """rclpy in a domain of its own, for the modules that ask for it in their `pytestmark`."""
    import rclpy

    with pytest.MonkeyPatch.context() as patch:
        for name, value in ros_domain.domain_environment(os.environ, None).items():
            patch.setenv(name, value)
        rclpy.init(args=[])
        yield
        rclpy.try_shutdown()


@pytest.fixture
def running() -> Iterator[Running]:
    """`running(node, ...)` spins nodes and a probe until the test ends."""
    from probing import Probe, spinning

    with spinning() as spin:

        def start(*nodes: Node) -> Probe:
            probe = Probe()
            spin(*nodes, probe)
            return probe

        yield start
