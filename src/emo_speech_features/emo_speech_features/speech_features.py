"""Node: audio -> speech_features. Log-mel and APC run along the stream, once for each sample."""

from __future__ import annotations

import numpy as np
from emo_interfaces.msg import AudioChunk, SpeechFeatures
from numpy.typing import NDArray
from rclpy.node import Node
from std_msgs.msg import Header

from emo_core.audio.activity import SpeechActivity
from emo_core.audio.apc import Apc
from emo_core.audio.mel import HOP, WINDOW, LogMel
from emo_core.rates import NS_PER_SAMPLE, SAMPLE_RATE
from emo_nodekit import qos
from emo_nodekit.kit import Kit, placed
from emo_nodekit.messages import audio_samples, floats, nanoseconds, stamp
from emo_nodekit.parameters import Parameter, Value
from emo_nodekit.running import run
from emo_speech_features.continuity import Continuity

PARAMETERS = (
    Parameter(
        "max_gap_s",
        0.5,
        "a hole in the audio up to this long counts as silence; a longer one starts anew",
        0.0,
        10.0,
    ),
)

#: Silence fed to a stream that ended without any of its own: more than the longest look-ahead.
FLUSH_S = 0.5


class SpeechFeaturesNode(Node):
    """Subscribes `audio`, publishes `speech_features`."""

    event_driven = True  # see `emo_nodekit.running`

    def __init__(
        self,
        namespace: str = "",
        parameters: dict[str, Value] | None = None,
        remappings: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__("speech_features", **placed(namespace, parameters, remappings))
        self._kit = Kit(self, PARAMETERS)
        self._apc = Apc.load()
        self._mel = LogMel()
        self._activity = SpeechActivity()
        self._continuity = Continuity(round(self._kit.number("max_gap_s") * SAMPLE_RATE))
        self._frame = 0
        self._active = False
        self._total = 0
        self._features(np.zeros(4 * WINDOW, np.float32))  # the first call of a model is slow
        self._reset(0)
        self._publisher = self.create_publisher(SpeechFeatures, "speech_features", qos.STREAM)
        self._kit.subscribe(AudioChunk, "audio", self._on_audio, qos.STREAM)

    def _reset(self, first_sample: int) -> None:
        self._mel.reset()
        self._apc.reset()
        self._activity.reset()
        self._frame = first_sample // HOP
        self._active = False

    def _features(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        flags = self._activity.feed(samples)
        if flags:
            self._active = flags[-1]
        return self._apc.feed(self._mel.feed(samples))

    def _on_audio(self, message: AudioChunk) -> None:
        samples = audio_samples(message, SAMPLE_RATE)
        piece = self._continuity.feed(message.first_sample, samples)
        if piece.fault == "gap":
            seconds = piece.count / SAMPLE_RATE
            self._kit.health.fault("gaps", f"audio: {seconds:.3f} s missing")
        elif piece.fault == "repeated" and piece.count:
            self._kit.health.fault("repeated", f"audio: {piece.count} samples came twice")
        elif piece.fault == "back":
            self._kit.health.fault("restarts", f"audio: back to sample {message.first_sample}")
        if piece.restart is not None:
            self._reset(piece.restart)
        self._total = message.total_samples
        end_ns = nanoseconds(message.header.stamp)
        end = message.first_sample + len(samples)
        fed = piece.samples
        if message.end_of_stream:
            self._total = min(self._total, end) or end
            left = self._total + round(FLUSH_S * SAMPLE_RATE) - end
            fed = np.concatenate([fed, np.zeros(max(left, 0), np.float32)])
        self._publish(self._features(fed), end, end_ns, message.end_of_stream)

    def _publish(self, features: NDArray[np.float32], end: int, end_ns: int, last: bool) -> None:
        if not len(features) and not last:
            return
        first, self._frame = self._frame, self._frame + len(features)
        newest = (self._frame - 1) * HOP + WINDOW
        stamp_ns = end_ns + (newest - end) * NS_PER_SAMPLE
        now = self._kit.now()
        message = SpeechFeatures(
            header=Header(stamp=stamp(stamp_ns)),
            first_frame=first,
            dim=self._apc.dim,
            data=floats(features),
            active=self._active,
            total_samples=self._total,
            end_of_stream=last,
            stage_ms=floats([(now - stamp_ns) * 1e-6]),
        )
        self._publisher.publish(message)
        self._kit.health.done((now - stamp_ns) * 1e-6)


def create_nodes(
    namespace: str = "",
    parameters: dict[str, Value] | None = None,
    remappings: tuple[tuple[str, str], ...] = (),
) -> list[Node]:
    """The nodes of this process."""
    return [SpeechFeaturesNode(namespace, parameters, remappings)]


def main() -> int:
    """Run the node."""
    return run(create_nodes)


if __name__ == "__main__":
    raise SystemExit(main())
