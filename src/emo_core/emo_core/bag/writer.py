"""Writing a rosbag2 recording in MCAP, so that a crash at any moment leaves a readable one."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from mcap.writer import CompressionType, Writer

from emo_core.errors import EmoError

#: The version of metadata.yaml that every rosbag2 from Humble on reads.
METADATA_VERSION = 5
#: Name of the MCAP metadata record with what emo needs to replay the recording.
INFO = "emo"

#: A file beside the recording that says why it ended early, where it could still be written.
STOPPED = "stopped.txt"

_MB = 1_000_000


@dataclass(frozen=True)
class Topic:
    """A topic as it is recorded.

    Attributes:
        type: such as `sensor_msgs/msg/JointState`.
        definition: of `emo_core.bag.definitions`; empty where it is not known.
        qos: `offered_qos_profiles` of rosbag2, YAML text.
        type_hash: `RIHS01_...`; empty where ROS has none (Humble).
    """

    name: str
    type: str
    definition: str = ""
    qos: str = ""
    type_hash: str = ""


@dataclass(frozen=True)
class Limits:
    """How much disk a recording may take, in MB.

    Attributes:
        total: beyond it the oldest file of the recording is deleted.
        file: a new file is begun after so much.
        free: left free on the disk: the robot's computer needs it more than the recording does.
    """

    total: int = 4000
    file: int = 500
    free: int = 500


class _Disk:
    """A new file without a buffer: nothing is left to be written when a write has failed."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._size = 0

    def write(self, data: bytes) -> int:
        left = memoryview(data)
        while left:
            left = left[os.write(self._file, left) :]
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        os.fdatasync(self._file)

    def close(self) -> None:
        if self._file >= 0:  # once: the number may be another file's by now
            file, self._file = self._file, -1
            os.close(file)


class _File:
    """One MCAP file of the recording."""

    def __init__(self, path: Path, info: Mapping[str, str], files: Mapping[str, bytes]) -> None:
        self.path = path
        self._disk = _Disk(path)
        self._mcap: Any = Writer(cast(Any, self._disk), compression=CompressionType.ZSTD)
        self._mcap.start(profile="ros2", library="emo")
        self._mcap.add_metadata(INFO, dict(info))
        for name, content in files.items():
            self._mcap.add_attachment(0, 0, name, "application/octet-stream", content)
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self.counts: dict[str, int] = {}
        self.first_ns, self.last_ns = 2**63 - 1, 0

    @property
    def size(self) -> int:
        return self._disk.tell()

    def write(self, topic: Topic, log_ns: int, publish_ns: int, sequence: int, data: bytes) -> None:
        if topic.name not in self._channels:
            if topic.type not in self._schemas:
                encoding = "ros2msg" if topic.definition else ""
                self._schemas[topic.type] = self._mcap.register_schema(
                    topic.type, encoding, topic.definition.encode()
                )
            about = {"offered_qos_profiles": topic.qos, "topic_type_hash": topic.type_hash}
            self._channels[topic.name] = self._mcap.register_channel(
                topic.name, "cdr", self._schemas[topic.type], about
            )
        self._mcap.add_message(self._channels[topic.name], log_ns, data, publish_ns, sequence)
        self.counts[topic.name] = self.counts.get(topic.name, 0) + 1
        self.first_ns, self.last_ns = min(self.first_ns, log_ns), max(self.last_ns, log_ns)

    def flush(self) -> None:
        self._mcap.flush()

    def close(self) -> None:
        # Tells rosbag2 in which form the channels' qos profiles are, and which ROS it was.
        distro = os.environ.get("ROS_DISTRO", "")
        self._mcap.add_metadata("rosbag2", {"serialized_metadata": "", "ROS_DISTRO": distro})
        self._mcap.finish()
        self._disk.close()

    def abandon(self) -> None:
        """Close without another byte: the disk takes no more."""
        self._disk.close()


