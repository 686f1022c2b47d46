"""What a recording holds of the graph's own messages, as arrays."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_core.bag.reader import Bag
from emo_core.camera.image import decode
from emo_core.errors import EmoError
from emo_core.evaluation.track import Track
from emo_core.face.topology import NUM_LANDMARKS
from emo_core.rates import SAMPLE_RATE
from emo_core.robot.description import RobotDescription
from emo_core.viz.draw import Image

#: Sound may begin or end by so much beside the recording.
_SLACK_S = 60.0


def nanoseconds(stamp: Any) -> int:
    """A message's stamp, ns."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def _shown(message: Any) -> int:
    """The moment of the input that a frame belongs to, ns.

    With look-ahead that is `target_time`; what foresees is shown at once, so it is the stamp.
    """
    return min(nanoseconds(message.header.stamp), nanoseconds(message.target_time))


@dataclass(frozen=True)
class Sound:
    """A recorded audio topic: samples (n,), and the time of the first one in ns."""

    samples: NDArray[np.float32]
    start_ns: int


def sound(bag: Bag, topic: str) -> Sound:
    """A topic of AudioChunk as one piece, gaps as silence; empty where there is none.

    The time line is the sound's own: the samples' numbers, set at the first chunk's stamp. A
    second stream on the topic begins where its stamp says. What would lie far beyond the recording
    (numbers that cannot be) is left out.
    """
    received = bag.log_ns.get(topic, np.zeros(1, np.int64))
    most = int(np.ptp(received) * 1e-9 + _SLACK_S) * SAMPLE_RATE
    pieces: list[tuple[int, NDArray[np.float32]]] = []
    start_ns, origin, expected = 0, 0, -1
    for raw in bag.messages([topic]):
        chunk = bag.decode(raw)
        data = np.asarray(chunk.data, np.float32)
        if not len(data) or chunk.sample_rate != SAMPLE_RATE:
            continue
        first_ns = nanoseconds(chunk.header.stamp) - len(data) * 1_000_000_000 // SAMPLE_RATE
        start_ns = start_ns or first_ns
        begun = origin
        if chunk.first_sample < expected or expected < 0:
            begun = round((first_ns - start_ns) * SAMPLE_RATE / 1e9) - chunk.first_sample
        if -len(data) < begun + chunk.first_sample < most:
            origin, expected = begun, chunk.first_sample + len(data)
            pieces.append((origin + chunk.first_sample, data))
    samples = np.zeros(max((at + len(data) for at, data in pieces), default=0), np.float32)
    for at, data in pieces:
        samples[max(at, 0) : at + len(data)] = data[max(-at, 0) :]
    return Sound(samples, start_ns)


def pictures(bag: Bag, topic: str, origin_ns: int) -> Iterator[tuple[float, Image]]:
    """A topic of CompressedImage: (time since `origin_ns`, s; RGB); what is damaged is left out."""
    for raw in bag.messages([topic]):
        message = bag.decode(raw)
        with contextlib.suppress(ValueError):
            at_s = (nanoseconds(message.header.stamp) - origin_ns) * 1e-9
            yield at_s, decode(bytes(message.data))


def first_stamp(bag: Bag, topic: str) -> int:
    """The first stamp of a topic, ns; 0 where there is none."""
    first = next(bag.messages([topic]), None)
    return nanoseconds(bag.decode(first).header.stamp) if first is not None else 0


def track(
    bag: Bag, name: str, robot: RobotDescription, commands: str, landmarks: str, origin_ns: int
) -> Track:
    """One pipeline's commands and faces.

    Args:
        name: of the run, for people.
        robot: whose motors these are.
        commands, landmarks: topics of MotorCommand and of human FaceLandmarks.
        origin_ns: the time that counts as 0.

    Raises:
        EmoError: the recording holds no command of the pipeline.
    """
    times: list[int] = []
    rows: list[list[float]] = []
    names: tuple[str, ...] = ()
    for raw in bag.messages([commands]):
        message = bag.decode(raw)
        whole = 0 < len(message.positions) == len(message.names)
        if whole and (not names or tuple(message.names) == names):
            names = tuple(message.names)
            times.append(_shown(message))
            rows.append(list(message.positions))
    if not rows:
        raise EmoError(f"{bag.path} holds no motor command on {commands}")
    face_times: list[int] = []
    faces: list[NDArray[np.float32]] = []
    for raw in bag.messages([landmarks]):
        message = bag.decode(raw)
        if len(message.points) == 3 * NUM_LANDMARKS:
            face_times.append(_shown(message))
            faces.append(np.asarray(message.points, np.float32).reshape(NUM_LANDMARKS, 3))
    return Track(
        name,
        robot,
        (np.array(times) - origin_ns) * 1e-9,
        np.array(rows),
        names,
        (np.array(face_times, np.int64) - origin_ns) * 1e-9,
        np.array(faces, np.float32).reshape(-1, NUM_LANDMARKS, 3),
    )
