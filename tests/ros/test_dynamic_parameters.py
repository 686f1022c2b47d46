"""Parameters that change while the graph runs: taken over at once, or refused with a reason."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not set up: the first ./emo lipsync installs it")
pytest.importorskip("emo_interfaces.msg", reason="emo's messages are not built: ./emo lipsync")

from emo_interfaces.msg import FaceLandmarks, SpeechFeatures
from probing import Running
from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter
from std_msgs.msg import Header
from waiting import until

from emo_audio2landmark.audio2landmark import Audio2LandmarkNode
from emo_core.face.alignment import canonical_face
from emo_core.face.topology import LIPS_INNER
from emo_core.paths import models_dir
from emo_nodekit import qos
from emo_nodekit.messages import floats, stamp

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("ros")]

BASE_NS = 1_700_000_000_000_000_000
HOP_NS = 20_000_000
#: Rows of the shipped models: 80 bands and the APC's state.
DIM = 592


class Graph:
    """An audio2landmark node, what it is fed and what it gives."""

    def __init__(self, running: Running) -> None:
        self.node = Audio2LandmarkNode()
        probe = running(self.node)
        self.frames = probe.collect(FaceLandmarks, "lipsync/landmarks", qos.STREAM)
        self._publisher = probe.create_publisher(SpeechFeatures, "speech_features", qos.STREAM)
        self._rows = np.random.default_rng(3).normal(size=(400, DIM)).astype(np.float32)
        self._fed = 0
        until(lambda: self._publisher.get_subscription_count() == 1)
        until(lambda: self.node.count_subscribers("lipsync/landmarks") == 1)

    def feed(self, rows: int, frames: int) -> list[FaceLandmarks]:
        """Feed rows; the `frames` new frames that follow."""
        before = len(self.frames)
        for _ in range(rows):
            k = self._fed
            end_ns = BASE_NS + k * HOP_NS + 40_000_000
            self._publisher.publish(
                SpeechFeatures(
                    header=Header(stamp=stamp(end_ns)),
                    first_frame=k,
                    dim=DIM,
                    data=floats(self._rows[k]),
                    active=True,
                )
            )
            self._fed += 1
        until(lambda: len(self.frames) >= before + frames)
        time.sleep(0.05)
        assert len(self.frames) == before + frames
        return self.frames[before:]

    def set(self, **values: object) -> SetParametersResult:
        """Set parameters of the node in its own thread, as its service does."""
        done: list[SetParametersResult] = []
        parameters = [Parameter(name, value=value) for name, value in values.items()]
        self.node.executor.create_task(
            lambda: done.append(self.node.set_parameters_atomically(parameters))
        )
        until(lambda: done)
        return done[0]


@pytest.fixture
def graph(running: Running) -> Graph:
    return Graph(running)


def opening(frame: FaceLandmarks) -> float:
    """Millimetres between the lips' middles, beyond those of the face at rest."""
    up, low = LIPS_INNER[5], LIPS_INNER[15]
    gaps = []
    for points in (frame.points, frame.static_points):
        face = np.asarray(points).reshape(478, 3)
        gaps.append(face[up, 1] - face[low, 1])
    return float(gaps[0] - gaps[1])


def test_the_mouths_gain_changes_from_the_next_frame_on(graph: Graph) -> None:
    graph.feed(40, 15)
    assert graph.set(mouth_gain=0.0).successful
    closed = graph.feed(10, 5)
    assert all(abs(opening(frame)) < 1e-4 for frame in closed)
    assert graph.set(mouth_gain=3.0).successful
    assert max(abs(opening(frame)) for frame in graph.feed(10, 5)) > 0.5
    assert graph.node.get_parameter("mouth_gain").value == 3.0


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"mouth_gain": 17.0}, "mouth_gain"),
        ({"mouth_gain": float("nan")}, "out of range"),
        ({"mouth_gain": "much"}, "type"),
        ({"model": "no_such_model"}, "no_such_model"),
        ({"static_face": "/no/such/face.npz"}, "no such face file"),
        ({"static_face": "film.mp4"}, "give a .npz"),
        ({"trace_dir": "/tmp"}, "read-only"),
        # All or nothing: the gain is good, the model is not.
        ({"mouth_gain": 0.0, "model": "apc"}, "apc"),
    ],
)
def test_what_is_wrong_is_refused_and_the_old_goes_on(
    graph: Graph, values: dict[str, object], reason: str
) -> None:
    graph.feed(40, 15)
    result = graph.set(**values)
    assert not result.successful
    assert reason in result.reason
    assert graph.node.get_parameter("mouth_gain").value == 1.0
    frames = graph.feed(10, 5)
    assert [frame.frame for frame in frames] == [15, 16, 17, 18, 19]
    assert max(abs(opening(frame)) for frame in frames) > 0.01


def test_a_damaged_model_is_refused_and_the_old_goes_on(graph: Graph, tmp_path: Path) -> None:
    shutil.copytree(models_dir() / "audio2landmark_live", tmp_path / "cut")
    model = tmp_path / "cut" / "model.onnx"
    model.write_bytes(model.read_bytes()[:1000])
    graph.feed(40, 15)
    result = graph.set(model=str(tmp_path / "cut"))
    assert not result.successful
    assert "damaged" in result.reason
    assert [frame.frame for frame in graph.feed(4, 2)] == [15, 16]


def test_models_hand_over_without_a_frame_lost_or_doubled(graph: Graph) -> None:
    full = graph.feed(80, 35)  # 240 ms: 12 rows ahead of a frame
    assert graph.set(model="audio2landmark_live").successful
    live = graph.feed(2, 5)  # 80 ms: it catches up at once
    live += graph.feed(18, 9)
    assert graph.set(model="audio2landmark_full").successful
    full += live + graph.feed(8, 0)  # until it is there
    full += graph.feed(12, 6)
    assert [frame.frame for frame in full] == list(range(len(full)))
    stamps = [frame.header.stamp.sec * 10**9 + frame.header.stamp.nanosec for frame in full]
    assert sorted(stamps) == stamps
    faces = np.array([np.asarray(frame.points) for frame in full]).reshape(-1, 478, 3)
    steps = np.linalg.norm(np.diff(faces, axis=0), axis=2).max(1)
    assert steps[34:50].max() < 2 * steps[2:34].max()


def test_the_talkers_face_travels_with_every_frame(graph: Graph, tmp_path: Path) -> None:
    assert np.array_equal(graph.feed(40, 15)[0].static_points, canonical_face().ravel())
    face = (canonical_face() * 1.05).astype(np.float32)
    np.savez(tmp_path / "face.npz", landmarks=face[None], fps=25.0)
    assert graph.set(static_face=str(tmp_path / "face.npz")).successful
    frame = graph.feed(2, 1)[0]
    assert np.allclose(frame.static_points, face.ravel(), atol=1e-4)
    assert np.abs(np.asarray(frame.points) - face.ravel()).max() < 15.0
