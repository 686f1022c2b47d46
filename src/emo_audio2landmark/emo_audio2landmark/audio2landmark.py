"""Node: speech_features -> lipsync/landmarks, 25 faces a second."""

from __future__ import annotations

import numpy as np
from emo_interfaces.msg import FaceLandmarks, SpeechFeatures
from rclpy.node import Node
from std_msgs.msg import Header

from emo_core.audio.mel import HOP, WINDOW
from emo_core.face.tracking import load_face
from emo_core.lipsync import MAX_MOUTH_GAIN, VARIANTS
from emo_core.lipsync.audio2landmark import Audio2Landmark
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
    ),
    Parameter(
        "static_face",
        "",
        "the talker's resting face (.npz of `emo track`); empty: the canonical face",
    ),
    Parameter("mouth_gain", 1.0, "factor on the mouth's opening", 0.0, MAX_MOUTH_GAIN),
)

MEL_PER_FRAME = FRAME // HOP


class Audio2LandmarkNode(Node):
    """Subscribes `speech_features`, publishes `lipsync/landmarks` (478 points, metric mm)."""

    def __init__(
        self,
        namespace: str = "",
        parameters: dict[str, Value] | None = None,
        remappings: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__("audio2landmark", **placed(namespace, parameters, remappings))
        self._kit = Kit(self, PARAMETERS)
        face = self._kit.text("static_face")
        self._model = Audio2Landmark.load(
            self._kit.text("model"),
            static_face=load_face(face) if face else None,
            mouth_gain=self._kit.number("mouth_gain"),
        )
        self._lookahead = round(self._model.lookahead_ms * SAMPLE_RATE / 1000)  # samples
        self._dim = self._model.dim
        self._model.feed(np.zeros((50, self._dim), np.float32))  # the first call is slow
        self._next_mel: int | None = None
        self._frame = 0
        self._ended = False
        self._publisher = self.create_publisher(FaceLandmarks, "lipsync/landmarks", qos.FRAMES)
        self._kit.subscribe(SpeechFeatures, "speech_features", self._on_features, qos.STREAM)

    def _on_features(self, message: SpeechFeatures) -> None:
        features = feature_frames(message, self._dim)
        first = message.first_frame
        if first != self._next_mel:
            if self._next_mel is not None and first != 0:
                self._kit.health.fault("restarts", f"speech_features: a jump to frame {first}")
            features = features[first % MEL_PER_FRAME :]
            self._model.reset()
            self._frame = -(-first // MEL_PER_FRAME)
            self._ended = False
        self._next_mel = first + len(message.data) // self._dim
        newest = (self._next_mel - 1) * HOP + WINDOW
        for landmarks in self._model.feed(features):
            self._publish(message, landmarks, newest)

    def _publish(self, source: SpeechFeatures, landmarks: np.ndarray, newest: int) -> None:
        start = self._frame * FRAME
        total = source.total_samples
        if self._ended or (total and start >= total):
            return
        self._ended = bool(total) and start + FRAME >= total
        needed = start + self._lookahead
        stamp_ns = nanoseconds(source.header.stamp) - (newest - needed) * NS_PER_SAMPLE
        now = self._kit.now()
        message = FaceLandmarks(
            header=Header(stamp=stamp(stamp_ns), frame_id="metric_face"),
            frame=self._frame,
            target_time=stamp(stamp_ns - self._lookahead * NS_PER_SAMPLE),
            dim=3,
            points=floats(landmarks),
            valid=True,
            active=source.active,
            end_of_stream=self._ended,
            stage_ms=stages(source, now, stamp_ns),
        )
        self._publisher.publish(message)
        self._frame += 1
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
