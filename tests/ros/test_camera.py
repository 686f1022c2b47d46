"""The camera node on real ROS 2: files in time, topics of any kind, devices that are not there."""

from __future__ import annotations

import array
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not set up: the first ./emo lipsync installs it")
pytest.importorskip("sensor_msgs.msg", reason="ROS's messages of images are missing")

from diagnostic_msgs.msg import DiagnosticArray
from probing import ALL, Running
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String
from waiting import until

from emo_camera import camera
from emo_camera.camera import CameraNode
from emo_core.camera.image import as_received, decode, encode
from emo_core.camera.video import Video
from emo_core.errors import EmoError
from emo_core.viz.video import VideoWriter
from emo_nodekit import pictures, qos
from emo_nodekit.kit import Kit
from emo_nodekit.messages import nanoseconds, stamp

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("ros")]

BASE_NS = 1_700_000_000_000_000_000
#: A queue that keeps everything, to compare all of it.


def picture(level: int, width: int = 320, height: int = 240) -> np.ndarray:
    image = np.full((height, width, 3), level, np.uint8)
    image[: height // 3] = (200, 100, 50)
    return image


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """20 pictures at 25 Hz."""
    path = tmp_path / "video.mp4"
    with VideoWriter(path, (320, 240), 25.0) as writer:
        for k in range(20):
            writer.add_frame(picture(10 * k)[..., ::-1].copy())
    return path


def of_file(path: Path, **parameters: Any) -> dict[str, Any]:
    return {"source": "file", "path": str(path), "wait_for": ["image/compressed"], **parameters}


def test_a_video_arrives_whole_and_in_its_own_time(
    running: Running, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera, "LATE_S", 60.0)  # this machine may be busy
    probe = running()
    out = probe.collect(CompressedImage, "image/compressed")
    running(CameraNode(parameters=of_file(video)))
    until(lambda: out and not len(out[-1].data))
    pictures = [image for _, image in Video(video).pictures()]
    assert len(out) == len(pictures) + 1
    for message, image in zip(out, pictures, strict=False):
        assert (message.format, message.header.frame_id) == ("jpeg", "camera")
        np.testing.assert_array_equal(decode(memoryview(message.data)), as_received(image))
    stamps = np.array([nanoseconds(message.header.stamp) for message in out])
    np.testing.assert_array_equal(np.diff(stamps), 40_000_000)  # to the last: also the end's
    assert abs(time.time_ns() - stamps[-1]) < 10e9


def test_a_video_that_is_always_late_is_shown_now_and_then(
    running: Running, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Video):
        def pictures(self) -> Iterator[tuple[float, np.ndarray]]:
            for due_s, image in super().pictures():
                time.sleep(0.1)
                yield due_s, image

    monkeypatch.setattr(camera, "Video", Slow)
    monkeypatch.setattr(camera, "LATE_S", 0.05)
    monkeypatch.setattr(camera, "AT_LEAST_S", 0.45)
    probe = running()
    out = probe.collect(CompressedImage, "image/compressed")
    node = CameraNode(parameters=of_file(video))
    running(node)
    until(lambda: out and not len(out[-1].data))
    late = node._kit.health.faults["late"]
    assert 3 <= len(out) - 1 - (20 - late) <= 5  # 2 s of which each half a one has a picture
    stamps = [nanoseconds(message.header.stamp) for message in out]
    assert all(ns % 40_000_000 == stamps[0] % 40_000_000 for ns in stamps)  # when it was due


@pytest.mark.parametrize("told", [True, False])
def test_images_are_heard_where_ros_tells_nothing_about_a_message(
    running: Running, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    monkeypatch.setattr(pictures, "TOLD_ABOUT", told)  # False: Humble
    listener, seen = Node("listener"), []
    pictures.Pictures(listener, Kit(listener, ()), "image", True, lambda *one: seen.append(one))
    probe = running(listener)
    out = probe.create_publisher(CompressedImage, "image/compressed", ALL)
    until(out.get_subscription_count)
    for level in (10, 20):
        out.publish(CompressedImage(data=array.array("B", encode(picture(level)))))
    until(lambda: len(seen) == 2)
    assert [step for _, _, step in seen] == [1, 1]


def test_raw_images_only_for_those_who_ask(running: Running, video: Path) -> None:
    probe = running()
    packed = probe.collect(CompressedImage, "image/compressed")
    node = CameraNode(parameters=of_file(video, loop=True, max_side=160))
    running(node)
    until(lambda: packed)
    assert not node._out._raw.get_subscription_count()
    raw = probe.collect(Image, "image")
    until(lambda: len(raw) > 3)
    assert (raw[0].encoding, raw[0].width, raw[0].height, raw[0].step) == ("rgb8", 160, 120, 480)
    shown = {nanoseconds(message.header.stamp): message for message in raw}
    pairs = [(m, shown[s]) for m in packed if (s := nanoseconds(m.header.stamp)) in shown]
    assert len(pairs) > 2
    for message, plain in pairs:
        image = np.frombuffer(memoryview(plain.data), np.uint8).reshape(120, 160, 3)
        np.testing.assert_array_equal(decode(memoryview(message.data)), decode(encode(image)))


@pytest.mark.parametrize("profile", [qos.IMAGE, qos_profile_sensor_data])
def test_a_topic_of_raw_images_reliable_or_not(running: Running, profile: QoSProfile) -> None:
    node = CameraNode(parameters={"source": "topic"}, remappings=(("image_in", "usb/image_raw"),))
    probe = running(node)
    out = probe.collect(CompressedImage, "image/compressed")
    publisher = probe.create_publisher(Image, "usb/image_raw", profile)
    until(lambda: publisher.get_subscription_count() == 1)
    until(lambda: node._out._packed.get_subscription_count() == 1)
    image = picture(90)
    message = Image(height=240, width=320, step=960, encoding="bgr8")
    message.header = Header(stamp=stamp(BASE_NS), frame_id="usb")
    message.data = array.array("B", image[..., ::-1].tobytes())
    publisher.publish(message)
    until(lambda: out)
    assert nanoseconds(out[0].header.stamp) == BASE_NS
    np.testing.assert_array_equal(decode(memoryview(out[0].data)), as_received(image))


def test_a_topic_of_compressed_images_survives_bad_ones(running: Running) -> None:
    node = CameraNode(parameters={"source": "topic"}, remappings=(("image_in", "usb/jpeg"),))
    probe = running(node)
    out = probe.collect(CompressedImage, "image/compressed")
    publisher = probe.create_publisher(CompressedImage, "usb/jpeg", ALL)
    until(lambda: publisher.get_subscription_count() == 1)
    until(lambda: node._out._packed.get_subscription_count() == 1)
    good = encode(picture(90, 1920, 1080))
    small = encode(picture(30), 50)
    for data, seen, bad in (
        (good, 1, 0), (b"garbage", 1, 1), (good[:60], 1, 2), (small, 2, 2), (b"", 3, 2)
    ):  # fmt: skip
        publisher.publish(CompressedImage(format="jpeg", data=array.array("B", data)))
        until(lambda bad=bad: node._kit.health.faults.get("bad_messages", 0) == bad)
        until(lambda seen=seen: len(out) == seen)
    assert decode(memoryview(out[0].data)).shape == (360, 640, 3)
    assert out[1].data.tobytes() == small  # not packed twice
    assert not len(out[2].data)  # somebody else's stream ends, too
    assert node._kit.health.faults == {"bad_messages": 2}
    until(lambda: "no image on /usb/jpeg" in node._kit.health.warning)


def test_of_a_raw_topic_and_its_compressed_one_the_compressed_is_taken(running: Running) -> None:
    node = CameraNode(
        parameters={"source": "topic"},
        remappings=(("image_in", "usb/raw"), ("image_in/compressed", "usb/raw/compressed")),
    )
    probe = running()
    raw = probe.create_publisher(Image, "usb/raw", ALL)
    packed = probe.create_publisher(CompressedImage, "usb/raw/compressed", ALL)
    time.sleep(0.3)
    running(node)
    until(lambda: packed.get_subscription_count() == 1)
    assert raw.get_subscription_count() == 0


def test_a_topic_that_is_none_of_images(running: Running) -> None:
    node = CameraNode(parameters={"source": "topic"})
    probe = running(node)
    until(lambda: "nobody publishes /image_in" in node._kit.health.warning)
    probe.create_publisher(String, "image_in", 1)
    until(lambda: "std_msgs/msg/String: give a topic of images" in node._kit.health.warning)


def test_a_camera_that_is_not_there_is_an_error_and_not_the_end(running: Running) -> None:
    node = CameraNode(parameters={"device": "77"})
    probe = running(node)
    seen = probe.collect(DiagnosticArray, "/diagnostics")
    until(lambda: any(
        "camera 77: cannot be opened" in status.message
        for array_ in seen for status in array_.status
    ))  # fmt: skip


def test_what_can_never_work_is_refused(tmp_path: Path) -> None:
    for parameters, told in (
        ({"source": "file", "path": str(tmp_path / "none.mp4")}, "no such video"),
        ({"device": "webcam"}, "give a number, a path"),
        ({"source": "radio"}, "source of camera is 'radio'"),
        ({"jpeg_quality": 0}, "jpeg_quality of camera"),
    ):
        with pytest.raises(EmoError, match=told):
            CameraNode(parameters=parameters)


@pytest.mark.parametrize("topic", ["image", "image/compressed"])
def test_its_own_images_are_no_source(topic: str) -> None:
    remappings = (("image_in", topic), ("image_in/compressed", f"{topic}/compressed"))
    with pytest.raises(EmoError, match="/image/compressed is where this node publishes"):
        CameraNode("", {"source": "topic"}, remappings)
