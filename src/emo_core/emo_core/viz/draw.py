"""The drawing kit: colours, text, the face mesh, time strips. Images are BGR uint8 (H, W, 3)."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from emo_core.errors import EmoError
from emo_core.face import topology

Image = NDArray[np.uint8]
Points = NDArray[np.float32]
Colour = tuple[int, int, int]

# One dark theme. Text on panel has a contrast of at least 7:1 (WCAG AAA).
BACKGROUND: Colour = (20, 16, 13)
PANEL: Colour = (34, 28, 23)
LINE: Colour = (70, 60, 52)
TEXT: Colour = (243, 237, 230)
TEXT_DIM: Colour = (184, 172, 160)
SOUND: Colour = (200, 214, 84)
HUMAN: Colour = (250, 190, 130)
ROBOT: Colour = (90, 180, 250)
PLAYHEAD: Colour = (255, 255, 255)

LIP_LINE: Colour = (150, 140, 228)

SHIFT = 4  # OpenCV draws at 1/16 px


@functools.cache
def _font_path(bold: bool) -> Path:
    spec = importlib.util.find_spec("matplotlib")  # for its fonts; not imported, which takes 0.3 s
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    if spec is None or spec.origin is None:
        raise EmoError("matplotlib, whose font the video uses, is not installed: run ./emo doctor")
    return Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / name


@functools.lru_cache(maxsize=512)
def _text_alpha(text: str, size: int, bold: bool) -> NDArray[np.float32]:
    """Coverage (h, w, 1) in [0, 1] of one line; the line's height depends on the size alone."""
    from PIL import Image as PilImage
    from PIL import ImageDraw, ImageFont

    font = ImageFont.truetype(str(_font_path(bold)), size)
    ascent, descent = font.getmetrics()
    width = max(1, round(font.getlength(text)) + 1)
    mask = PilImage.new("L", (width, ascent + descent))
    ImageDraw.Draw(mask).text((0, 0), text, fill=255, font=font)
    return np.asarray(mask, np.float32)[..., None] / 255


