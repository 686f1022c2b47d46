"""A video file as a camera."""

from __future__ import annotations

import itertools
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from emo_core.camera.image import as_received
from emo_core.camera.video import Video
from emo_core.errors import EmoError

from .conftest import MakeVideo


def test_times_are_the_files(make_video: MakeVideo) -> None:
    times = [0.0, 0.04, 0.08, 0.2, 0.24]  # not even: as phones film
    video = Video(make_video(times))
    pictures = list(video.pictures())
    np.testing.assert_allclose([due for due, _ in pictures], times, atol=1e-3)
    levels = [int(image[-1, -1].mean()) for _, image in pictures]
    np.testing.assert_allclose(levels, [20, 40, 60, 80, 100], atol=3)


def test_a_loop_goes_on_in_time(make_video: MakeVideo) -> None:
    video = Video(make_video([0.0, 0.04, 0.08]), loop=True)
    pictures = list(itertools.islice(video.pictures(), 7))
    np.testing.assert_allclose([due for due, _ in pictures], np.arange(7) * 0.04, atol=1e-3)
    levels = [int(image[-1, -1].mean()) for _, image in pictures]
    np.testing.assert_allclose(levels, [20, 40, 60, 20, 40, 60, 20], atol=3)
    video.close()


def test_a_leap_in_time_is_no_pause(make_video: MakeVideo) -> None:
    video = Video(make_video([0.0, 0.04, 4000.0, 4000.04]))
    due = [due for due, _ in video.pictures()]
    assert due[-1] < 1.0
    assert (np.diff(due) > 0.0).all()


def test_4k_and_grey(make_video: MakeVideo) -> None:
    _, large = next(Video(make_video([0.0], (3840, 2160), name="4k.mp4")).pictures())
    assert as_received(large).shape == (360, 640, 3)
    _, grey = next(Video(make_video([0.0], pix_fmt="gray", name="grey.mkv")).pictures())
    assert grey.shape == (48, 64, 3)
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])


def test_a_portrait_video_is_upright(make_video: MakeVideo) -> None:
    path = make_video([0.0])  # lying, and bright at the left top
    file = bytearray(path.read_bytes())
    matrix = file.index(b"tkhd") + 4 + 40
    quarter_turn = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)  # clockwise
    file[matrix : matrix + 36] = quarter_turn
    path.write_bytes(file)
    _, image = next(Video(path).pictures())
    assert image.shape == (64, 48, 3)
    assert image[:10, -10:].mean() > 200  # now at the right top
    assert image[-10:].mean() < 50


@pytest.mark.parametrize("file", [b"", b"not a video " * 100])
def test_what_is_none_shows_at_once(tmp_path: Path, file: bytes) -> None:
    path = tmp_path / "face.mp4"
    path.write_bytes(file)
    with pytest.raises(EmoError, match=r"face\.mp4"):
        Video(path)
    with pytest.raises(EmoError, match="no such video"):
        Video(tmp_path / "none.mp4")


def test_half_a_file_is_seen_as_far_as_it_goes(make_video: MakeVideo, tmp_path: Path) -> None:
    whole = make_video([0.04 * k for k in range(50)], (320, 240), name="whole.mkv")
    cut = tmp_path / "cut.mkv"
    shutil.copy(whole, cut)
    with cut.open("rb+") as file:
        file.truncate(whole.stat().st_size // 2)
    seen = 0
    try:
        for _ in Video(cut).pictures():
            seen += 1
    except EmoError as error:
        assert "damaged" in str(error)
    assert 5 < seen < 50
