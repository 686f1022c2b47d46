"""What a replay is made of: which nodes run, and what can be another than recorded."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from emo import replay
from emo.graph import Process
from emo.options import GraphOptions
from emo_core.bag import Bag, BagWriter, Topic
from emo_core.errors import EmoError

SOUND = Topic("/audio", "emo_interfaces/msg/AudioChunk")
PICTURE = Topic("/image/compressed", "sensor_msgs/msg/CompressedImage")
OPTIONS = [option.name for option in fields(GraphOptions)]


def recording(folder: Path, **options: Any) -> Bag:
    """One of both pipelines, made with these options."""
    writer = BagWriter(folder, {"graph": json.dumps({"pipeline": "both", **options})})
    for topic in (SOUND, PICTURE):
        writer.write(topic, 1, 1, 1, b"message")
    writer.close()
    return Bag(folder)


def greets(graph: list[Process]) -> bool:
    return bool(next(e for e in graph if e.executable == "arbiter").parameters["greet"])


@pytest.mark.parametrize(
    ("camera", "greeted"), [("file", False), ("device", True), ("topic", True)]
)
def test_a_face_is_greeted_if_it_was_as_it_was_recorded(
    tmp_path: Path, camera: str, greeted: bool
) -> None:
    bag = recording(tmp_path / "bag", camera=camera, video="/somebody.mp4")
    assert greets(replay.live(bag, replay.recorded_options(bag), "")) == greeted
    # A replay is a recording, too, of the same face.
    chosen = replay.plan(bag, replay.recorded_options(bag), "", "")
    results = replay.Results(bag, chosen, tmp_path / "again")
    for message in replay.inputs(bag, chosen):
        results.feed(message)
    results.close()
    again = Bag(tmp_path / "again")
    assert greets(replay.live(again, replay.recorded_options(again), "")) == greeted


def other(name: str, value: Any) -> Any:
    """Another value of an option."""
    choices = next(o for o in fields(GraphOptions) if o.name == name).metadata.get("choices")
    if choices:
        return next(choice for choice in choices if choice != value)
    if isinstance(value, bool):
        return not value
    return "other" if isinstance(value, str) else value + 1


@pytest.mark.parametrize("name", sorted(set(OPTIONS) - {"namespace"}))
def test_what_can_be_set_is_what_makes_a_difference(tmp_path: Path, name: str) -> None:
    """The namespace says where in a recording its topics are."""
    bag = recording(tmp_path / "bag")
    options = replay.recorded_options(bag)
    value = other(name, getattr(options, name))
    changed = replace(options, **{name: value})
    nodes = [replay.plan(bag, each, "", "").nodes for each in (options, changed)]
    assert (nodes[0] != nodes[1]) == (name in replay.SETTINGS)
    if name in replay.SETTINGS:
        assert replay.changed(options, [f"{name}={value}"]) == changed
        return
    with pytest.raises(EmoError, match=r"one of lookahead, .*, robot, namespace$"):
        replay.changed(options, [f"{name}={value}"])


def test_a_recording_is_found_in_its_namespace(tmp_path: Path) -> None:
    """Where the recording itself, made by `ros2 bag record`, does not say."""
    writer = BagWriter(tmp_path / "bag", {})
    writer.write(replace(SOUND, name="/left/audio"), 1, 1, 1, b"message")
    writer.close()
    bag = Bag(tmp_path / "bag")
    with pytest.raises(EmoError, match="does not hold"):
        replay.plan(bag, replay.recorded_options(bag), "", "")
    options = replay.changed(replay.recorded_options(bag), ["namespace=left"])
    assert replay.plan(bag, options, "", "").fed == {"lipsync": "audio"}
