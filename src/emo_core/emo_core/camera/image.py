"""Pictures on their way from the camera to the tracker: made small, packed, unpacked.

A picture is RGB uint8 (H, W, 3). It travels as JPEG: 50 kB instead of 900, which crosses processes
in one piece, fits a recording, and is to the last bit what was tracked.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

#: Longest side of a picture that is sent on. FaceMesh itself looks at 192 x 192 around the face.
MAX_SIDE = 640
#: Of 100. What it does to landmarks: docs/camera.md.
JPEG_QUALITY = 90

Image = NDArray[np.uint8]

#: Of sensor_msgs/Image: encoding -> (bytes of a pixel, OpenCV's conversion to RGB or None).
_ENCODINGS = {
    "rgb8": (3, None),
    "8UC3": (3, cv2.COLOR_BGR2RGB),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "8UC4": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
}


def fit(rgb: Image, max_side: int = MAX_SIDE) -> Image:
    """`rgb`, made smaller in proportion where a side is longer than `max_side`; never larger."""
    height, width = rgb.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1.0:
        return rgb
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def encode(rgb: Image, quality: int = JPEG_QUALITY) -> bytes:
    """JPEG of a picture (`quality` 1..100)."""
    bgr = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2BGR)
    done, packed = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"no JPEG can be made of a picture of {rgb.shape}")
    return packed.tobytes()


def decode(packed: bytes | memoryview) -> Image:
    """RGB of a JPEG (or whatever OpenCV reads), grey ones too.

    Raises:
        ValueError: it is damaged beyond reading, or no picture.
    """
    raw = np.frombuffer(packed, np.uint8)
    try:
        bgr = cv2.imdecode(raw, cv2.IMREAD_COLOR) if len(raw) else None
    except cv2.error:  # it says that it is larger than OpenCV reads
        bgr = None
    if bgr is None:
        raise ValueError(f"{len(raw)} bytes that are no picture")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def as_received(rgb: Image, max_side: int = MAX_SIDE, quality: int = JPEG_QUALITY) -> Image:
    """What a tracker behind the camera node gets of `rgb`."""
    return decode(encode(fit(rgb, max_side), quality))


def to_rgb(data: bytes | memoryview, height: int, width: int, step: int, encoding: str) -> Image:
    """RGB of a raw picture as sensor_msgs/Image describes it: rows of `step` bytes.

    Raises:
        ValueError: an encoding that is not known or does not go with the width, or too little data.
    """
    if encoding not in _ENCODINGS:
        raise ValueError(f"pictures in '{encoding}': send one of {', '.join(_ENCODINGS)}")
    depth, conversion = _ENCODINGS[encoding]
    raw = np.frombuffer(data, np.uint8)
    if min(height, width) < 1 or step < width * depth or len(raw) < height * step:
        raise ValueError(f"a picture of {width} x {height} with {len(raw)} bytes in rows of {step}")
    if depth == 2 and width % 2:  # YUV 4:2:2
        raise ValueError(f"a picture {width} wide in '{encoding}', whose pixels come in pairs")
    rows = raw[: height * step].reshape(height, step)[:, : width * depth]
    pixels = np.ascontiguousarray(rows).reshape(height, width, depth)
    if conversion is None:
        return pixels
    return np.asarray(cv2.cvtColor(pixels, conversion), dtype=np.uint8)
