"""The nodes of mimicry on real ROS 2: the same as offline, bad input, time that jumps, requests."""

from __future__ import annotations

import array
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not set up: the first ./emo lipsync installs it")
pytest.importorskip("emo_interfaces.msg", reason="emo's messages are not built: ./emo lipsync")

from emo_interfaces.msg import FaceLandmarks, Gaze, MotorCommand
from probing import ALL, Probe, Running
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from waiting import until

from emo_core.camera.image import decode, encode
from emo_core.errors import EmoError
from emo_core.face.alignment import canonical_face
from emo_core.face.static_face import load_face
from emo_core.face.tracking import VideoFile
from emo_core.mimic.action_units import action_units, show
from emo_core.mimic.composition import compose
from emo_core.mimic.pipeline import Mimic
from emo_face_tracking.face_tracking import FaceTrackingNode
from emo_inverse_model.inverse_model import InverseModelNode
from emo_nodekit import qos
from emo_nodekit.messages import floats, nanoseconds, stamp
from emo_normalization.normalization import NormalizationNode
from emo_predictive_model.predictive_model import PredictiveModelNode

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("ros")]

BASE_NS = 1_700_000_000_000_000_000
STEP_NS = 40_000_000
ROBOT = "emo22"


class Camera:
    """Images with stamps of our own, one at a time: each waits for the answer to the last."""

    def __init__(self, probe: Probe, robot: str = "") -> None:
        self.landmarks = probe.collect(FaceLandmarks, f"{robot}/mimic/landmarks")
        self.gaze = probe.collect(Gaze, f"{robot}/mimic/gaze")
        self.publisher = probe.create_publisher(
            CompressedImage, f"{robot}/image/compressed", qos.PACKED
        )
        for end in (self.publisher, *probe.subscriptions):
            count = getattr(end, "get_subscription_count", None) or end.get_publisher_count
            until(count)

    def send(self, packed: bytes, ns: int) -> None:
        header = Header(stamp=stamp(ns), frame_id="camera")
        data = array.array("B", packed)
        self.publisher.publish(CompressedImage(header=header, format="jpeg", data=data))

    def show(self, packed: bytes, ns: int) -> FaceLandmarks:
        before = len(self.landmarks)
        self.send(packed, ns)
        until(lambda: len(self.landmarks) > before and len(self.gaze) > before)
        return self.landmarks[-1]


def pictures(folder: Path, count: int) -> list[bytes]:
    video = sorted(p for p in folder.iterdir() if p.suffix in (".mp4", ".mpg"))[0]
    with VideoFile(video) as film:
        return [encode(image) for image in islice(film.frames(), count)]


def black() -> bytes:
    return encode(np.zeros((240, 320, 3), np.uint8))


def faults(node: Any) -> dict[str, int]:
    return node._kit.health.faults


def chain(predict: bool = True) -> list[Node]:
    """The pipeline's nodes as the graph places them."""
    return [
        InverseModelNode("mimic", {"robot": ROBOT, "source": "mimic"}),
        NormalizationNode("mimic", {"robot": ROBOT}, (("landmarks", "predicted"),)),
        PredictiveModelNode("mimic", {"predict": predict}),
        FaceTrackingNode(),
    ]


# --- on people filmed


@pytest.mark.data
@pytest.mark.parametrize("predict", [True, False])
def test_the_graph_gives_what_the_pipeline_gives_offline(
    running: Running, data_dir: Path, predict: bool
) -> None:
    images = pictures(data_dir / "grid_s4", 50)
    images[20:28] = [black()] * 8
    probe = running(*chain(predict))
    camera = Camera(probe)
    predicted = probe.collect(FaceLandmarks, "mimic/predicted")
    commands = probe.collect(MotorCommand, "mimic/motor_command")
    until(lambda: all(s.get_publisher_count() for s in probe.subscriptions))
    times = [BASE_NS + i * STEP_NS + i % 3 * 1_234_567 for i in range(len(images))]
    for packed, ns in zip(images, times, strict=True):
        camera.show(packed, ns)
    until(lambda: len(commands) == len(images) == len(predicted))
    with Mimic.load(ROBOT, predict) as pipeline:
        for i, packed in enumerate(images):
            offline = pipeline.feed(decode(packed), (times[i] - times[0]) * 1e-9)
            face, ahead, command, gaze = (
                camera.landmarks[i],
                predicted[i],
                commands[i],
                camera.gaze[i],
            )
            for message in (face, ahead, command, gaze):
                assert nanoseconds(message.header.stamp) == times[i]
                assert message.frame == i
            assert face.valid == face.active == command.active == offline.valid
            assert command.valid == (offline.motors is not None)
            assert (gaze.yaw, gaze.pitch) == pytest.approx((offline.gaze.yaw, offline.gaze.pitch))
            if offline.motors is None:
                assert not len(ahead.points)
                continue
            np.testing.assert_array_equal(np.reshape(face.points, (478, 3)), offline.face.points)
            np.testing.assert_allclose(
                np.reshape(ahead.points, (478, 3)), offline.predicted, atol=1e-4
            )
            ahead_ns = nanoseconds(ahead.target_time) - times[i]
            assert ahead_ns * 1e-9 == pytest.approx(offline.seconds, abs=1e-4)
            named = dict(zip(command.names, command.positions, strict=True))
            wanted = dict(zip(pipeline.motor_names, offline.motors, strict=True))
            assert named == pytest.approx({name: wanted[name] for name in named}, abs=1e-4)
            assert not any("yaw" in name or "pitch" in name for name in named)
    assert sum(face.valid for face in camera.landmarks) > 25


