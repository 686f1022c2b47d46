"""Real people before a camera that is not kind, through FaceMesh."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from emo_core.face.stream import FaceStream, Seen
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
