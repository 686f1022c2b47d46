"""What a camera in front of the simulated robot sees, drawn so that FaceMesh can track it.

The skin is the mesh's triangles, flat-shaded in a few dozen grey levels at half size and then
smoothed; lips, eyes, brows and mouth are polygons on top. OpenCV does the drawing in a few large
calls that release the GIL.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo_core.errors import EmoError
from emo_core.face import topology
from emo_core.robot.description import RobotDescription
from emo_core.robot.sim.description import CameraModel
from emo_core.robot.sim.skin import Skin

Image = NDArray[np.uint8]
Array = NDArray[np.float64]

_SHIFT = 4  # OpenCV's fixed-point coordinates: 1/16 pixel
_LEVELS = 40
_LIGHT = np.array([-0.30, 0.50, 0.81])
_NOSTRILS = (np.array([98, 97]), np.array([327, 326]))
_UPPER_LID = (topology.RIGHT_EYE[:9], topology.LEFT_EYE[:9])

# Colours, BGR.
_SKIN_DARK, _SKIN_LIGHT = (92, 104, 138), (222, 232, 246)
_LIP, _LIP_UPPER, _LIP_SHINE = (104, 100, 186), (88, 84, 164), (150, 148, 216)
_MOUTH, _TEETH, _TONGUE = (38, 28, 52), (226, 236, 240), (110, 96, 176)
_NOSTRIL = (84, 84, 120)
_BROW_COLOUR, _LASH = (52, 50, 62), (46, 42, 52)
_LID_EDGE = (110, 112, 140)
_WHITE, _IRIS, _IRIS_RIM, _PUPIL = (238, 240, 240), (176, 128, 62), (110, 74, 34), (26, 22, 22)
_SHELL, _SHELL_EDGE, _SEAM = (228, 222, 216), (172, 164, 156), (150, 150, 168)
_SHELL_LIGHT = (240, 236, 231)
_BACK_TOP, _BACK_BOTTOM = (88, 66, 48), (158, 134, 112)
_JOINT, _JOINT_EDGE, _LAMP = (92, 82, 74), (64, 56, 50), (214, 196, 96)


class Renderer:
    """Draws one robot. Not thread-safe: give each thread its own.

    Args:
        description: a robot with a `simulator` section.
        size: (width, height) of the picture; the description's camera if not given.
    """

    def __init__(self, description: RobotDescription, size: tuple[int, int] | None = None) -> None:
        if description.simulator is None:
            raise EmoError(f"{description.file}: simulator is missing: this robot has no picture")
        camera = description.simulator.camera
        self.size = size or (camera.width, camera.height)
        self.skin = Skin(description)
        self._camera: CameraModel = camera
        # The field of view is the camera's at any picture size.
        self._focal = camera.focal_px * min(
            self.size[0] / camera.width, self.size[1] / camera.height
        )
        self._triangles = self.skin.triangles
        self._rest = self.skin(description.neutral)
        self._stage = self._draw_stage()
        self._palette = _palette(_SKIN_DARK, _SKIN_LIGHT)

    def __call__(self, motors: ArrayLike) -> Image:
        """(M,) motor positions -> (H, W, 3) uint8 BGR."""
        return self.draw(self.skin(motors))

    def draw(self, mesh: Array) -> Image:
        """(478, 3) mm -> (H, W, 3) uint8 BGR."""
        points = self.project(mesh)
        frame = self._stage.copy()
        self._draw_skin(frame, mesh, points)
        fixed = np.round(points * (1 << _SHIFT)).astype(np.int32)
        self._draw_nose(frame, fixed)
        self._draw_mouth(frame, points, fixed)
        for eye, brow, iris, lid in (
            (topology.RIGHT_EYE, topology.BROW_OUTLINES[0], topology.RIGHT_IRIS, _UPPER_LID[0]),
            (topology.LEFT_EYE, topology.BROW_OUTLINES[1], topology.LEFT_IRIS, _UPPER_LID[1]),
        ):
            self._draw_eye(frame, points, fixed, eye, iris, lid)
            shape = fixed[brow]
            shape[5:] += (shape[4::-1] - shape[5:]) // 3  # a little slimmer than the mesh's brow
            _fill(frame, shape[None], _BROW_COLOUR)
        return frame

    def project(self, mesh: Array) -> Array:
        """(..., 3) mm -> (..., 2) pixels."""
        scale = self._focal / (self._camera.distance_mm - mesh[..., 2:])
        centre = np.array(self.size) / 2.0
        return np.asarray(centre + mesh[..., :2] * [1.0, -1.0] * scale)

    # -- layers --------------------------------------------------------------------------

    def _draw_skin(self, frame: Image, mesh: Array, points: Array) -> None:
        corners = mesh[self._triangles]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
        normals *= np.where(normals[:, 2:] < 0.0, -1.0, 1.0)
        shade = np.clip(normals @ (_LIGHT / np.linalg.norm(_LIGHT)), 0.0, 1.0)
        level = np.round(shade * (_LEVELS - 1)).astype(np.intp)
        order = np.argsort(level, kind="stable")
        bounds = np.searchsorted(level[order], np.arange(_LEVELS + 1))
        half = np.round(points * (1 << (_SHIFT - 1))).astype(np.int32)[self._triangles[order]]
        grey = np.full((self.size[1] // 2, self.size[0] // 2), 160, dtype=np.uint8)
        for k in range(_LEVELS):
            if bounds[k] < bounds[k + 1]:
                value = int(255 * k / (_LEVELS - 1))
                _fill(grey, half[bounds[k] : bounds[k + 1]], value, smooth=False)
        smooth: Any = cv2.GaussianBlur(grey, (0, 0), self.size[0] / 190.0)
        smooth = cv2.resize(smooth, self.size, interpolation=cv2.INTER_LINEAR)
        mask = np.zeros((self.size[1], self.size[0]), dtype=np.uint8)
        oval = np.round(points[topology.FACE_OVAL] * (1 << _SHIFT)).astype(np.int32)[None]
        _fill(mask, oval, 255, smooth=False)
        cv2.copyTo(cv2.applyColorMap(smooth, self._palette), mask, frame)
        _line(frame, oval, True, _SEAM, max(2, self.size[0] // 240))

    def _draw_nose(self, frame: Image, fixed: NDArray[np.int32]) -> None:
        width = max(2, self.size[0] // 160)
        for nostril in _NOSTRILS:
            line = fixed[nostril][None]
            _line(frame, line, False, _NOSTRIL, width)

    def _draw_mouth(self, frame: Image, points: Array, fixed: NDArray[np.int32]) -> None:
        inner, outer = fixed[topology.LIPS_INNER], fixed[topology.LIPS_OUTER]
        gap = float(np.ptp(points[topology.LIPS_INNER, 1]))
        if gap > 1.0:
            self._draw_cavity(frame, points, inner)
        _fill(frame, [outer, inner], _LIP)
        upper = np.concatenate([outer[:11], inner[10::-1]])
        _fill(frame, upper[None], _LIP_UPPER)
        shine = ((outer[13:18] + inner[13:18]) // 2)[None]
        thick, thin = max(2, self.size[0] // 200), max(1, self.size[0] // 400)
        _line(frame, shine, False, _LIP_SHINE, thick)
        _line(frame, inner[None], True, _MOUTH, thin)

    def _draw_cavity(self, frame: Image, points: Array, inner: NDArray[np.int32]) -> None:
        """Dark mouth, upper teeth that stay with the skull, lower teeth and tongue with the jaw."""
        x0, y0 = np.maximum(np.floor(points[topology.LIPS_INNER].min(axis=0)).astype(int) - 2, 0)
        x1, y1 = np.ceil(points[topology.LIPS_INNER].max(axis=0)).astype(int) + 3
        view = frame[y0:y1, x0:x1]
        if view.size == 0:
            return
        mouth = np.empty_like(view)
        mouth[:] = _MOUTH
        px = self._focal / self._camera.distance_mm
        middle = points[topology.UPPER_LIP_INNER, 0] - x0
        top = float(self.project(self._rest[topology.UPPER_LIP_INNER])[1]) - y0
        jaw = float(points[152, 1] - self.project(self._rest[152])[1])
        bottom = top + jaw * 0.92
        for centre, half_width, half_height, colour in (
            (bottom + 14 * px, 13, 10, _TONGUE),
            (bottom + 8.5 * px, 17, 6.5, _TEETH),
            (top - 4 * px, 20, 8.5, _TEETH),
        ):
            cv2.ellipse(
                mouth,
                (_fix(middle), _fix(centre)),
                (_fix(half_width * px), _fix(half_height * px)),
                0, 0, 360, colour, -1, cv2.LINE_AA, _SHIFT,
            )  # fmt: skip
        mask = np.zeros(view.shape[:2], dtype=np.uint8)
        offset = np.array([x0 << _SHIFT, y0 << _SHIFT], dtype=np.int32)
        _fill(mask, (inner - offset)[None], 255, smooth=False)
        cv2.copyTo(mouth, mask, view)

    def _draw_eye(
        self,
        frame: Image,
        points: Array,
        fixed: NDArray[np.int32],
        eye: NDArray[np.intp],
        iris: NDArray[np.intp],
        lid: NDArray[np.intp],
    ) -> None:
        x0, y0 = np.maximum(np.floor(points[eye].min(axis=0)).astype(int) - 2, 0)
        x1, y1 = np.ceil(points[eye].max(axis=0)).astype(int) + 3
        view = frame[y0:y1, x0:x1]
        if view.size == 0:
            return
        ball = np.empty_like(view)
        ball[:] = _WHITE
        radius = float(np.linalg.norm(points[iris[1:]] - points[iris[0]], axis=1).mean())
        cx, cy = points[iris[0]] - (x0, y0)
        cv2.circle(ball, (_fix(cx), _fix(cy)), _fix(radius), _IRIS_RIM, -1, cv2.LINE_AA, _SHIFT)
        cv2.circle(ball, (_fix(cx), _fix(cy)), _fix(radius * 0.86), _IRIS, -1, cv2.LINE_AA, _SHIFT)
        cv2.circle(ball, (_fix(cx), _fix(cy)), _fix(radius * 0.45), _PUPIL, -1, cv2.LINE_AA, _SHIFT)
        shine = (_fix(cx - radius * 0.35), _fix(cy - radius * 0.35))
        cv2.circle(ball, shine, _fix(radius * 0.22), (255, 255, 255), -1, cv2.LINE_AA, _SHIFT)
        mask = np.zeros(view.shape[:2], dtype=np.uint8)
        offset = np.array([x0 << _SHIFT, y0 << _SHIFT], dtype=np.int32)
        _fill(mask, (fixed[eye] - offset)[None], 255, smooth=False)
        cv2.copyTo(ball, mask, view)
        thick = max(1, self.size[0] // 320)
        _line(frame, fixed[eye][None], True, _LID_EDGE, thick)
        _line(frame, fixed[lid][None], False, _LASH, thick + 1)

    def _draw_stage(self) -> Image:
        """Background, neck and the head's shell: drawn once."""
        width, height = self.size
        share = np.linspace(0.0, 1.0, height)[:, None, None]
        stage = np.broadcast_to(
            (1 - share) * _BACK_TOP + share * np.array(_BACK_BOTTOM), (height, width, 3)
        ).astype(np.uint8)
        stage = np.ascontiguousarray(stage)
        mesh = self._rest

        def ellipse(
            centre: tuple[float, float], axes: tuple[float, float], colour: tuple[int, int, int]
        ) -> None:
            at = self.project(np.array([centre[0], centre[1], -60.0]))
            px = self._focal / (self._camera.distance_mm + 60.0)
            cv2.ellipse(
                stage,
                (_fix(at[0]), _fix(at[1])),
                (_fix(axes[0] * px), _fix(axes[1] * px)),
                0, 0, 360, colour, -1, cv2.LINE_AA, _SHIFT,
            )  # fmt: skip

        chin, crown = mesh[152, 1], mesh[10, 1]
        side, middle = mesh[454, 0], (mesh[152, 1] + mesh[10, 1]) / 2
        # Shoulders, and a neck of rings.
        ellipse((0, chin - 99), (side * 2.3, 72), _SHELL_EDGE)
        ellipse((0, chin - 103), (side * 2.22, 70), _SHELL)
        for k in range(5):
            width_mm = side * (0.74 - 0.035 * k)
            ellipse((0, chin - 34 + 9 * k), (width_mm, 13), _JOINT_EDGE)
            ellipse((0, chin - 32 + 9 * k), (width_mm - 2, 11), _JOINT)
        # Ears: a disc with a light in it.
        for sign in (-1, 1):
            for reach, high, colour in (
                (17, 36, _SHELL_EDGE), (14, 32, _SHELL), (9, 22, _JOINT), (6, 17, _LAMP)
            ):  # fmt: skip
                ellipse((sign * side * 1.34, middle + 4), (reach, high), colour)
        # The head's shell, and its lighter front.
        tall = crown - chin
        ellipse((0, middle + 14), (side * 1.34, tall * 0.62), _SHELL_EDGE)
        ellipse((0, middle + 16), (side * 1.30, tall * 0.605), _SHELL)
        ellipse((0, middle + 24), (side * 1.18, tall * 0.55), _SHELL_LIGHT)
        return stage


def _fill(image: Image, polygons: Any, colour: tuple[int, ...] | int, smooth: bool = True) -> None:
    """Fill polygons (fixed point; one (N, P, 2) array or a list of (P, 2)), even-odd."""
    kind = cv2.LINE_AA if smooth else cv2.LINE_8
    cv2.fillPoly(image, polygons, colour if isinstance(colour, tuple) else (colour,), kind, _SHIFT)


def _line(image: Image, lines: Any, closed: bool, colour: tuple[int, ...], width: int) -> None:
    """Draw lines (fixed point, (N, P, 2))."""
    cv2.polylines(image, lines, closed, colour, width, cv2.LINE_AA, _SHIFT)


def _fix(value: float) -> int:
    return round(float(value) * (1 << _SHIFT))


def _palette(dark: tuple[int, int, int], light: tuple[int, int, int]) -> Image:
    """(256, 1, 3) colours from dark to light."""
    share = np.linspace(0.0, 1.0, 256)[:, None] ** 1.2
    return np.asarray(np.round((1 - share) * dark + share * np.array(light))[:, None], np.uint8)
