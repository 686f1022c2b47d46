"""A recording that is played to the live graph: by the clock of now, whatever it holds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not set up: the first ./emo lipsync installs it")
pytest.importorskip("emo_interfaces.msg", reason="emo's messages are not built: ./emo lipsync")

from emo_interfaces.msg import AudioChunk
from probing import Running
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header
from waiting import until

from emo import replay
from emo.options import GraphOptions
from emo_core.bag import Bag, BagWriter, Topic
from emo_nodekit.messages import nanoseconds, stamp
from emo_nodekit.pacing import Pacer
from emo_nodekit.running import Spinner
from emo_recorder.player import PlayerNode

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("ros")]

AUDIO = Topic("/audio", "emo_interfaces/msg/AudioChunk")
STEP_NS = 20_000_000
#: A day of 2023, by the system's clock; a simulated clock had come to 1000 s.
RECEIVED_NS, SIMULATED_NS = 1_700_000_000_000_000_000, 1_000_000_000_000


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """Ten chunks, stamped by a simulated clock."""
    writer = BagWriter(tmp_path / "bag", {})
    for number in range(10):
        header = Header(stamp=stamp(SIMULATED_NS + STEP_NS * number))
        chunk = AudioChunk(header=header, first_sample=320 * number, sample_rate=16_000)
        received_ns = RECEIVED_NS + STEP_NS * number
        data = bytes(serialize_message(chunk))
        writer.write(AUDIO, received_ns, received_ns, number + 1, data)
    writer.close()
    return tmp_path / "bag"


def player(bag: Path) -> PlayerNode:
    return PlayerNode(parameters={"bag": str(bag), "topics": ["/audio"], "wait_for": ["audio"]})


def test_what_was_stamped_by_a_simulated_clock_is_of_now(bag: Path, running: Running) -> None:
    before_ns, node = time.time_ns(), player(bag)
    heard = running(node).collect(AudioChunk, "audio")
    until(lambda: len(heard) == 10)
    stamps = np.array([nanoseconds(chunk.header.stamp) for chunk in heard])
    assert before_ns < stamps[0] < stamps[-1] < time.time_ns() + STEP_NS
    assert (np.diff(stamps) == STEP_NS).all()
    assert not node._kit.health.faults


@pytest.mark.parametrize("kind", [RuntimeError, ValueError])
def test_a_message_that_cannot_be_decoded_is_left_out(
    bag: Path, running: Running, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def decode(data: bytes, message: type) -> Any:
        chunk = deserialize_message(data, message)
        if not chunk.first_sample:  # the first, by whose time all others are moved
            raise kind("no such message")
        return chunk

    monkeypatch.setattr("emo_recorder.player.deserialize_message", decode)
    before_ns, node = time.time_ns(), player(bag)
    heard = running(node).collect(AudioChunk, "audio")
    until(lambda: len(heard) == 9)
    stamps = [nanoseconds(chunk.header.stamp) for chunk in heard]
    assert before_ns < stamps[0] < stamps[-1] < time.time_ns() + STEP_NS
    assert node._kit.health.faults == {"bad_messages": 1}


def test_no_node_waits_for_the_simulated_clock_of_then(bag: Path) -> None:
    graph = replay.live(Bag(bag), GraphOptions(use_sim_time=True), "")
    assert {"player", "speech_features", "inverse_model", "arbiter", "drivers", "robot_view"} <= {
        entry.executable for entry in graph
    }
    assert [entry.name for entry in graph if entry.parameters.get("use_sim_time")] == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_player_that_breaks_down_does_not_live_on(
    bag: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Pacer) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Pacer, "start", broken)
    node = PlayerNode(parameters={"bag": str(bag), "topics": ["/audio"]})
    spinner = Spinner([node])
    spinner.start(freeze=False)
    try:
        until(spinner.failed.is_set)  # by which `run` ends the process
    finally:
        spinner.stop()
