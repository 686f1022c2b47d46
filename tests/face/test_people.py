"""Real people before a camera that is not kind, through FaceMesh."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from emo_core.face.alignment import to_metric
from emo_core.face.gaze import IRIS_RADIUS_MM, look
from emo_core.face.stream import FaceStream, Seen
from emo_core.face.topology import LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS
from emo_core.face.tracking import FaceTracker, VideoFile

pytestmark = pytest.mark.data
FPS = 25.0


def clip(folder: Path, count: int) -> list[np.ndarray]:
    video = sorted(p for p in folder.iterdir() if p.suffix in (".mp4", ".mpg"))[0]
    with VideoFile(video) as film:
        return [cv2.resize(image, (640, 512)) for image in islice(film.frames(), count)]


def watch(images: list[np.ndarray]) -> list[Seen]:
    with FaceTracker(max_faces=2) as tracker:
        stream = FaceStream(tracker)
        return [stream.feed(image, i / FPS) for i, image in enumerate(images)]


def test_two_people_change_places_and_the_one_behind_is_followed(data_dir: Path) -> None:
    """He is the larger at first, then passes behind her, and comes out on the other side."""
    his, her = clip(data_dir / "grid_s1", 70), clip(data_dir / "grid_s4", 70)
    images = []
    for i in range(70):
        image = np.full((480, 1000, 3), 90, np.uint8)
        right, left = round(30 + 640 * i / 69), round(670 - 640 * i / 69)
        image[60:410, right : right + 300] = cv2.resize(his[i][56:476, 140:500], (300, 350))
        image[120:400, left : left + 240] = cv2.resize(her[i][56:476, 140:500], (240, 280))
        images.append(image)
    seen = watch(images)
    assert max(one.faces for one in seen) == 2
    where = np.array([one.screen[:, 0].mean() for one in seen])
    way = 180 + 640 * np.arange(70) / 69
    assert np.nanmax(np.abs(where - way)) < 60  # never her
    assert np.isfinite(where[:20]).all()
    assert np.isfinite(where[-15:]).all()
    assert {one.person for one in seen} == {0}


def test_blur_lights_out_and_pictures_of_all_sizes(data_dir: Path) -> None:
    images = clip(data_dir / "grid_s1", 60)
    plain = watch(images)
    assert all(one.valid for one in plain)
    kernel = np.full((1, 15), 1 / 15, np.float32)
    for i in (20, 21, 30):
        images[i] = cv2.filter2D(images[i], -1, kernel)
    for i in range(40, 46):
        images[i] = (0.02 * images[i]).astype(np.uint8)
    images[50] = cv2.resize(images[50], (320, 256))
    images[52] = cv2.cvtColor(images[52], cv2.COLOR_RGB2GRAY)
    seen = watch(images)
    lost = [i for i, one in enumerate(seen) if not one.valid]
    assert lost == [20, 21, 30, *range(40, 46)]
    for i in (23, 32, 49, 51, 53):  # and back, where it would have been
        off = np.linalg.norm(seen[i].metric - plain[i].metric, axis=-1)
        assert off.mean() < 0.6


def with_irises_moved(image: np.ndarray, face: np.ndarray, way: np.ndarray) -> np.ndarray:
    """A photograph retouched: the irises elsewhere between the lids, by `way` px."""
    for eye, iris in ((RIGHT_EYE, RIGHT_IRIS), (LEFT_EYE, LEFT_IRIS)):
        middle = face[iris[0], :2]
        radius = 1.15 * np.linalg.norm(face[iris[1:], :2] - middle, axis=1).mean()
        between, disc = np.zeros((2, *image.shape[:2]), np.uint8)
        cv2.fillPoly(between, [np.round(16 * face[eye, :2]).astype(np.int32)], 255, shift=4)
        cv2.circle(disc, np.round(16 * middle).astype(int), int(16 * radius), 255, -1, shift=4)
        white = cv2.inpaint(image, between & disc, 3, cv2.INPAINT_TELEA)
        whole = cv2.inpaint(image, disc & ~between, 3, cv2.INPAINT_TELEA)
        shift = np.float32([[1, 0, way[0]], [0, 1, way[1]]])
        size = image.shape[1::-1]
        moved = cv2.warpAffine(whole, shift, size, flags=cv2.INTER_CUBIC)
        iris_there = cv2.GaussianBlur(cv2.warpAffine(disc, shift, size), (0, 0), 0.7)[..., None]
        eye_there = cv2.GaussianBlur(between, (0, 0), 0.5)[..., None]
        ball = white + (iris_there / 255) * (moved.astype(np.float64) - white)
        image = np.asarray(image + (eye_there / 255) * (ball - image), np.uint8)
    return image


@pytest.mark.parametrize("folder", ["grid_s1", "grid_s4"])
def test_eyes_that_look_aside_in_a_photograph(data_dir: Path, folder: str) -> None:
    """The irises are moved by known ways: across the angle is told, and up from down."""
    image = clip(data_dir / folder, 1)[0]
    with FaceTracker(static_image_mode=True) as tracker:
        before = tracker.faces(image)[0]
        scale = np.linalg.norm(to_metric(before)[1][:3, 0])  # px per mm

        def seen(x: float, y: float) -> np.ndarray:
            retouched = with_irises_moved(image, before, scale * np.array([x, -y]))
            return look(*to_metric(tracker.faces(retouched)[0]))

        straight = seen(0, 0)
        for millimetres in (-3.0, 3.0):
            angle = np.arcsin(millimetres / IRIS_RADIUS_MM)
            aside = seen(millimetres, 0) - straight
            assert aside[0] == pytest.approx(angle, rel=0.4)
            assert abs(aside[1]) < 0.4 * abs(angle)
        assert (seen(0, 2) - seen(0, -2))[1] > 0.1
