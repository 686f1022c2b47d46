"""What publishers offer, as rosbag2 keeps it (`offered_qos_profiles`)."""

from __future__ import annotations

from collections.abc import Sequence

import yaml
from rclpy.duration import Duration
from rclpy.qos import QoSProfile

#: rmw's "for ever", in the form of rosbag2.
_MAX_NS = 9_223_372_036_854_775_807


def profiles(offered: Sequence[QoSProfile]) -> str:
    """YAML text, in the form of metadata versions 4 to 8: policies as rmw's numbers."""
    return yaml.safe_dump(
        [
            {
                "history": 3 if profile.history is None else int(profile.history),
                "depth": profile.depth,
                "reliability": int(profile.reliability),
                "durability": int(profile.durability),
                "deadline": _time(profile.deadline),
                "lifespan": _time(profile.lifespan),
                "liveliness": int(profile.liveliness),
                "liveliness_lease_duration": _time(profile.liveliness_lease_duration),
                "avoid_ros_namespace_conventions": profile.avoid_ros_namespace_conventions,
            }
            for profile in offered
        ],
        sort_keys=False,
    )


def _time(duration: Duration) -> dict[str, int]:
    seconds, rest = divmod(min(duration.nanoseconds, _MAX_NS), 1_000_000_000)
    return {"sec": seconds, "nsec": rest}
