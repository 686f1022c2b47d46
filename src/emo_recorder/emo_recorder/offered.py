"""What publishers offer: how to subscribe to it, and how a recording describes it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.topic_endpoint_info import TopicEndpointInfo

from emo_core.bag import Topic
from emo_core.bag.definitions import definition
from emo_core.errors import EmoError

#: rmw's "for ever", in the form of rosbag2.
_MAX_NS = 9_223_372_036_854_775_807
#: KEEP_LAST and KEEP_ALL are 1 and 2: what a publisher keeps is not told to others.
_UNKNOWN_HISTORY = 3


def message_class(type_name: str) -> Any:
    """The class of `sensor_msgs/msg/JointState`.

    Raises:
        EmoError: this machine does not have it.
    """
    package, _, name = type_name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        raise EmoError(f"no message {type_name} here ({error}): install {package}") from error


def described(name: str, type_name: str, offers: Sequence[TopicEndpointInfo]) -> Topic:
    """The topic as a recording keeps it. Raises EmoError: no definition of its type."""
    prefixes = [Path(each) for each in os.environ["AMENT_PREFIX_PATH"].split(os.pathsep) if each]
    return Topic(
        name,
        type_name,
        definition(type_name, prefixes),
        _profiles([offer.qos_profile for offer in offers]),
        str(getattr(offers[0], "topic_type_hash", "")),  # Humble has none
    )


def fitting(offers: Sequence[TopicEndpointInfo], depth: int) -> QoSProfile:
    """The strictest quality that every publisher offers."""
    offered = [offer.qos_profile for offer in offers]
    reliable = all(each.reliability == ReliabilityPolicy.RELIABLE for each in offered)
    latched = all(each.durability == DurabilityPolicy.TRANSIENT_LOCAL for each in offered)
    return QoSProfile(
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def _profiles(offered: Sequence[QoSProfile]) -> str:
    """rosbag2's `offered_qos_profiles` of metadata versions 4 to 8: policies as rmw's numbers."""
    return yaml.safe_dump(
        [
            {
                "history": int(profile.history) or _UNKNOWN_HISTORY,
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