@pytest.mark.data
def test_images_that_cannot_be_used_are_counted_and_time_that_goes_back_is_a_new_stream(
    running: Running, data_dir: Path
) -> None:
    node = FaceTrackingNode()
    camera = Camera(running(node))
    images = pictures(data_dir / "grid_s1", 15)
    first = [camera.show(packed, BASE_NS + i * STEP_NS) for i, packed in enumerate(images)]
    assert first[-1].valid
    camera.send(b"no picture", BASE_NS + 20 * STEP_NS)
    camera.send(images[0], BASE_NS + 14 * STEP_NS)  # the last one's time again
    until(lambda: faults(node).get("bad_messages") == 2)
    assert camera.show(encode(np.zeros((1, 1, 3), np.uint8)), BASE_NS + 21 * STEP_NS).frame == 15
    large = encode(cv2.resize(decode(images[-1]), (3840, 2160)))
    assert camera.show(large, BASE_NS + 22 * STEP_NS).frame == 16
    # A recording played again: the same answers, from the first image on.
    again = [camera.show(packed, BASE_NS - 10**12 + i * STEP_NS) for i, packed in enumerate(images)]
    assert faults(node)["restarts"] == 1
    for one, two in zip(first, again, strict=True):
        assert (one.frame, one.valid) == (two.frame, two.valid)
        np.testing.assert_array_equal(one.points, two.points)
    # And the stream's end, after which another begins.
    end = camera.show(b"", BASE_NS)
    assert end.end_of_stream and not end.valid and not len(end.points)
    assert camera.gaze[-1].end_of_stream
    assert camera.show(images[0], BASE_NS + STEP_NS).frame == 0


@pytest.mark.data
def test_a_face_at_rest_is_kept_by_name_and_known_again(
    running: Running, data_dir: Path, tmp_path: Path
) -> None:
    node = FaceTrackingNode(parameters={"faces": str(tmp_path), "person": "anna"})
    assert "anna" in node._kit.health.warning
    probe = running(node)
    camera = Camera(probe)
    still = pictures(data_dir / "grid_s1", 1)[0]
    client = probe.create_client(Trigger, "face_tracking/capture")
    until(client.service_is_ready)
    answer = client.call_async(Trigger.Request())
    until(answer.done)
    assert answer.result().success and "anna.npz" in answer.result().message
    for i in range(60):
        shown = camera.show(still, BASE_NS + i * STEP_NS)
    face = load_face(tmp_path / "anna.npz")
    np.testing.assert_allclose(np.reshape(shown.static_points, (478, 3)), face, atol=0.1)
    assert node._kit.health.warning == ""
    twin = FaceTrackingNode("twin", {"faces": str(tmp_path), "person": "anna"})
    assert Camera(running(twin), "/twin").show(still, BASE_NS).valid  # from the first image on
    node.set_parameters([Parameter("person", value="bert")])
    refused = node.set_parameters([Parameter("person", value="../bert")])[0]
    assert not refused.successful and "no name" in refused.reason


def test_a_name_without_a_folder_or_a_file_that_is_no_face_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(EmoError, match="faces"):
        FaceTrackingNode(parameters={"person": "anna"})
    (tmp_path / "anna.npz").write_text("no face")
    with pytest.raises(EmoError, match=r"anna\.npz is not a face file"):
        FaceTrackingNode(parameters={"faces": str(tmp_path), "person": "anna"})


# --- without images


