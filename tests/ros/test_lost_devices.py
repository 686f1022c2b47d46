"""Microphone, camera and servo line go and return while the whole graph runs, in one process."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not set up: the first ./emo lipsync installs it")
pytest.importorskip("emo_interfaces.msg", reason="emo's messages are not built: ./emo lipsync")
pytest.importorskip("mediapipe", reason="FaceMesh is not installed")

import waiting
from onlooker import NEAR, Onlooker
from probing import spinning
from sounds import speech_like
from videos import film_a_face

from emo.composed import Composed
from emo.graph import build_graph
from emo.options import LIPSYNC, MIMIC, GraphOptions
from emo_core.camera import device as camera_device
from emo_core.camera.video import Video
from emo_core.robot.buses.fake import FakeLine, FakeServos
from emo_core.robot.buses.fake_lx import FakeLx
from emo_core.robot.description import RobotDescription
from emo_microphone import capture

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.usefixtures("ros")]

#: The graph runs in this very process: whoever waits must leave it the interpreter.
until = partial(waiting.until, timeout_s=90.0, step_s=0.1)


class FakeMicrophone:
    """Says one thing again and again while it is plugged in; stands for sounddevice."""

    def __init__(self) -> None:
        self.plugged = threading.Event()
        self.plugged.set()
        self._closed = threading.Event()

    def open(
        self, device: object, rate: int, size: int, callback: Callable[..., None], again: bool
    ) -> FakeMicrophone:
        """As `emo_microphone.capture` opens a stream."""
        if not self.plugged.is_set():
            raise OSError("Error querying device -1")
        self._closed = closed = threading.Event()
        threading.Thread(target=self._speak, args=(rate, size, callback, closed)).start()
        return self

    def _speak(
        self, rate: int, size: int, callback: Callable[..., None], closed: threading.Event
    ) -> None:
        sound = speech_like(10.0, rate).astype(np.float32).reshape(-1, size, 1)
        times = SimpleNamespace(currentTime=0.0, inputBufferAdcTime=0.0)
        due_s = time.monotonic()
        for block in itertools.cycle(sound):
            due_s += size / rate
            time.sleep(max(0.0, due_s - time.monotonic()))
            if closed.is_set() or not self.plugged.is_set():
                return
            callback(block, size, times, None)

    def close(self, ignore_errors: bool = True) -> None:
        self._closed.set()


class FakeCamera:
    """Shows a video again and again while it is plugged in; stands for cv2.VideoCapture."""

    def __init__(self, video: Path) -> None:
        self.plugged = threading.Event()
        self.plugged.set()
        self._pictures = itertools.cycle([image[..., ::-1] for _, image in Video(video).pictures()])

    def open(self, name: str, mode: object) -> FakeCamera:
        """As `emo_core.camera.device` opens a camera."""
        if not self.plugged.is_set():
            raise OSError(f"camera {name}: cannot be opened")
        return self

    def grab(self) -> bool:
        time.sleep(0.04)
        return self.plugged.is_set()

    def retrieve(self) -> tuple[bool, Any]:
        return True, next(self._pictures)

    def get(self, prop: int) -> float:
        return 0.0

    def release(self) -> None:
        return


@dataclass(frozen=True)
class Rig:
    """The graph at work on devices that can be unplugged."""

    microphone: FakeMicrophone
    camera: FakeCamera
    line: FakeLine
    seen: Onlooker

    def whole(self) -> bool:
        """Whether both pipelines drive the face, and no node has an error."""
        return self.seen.driven[-1] == {LIPSYNC, MIMIC} and not self.seen.errors


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("lost")
    microphone, camera = FakeMicrophone(), FakeCamera(film_a_face(folder / "face.mp4"))
    shipped = RobotDescription.load("lx_fake")
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(capture, "_open_input", microphone.open)
        patch.setattr(camera_device, "open_device", camera.open)
        line = stack.enter_context(FakeLine(FakeLx(FakeServos(shipped)), folder / "port"))
        robot = folder / "robot.yaml"
        robot.write_text(f"extends: {shipped.file}\nbus: {{port: {line.port}}}\n")
        # Nobody's image is greeted: the face of the fake camera cannot answer.
        graph = build_graph(GraphOptions(pipeline="both", robot=str(robot), view=False))
        for entry in graph:
            if entry.executable == "arbiter":
                entry.parameters["greet"] = False
        seen = Onlooker(RobotDescription.load(robot))
        stack.enter_context(spinning(seen))
        stack.enter_context(Composed(graph))
        yield Rig(microphone, camera, line, seen)


@pytest.fixture
def rig(graph: Rig) -> Iterator[Rig]:
    """The graph at work; what a test has unplugged is plugged in after it."""
    until(graph.whole)
    yield graph
    graph.microphone.plugged.set()
    graph.camera.plugged.set()


def test_microphone_and_camera_go_and_return(rig: Rig) -> None:
    seen = rig.seen
    rig.camera.plugged.clear()
    until(lambda: seen.driven[-1] == {LIPSYNC} and "camera" in seen.errors)
    rig.microphone.plugged.clear()
    steps = len(seen.path)
    until(lambda: not seen.driven[-1] and "microphone" in seen.errors)
    until(lambda: seen.rested(steps))
    until(lambda: "Plug it in" in seen.errors.get("microphone", ""))
    rig.microphone.plugged.set()
    until(lambda: LIPSYNC in seen.driven[-1] and "microphone" not in seen.errors)
    rig.camera.plugged.set()
    until(rig.whole)
    assert any("Is it plugged in?" in text for text in seen.told["camera"])
    assert seen.excess(steps) < NEAR


def test_the_servo_line_goes_and_returns(rig: Rig) -> None:
    seen = rig.seen
    steps = len(seen.path)
    rig.line.unplug()
    until(lambda: {"eye_driver", "mouth_driver"} <= seen.errors.keys())
    assert "bus.port" in seen.errors["mouth_driver"]
    until(lambda: {LIPSYNC, MIMIC} <= seen.driven[-1])  # all before the drivers goes on
    rig.line.plug()
    until(rig.whole)
    back = len(seen.path)
    until(lambda: seen.moved(back) > 2 * NEAR)
    assert seen.excess(steps) < NEAR
