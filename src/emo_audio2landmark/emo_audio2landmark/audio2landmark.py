"""Node: speech_features -> lipsync/landmarks, 25 faces a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from emo_interfaces.msg import FaceLandmarks, SpeechFeatures
from numpy.typing import NDArray
from rclpy.node import Node
from std_msgs.msg import Header

from emo_core.audio.mel import HOP, WINDOW
from emo_core.errors import EmoError
from emo_core.face.static_face import load_face
from emo_core.lipsync import MAX_MOUTH_GAIN, VARIANTS
from emo_core.lipsync.audio2landmark import Audio2Landmark
from emo_core.lipsync.landmark_stream import LandmarkStream
from emo_core.rates import FRAME, NS_PER_SAMPLE, SAMPLE_RATE
from emo_nodekit import qos
from emo_nodekit.kit import Kit, placed
from emo_nodekit.messages import feature_frames, floats, nanoseconds, stages, stamp
from emo_nodekit.parameters import Parameter, Value
from emo_nodekit.running import run

PARAMETERS = (
    Parameter(
        "model",
        VARIANTS["full"],
        "folder in models/: audio2landmark_full (240 ms look-ahead) or audio2landmark_live",
        dynamic=True,
        examples=tuple(VARIANTS.values()),
    ),
    Parameter(
        "static_face",
        "",
        "the talker's resting face (.npz of `emo track`); empty: the canonical face",
        dynamic=True,
    ),
    Parameter(
        "mouth_gain", 1.0, "factor on the mouth's opening", 0.0, MAX_MOUTH_GAIN, dynamic=True
    ),
)

#: A model that takes over is further on than the one before by less than this.
CATCH_UP_NS = 1_000_000_000


class Audio2LandmarkNode(Node):
    """Subscribes `speech_features`, publishes `lipsync/landmarks` (478 points, metric mm)."""

    event_driven = True  # see `emo_nodekit.running`

    def __init__(
        self,
        namespace: str = "",
        parameters: dict[str, Value] | None = None,
        remappings: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__("audio2landmark", **placed(namespace, parameters, remappings))
        self._kit = Kit(self, PARAMETERS)
        self._name = self._kit.text("model")
        self._stream = LandmarkStream(self._load(self._name))
        self._next_mel: int | None = None
        self._ended, self._stamp_ns = False, 0
        self._publisher = self.create_publisher(FaceLandmarks, "lipsync/landmarks", qos.FRAMES)
        self._kit.subscribe(SpeechFeatures, "speech_features", self._on_features, qos.STREAM)
        self._kit.on_change(self._change)

    def _face(self) -> NDArray[np.float32] | None:
        path = self._kit.text("static_face")
        return load_face(path) if path else None

    def _load(self, name: str) -> Audio2Landmark:
        model = Audio2Landmark.load(name, self._face(), self._kit.number("mouth_gain"))
        model.feed(np.zeros((50, model.dim), np.float32))  # the first call is slow
        model.reset()
        return model

    def _change(self) -> None:
        """Another model, talker or gain, in the midst of the stream."""
        if Path(self._kit.text("static_face")).suffix not in ("", ".npz"):
            raise EmoError("a face that is tracked first takes too long here: give a .npz")
        name = self._kit.text("model")
        if name == self._name:
            self._stream.model.adjust(self._face(), self._kit.number("mouth_gain"))
            return
        self._stream.replace(self._load(name))
        self._name = name

    def _on_features(self, message: SpeechFeatures) -> None:
        dim = self._stream.model.dim
        features = feature_frames(message, dim)
        first = message.first_frame
        if first != self._next_mel:
            if self._next_mel is not None and first != 0:
                self._kit.health.fault("restarts", f"speech_features: a jump to frame {first}")
            features = features[self._stream.restart(first) :]
            self._ended, self._stamp_ns = False, 0
        self._next_mel = first + len(message.data) // dim
        newest = (self._next_mel - 1) * HOP + WINDOW
        number, faces = self._stream.feed(features)
        for frame, landmarks in enumerate(faces, number):
            self._publish(message, frame, landmarks, newest)

    def _publish(
        self, source: SpeechFeatures, frame: int, landmarks: NDArray[np.float32], newest: int
    ) -> None:
        start = frame * FRAME
        total = source.total_samples
        if total and (self._ended or start >= total):
            return
        self._ended = bool(total) and start + FRAME >= total
        lookahead = round(self._stream.model.lookahead_ms * SAMPLE_RATE / 1000)  # samples
        shown_ns = nanoseconds(source.header.stamp) - (newest - start) * NS_PER_SAMPLE
        # A model that takes over and looks less far ahead catches up: stamps do not go back, unless
        # the clock did.
        stamp_ns = shown_ns + lookahead * NS_PER_SAMPLE
        if 0 < self._stamp_ns - stamp_ns < CATCH_UP_NS:
            stamp_ns = self._stamp_ns
        self._stamp_ns = stamp_ns
        now = self._kit.now()
        message = FaceLandmarks(
            header=Header(stamp=stamp(stamp_ns), frame_id="metric_face"),
            frame=frame,
            target_time=stamp(shown_ns),
            dim=3,
            points=floats(landmarks),
            static_points=floats(self._stream.model.static_face),
            valid=True,
            active=source.active,
            end_of_stream=self._ended,
            stage_ms=stages(source, now, stamp_ns),
        )
        self._publisher.publish(message)
        self._kit.health.done((now - stamp_ns) * 1e-6)


def create_nodes(
    namespace: str = "",
    parameters: dict[str, Value] | None = None,
    remappings: tuple[tuple[str, str], ...] = (),
) -> list[Node]:
    """The nodes of this process."""
    return [Audio2LandmarkNode(namespace, parameters, remappings)]


def main() -> int:
    """Run the node."""
    return run(create_nodes)


if __name__ == "__main__":
    raise SystemExit(main())
