"""Microphone and loudspeaker as nodes, on sound cards that come and go."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not set up: the first ./emo lipsync installs it")
pytest.importorskip("emo_interfaces.msg", reason="emo's messages are not built: ./emo lipsync")

from emo_interfaces.msg import AudioChunk
from probing import Running
from rclpy.executors import SingleThreadedExecutor
from soundcards import SoundCards
from waiting import until

from emo_microphone.capture import Capture
from emo_microphone.microphone import MicrophoneNode
from emo_microphone.speaker import SpeakerNode
from emo_nodekit import qos
from emo_nodekit.messages import floats

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("ros")]


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> SoundCards:
    """What the nodes of a test know as sounddevice; they look at it without end."""
    for name in ("SILENT_DEVICE_S", "FIRST_DELAY_S"):
        monkeypatch.setattr(f"emo_microphone.loudspeaker.{name}", 0.001)
    cards = SoundCards()
    monkeypatch.setitem(sys.modules, "sounddevice", cards)
    return cards


def test_sound_goes_on_while_the_loudspeaker_is_away(cards: SoundCards, running: Running) -> None:
    node = SpeakerNode(parameters={"output": "device"})
    probe = running(node)
    out = probe.collect(AudioChunk, "audio_played")
    audio = probe.create_publisher(AudioChunk, "audio", qos.STREAM)
    until(lambda: audio.get_subscription_count() and node._publisher.get_subscription_count())
    node._playout.measure(0, 0)
    cards.ready.clear()
    cards.streams[0].state = "hangs"
    until(lambda: cards.streams[0].closed)
    until(cards.opening.is_set)  # which takes its time
    audio.publish(AudioChunk(sample_rate=16_000, data=floats(np.zeros(320))))
    until(lambda: len(out) == 1)
    assert "Is it plugged in?" in node._kit.health.error
    assert node._kit.health.faults == {"lost_device": 1}
    cards.ready.set()
    until(lambda: not node._kit.health.error)
    assert len(cards.streams) == 2


def test_a_loudspeaker_that_was_asked_for_is_waited_for(
    cards: SoundCards, running: Running
) -> None:
    cards.plugged = False
    silent, node = SpeakerNode(), SpeakerNode(parameters={"output": "device"})
    running(silent, node)
    assert not silent._kit.health.error
    until(lambda: "Plug it in" in node._kit.health.error)
    cards.plugged = True
    until(lambda: not node._kit.health.error)
    assert len(cards.streams) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_microphone_whose_thread_breaks_down_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(capture: Capture, reports: object) -> Any:
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr(Capture, "blocks", broken)
    node = MicrophoneNode()
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    with pytest.raises(RuntimeError, match="broke down"):
        for _ in range(400):
            executor.spin_once(timeout_sec=0.1)
    node.stop()
    executor.shutdown()
    node.destroy_node()
