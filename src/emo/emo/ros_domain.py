"""Which ROS domain to speak in, so that two instances on one machine do not hear each other."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from emo_core.errors import EmoError
from emo_core.locks import is_held

#: Domains emo takes for itself. ROS's own default is 0; above 101 Linux's ephemeral ports begin.
DOMAINS = range(60, 100)
#: Variables by which an operator says who hears whom: where one is set, all are his.
CHOICES = ("ROS_DOMAIN_ID", "ROS_LOCALHOST_ONLY", "ROS_AUTOMATIC_DISCOVERY_RANGE")
#: The last domain that has ports.
LAST_DOMAIN = 232

_held: dict[int, int] = {}  # domain: its open lock, for as long as the process lives


def chosen_domain(environment: Mapping[str, str]) -> int | None:
    """The ROS domain that the operator chose; None where there is no choice.

    Raises:
        EmoError: ROS_DOMAIN_ID is no domain.
    """
    text = environment.get("ROS_DOMAIN_ID")
    if not text:
        return None
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not 0 <= number <= LAST_DOMAIN:
        raise EmoError(
            f"ROS_DOMAIN_ID is '{text}': give a whole number from 0 to {LAST_DOMAIN}, or unset it"
        )
    return number


def domain_environment(environment: Mapping[str, str], distro: str | None) -> dict[str, str]:
    """Variables that keep this instance to itself; empty where the operator chose any of them.

    The first free domain of `DOMAINS` is taken and held by a file lock that ends with the process:
    a first instance always has 60, a second one 61. Discovery stays on this machine.

    Args:
        environment: what the process has so far.
        distro: the sourced ROS 2's name, or None for the wheels (Jazzy).

    Raises:
        EmoError: ROS_DOMAIN_ID is no domain.
    """
    chosen_domain(environment)
    if any(environment.get(name) for name in CHOICES):
        return {}
    domain = _claim()
    return {
        **local_environment(distro),
        **({"ROS_DOMAIN_ID": str(domain)} if domain is not None else {}),
    }


def local_environment(distro: str | None) -> dict[str, str]:
    """Variables that keep discovery on this machine."""
    # Humble knows the older variable only; later ones warn of it.
    if distro == "humble":
        return {"ROS_LOCALHOST_ONLY": "1"}
    return {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def graph_lock(domain: str, namespace: str) -> Path:
    """The file that a graph holds while it runs, one for each ROS domain and namespace."""
    name = f"emo-graph-{os.getuid()}-{domain}-{namespace.replace('/', '.')}.lock"
    return Path(tempfile.gettempdir(), name)


def running_domains() -> set[int]:
    """ROS domains in which an instance of emo lives on this machine."""
    found = {domain for domain in DOMAINS if is_held(_lock(domain))}
    for path in Path(tempfile.gettempdir()).glob(f"emo-graph-{os.getuid()}-*.lock"):
        domain = path.name.split("-")[3]
        if domain.isdecimal() and is_held(path):
            found.add(int(domain))
    return found


def _lock(domain: int) -> Path:
    return Path(tempfile.gettempdir(), f"emo-domain-{domain}.lock")


def _claim() -> int | None:
    """Take the first free domain; None where all are taken (then ROS's default serves)."""
    for domain in _held:
        return domain
    for domain in DOMAINS:
        try:
            handle = os.open(_lock(domain), os.O_RDONLY | os.O_CREAT, 0o666)
        except OSError:  # another user's
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            continue
        os.set_inheritable(handle, True)  # held through the restart of `enter_ros`
        _held[domain] = handle
        return domain
    return None
