"""FastDDS as emo's processes have it (`config/fastdds.xml`): its memory, and how soon nodes find
each other. No rclpy here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from emo_core.errors import EmoError
from emo_core.paths import config_dir

#: What tells rmw_fastrtps and FastDDS how to be: who sets one of them has a file of her own.
_CHOICES = (
    "RMW_FASTRTPS_USE_QOS_FROM_XML",
    "RMW_FASTRTPS_PUBLICATION_MODE",
    "FASTRTPS_DEFAULT_PROFILES_FILE",
    "FASTDDS_DEFAULT_PROFILES_FILE",
)
#: Files that FastDDS reads where it is started.
_HERE = ("DEFAULT_FASTRTPS_PROFILES.xml", "DEFAULT_FASTDDS_PROFILES.xml")


def profile_environment(environment: Mapping[str, str], distro: str | None) -> dict[str, str]:
    """Variables by which FastDDS reads `config/fastdds.xml`; empty where it is not to.

    That is where the operator configured it, where another middleware serves, and with a ROS 2
    other than Jazzy, whose FastDDS (2.14) this was tried with.

    Args:
        environment: what the process has so far.
        distro: the sourced ROS 2's name, or None for the wheels (Jazzy).
    """
    chosen = any(environment.get(name) for name in _CHOICES)
    chosen = chosen or any(Path(name).exists() for name in _HERE)
    other = "fastrtps" not in (environment.get("RMW_IMPLEMENTATION") or "rmw_fastrtps_cpp")
    if chosen or other or distro not in (None, "jazzy"):
        return {}
    try:
        profile = config_dir() / "fastdds.xml"
    except EmoError:  # whoever needs the folder says so
        return {}
    if not profile.is_file():
        return {}
    return {
        "RMW_FASTRTPS_USE_QOS_FROM_XML": "1",
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(profile),
    }