def put_text(
    image: Image,
    text: str,
    xy: tuple[int, int],
    size: int = 15,
    colour: Colour = TEXT,
    *,
    bold: bool = False,
    align: str = "left",
) -> None:
    """Write one line with its top at `xy`; `align`: which end of it x is. Clips."""
    alpha = _text_alpha(text, size, bold)
    x, y = xy
    x -= {"left": 0, "right": alpha.shape[1], "centre": alpha.shape[1] // 2}[align]
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + alpha.shape[1], image.shape[1]), min(y + alpha.shape[0], image.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    cover = alpha[y0 - y : y1 - y, x0 - x : x1 - x]
    under = image[y0:y1, x0:x1].astype(np.float32)
    image[y0:y1, x0:x1] = (under + cover * (np.array(colour, np.float32) - under) + 0.5).astype(
        np.uint8
    )


def canvas(size: tuple[int, int], colour: Colour = PANEL) -> Image:
    """A plain image of (width, height)."""
    return np.full((size[1], size[0], 3), colour, np.uint8)


def card(image: Image, box: tuple[int, int, int, int], radius: int = 10) -> None:
    """A panel with round corners over `box` = (x, y, width, height)."""
    x, y, w, h = box
    cv2.rectangle(image, (x + radius, y), (x + w - radius - 1, y + h - 1), PANEL, -1)
    cv2.rectangle(image, (x, y + radius), (x + w - 1, y + h - radius - 1), PANEL, -1)
    for cx in (x + radius, x + w - radius - 1):
        for cy in (y + radius, y + h - radius - 1):
            cv2.circle(image, (cx, cy), radius, PANEL, -1, cv2.LINE_AA)


@functools.cache
def mesh_edges() -> NDArray[np.int32]:
    """The FaceMesh tessellation as vertex pairs (E, 2), from the installed MediaPipe.

    Read from its table of connections alone: importing the package takes most of a second.
    """
    spec = importlib.util.find_spec("mediapipe")
    if spec is None or spec.origin is None:
        raise EmoError("mediapipe is not installed: run ./emo doctor")
    path = Path(spec.origin).parent / "python" / "solutions" / "face_mesh_connections.py"
    table = importlib.util.spec_from_file_location("_face_mesh_connections", path)
    if table is None or table.loader is None:
        raise EmoError(f"this mediapipe has no FaceMesh: {path} is missing. Install 0.10.21")
    module = importlib.util.module_from_spec(table)
    table.loader.exec_module(module)
    pairs = {(min(a, b), max(a, b)) for a, b in module.FACEMESH_TESSELATION}
    edges: NDArray[np.int32] = np.array(sorted(pairs), np.int32)
    return edges


def _fixed(points: Points) -> NDArray[np.int32]:
    fixed: NDArray[np.int32] = np.round(points[..., :2] * (1 << SHIFT)).astype(np.int32)
    return fixed


def _outline(image: Image, points: Points, index: NDArray[np.int64], colour: Colour) -> None:
    cv2.polylines(image, [_fixed(points[index])], True, colour, 1, cv2.LINE_AA, SHIFT)


def _fill(image: Image, points: Points, index: NDArray[np.int64], colour: Colour) -> None:
    cv2.fillPoly(image, [_fixed(points[index])], colour, cv2.LINE_AA, SHIFT)


def draw_landmarks(image: Image, points: Points, colour: Colour = HUMAN) -> None:
    """The 478 landmarks (478, 2 or 3) px over a picture: mesh, contours, irises. In place."""
    dim = tuple(int(c * 0.62) for c in colour)
    fixed = _fixed(points)
    cv2.polylines(image, list(fixed[mesh_edges()]), False, dim, 1, cv2.LINE_AA, SHIFT)
    _features(image, points, colour)


def draw_face(image: Image, points: Points, colour: Colour = HUMAN) -> None:
    """A face from nothing but its landmarks (478, 2 or 3) px, on a plain panel. In place."""
    fixed = _fixed(points)
    _fill(image, points, topology.FACE_OVAL, (58, 47, 40))
    cv2.polylines(image, list(fixed[mesh_edges()]), False, (98, 80, 68), 1, cv2.LINE_AA, SHIFT)
    for eye in (topology.RIGHT_EYE, topology.LEFT_EYE):
        _fill(image, points, eye, (225, 222, 216))
    iris_radius = 0.0
    for eye, iris in (
        (topology.RIGHT_EYE, topology.RIGHT_IRIS),
        (topology.LEFT_EYE, topology.LEFT_IRIS),
    ):
        ring = points[iris[1:], :2]
        iris_radius = float(np.linalg.norm(ring - points[iris[0], :2], axis=1).mean())
        opening = np.ptp(points[eye, 1])
        if opening > 0.5 * iris_radius:  # no pupil on a closed lid
            _disc(image, points[iris[0]], min(iris_radius, 0.5 * float(opening)), (120, 84, 52))
            _disc(image, points[iris[0]], 0.35 * iris_radius, (20, 16, 13))
    _fill(image, points, topology.LIPS_OUTER, (118, 104, 204))
    _fill(image, points, topology.LIPS_INNER, (24, 14, 34))
    for brow in topology.BROW_OUTLINES:
        _fill(image, points, brow, (92, 76, 64))
    _features(image, points, colour, LIP_LINE)


def _disc(image: Image, centre: Points, radius: float, colour: Colour) -> None:
    x, y = (round(float(v) * (1 << SHIFT)) for v in centre[:2])
    cv2.circle(image, (x, y), round(radius * (1 << SHIFT)), colour, -1, cv2.LINE_AA, SHIFT)


def _features(image: Image, points: Points, colour: Colour, lips: Colour | None = None) -> None:
    for index in (
        topology.FACE_OVAL,
        topology.RIGHT_EYE,
        topology.LEFT_EYE,
        *topology.BROW_OUTLINES,
    ):
        _outline(image, points, index, colour)
    for index in (topology.LIPS_OUTER, topology.LIPS_INNER):
        _outline(image, points, index, lips or colour)


def fit_face(face: Points, size: tuple[int, int], margin: float = 0.1) -> NDArray[np.float32]:
    """What maps a metric face (478, 3) mm, y up, into `size` px: (scale, x0, y0).

    Room is left below the chin for the jaw to open. Use one fit for a whole film.
    """
    low, high = face[:, :2].min(0), face[:, :2].max(0)
    low = low - np.array([0.0, 0.07 * float(high[1] - low[1])], np.float32)
    span = high - low
    scale = (1 - 2 * margin) * min(size[0] / span[0], size[1] / span[1])
    middle = 0.5 * (low + high)
    x0, y0 = size[0] / 2 - scale * middle[0], size[1] / 2 + scale * middle[1]
    fit: NDArray[np.float32] = np.array([scale, x0, y0], np.float32)
    return fit


def place_face(face: Points, fit: NDArray[np.float32]) -> Points:
    """Metric (478, 3) mm -> px (478, 2) by `fit_face`'s fit."""
    scale, x0, y0 = (float(v) for v in fit)
    placed: Points = np.stack([x0 + scale * face[:, 0], y0 - scale * face[:, 1]], 1)
    return placed.astype(np.float32)


def cover(image: Image, size: tuple[int, int]) -> Image:
    """The middle of `image`, scaled so that it fills (width, height); not for a few per cent."""
    height, width = image.shape[:2]
    scale = max(size[0] / width, size[1] / height)
    if 0.95 < scale <= 1.0:
        scale = 1.0
    inner = (max(size[0], round(width * scale)), max(size[1], round(height * scale)))
    if inner != (width, height):
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(image, inner, interpolation=method), np.uint8)
    x, y = (inner[0] - size[0]) // 2, (inner[1] - size[1]) // 2
    return image[y : y + size[1], x : x + size[0]]
