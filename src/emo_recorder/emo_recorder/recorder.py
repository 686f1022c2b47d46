"""Node: every topic of the robot -> a rosbag2 recording (MCAP), message by message as it came."""

from __future__ import annotations

import time
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.topic_endpoint_info import TopicEndpointInfo
from std_msgs.msg import String

from emo_core.bag import Limits, Topic
from emo_core.bag.losses import Losses
from emo_core.bag.provenance import origin
from emo_core.errors import EmoError
from emo_core.pipelines import MARK
from emo_nodekit.kit import TOLD_ABOUT, Kit, placed
from emo_nodekit.parameters import Parameter, Value
from emo_nodekit.records import unused
from emo_nodekit.running import run
from emo_recorder.offered import described, fitting, message_class
from emo_recorder.sink import Sink

PARAMETERS = (
    Parameter("path", "", "folder of the recording; empty: emo_ and the time, here"),
    Parameter("max_mb", 4000, "size beyond which the oldest part is deleted", 1, 10_000_000),
    Parameter("file_mb", 500, "size of one file; the oldest is what is deleted", 1, 100_000),
    Parameter("free_mb", 500, "left free on the disk: with less, recording stops", 0, 1_000_000),
    Parameter("raw_images", False, "record sensor_msgs/Image, too: 20 MB/s and more each"),
    Parameter("graph", "", "the graph's options (JSON): kept in the recording, for its replay"),
    Parameter("robot", "", "name or YAML file: kept in the recording, too; empty: none"),
    Parameter("keep", [""], "files that the graph reads: kept in the recording, too"),
    Parameter("wait_for", [""], "topics that must have a listener before recording begins"),
    Parameter("wait_s", 30.0, "begin all the same after so many seconds", 0.0, 600.0),
)  # fmt: skip

#: Deep enough for a second of a stall at any rate in the graph.
DEPTH = 1000
#: Looks for new topics: often until the first audio may come, then now and then.
SEARCH_S, WATCH_S = 0.05, 0.5
#: Topics outside the robot's namespace that belong to it all the same.
GLOBAL = ("/diagnostics", "/rosout", "/parameter_events", "/clock", "/tf", "/tf_static")
RAW = "sensor_msgs/msg/Image"


class RecorderNode(Node):
    """Subscribes whatever is published in its namespace; writes it down undecoded."""

    def __init__(
        self,
        namespace: str = "",
        parameters: dict[str, Value] | None = None,
        remappings: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__("recorder", **placed(namespace, parameters, remappings))
        self._kit = Kit(self, PARAMETERS)
        default = f"emo_{datetime.now():%Y%m%d_%H%M%S}"
        folder = unused(Path(self._kit.text("path") or default).absolute())
        sizes = [int(self._kit.number(name)) for name in ("max_mb", "file_mb", "free_mb")]
        limits = Limits(total=sizes[0], file=min(sizes[1], max(sizes[0] // 4, 1)), free=sizes[2])
        texts = self._kit.text("graph"), self._kit.text("robot"), self._kit.texts("keep")
        made_by = origin(*texts)
        self._sink = Sink(folder, made_by.info, limits, self._stopped, files=made_by.files)
        for what in made_by.missing:
            self._kit.health.fault("not_kept", what)
        self._kit.health.values["bag"] = str(folder)
        self._losses: dict[str, Losses] = {}
        self._senders: dict[str, int] = {}
        self._ignored: set[str] = set()
        self._began = time.monotonic()
        self._recording = False
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._search = self.create_timer(SEARCH_S, self._begin, clock=steady)
        self._watch = self.create_timer(WATCH_S, self._on_watch, clock=steady)

    def stop(self) -> None:
        """Put everything on disk."""
        self._sink.close()

    def _begin(self) -> None:
        """Record as soon as the graph stands: our own ears must not pass for its nodes'."""
        topics = [topic for topic in self._kit.texts("wait_for") if topic]
        missing = [topic for topic in topics if not self.count_subscribers(topic)]
        if missing and time.monotonic() - self._began < self._kit.number("wait_s"):
            return
        self.destroy_timer(self._search)
        self._recording = True
        self._on_watch()
        self.create_subscription(String, MARK, lambda message: None, DEPTH)

    def _on_watch(self) -> None:
        """Subscribe what is new."""
        if not self._recording or self._sink.stopped:
            return
        for name, types in self.get_topic_names_and_types():
            if name not in self._ignored and self._belongs(name):
                offers = self.get_publishers_info_by_topic(name)
                self._senders[name] = len(offers)
                if offers and name not in self._losses:
                    self._subscribe(name, types[0], offers)

    def _belongs(self, topic: str) -> bool:
        return topic in GLOBAL or topic.startswith(self.get_namespace().rstrip("/") + "/")

    def _subscribe(self, name: str, type_name: str, offers: list[TopicEndpointInfo]) -> None:
        if type_name == RAW and not self._kit.flag("raw_images"):
            self._ignored.add(name)
            return
        try:
            kind, topic = message_class(type_name), described(name, type_name, offers)
        except EmoError as error:
            self._ignored.add(name)
            self._kit.health.fault("unknown_types", f"{name} is not recorded: {error}")
            return
        self._losses[name] = Losses()
        callback = partial(self._on_message if TOLD_ABOUT else self._on_bare, topic)
        self.create_subscription(kind, name, callback, fitting(offers, DEPTH), raw=True)

    def _on_bare(self, topic: Topic, data: bytes) -> None:
        now = self._kit.now()
        self._on_message(topic, data, {"source_timestamp": now, "received_timestamp": now})

    def _on_message(self, topic: Topic, data: bytes, about: dict[str, Any]) -> None:
        sequence = about.get("publication_sequence_number") or 0
        sent, received = about["source_timestamp"], about["received_timestamp"]
        kept = self._sink.put(topic, received or sent, sent or received, sequence, data)
        missing = self._losses[topic.name].feed(sequence, self._senders[topic.name])
        if missing or not kept:
            text = f"{topic.name}: {missing or 1} messages are not in the recording"
            self._kit.health.fault("lost", text, missing or 1)
        self._kit.health.done()
        self._kit.health.values["written"] = str(self._sink.written)

    def _stopped(self, why: str) -> None:
        self._kit.health.error = why
        self.get_logger().error(why)


def create_nodes(
    namespace: str = "",
    parameters: dict[str, Value] | None = None,
    remappings: tuple[tuple[str, str], ...] = (),
) -> list[Node]:
    """The nodes of this process."""
    return [RecorderNode(namespace, parameters, remappings)]


def main() -> int:
    """Run the node. It is on time like the pipeline it listens to; its disk may wait (`Sink`)."""
    return run(create_nodes)


if __name__ == "__main__":
    raise SystemExit(main())
