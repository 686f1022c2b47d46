"""A camera that is unplugged, freezes, hangs, changes its mind; and one on the network."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import av
import cv2
import numpy as np
import pytest
from waiting import until

from emo_core.camera import device as module
from emo_core.camera.device import Device, Shot
from emo_core.camera.image import encode
from emo_core.camera.opening import Mode
from emo_core.errors import EmoError


class Reports:
    def __init__(self) -> None:
        self.error = self.warning = ""
        self.kinds: list[str] = []

    def fault(self, kind: str, text: str, count: int = 1) -> None:
        self.kinds.append(kind)


class FakeCamera:
    """Gives the pictures of an iterator, one each period; None: a read that fails."""

    def __init__(self, pictures: Iterator[np.ndarray | None], period_s: float = 0.005) -> None:
        self._pictures, self._period_s = pictures, period_s
        self.released = False
        self.position_ms = 0.0

    def grab(self) -> bool:
        time.sleep(self._period_s)
        self._picture = next(self._pictures, None)
        return self._picture is not None

    def retrieve(self) -> tuple[bool, Any]:
        return True, self._picture

    def get(self, prop: int) -> float:
        return self.position_ms

    def release(self) -> None:
        self.released = True


def noisy(level: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    rng = np.random.default_rng(level)
    return rng.integers(0, 50, (size[1], size[0], 3)).astype(np.uint8)


def next_shot(device: Device) -> Shot:
    shot = device.newest(5.0)
    assert shot is not None
    return shot


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses."""
    monkeypatch.setattr(module, "FIRST_DELAY_S", 0.02)
    monkeypatch.setattr(module, "NO_PICTURE_S", 0.1)
    monkeypatch.setattr(module, "FROZEN_S", 0.1)


def test_whoever_is_slow_gets_the_newest_picture() -> None:
    camera = FakeCamera(noisy(k) for k in itertools.count())
    with Device("0", Reports(), open_camera=lambda name, mode: camera) as device:
        first = next_shot(device)
        time.sleep(0.3)
        asked_ns = time.monotonic_ns()
        late = next_shot(device)
        assert late.number > first.number + 5
        assert late.taken_ns > asked_ns - 250_000_000
        np.testing.assert_array_equal(late.image, noisy(late.number)[..., ::-1])  # RGB
    assert camera.released


def test_the_mode_asked_for_reaches_the_camera() -> None:
    asked: list[tuple[str, Mode]] = []

    def open_camera(name: str, mode: Mode) -> FakeCamera:
        asked.append((name, mode))
        return FakeCamera(noisy(k) for k in itertools.count())

    with Device("/dev/video3", Reports(), Mode(1280, 720, 60.0), open_camera) as device:
        next_shot(device)
    assert asked == [("/dev/video3", Mode(1280, 720, 60.0))]


def test_an_unplugged_camera_is_told_of_and_comes_back() -> None:
    reports, opened = Reports(), itertools.count()

    def open_camera(name: str, mode: Mode) -> FakeCamera:
        attempt = next(opened)
        if attempt in (1, 2):
            raise OSError("camera 0: no such device")
        return FakeCamera(iter([noisy(k) for k in range(20)]) if attempt == 0 else
                          (noisy(k) for k in itertools.count()))  # fmt: skip

    with Device("0", reports, open_camera=open_camera) as device:
        until(lambda: reports.error)
        until(lambda: not reports.error)
        assert next_shot(device).number >= 20
    assert reports.kinds[:3] == ["lost_device", "no_device", "no_device"]


def test_no_camera_at_all() -> None:
    reports = Reports()
    with Device("7", reports) as device:
        until(lambda: "no_device" in reports.kinds)
        assert device.newest(0.01) is None
        assert "camera 7: cannot be opened" in reports.error
    with Device("/dev/video77", Reports()) as device:
        until(lambda: "no such device" in device._reports.error)


@pytest.mark.parametrize("name", ["webcam", "", "-1", "film.mp4"])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(EmoError, match=r"give a number, a path such as /dev/video0, or a URL"):
        Device(name, Reports())


def test_a_frozen_camera_is_told_of_until_it_moves() -> None:
    reports = Reports()
    moving = threading.Event()
    still = noisy(0)
    fresh = (noisy(k) for k in itertools.count(1))
    camera = FakeCamera(next(fresh) if moving.is_set() else still for _ in itertools.count())
    with Device("0", reports, open_camera=lambda name, mode: camera):
        until(lambda: reports.warning)
        assert "the same picture for" in reports.warning
        moving.set()
        until(lambda: not reports.warning)
    assert reports.kinds.count("frozen") == 1
    assert reports.error == ""


