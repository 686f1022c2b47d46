"""Process: eye_driver and mouth_driver, which share one bus and one safety layer."""

from __future__ import annotations

from rclpy.node import Node

from emo_core.robot.description import GROUPS
from emo_motor_drivers.driver import DriverNode
from emo_motor_drivers.shared import Shared
from emo_nodekit.parameters import Value
from emo_nodekit.running import Spinner, run


def create_nodes(
    namespace: str = "",
    parameters: dict[str, Value] | None = None,
    remappings: tuple[tuple[str, str], ...] = (),
    shared: Shared | None = None,
) -> list[Node]:
    """Both drivers, over one `Head`."""
    shared = Shared() if shared is None else shared
    nodes: list[Node] = []
    try:
        for group in GROUPS:
            nodes.append(DriverNode(group, shared, namespace, parameters, remappings))
    except BaseException:  # the first may have torque on by now
        Spinner(nodes).stop()
        raise
    return nodes


def main() -> int:
    """Run the drivers."""
    return run(create_nodes)


if __name__ == "__main__":
    raise SystemExit(main())
