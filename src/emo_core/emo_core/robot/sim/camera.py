"""The camera before the simulated robot: what babbling and calibration really see.

`sim.render.Renderer` draws the face as it should look. A real camera on a robot adds noise, a
wandering exposure, blur where something moves, a head that sways on its neck, and vibration, which
a rolling shutter turns into waves down the picture. All of that is in the robot's file, seeded,
and but for the noise a function of time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo_core.robot.description import RobotDescription
from emo_core.robot.sim.render import Renderer

Image = NDArray[np.uint8]
Array = NDArray[np.float64]

#: Motion within an exposure below which nothing is blurred, in strokes.
_BLURRED = 0.003
#: Sheet of noise that every picture's noise is cut out of: this much larger than the picture.
_MARGIN = 64
_WAVES = 12


class _Wander:
    """`count` smooth random curves of unit variance: sums of sines around a frequency."""

    def __init__(self, count: int, hertz: float, rng: np.random.Generator) -> None:
        self._rate = 2.0 * np.pi * hertz * rng.uniform(0.3, 1.7, (count, _WAVES))
        self._phase = rng.uniform(0.0, 2.0 * np.pi, (count, _WAVES))

    def __call__(self, now_s: ArrayLike) -> Array:
        """(..., count) at times (...)."""
        times = np.asarray(now_s, dtype=np.float64)[..., None, None]
        waves = np.cos(self._rate * times + self._phase)
        return np.asarray(waves.sum(axis=-1) * np.sqrt(2.0 / _WAVES))


class Camera:
    """Looks at one simulated robot. Not thread-safe: give each thread its own.

    Args:
        description: a robot with a `simulator` section.
        seed: of sway, creep, exposure and noise; the same looks give the same pictures.
    """

    def __init__(self, description: RobotDescription, seed: int | Sequence[int] = 0) -> None:
        self._renderer = Renderer(description)
        assert description.simulator is not None  # the renderer has seen to it
        self._model = description.simulator.camera
        rng = np.random.default_rng(seed)
        self._turn = _Wander(3, self._model.sway_hz, rng)
        self._shift = _Wander(3, self._model.sway_hz, rng)
        self._exposure = _Wander(1, self._model.sway_hz, rng)
        self._vibration = _Wander(2, self._model.vibration_hz, rng)
        self._rng = rng
        width, height = self._renderer.size
        self._columns, self._rows = (
            np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in (width, height)
        )
        sheet = rng.standard_normal((height + _MARGIN, width + _MARGIN, 3), dtype=np.float32)
        self._sheet = np.round(self._model.noise * sheet).astype(np.int16)

    def __call__(self, horns: ArrayLike, now_s: float, speeds: ArrayLike | None = None) -> Image:
        """One picture, (H, W, 3) uint8 BGR.

        Args:
            horns: (M,) where the servos pull the skin (`SimulatedServos.horns`).
            now_s: the middle of the exposure.
            speeds: (M,) strokes per second, for the blur; at rest if not given.
        """
        here = np.asarray(horns, dtype=np.float64)
        picture = self._draw(here, now_s)
        if speeds is not None:
            way = np.asarray(speeds, dtype=np.float64) * self._model.shutter_s
            if np.abs(way).max() > _BLURRED:
                ends = [self._draw(here + side * way, now_s) for side in (-0.4, 0.4)]
                total: Any = sum(np.uint16(image) for image in (picture, *ends))
                picture = (total // 3).astype(np.uint8)
        return self._develop(picture, now_s)

    def _draw(self, horns: Array, now_s: float) -> Image:
        mesh = self._renderer.skin(horns)
        yaw, pitch, _ = np.radians(self._model.turn_deg) * self._turn(now_s)
        return self._renderer.draw(mesh @ _rotation(yaw, pitch).T)

    def _develop(self, picture: Image, now_s: float) -> Image:
        """Sway in the picture's plane, vibration, exposure and noise."""
        model = self._model
        width, height = self._renderer.size
        right, up, forward = model.shift_mm * self._shift(now_s)
        zoom = 1.0 - forward / model.distance_mm
        roll = np.radians(model.turn_deg[2]) * self._turn(now_s)[2]
        cos, sin, px = zoom * np.cos(roll), zoom * np.sin(roll), model.focal_px / model.distance_mm
        # For each pixel, where in the still picture it comes from.
        waves = self._vibration(now_s + model.readout_s * self._rows / height)
        shaken = (model.vibration_px * waves).astype(np.float32)
        x = self._columns - (px * right + shaken[:, :1])
        y = self._rows[:, None] + (px * up - shaken[:, 1:])
        from_x = (cos * x - sin * y + (width - 1) / 2).astype(np.float32)
        from_y = (sin * x + cos * y + (height - 1) / 2).astype(np.float32)
        picture = np.asarray(
            cv2.remap(picture, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE),
            dtype=np.uint8,
        )
        gain = float(np.exp(model.exposure * self._exposure(now_s)[0]))
        picture = np.asarray(cv2.convertScaleAbs(picture, alpha=gain), dtype=np.uint8)
        top, left = self._rng.integers(0, _MARGIN, size=2)
        grain = self._sheet[top : top + height, left : left + width]
        return np.asarray(cv2.add(picture, grain, dtype=cv2.CV_8U), dtype=np.uint8)


def _rotation(yaw: float, pitch: float) -> Array:
    """(3, 3): turned about the upright axis, then about the one to the right."""
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    about_y = np.array([[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]])
    about_x = np.array([[1.0, 0.0, 0.0], [0.0, cp, -sp], [0.0, sp, cp]])
    return np.asarray(about_x @ about_y)