def test_a_camera_that_hangs_is_told_of() -> None:
    reports, hangs = Reports(), threading.Event()

    class Hanging(FakeCamera):
        def grab(self) -> bool:
            good = super().grab()
            hangs.wait(10.0)
            return good

    camera = Hanging(noisy(k) for k in itertools.count())
    with Device("0", reports, open_camera=lambda name, mode: camera) as device:
        time.sleep(0.15)
        assert device.newest(0.01) is None
        assert "no picture for" in reports.error
        hangs.set()
        next_shot(device)
        assert reports.error == ""


def test_sizes_may_change_and_damaged_pictures_are_left_out() -> None:
    reports = Reports()
    bad = np.zeros((0, 0, 3), np.uint8)
    pictures = [noisy(0), bad, noisy(1, (32, 24)), noisy(2)[..., 0], None, noisy(3)]
    camera = FakeCamera(itertools.chain(pictures, (noisy(k) for k in itertools.count(4))), 0.1)
    with Device("0", reports, open_camera=lambda name, mode: camera) as device:
        shapes = [next_shot(device).image.shape for _ in range(4)]
    assert shapes == [(48, 64, 3), (24, 32, 3), (48, 64, 3), (48, 64, 3)]
    assert reports.kinds == ["damaged"]


def test_a_picture_that_opencv_refuses_is_a_damaged_one() -> None:
    reports = Reports()
    two_channels = np.zeros((48, 64, 2), np.uint8)
    camera = FakeCamera(itertools.chain([two_channels], (noisy(k) for k in itertools.count())))
    with Device("0", reports, open_camera=lambda name, mode: camera) as device:
        np.testing.assert_array_equal(next_shot(device).image.shape, (48, 64, 3))
    assert reports.kinds == ["damaged"]


@pytest.mark.parametrize("error", [cv2.error("refused"), av.error.InvalidDataError(1, "torn")])
def test_a_driver_that_raises_is_opened_again(error: Exception) -> None:
    reports, opened = Reports(), itertools.count()

    class Raising(FakeCamera):
        def grab(self) -> bool:
            raise error

    def open_camera(name: str, mode: Mode) -> FakeCamera:
        kind = Raising if next(opened) == 0 else FakeCamera
        return kind(noisy(k) for k in itertools.count())

    with Device("0", reports, open_camera=open_camera) as device:
        until(lambda: "lost_device" in reports.kinds)
        next_shot(device)
    assert reports.kinds == ["damaged"] * 5 + ["lost_device"]


def test_the_drivers_stamp_is_believed_where_it_can_be_true() -> None:
    camera = FakeCamera(noisy(k) for k in itertools.count())
    with Device("0", Reports(), open_camera=lambda name, mode: camera) as device:
        before_ns = time.monotonic_ns()
        assert next_shot(device).taken_ns >= before_ns  # 0 ms since the start of the machine? no
        driver_ns = time.monotonic_ns() - 40_000_000
        camera.position_ms = driver_ns * 1e-6
        until(lambda: abs(next_shot(device).taken_ns - driver_ns) < 10_000)


class Stream(BaseHTTPRequestHandler):
    """A network camera: motion JPEG of two sizes, 25 pictures, and then the line is cut."""

    def do_GET(self) -> None:  # the name that http.server calls
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
        self.end_headers()
        for k in range(25):
            size = (48, 64, 3) if k < 12 else (120, 160, 3)
            picture = encode(np.full(size, 8 * k, np.uint8))
            head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            self.wfile.write(head.encode() + picture + b"\r\n")
            time.sleep(0.02)

    def log_message(self, *_: object) -> None:
        pass


def test_nobody_at_the_address() -> None:
    reports = Reports()
    with Device("http://127.0.0.1:9/video.mjpg", reports):
        until(lambda: "Is it on, and the address right?" in reports.error)


def test_a_network_camera_changes_its_size_is_lost_and_comes_back() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    reports = Reports()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/video.mjpg"
        with Device(url, reports) as device:
            assert next_shot(device).image.shape == (48, 64, 3)
            until(lambda: next_shot(device).image.shape == (120, 160, 3))
            until(lambda: "lost_device" in reports.kinds)
            last = device.newest(0.0)
            again = next_shot(device)
            assert last is None or again.number > last.number
            until(lambda: reports.error == "")
    finally:
        server.shutdown()
        server.server_close()
