"""Join a graph that runs already: which ROS domain it speaks in."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from emo.cli import checkout
from emo.ros_domain import local_environment, running_domains
from emo_core.errors import EmoError


def join_graph() -> int:
    """Set ROS up in the domain that this shell chose, or of the one emo that runs on this machine.

    Returns:
        The domain.

    Raises:
        EmoError: none runs, or several do; or ROS cannot be set up.
    """
    from emo.ros_setup import enter_ros, sourced_distro

    if not os.environ.get("ROS_DOMAIN_ID"):
        running = sorted(running_domains())
        if not running:
            raise EmoError(
                "no emo runs on this machine: start one, or set ROS_DOMAIN_ID to the robot's domain"
            )
        if len(running) > 1:
            raise EmoError(
                f"several emos run here, in ROS domains {', '.join(map(str, running))}: "
                f"say which, as in ROS_DOMAIN_ID={running[0]}"
            )
        # What `./emo` and launch files of this machine speak in, and no further.
        os.environ.update(local_environment(sourced_distro(Path(sys.prefix))))
        os.environ["ROS_DOMAIN_ID"] = str(running[0])
    enter_ros(checkout(), Path(sys.prefix))
    return int(os.environ["ROS_DOMAIN_ID"])
