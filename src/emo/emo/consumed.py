"""Which recorded messages their readers never got: queues overflow where a machine is overloaded.

A replay must leave those out, or it makes what the recorded run could not. What a node consumed
shows in what it published, since stamps are carried on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from emo_core.audio.mel import HOP, WINDOW
from emo_core.bag import Bag, Raw
from emo_core.bag.tracks import nanoseconds
from emo_core.errors import EmoError
from emo_core.pipelines import PIPELINES, one_for_one
from emo_core.rates import FRAME, NS_PER_SAMPLE


def stamp_ns(raw: Raw) -> int:
    """header.stamp of a message that begins with a header, ns: right after CDR's own four bytes.

    Raises:
        EmoError: the message is too short to hold one.
    """
    if len(raw.data) < 12:
        raise EmoError(f"a message on {raw.topic} is damaged (it has {len(raw.data)} bytes)")
    order = "<" if raw.data[1] & 1 else ">"
    seconds, nanos = np.frombuffer(raw.data, f"{order}i4", 2, 4).tolist()
    return int(seconds) * 1_000_000_000 + (int(nanos) & 0xFFFFFFFF)


def unread(bag: Bag, place: str) -> dict[str, set[int]]:
    """Topic -> stamps (ns) of messages that the next stage did not get.

    Args:
        place: the robot's namespace, with a slash at its end.
    """
    ways = [[place + topic for topic in one_for_one(pipeline)] for pipeline in PIPELINES]
    heard = f"{place}speech_features" in bag.log_ns
    parts = {place + topic: part for topic, part in _PARTS.items()} if heard else {}
    stamps: dict[str, set[int]] = {topic: set() for way in ways for topic in way}
    read: dict[str, list[_Message]] = {topic: [] for topic in parts}
    for raw in bag.messages({*stamps, *parts}):  # once: a bag of hours takes long to unpack
        if raw.topic in stamps:
            stamps[raw.topic].add(stamp_ns(raw))
        if raw.topic in parts:
            read[raw.topic].append(parts[raw.topic](raw.sequence, bag.decode(raw)))
    found: dict[str, set[int]] = {}
    for way in ways:
        for i, topic in enumerate(way[:-1]):
            later: set[int] = set().union(*(stamps[each] for each in way[i + 1 :]))
            if later:
                found[topic] = stamps[topic] - later
    if heard:
        audio, features, faces = read.values()
        found[f"{place}audio"] = _audio(audio, features)
        found[f"{place}speech_features"] = _features(features, faces)
    return found


class _Message(NamedTuple):
    """What counts of a message: hours of samples and features would take gigabytes."""

    sequence: int  # its publisher's number of it; 0: not known
    stamp_ns: int
    first: int  # number of its first sample, feature or face
    length: int = 1  # in samples or features
    ended: bool = False  # the stream, with it
    ahead_ns: int = 0  # of a face: its stamp after the time it belongs to


def _of_chunk(sequence: int, chunk: Any) -> _Message:
    stamp_ns = nanoseconds(chunk.header.stamp)
    return _Message(
        sequence, stamp_ns, chunk.first_sample, len(chunk.data), ended=chunk.end_of_stream
    )


def _of_features(sequence: int, features: Any) -> _Message:
    stamp_ns = nanoseconds(features.header.stamp)
    count = len(features.data) // features.dim if features.dim else 0  # none that could be read
    return _Message(sequence, stamp_ns, features.first_frame, count)


def _of_face(sequence: int, face: Any) -> _Message:
    stamp_ns = nanoseconds(face.header.stamp)
    ahead_ns = stamp_ns - nanoseconds(face.target_time)
    return _Message(sequence, stamp_ns, face.frame, ahead_ns=ahead_ns)


#: Sound, its features and their faces, in this order: what counts of each.
_PARTS: dict[str, Callable[[int, Any], _Message]] = {
    "audio": _of_chunk,
    "speech_features": _of_features,
    "lipsync/landmarks": _of_face,
}


def _not_recorded(last: _Message | None, message: _Message) -> int:
    """Messages between two that were published, and that the recorder missed."""
    return max(message.sequence - last.sequence - 1, 0) if last is not None else 0


def _audio(audio: list[_Message], features: list[_Message]) -> set[int]:
    """Chunks that speech_features did not get.

    A chunk makes features whose stamp is its own, but for those at the beginning of a stream,
    which only fill the first window. That holds for chunks of whole hops; of others all count as
    read.
    """
    if any(chunk.length % HOP for chunk in audio):
        return set()
    index = {chunk.stamp_ns: i for i, chunk in enumerate(audio)}
    read: set[int] = set()
    expected = -1
    last: _Message | None = None
    for message in features:
        i = index.get(message.stamp_ns)
        if i is not None:
            read.add(i)
            begin = message.first * HOP
            began = message.first != expected  # the stream began anew
            if _not_recorded(last, message):  # what came of the chunks before is not known
                begin, began = max(expected, 0) * HOP, True
            while began and i > 0 and begin <= audio[i - 1].first < audio[i].first:
                i -= 1
                read.add(i)
        expected = message.first + message.length
        last = message
    return {stamp for stamp, i in index.items() if i not in read and not audio[i].ended}


def _features(features: list[_Message], faces: list[_Message]) -> set[int]:
    """Features that audio2landmark did not get: its frame numbers jump where it began anew.

    It then begins with the next whole frame. Lost are those right before that, and all that would
    have completed the frame after the last one.
    """
    holes = []
    last, before = -1, None
    for face in faces:
        if face.first > last + 1 + _not_recorded(before, face):
            needed = (last + 1) * FRAME + face.ahead_ns // NS_PER_SAMPLE
            holes.append((needed, face.first * FRAME))
        last, before = face.first, face
    lost: set[int] = set()
    for message in features:
        end = message.first + message.length
        newest = (end - 1) * HOP + WINDOW
        for needed, begin in holes:
            near = message.first * HOP >= begin - FRAME or newest >= needed
            if near and end * HOP <= begin:
                lost.add(message.stamp_ns)
    return lost