class BagWriter:
    """A recording: a folder with metadata.yaml and MCAP files, each with an index at its end.

    Not thread-safe. What was written before the last `flush` survives a crash of the program, and
    of the computer: the files are then read without their index.

    Args:
        folder: made here; must not exist.
        info: texts kept in every file beside the messages (`Bag.info`).
        limits: on the disk.
        files: name -> content, kept in every file as attachments (`Bag.attached`).

    Raises:
        EmoError: from every method: the disk is full, or cannot be written. The recording is over
            then; what was flushed is there.
    """

    def __init__(
        self,
        folder: Path,
        info: Mapping[str, str],
        limits: Limits | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        self.folder = folder
        self._info = dict(info)
        self._attached = dict(files or {})
        self._limits = limits or Limits()
        self._topics: dict[str, Topic] = {}
        self._files: list[_File] = []
        self._number = 0
        self._open = False
        self.dropped_files = 0
        try:
            if folder.exists():
                raise EmoError(f"{folder} exists already: a recording takes a new folder")
            folder.mkdir(parents=True)
            self._begin_file()
        except OSError as error:
            raise self._failure(error) from error
        self._write_metadata()

    def write(self, topic: Topic, log_ns: int, publish_ns: int, sequence: int, data: bytes) -> None:
        """Append one message.

        Args:
            log_ns: when it was received.
            publish_ns: when it was published.
            sequence: the publisher's number of it; 0 where that is not known.
            data: the message in CDR, as it came over the wire.
        """
        self._topics[topic.name] = topic
        try:
            self._files[-1].write(topic, log_ns, publish_ns, sequence, data)
        except OSError as error:
            raise self._failure(error) from error

    def flush(self) -> None:
        """Put everything on disk, and look after the limits. To be called once a second."""
        try:
            self._files[-1].flush()
            if self._files[-1].size > self._limits.file * _MB:
                self._files[-1].close()
                self._begin_file()
            while len(self._files) > 1 and self._size() > self._limits.total * _MB:
                self._files.pop(0).path.unlink()
                self.dropped_files += 1
            free = shutil.disk_usage(self.folder).free // _MB
        except OSError as error:
            raise self._failure(error) from error
        self._write_metadata()
        if free < self._limits.free:
            self.close()
            why = (
                f"recording stopped: only {free} MB free at {self.folder} ({self._limits.free} MB "
                "are kept free). Free some, or record elsewhere"
            )
            with contextlib.suppress(OSError):  # then the error alone says so
                (self.folder / STOPPED).write_text(why + "\n", encoding="utf-8")
            raise EmoError(why)

    def close(self) -> None:
        """Write the index and close; nothing happens where the recording is over already."""
        if not self._open:
            return
        try:
            self._files[-1].flush()
            self._files[-1].close()
            self._open = False
        except OSError as error:
            raise self._failure(error) from error
        self._write_metadata()

    def _begin_file(self) -> None:
        path = self.folder / f"{self.folder.name}_{self._number}.mcap"
        self._files.append(_File(path, self._info, self._attached))
        self._open = True
        self._number += 1

    def _size(self) -> int:
        return sum(file.path.stat().st_size for file in self._files)

    def _failure(self, error: OSError) -> EmoError:
        if self._open:
            self._files[-1].abandon()
            self._open = False
        return EmoError(
            f"recording stopped: cannot write {self.folder} ({error.strerror}). What was recorded "
            "so far is there; make room, or record elsewhere"
        )

    def _write_metadata(self) -> None:
        path = self.folder / "metadata.yaml"
        try:
            part = path.with_suffix(".yaml.part")
            with part.open("w", encoding="utf-8") as file:
                yaml.dump(self._metadata(), file, Dumper=_Dumper, sort_keys=False)
            part.replace(path)
        except OSError as error:
            raise self._failure(error) from error

    def _metadata(self) -> dict[str, Any]:
        """The content of metadata.yaml."""
        counts: dict[str, int] = {}
        for file in self._files:
            for name, count in file.counts.items():
                counts[name] = counts.get(name, 0) + count
        used = [file for file in self._files if file.counts]
        first = min((file.first_ns for file in used), default=0)
        last = max((file.last_ns for file in used), default=0)
        about = {
            "version": METADATA_VERSION,
            "storage_identifier": "mcap",
            "duration": {"nanoseconds": last - first},
            "starting_time": {"nanoseconds_since_epoch": first},
            "message_count": sum(counts.values()),
            "topics_with_message_count": [
                {
                    "topic_metadata": {
                        "name": topic.name,
                        "type": topic.type,
                        "serialization_format": "cdr",
                        "offered_qos_profiles": topic.qos,
                    },
                    "message_count": counts.get(topic.name, 0),
                }
                for topic in self._topics.values()
            ],
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [file.path.name for file in self._files],
            "files": [
                {
                    "path": file.path.name,
                    "starting_time": {"nanoseconds_since_epoch": min(file.first_ns, file.last_ns)},
                    "duration": {"nanoseconds": max(file.last_ns - file.first_ns, 0)},
                    "message_count": sum(file.counts.values()),
                }
                for file in self._files
            ],
        }
        return {"rosbag2_bagfile_information": about}


_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