def test_raw_images_lost_on_the_way_leave_a_gap_in_the_frames(running: Running) -> None:
    node = FaceTrackingNode(parameters={"transport": "raw"})
    probe = running(node)
    landmarks = probe.collect(FaceLandmarks, "mimic/landmarks")
    publisher = probe.create_publisher(Image, "image", qos.IMAGE)
    until(publisher.get_subscription_count)
    image = Image(height=480, width=640, encoding="rgb8", step=1920, data=bytes(480 * 1920))
    for i in range(60):  # more than it can take: only the newest are looked at
        image.header.stamp = stamp(BASE_NS + i * 1_000_000)
        publisher.publish(image)
        if i == 0:
            until(lambda: landmarks)
    until(lambda: landmarks and nanoseconds(landmarks[-1].header.stamp) == BASE_NS + 59_000_000)
    lost = 60 - len(landmarks)
    assert landmarks[-1].frame - landmarks[0].frame == 59
    assert faults(node).get("dropped", 0) == lost


def frames(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    face = canonical_face()
    return list(show(face, action_units(face), compose(rng).intensities)[:count].astype(np.float32))


def message(i: int, points: Any, **fields: Any) -> FaceLandmarks:
    values: dict[str, Any] = {
        "header": Header(stamp=stamp(BASE_NS + i * STEP_NS)),
        "target_time": stamp(BASE_NS + i * STEP_NS),
        "frame": i,
        "dim": 3,
        "points": floats(points),
        "static_points": floats(canonical_face()),
        "valid": True,
        "active": True,
        "stage_ms": floats([1.0]),
    }
    return FaceLandmarks(**{**values, **fields})


def test_prediction_passes_on_what_came_and_goes_ahead_only_of_somebody_known(
    running: Running,
) -> None:
    node = PredictiveModelNode("mimic")
    probe = running(node)
    predicted = probe.collect(FaceLandmarks, "mimic/predicted")
    publisher = probe.create_publisher(FaceLandmarks, "mimic/landmarks", ALL)
    until(publisher.get_subscription_count)
    faces = frames(40)

    def send(one: FaceLandmarks) -> None:
        before = len(predicted)
        publisher.publish(one)
        until(lambda: len(predicted) > before)

    for i, face in enumerate(faces):
        send(message(i, face))
    ways = [
        np.abs(np.reshape(one.points, (478, 3)) - face).max()
        for one, face in zip(predicted, faces, strict=True)
    ]
    assert max(ways) > 0.5
    assert all(list(one.static_points) == list(canonical_face().ravel()) for one in predicted)
    assert all(len(one.stage_ms) == 2 and one.valid and one.active for one in predicted)
    # Somebody of whom no face at rest is told: plain mimicry. Nobody: nothing to foresee.
    for i, face in enumerate(faces):
        send(message(i, face, static_points=[]))
    send(message(40, [], valid=False, active=False, end_of_stream=True))
    for one, face in zip(predicted[40:80], faces, strict=True):
        np.testing.assert_array_equal(np.reshape(one.points, (478, 3)), face)
        assert one.target_time == one.header.stamp
    assert predicted[80].end_of_stream and not len(predicted[80].points)
    publisher.publish(message(0, [np.nan] * 1434))
    publisher.publish(message(1, [0.0] * 9))
    until(lambda: faults(node).get("bad_messages") == 2)


def test_normalization_follows_whoever_is_in_view(running: Running) -> None:
    probe = running(NormalizationNode("mimic", {"robot": ROBOT}))
    out = probe.collect(FaceLandmarks, "mimic/robot_landmarks")
    publisher = probe.create_publisher(FaceLandmarks, "mimic/landmarks", ALL)
    until(publisher.get_subscription_count)
    face = canonical_face()
    other = (face * [1.05, 0.95, 1.0]).astype(np.float32)
    publisher.publish(message(0, face))
    publisher.publish(message(1, other, static_points=floats(other)))
    publisher.publish(message(2, other))
    publisher.publish(message(3, face, static_points=[]))
    publisher.publish(message(4, face, valid=False))  # held: shown all the same
    publisher.publish(message(5, [], valid=False))
    until(lambda: len(out) == 6)
    rest = np.array(out[0].points)
    np.testing.assert_allclose(out[1].points, rest, atol=1.0)  # but for how far the lips are apart
    assert np.abs(np.array(out[2].points) - rest).max() > 1.5
    np.testing.assert_array_equal(out[3].points, rest)
    np.testing.assert_array_equal(out[4].points, rest)
    assert not out[4].valid and not len(out[5].points)
