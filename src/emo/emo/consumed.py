"""Which recorded messages their readers never got: queues overflow where a machine is overloaded.

A replay must leave those out, or it makes what the recorded run could not. What a node consumed
shows in what it published, since stamps are carried on.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from emo_core.audio.mel import HOP, WINDOW
from emo_core.bag import Bag, Raw
from emo_core.bag.tracks import nanoseconds
from emo_core.rates import FRAME, NS_PER_SAMPLE

#: The ways of the messages, by names relative to the robot, in order; a stage that makes one
#: message of each carries its stamp on.
_ONE_FOR_ONE = (
    (
        "image/compressed",
        "mimic/landmarks",
        "mimic/predicted",
        "mimic/robot_landmarks",
        "mimic/motor_command",
    ),
    ("lipsync/landmarks", "lipsync/robot_landmarks", "lipsync/motor_command"),
)


def stamp_ns(raw: Raw) -> int:
    """header.stamp of a message that begins with a header, ns: right after CDR's own four bytes."""
    order = "<" if raw.data[1] & 1 else ">"
    seconds, nanos = np.frombuffer(raw.data, f"{order}i4", 2, 4).tolist()
    return int(seconds) * 1_000_000_000 + (int(nanos) & 0xFFFFFFFF)


def unread(bag: Bag, place: str) -> dict[str, set[int]]:
    """Topic -> stamps (ns) of messages that the next stage did not get.

    Args:
        place: the robot's namespace, with a slash at its end.
    """
    found: dict[str, set[int]] = {}
    for way in _ONE_FOR_ONE:
        stamps = [{stamp_ns(raw) for raw in bag.messages([place + topic])} for topic in way]
        for i, topic in enumerate(way[:-1]):
            later: set[int] = set().union(*stamps[i + 1 :])
            if later:
                found[place + topic] = stamps[i] - later
    features = _read(bag, f"{place}speech_features")
    if features:
        found[f"{place}audio"] = _audio(_read(bag, f"{place}audio"), features)
        found[f"{place}speech_features"] = _features(
            features, _read(bag, f"{place}lipsync/landmarks")
        )
    return found


class _Message(NamedTuple):
    content: Any
    sequence: int  # its publisher's number of it; 0: not known


def _read(bag: Bag, topic: str) -> list[_Message]:
    return [_Message(bag.decode(raw), raw.sequence) for raw in bag.messages([topic])]


def _not_recorded(last: _Message | None, message: _Message) -> int:
    """Messages between two that were published, and that the recorder missed."""
    return max(message.sequence - last.sequence - 1, 0) if last is not None else 0


def _audio(audio: list[_Message], features: list[_Message]) -> set[int]:
    """Chunks that speech_features did not get.

    A chunk makes features whose stamp is its own, but for those at the beginning of a stream,
    which only fill the first window. That holds for chunks of whole hops; of others all count as
    read.
    """
    chunks = [message.content for message in audio]
    if any(len(chunk.data) % HOP for chunk in chunks):
        return set()
    index = {nanoseconds(chunk.header.stamp): i for i, chunk in enumerate(chunks)}
    read: set[int] = set()
    expected = -1
    last: _Message | None = None
    for message in features:
        content = message.content
        i = index.get(nanoseconds(content.header.stamp))
        if i is not None:
            read.add(i)
            begin = content.first_frame * HOP
            began = content.first_frame != expected  # the stream began anew
            if _not_recorded(last, message):  # what came of the chunks before is not known
                begin, began = max(expected, 0) * HOP, True
            while began and i > 0 and begin <= chunks[i - 1].first_sample < chunks[i].first_sample:
                i -= 1
                read.add(i)
        expected = content.first_frame + len(content.data) // content.dim
        last = message
    return {stamp for stamp, i in index.items() if i not in read and not chunks[i].end_of_stream}


def _features(features: list[_Message], faces: list[_Message]) -> set[int]:
    """Features that audio2landmark did not get: its frame numbers jump where it began anew.

    It then begins with the next whole frame. Lost are those right before that, and all that would
    have completed the frame after the last one.
    """
    holes = []
    last, before = -1, None
    for message in faces:
        face = message.content
        if face.frame > last + 1 + _not_recorded(before, message):
            ahead = nanoseconds(face.header.stamp) - nanoseconds(face.target_time)
            needed = (last + 1) * FRAME + ahead // NS_PER_SAMPLE
            holes.append((needed, face.frame * FRAME))
        last, before = face.frame, message
    lost: set[int] = set()
    for content, _ in features:
        end = content.first_frame + len(content.data) // content.dim
        newest = (end - 1) * HOP + WINDOW
        for needed, begin in holes:
            near = content.first_frame * HOP >= begin - FRAME or newest >= needed
            if near and end * HOP <= begin:
                lost.add(nanoseconds(content.header.stamp))
    return lost
