"""Reading a rosbag2 recording in MCAP, whole or cut off, without ROS."""

from __future__ import annotations

import array
import atexit
import contextlib
import functools
import io
import shutil
import struct
import tempfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mcap.exceptions import EndOfFile, McapError
from mcap.records import Attachment, Channel, Message, Metadata, Schema
from mcap.stream_reader import StreamReader
from mcap.writer import MCAP0_MAGIC
from mcap_ros2.decoder import DecoderFactory
from zstandard import ZstdError

from emo_core.bag.definitions import bare
from emo_core.bag.losses import Losses
from emo_core.bag.writer import INFO, STOPPED, Topic
from emo_core.errors import EmoError

#: What a damaged chunk or record raises.
_DAMAGE = (McapError, ZstdError, zlib.error, struct.error, ValueError, KeyError)
#: What emo reads of the graph's own topics, by the ends of their names.
_TYPES = {
    "audio": "emo_interfaces/msg/AudioChunk",
    "audio_played": "emo_interfaces/msg/AudioChunk",
    "speech_features": "emo_interfaces/msg/SpeechFeatures",
    "landmarks": "emo_interfaces/msg/FaceLandmarks",
    "predicted": "emo_interfaces/msg/FaceLandmarks",
    "robot_landmarks": "emo_interfaces/msg/FaceLandmarks",
    "motor_command": "emo_interfaces/msg/MotorCommand",
    "joint_states": "sensor_msgs/msg/JointState",
    "compressed": "sensor_msgs/msg/CompressedImage",
}
#: What a definition must have of each type for emo to read it, beside what it does not need.
_STAMPED = {"std_msgs/Header header", "builtin_interfaces/Time stamp"}
_TIMED = _STAMPED | {"uint64 frame", "builtin_interfaces/Time target_time"}
_FIELDS = {
    "emo_interfaces/msg/AudioChunk": {
        *_STAMPED, "uint64 first_sample", "uint32 sample_rate", "float32[] data",
        "bool end_of_stream",
    },
    "emo_interfaces/msg/SpeechFeatures": {
        *_STAMPED, "uint64 first_frame", "uint32 dim", "float32[] data",
    },
    "emo_interfaces/msg/FaceLandmarks": {*_TIMED, "float32[] points"},
    "emo_interfaces/msg/MotorCommand": {
        *_TIMED, "string source", "string[] names", "float32[] positions", "bool valid",
        "bool active", "bool end_of_stream", "float32[] stage_ms",
    },
    "sensor_msgs/msg/JointState": {*_STAMPED, "string[] name", "float64[] position"},
    "sensor_msgs/msg/CompressedImage": {*_STAMPED, "uint8[] data"},
}  # fmt: skip
#: No record of a recording is longer; a length beyond it is damage.
_LONGEST = 2**30


class Raw(NamedTuple):
    """One recorded message; times in ns, `data` in CDR."""

    topic: str
    log_ns: int
    publish_ns: int
    sequence: int
    data: bytes


