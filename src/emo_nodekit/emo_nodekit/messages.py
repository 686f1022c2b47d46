"""Between messages and arrays: stamps as integer nanoseconds, numbers without Python lists."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from emo_interfaces.msg import AudioChunk, FaceLandmarks, Gaze, MotorCommand, SpeechFeatures
from numpy.typing import ArrayLike, NDArray

from emo_core.rates import FPS

#: No message of the graph holds more: seconds of sound or of its features, motors, stages, letters
#: of a name. What has more is refused unread: it would hold up all that follows.
MOST_S, MOST_MOTORS, MOST_STAGES, MOST_LETTERS = 10, 1000, 16, 100
#: No amplitude, feature or coordinate (mm) is beyond it: a model's state would keep what follows.
LARGEST = 1e4


class BadMessageError(ValueError):
    """A message that cannot be used. It is counted, reported and forgotten; the node goes on."""


def nanoseconds(stamp: Time) -> int:
    """A stamp as nanoseconds. Raises BadMessageError: it is of before all time.

    What is shown at simulated time 0 was captured a moment before that.
    """
    if stamp.sec < -MOST_S:
        raise BadMessageError(f"stamped {stamp.sec} s")
    nanoseconds_: int = stamp.sec * 1_000_000_000 + stamp.nanosec
    return nanoseconds_


def stamp(nanoseconds_: int) -> Time:
    """Nanoseconds as a stamp. Raises BadMessageError: no stamp can tell that time."""
    seconds, rest = divmod(nanoseconds_, 1_000_000_000)
    if not -(2**31) <= seconds < 2**31:
        raise BadMessageError(f"a time of {seconds} s is beyond what a stamp can tell")
    return Time(sec=seconds, nanosec=rest)


def floats(values: ArrayLike) -> array.array[float]:
    """Numbers for a float32[] field: the one type that rclpy copies as a block."""
    return array.array("f", np.asarray(values, np.float32).tobytes())


def numbers(field: Any, name: str) -> NDArray[np.float32]:
    """A float32[] field as an array.

    Raises:
        BadMessageError: a number in it is not finite, or beyond `LARGEST`.
    """
    values = np.asarray(field, dtype=np.float32)
    if not (np.abs(values) <= LARGEST).all():
        kind = "too large" if np.isfinite(values).all() else "not finite"
        raise BadMessageError(f"{name} holds numbers that are {kind}")
    return values


def audio_samples(message: AudioChunk, rate: int) -> NDArray[np.float32]:
    """Samples of a chunk, float32 (n,). Raises BadMessageError."""
    if message.sample_rate != rate:
        raise BadMessageError(f"audio at {message.sample_rate} Hz: the graph works at {rate} Hz")
    if len(message.data) > MOST_S * rate:
        raise BadMessageError(f"{len(message.data)} samples at once: {MOST_S} s are the most")
    return numbers(message.data, "audio")


def feature_frames(message: SpeechFeatures, dim: int) -> NDArray[np.float32]:
    """Frames of a message, float32 (n, dim). Raises BadMessageError."""
    if message.dim != dim or len(message.data) % dim:
        raise BadMessageError(
            f"speech features with {len(message.data)} numbers of dimension {message.dim}: "
            f"the model expects {dim}"
        )
    if len(message.data) > MOST_S * 2 * FPS * dim:
        raise BadMessageError(f"{len(message.data) // dim} frames at once: {MOST_S} s are the most")
    return numbers(message.data, "speech features").reshape(-1, dim)


def landmark_points(message: FaceLandmarks, points: int, dimensions: int) -> NDArray[np.float32]:
    """Points of a frame, float32 (points, dimensions). Raises BadMessageError."""
    return _face(message.points, message.dim, points, dimensions)


def static_points(
    message: FaceLandmarks, points: int, dimensions: int
) -> NDArray[np.float32] | None:
    """The same face at rest, where the message tells it. Raises BadMessageError."""
    if not len(message.static_points):
        return None
    return _face(message.static_points, message.dim, points, dimensions)


def _face(field: Any, dim: int, points: int, dimensions: int) -> NDArray[np.float32]:
    if dim != dimensions or len(field) != points * dimensions:
        raise BadMessageError(
            f"landmarks with {len(field)} numbers of dimension {dim}: "
            f"expected {points} x {dimensions}"
        )
    return numbers(field, "landmarks").reshape(points, dimensions)


def motor_positions(message: MotorCommand) -> dict[str, float]:
    """Motor name -> position of a valid command. Raises BadMessageError."""
    if len(message.names) != len(message.positions):
        raise BadMessageError(
            f"command with {len(message.names)} names and {len(message.positions)} positions"
        )
    if len(message.names) > MOST_MOTORS or len(message.source) > MOST_LETTERS:
        raise BadMessageError(
            f"command of {len(message.names)} motors from a source whose name has "
            f"{len(message.source)} letters"
        )
    positions = numbers(message.positions, "motor command")
    return dict(zip(message.names, positions.tolist(), strict=False))


def stages(
    message: SpeechFeatures | FaceLandmarks | Gaze | MotorCommand,
    now: int,
    stamp_ns: int | None = None,
) -> array.array[float]:
    """`stage_ms` for what follows `message` and is published `now` (ns).

    `stamp_ns` is the new message's stamp where it is not the old one's. Raises BadMessageError.
    """
    if len(message.stage_ms) >= MOST_STAGES:
        raise BadMessageError(f"a message that {len(message.stage_ms)} stages have handled")
    old = nanoseconds(message.header.stamp)
    new = old if stamp_ns is None else stamp_ns
    shift = (old - new) * 1e-6
    return array.array("f", [ms + shift for ms in message.stage_ms] + [(now - new) * 1e-6])
