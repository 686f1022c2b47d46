"""Pictures on their way: smaller, packed, unpacked."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emo_core.camera.image import MAX_SIDE, as_received, decode, encode, fit, to_rgb


def scene(width: int, height: int) -> np.ndarray:
    """A smooth coloured picture (H, W, 3): red grows to the right, green downwards."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = np.linspace(0, 255, width).astype(np.uint8)
    picture[..., 1] = np.linspace(0, 255, height).astype(np.uint8)[:, None]
    picture[..., 2] = 60
    return picture


@settings(deadline=None)
@given(st.integers(1, 4000), st.integers(1, 4000))
def test_long_sides_end_at_the_limit_in_proportion(width: int, height: int) -> None:
    small = fit(np.zeros((height, width, 3), np.uint8))
    if max(width, height) <= MAX_SIDE:
        assert small.shape == (height, width, 3)
        return
    assert max(small.shape[:2]) == MAX_SIDE
    scale = MAX_SIDE / max(width, height)
    assert small.shape[1] == max(1, round(width * scale))
    assert small.shape[0] == max(1, round(height * scale))


@pytest.mark.parametrize("size", [(640, 480), (3840, 2160), (1080, 1920), (360, 288)])
def test_what_the_tracker_gets_is_the_picture(size: tuple[int, int]) -> None:
    picture = scene(*size)
    got = as_received(picture)
    assert np.abs(got.astype(int) - fit(picture)).mean() < 1.5
    np.testing.assert_array_equal(got, as_received(picture))


def test_grey_jpegs_have_three_channels() -> None:
    import cv2

    grey = scene(64, 48)[..., 0]
    rgb = decode(cv2.imencode(".jpg", grey)[1].tobytes())
    assert rgb.shape == (48, 64, 3)
    np.testing.assert_array_equal(rgb[..., 0], rgb[..., 2])


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG, whole up to its size."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + chunk + struct.pack(">I", zlib.crc32(chunk))


HUGE = png_header(60_000, 60_000) + b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


@pytest.mark.parametrize("packed", [b"", b"no picture", encode(scene(64, 48))[:80], HUGE])
def test_damage_is_told(packed: bytes) -> None:
    with pytest.raises(ValueError, match="no picture"):
        decode(packed)


@pytest.mark.parametrize(
    ("encoding", "order"),
    [("rgb8", [0, 1, 2]), ("bgr8", [2, 1, 0]), ("rgba8", [0, 1, 2, 2]), ("bgra8", [2, 1, 0, 0])],
)
def test_raw_pictures_in_any_order_and_with_padded_rows(encoding: str, order: list[int]) -> None:
    picture = scene(50, 40)
    pixels = picture[..., order].reshape(40, -1)
    padded = np.pad(pixels, ((0, 0), (0, 14)), constant_values=9)
    data, step = padded.tobytes(), padded.shape[1]
    np.testing.assert_array_equal(to_rgb(data, 40, 50, step, encoding), picture)


def test_raw_grey_and_yuv() -> None:
    grey = scene(50, 40)[..., 1]
    rgb = to_rgb(grey.tobytes(), 40, 50, 50, "mono8")
    np.testing.assert_array_equal(rgb, np.repeat(grey[..., None], 3, axis=2))
    yuyv = np.full((40, 50, 2), 128, np.uint8)
    yuyv[..., 0] = 180  # Y, and U or V in the middle: a light grey
    flat = to_rgb(yuyv.tobytes(), 40, 50, 100, "yuv422_yuy2")
    assert np.ptp(flat) == 0
    np.testing.assert_array_equal(to_rgb(yuyv[..., ::-1].tobytes(), 40, 50, 100, "uyvy"), flat)


@pytest.mark.parametrize(
    ("size", "step", "length", "encoding", "told"),
    [
        ((40, 50), 150, 5999, "rgb8", "5999 bytes"),
        ((40, 50), 149, 6000, "rgb8", "rows of 149"),
        ((0, 50), 150, 6000, "rgb8", "50 x 0"),
        ((40, 50), 150, 6000, "bayer_rggb16", "'bayer_rggb16'"),
        ((40, 49), 98, 3920, "yuyv", "49 wide in 'yuyv'"),
    ],
)
def test_raw_pictures_that_cannot_be(
    size: tuple[int, int], step: int, length: int, encoding: str, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        to_rgb(bytes(length), *size, step, encoding)