class Bag:
    """A recording, read from its beginning as often as wanted.

    The index is not needed, so that a recording which a crash cut off is read up to there.

    Attributes:
        info: what emo wrote beside the messages; empty for a recording of `ros2 bag`.
        attached: name -> content of the files in it: the robot, faces at rest.
        types: topic -> type.
        log_ns: topic -> when each of its messages was received, int64 (n,).
        sizes: topic -> bytes of all its messages.
        lost: topic -> messages that its publishers counted and that are missing; at least so many.
        damage: where reading has to end early, in words; empty: the recording is whole.

    Args:
        path: the recording's folder, or one MCAP file of it.

    Raises:
        EmoError: there is no recording, or it holds nothing that can be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.info: dict[str, str] = {}
        self.attached: dict[str, bytes] = {}
        self.types: dict[str, str] = {}
        self.damage = ""
        self._schemas: dict[str, Schema] = {}
        self._decoders: dict[str, Any] = {}
        self._files = _files(self.path)
        self.sizes: dict[str, int] = {}
        self._about: dict[str, dict[str, str]] = {}
        times: dict[str, array.array[int]] = {}
        losses: dict[str, Losses] = {}
        for raw in self.messages():
            publishers = self._about[raw.topic].get("offered_qos_profiles", "").count("history:")
            losses.setdefault(raw.topic, Losses()).feed(raw.sequence, max(publishers, 1))
            times.setdefault(raw.topic, array.array("q")).append(raw.log_ns)
            self.sizes[raw.topic] = self.sizes.get(raw.topic, 0) + len(raw.data)
        self.log_ns = {topic: np.frombuffer(each, np.int64) for topic, each in times.items()}
        self.lost = {topic: each.lost for topic, each in losses.items()}
        if not times:
            raise EmoError(f"{self.path} holds no message. {self.damage}".rstrip())

    def messages(self, topics: Collection[str] | None = None) -> Iterator[Raw]:
        """The messages of `topics` (of all: None) in the order in which they were recorded."""
        for path in self._files:
            yield from self._of_file(path, topics)

    @functools.cached_property
    def unpacked(self) -> Path:
        """A folder with the files in it, which goes with this process.

        Raises:
            EmoError: it cannot be written, or one of them is to lie elsewhere.
        """
        folder = Path(tempfile.mkdtemp(prefix="emo_bag_")).resolve()
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        for name, content in self.attached.items():
            path = (folder / name).resolve()
            if folder not in path.parents:
                raise EmoError(f"{self.path}: the file {name} in it is not to be trusted")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            except OSError as error:
                raise EmoError(f"cannot write {path} ({error.strerror})") from error
        return folder

    @property
    def files(self) -> list[Path]:
        """Its MCAP files, oldest first."""
        return list(self._files)

    def _of_file(self, path: Path, topics: Collection[str] | None) -> Iterator[Raw]:
        schemas: dict[int, Schema] = {}
        channels: dict[int, str] = {}
        try:
            with path.open("rb") as file:
                reader = StreamReader(file, validate_crcs=True, record_size_limit=_LONGEST)
                for record in reader.records:
                    if isinstance(record, Message):
                        topic = channels[record.channel_id]
                        if topics is None or topic in topics:
                            yield Raw(
                                topic,
                                record.log_time,
                                record.publish_time,
                                record.sequence,
                                record.data,
                            )
                    elif isinstance(record, Schema):
                        schemas[record.id] = record
                    elif isinstance(record, Channel):
                        channels[record.id] = record.topic
                        self._schemas[record.topic] = schemas[record.schema_id]
                        self.types[record.topic] = schemas[record.schema_id].name
                        self._about[record.topic] = dict(record.metadata)
                    elif isinstance(record, Metadata) and record.name == INFO:
                        self.info = dict(record.metadata)
                    elif isinstance(record, Attachment):
                        self.attached[record.name] = record.data
        except EndOfFile:
            self.damage = f"{path.name} is cut off: what was recorded last is missing"
        except _DAMAGE as error:
            self.damage = f"{path.name} is damaged ({error}): read up to there"
        except OSError as error:
            raise EmoError(f"cannot read {path} ({error.strerror})") from error

    def topic(self, name: str) -> Topic:
        """A topic as it was recorded."""
        schema, about = self._schemas[name], self._about[name]
        return Topic(
            name,
            schema.name,
            schema.data.decode() if schema.encoding == "ros2msg" else "",
            about.get("offered_qos_profiles", ""),
            about.get("topic_type_hash", ""),
        )

    def decode(self, raw: Raw) -> Any:
        """The message's fields as attributes, by the definition in the recording.

        Raises:
            EmoError: there is none, or one of no use; the message does not fit it; or it is none
                that the graph has on this topic.
        """
        decoder = self._decoders.get(raw.topic)
        if decoder is None:
            decoder = self._decoders[raw.topic] = self._decoder(raw.topic)
        try:
            return decoder(raw.data)
        except (struct.error, ValueError, IndexError, EOFError) as error:
            raise EmoError(f"{self.path}: a message on {raw.topic} is damaged ({error})") from error

    def _decoder(self, topic: str) -> Any:
        recorded = self.types[topic]
        if _TYPES.get(topic.rsplit("/", 1)[-1], recorded) != recorded:
            raise EmoError(f"{self.path}: {topic} holds {recorded}, which is not of emo's graph")
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # the parser prints what it raises
                # One for each topic: it remembers by the schema's number, which is a file's own.
                decoder = DecoderFactory().decoder_for("cdr", self._schemas[topic])
        except Exception as error:  # the parser's own are private, and have no base in common
            raise EmoError(
                f"{self.path}: the definition of {recorded} in it is damaged ({error})"
            ) from error
        if decoder is None:
            raise EmoError(f"{self.path} holds no definition of {recorded}: it cannot be read")
        lines = bare(self.topic(topic).definition).splitlines()
        lacking = sorted(_FIELDS.get(recorded, set()).difference(lines))
        if lacking:
            raise EmoError(
                f"{self.path}: {topic} was recorded with another {recorded} than this version "
                f"reads (no `{lacking[0]}`): use the version that recorded it"
            )
        return decoder


def complete(path: str | Path) -> bool:
    """Whether a recording went to its end, and each file was closed (a look at its last bytes)."""
    try:
        closed = all(_tail(each) == MCAP0_MAGIC for each in _files(Path(path)))
        return closed and not (Path(path) / STOPPED).exists()
    except (OSError, EmoError):
        return False


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(MCAP0_MAGIC)))
        return file.read()


def _files(path: Path) -> list[Path]:
    """The MCAP files of a recording, oldest first."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise EmoError(f"no recording at {path}: give a folder that `--record` made")
    found = sorted(path.glob("*.mcap"), key=_number)
    if not found:
        raise EmoError(f"{path} holds no MCAP file (rosbag2's .db3 is not read): is it a bag?")
    return found


def _number(path: Path) -> tuple[int, str]:
    tail = path.stem.rsplit("_", 1)[-1]
    return (int(tail) if tail.isdigit() else 0, path.name)
