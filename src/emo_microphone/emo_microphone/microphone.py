"""Node: a device, a recording paced in real time, or another topic -> audio."""

from __future__ import annotations

import threading

import numpy as np
from emo_interfaces.msg import AudioChunk
from numpy.typing import NDArray
from rclpy.node import Node
from std_msgs.msg import Header

from emo_core.errors import EmoError
from emo_core.rates import NS_PER_SAMPLE, SAMPLE_RATE
from emo_microphone.capture import Capture
from emo_microphone.recording import Recording
from emo_nodekit import qos
from emo_nodekit.kit import Kit, placed
from emo_nodekit.messages import audio_samples, floats, nanoseconds, stamp
from emo_nodekit.pacing import WAITING, Pacer, wait_for_graph
from emo_nodekit.parameters import Parameter, Value
from emo_nodekit.running import run
from emo_nodekit.worker import start_worker

PARAMETERS = (
    Parameter("source", "device", "where audio comes from", choices=("device", "file", "topic")),
    Parameter("path", "", "the recording, for source file"),
    Parameter("device", "", "microphone's name or number; empty: the system's default"),
    Parameter("tail_s", 0.6, "silence after a recording, which drains the look-ahead", 0.0, 5.0),
    *WAITING,
)

CHUNK = 320


class MicrophoneNode(Node):
    """Publishes `audio`: 20 ms chunks, 16 kHz mono. Source `topic` passes `audio_in` on."""

    def __init__(
        self,
        namespace: str = "",
        parameters: dict[str, Value] | None = None,
        remappings: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__("microphone", **placed(namespace, parameters, remappings))
        self._kit = Kit(self, PARAMETERS)
        self._publisher = self.create_publisher(AudioChunk, "audio", qos.STREAM)
        self._pacer = Pacer(self)
        self._source = self._kit.text("source")
        work = {"device": self._capture, "file": self._play}.get(self._source)
        if self._source == "file":
            self._recording = Recording(self._kit.text("path"), CHUNK)
        elif self._source == "topic":
            self._kit.subscribe(AudioChunk, "audio_in", self._relay, qos.STREAM)
        self._thread: threading.Thread | None = None
        if work is not None:
            self._thread = start_worker(self, "microphone", work)

    def stop(self) -> None:
        """End the stream."""
        self._pacer.stop()
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    def _play(self) -> None:
        """The recording at its own pace, then silence, then the stream's end."""
        if not wait_for_graph(self, self._kit, self._pacer):
            return
        self._pacer.start()
        first = 0
        try:
            for samples, total in self._recording.chunks(self._kit.number("tail_s")):
                due = (first + len(samples)) * NS_PER_SAMPLE
                if not self._pacer.wait(due):
                    return
                self._publish(first, samples, self._pacer.stamp(due), total)
                first += len(samples)
            total = self._recording.total or first
            for kind, text in self._recording.faults().items():
                self._kit.health.fault(kind, f"the recording: {text}")
        except EmoError as error:  # damaged half-way: what was heard so far is the stream
            self._kit.health.error = str(error)
            self.get_logger().error(str(error))
            total = first
        due = first * NS_PER_SAMPLE
        self._publish(first, np.zeros(0, np.float32), self._pacer.stamp(due), total, end=True)

    def _capture(self) -> None:
        """The device, opened again whenever it was lost."""
        if not wait_for_graph(self, self._kit, self._pacer):
            return
        self._pacer.start()
        capture = Capture(self._kit.text("device"), SAMPLE_RATE, CHUNK, self._pacer)
        for block in capture.blocks(self._kit.health):
            stamp_ns = self._pacer.stamp(block.end_ns)
            self._publish(block.first_sample, block.samples, stamp_ns, 0)

    def _relay(self, message: AudioChunk) -> None:
        age = self._kit.now() - nanoseconds(message.header.stamp)
        audio_samples(message, SAMPLE_RATE)  # what nobody could use stays outside
        self._publisher.publish(message)
        self._kit.health.done(age * 1e-6)

    def _publish(
        self, first: int, samples: NDArray[np.float32], stamp_ns: int, total: int, end: bool = False
    ) -> None:
        message = AudioChunk(
            header=Header(stamp=stamp(stamp_ns), frame_id=self._source),
            first_sample=first,
            sample_rate=SAMPLE_RATE,
            data=floats(samples),
            total_samples=total,
            end_of_stream=end,
        )
        self._publisher.publish(message)
        self._kit.health.done((self._kit.now() - stamp_ns) * 1e-6)


def create_nodes(
    namespace: str = "",
    parameters: dict[str, Value] | None = None,
    remappings: tuple[tuple[str, str], ...] = (),
) -> list[Node]:
    """The nodes of this process."""
    return [MicrophoneNode(namespace, parameters, remappings)]


def main() -> int:
    """Run the node."""
    return run(create_nodes)


if __name__ == "__main__":
    raise SystemExit(main())
