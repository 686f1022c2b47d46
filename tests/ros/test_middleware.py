"""FastDDS with emo's profile: huge messages leave no trace, and queues are what the code says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from emo.middleware import profile_environment
from emo_core.paths import config_dir

pytest.importorskip("rclpy", reason="ROS is not set up: the first ./emo lipsync installs it")

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("ros")]

OURS = {
    "RMW_FASTRTPS_USE_QOS_FROM_XML": "1",
    "FASTRTPS_DEFAULT_PROFILES_FILE": str(config_dir() / "fastdds.xml"),
}
#: Publishes and listens in one process; tells its memory, what came, and what others are told.
PROGRAM = """
import ctypes, json, sys, time
import emo_nodekit
import rclpy
from emo_nodekit import qos
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import serialize_message
from std_msgs.msg import String

rclpy.init()
talker, listener = Node("talker"), Node("listener")
executor = SingleThreadedExecutor()
executor.add_node(listener)
latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
profiles = {name: getattr(qos, name) for name in sys.argv[1:]}
came, senders = {name: [] for name in (*profiles, "latched")}, {}

def listen(name, profile):
    listener.create_subscription(String, name, lambda message: came[name].append(message), profile)

def until(condition):
    ends = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < ends
        executor.spin_once(0.02)

def flush(count):
    for name, sender in senders.items():
        until(lambda: len(came[name]) >= count[name])
    for _ in range(20):
        executor.spin_once(0.01)

def megabytes():
    ctypes.CDLL(None).malloc_trim(0)
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

senders["latched"] = talker.create_publisher(String, "latched", latched)
senders.pop("latched").publish(String(data="kept"))
listen("latched", latched)
until(lambda: came["latched"])
for name, profile in profiles.items():
    senders[name] = talker.create_publisher(String, name, profile)
    listen(name, profile)
    until(senders[name].get_subscription_count)
kept, before = {}, megabytes()
for text in ("h" * 1_000_000, "s"):
    message = serialize_message(String(data=text))
    for name, sender in senders.items():
        for _ in range(profiles[name].depth + 20):
            sender.publish(message)
    flush({name: profile.depth for name, profile in profiles.items()})
    kept = {name: len(came[name]) for name in profiles}
    for each in came.values():
        each.clear()
grown = megabytes() - before
told = {}
for name in profiles:
    (end,) = listener.get_publishers_info_by_topic(name)
    told[name] = [end.qos_profile.reliability.name, end.qos_profile.durability.name]
print(json.dumps({"grown": grown, "kept": kept, "told": told}))
"""
PROFILES = ("STREAM", "FRAMES", "STATES", "IMAGE", "PACKED", "PACKED_KEPT")


def measured(environment: dict[str, str]) -> dict[str, Any]:
    """What PROGRAM tells."""
    others = {name: value for name, value in os.environ.items() if name not in OURS}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, *PROFILES], capture_output=True, text=True, timeout=120,
        env={**others, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "XMLPARSER" not in run.stdout + run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def test_huge_messages_leave_no_trace_and_queues_are_what_the_code_says() -> None:
    from emo_nodekit import qos

    plain = measured({})
    ours = measured(OURS)
    # Small ones follow the huge ones: each place of each queue had its megabyte.
    assert plain["grown"] > 100.0 and ours["grown"] < 0.2 * plain["grown"], (plain, ours)
    assert ours["kept"] == plain["kept"] == {name: getattr(qos, name).depth for name in PROFILES}
    assert ours["told"] == plain["told"] == {name: ["RELIABLE", "VOLATILE"] for name in PROFILES}


def test_the_operators_own_choice_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert profile_environment({}, None) == profile_environment({}, "jazzy") == OURS
    assert profile_environment({"RMW_IMPLEMENTATION": "rmw_fastrtps_dynamic_cpp"}, None) == OURS
    assert profile_environment({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, "jazzy") == {}
    for name in (*OURS, "RMW_FASTRTPS_PUBLICATION_MODE", "FASTDDS_DEFAULT_PROFILES_FILE"):
        assert profile_environment({name: "mine"}, None) == {}
    for distro in ("humble", "kilted"):
        assert profile_environment({}, distro) == {}, "not tried with its FastDDS"
    monkeypatch.setenv("EMO_SHARE", str(tmp_path))
    for folder in ("models", "config"):
        (tmp_path / folder).mkdir()
    assert profile_environment({}, None) == {}, "an older share has no such file"
    monkeypatch.delenv("EMO_SHARE")
    (tmp_path / "DEFAULT_FASTRTPS_PROFILES.xml").touch()
    assert profile_environment({}, None) == {}
