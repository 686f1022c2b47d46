"""Join a graph that runs already: which ROS domain it speaks in."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from emo.cli import checkout
from emo.ros_domain import chosen_domain, local_environment, running_domains
from emo_core.errors import EmoError


def join_graph(namespace: str = "") -> int:
    """Set ROS up in the domain that this shell chose, or of the one emo that runs on this machine.

    Args:
        namespace: of the graph; where several run, those of other namespaces are not meant.

    Returns:
        The domain.

    Raises:
        EmoError: none runs, or several do; or ROS cannot be set up.
    """
    from emo.ros_setup import enter_ros, sourced_distro

    domain = chosen_domain(os.environ)
    if domain is None:
        own = running_domains()
        domain = _only(own, namespace)
        if domain in own:  # what `./emo` speaks in, and no further; `ros2 launch` as its shell says
            os.environ.update(local_environment(sourced_distro(Path(sys.prefix))))
        os.environ["ROS_DOMAIN_ID"] = str(domain)
    enter_ros(checkout(), Path(sys.prefix))
    return domain


def _only(own: set[int], namespace: str) -> int:
    """The domain of the one graph that runs here: one of emo's own, or one with motor drivers."""
    from emo_motor_drivers.claimed import records

    # `ros2 launch` holds no domain, but its drivers hold their robot.
    owners = [record.owner for record in records() if record.owner.domain >= 0 and record.held]
    named = {owner.domain for owner in owners if owner.namespace.strip("/") == namespace}
    running = sorted((namespace and named) or own | {owner.domain for owner in owners})
    if not running:
        raise EmoError(
            "no emo runs on this machine: start one, or set ROS_DOMAIN_ID to the robot's domain"
        )
    if len(running) > 1:
        raise EmoError(
            f"several emos run here, in ROS domains {', '.join(map(str, running))}: "
            f"say which, as in ROS_DOMAIN_ID={running[0]}"
        )
    return running[0]
