"""Where a person looks: the irises in the eyes' contours, turned with the head.

Zero is a look straight into the camera, wherever in the picture the face is. Yaw is positive
towards the image's right, pitch upwards: a robot that faces the person, and turns its eyes so,
looks to the same side of the room, as a mirror image does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from emo_core.face.alignment import canonical_face
from emo_core.face.presence import RETURN_S, Presence
from emo_core.face.stream import Seen
from emo_core.face.topology import LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS

Array = NDArray[np.float32]
Floats = NDArray[np.float64]

#: From the eyeball's centre of rotation to the iris, mm (human: 10 to 11).
IRIS_RADIUS_MM = 10.5
#: How much of the irises' way FaceMesh sees, across and up: measured on photographs with the irises
#: moved, 0.5 to 0.6 and 0.2 (the simulated robot's eyes: the same). Up and down half of it is made
#: up for: lids that stay, as there, hold FaceMesh's irises back, and living lids go with the eyes.
IRIS_SEEN = np.array([0.55, 0.4])
#: Eyes less open (height over width of the contour) than this are closed; and than this share of
#: how open they usually are, which is learned so fast when they are more and less open, s.
CLOSED, CLOSED_SHARE = 0.08, 0.6
#: And while they close and open they take FaceMesh's irises with them; openness per s.
LID_SPEED = 1.0
_USUAL, _RISE_S, _FALL_S = 0.22, 0.3, 2.0
#: The angles are followed with the time constant while they differ by noise, and half of a
#: difference of `_GATE_RAD` is let through at once (as `Smoother` does with landmarks).
_REST_S, _GATE_RAD, _STEEPNESS = 0.5, 0.04, 6.0
#: No gaze is published that moves faster, rad/s: large human saccades reach 9.
MAX_SPEED = 9.0
_MOST_S = 0.1
#: Beyond this the pupil is out of sight, rad.
_LIMIT = 1.0
_EYES = ((RIGHT_EYE, RIGHT_IRIS[0]), (LEFT_EYE, LEFT_IRIS[0]))
_NOWHERE = np.full(2, np.nan, np.float32)


@dataclass(frozen=True)
class Gaze:
    """Angles to show, rad from straight ahead; `valid`: they are the eyes' own in this image."""

    yaw: float
    pitch: float
    valid: bool


class GazeStream:
    """A stage over what a `FaceStream` saw. Held while the eyes are closed; eased to straight ahead
    when the person is gone, and taken up again, as `Presence` does. Deterministic.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Straight ahead, nobody there."""
        self._presence = Presence()
        self._usual = self._opening = _USUAL
        self._person = 0
        self._smooth: Floats | None = None
        self._shown = np.zeros(2)

    def restart(self) -> None:
        """Somebody else, of another time: what is shown stays, and is eased to their gaze."""
        self._usual = self._opening = _USUAL
        self._person, self._smooth = 0, None
        self._presence.feed(_NOWHERE, RETURN_S)

    def feed(self, seen: Seen, dt_s: float) -> Gaze:
        """The newest, `dt_s` after the last."""
        if seen.person != self._person:
            self._person, self._smooth = seen.person, None
            self._usual = self._opening = _USUAL
        open_ = seen.valid and self._open(openness(seen.metric), dt_s)
        if open_:
            self._follow(look(seen.metric, seen.pose), dt_s)
        wanted = _NOWHERE
        if seen.valid and self._smooth is not None:
            wanted = self._smooth.astype(np.float32)
        shown, _ = self._presence.feed(wanted, dt_s)
        step = MAX_SPEED * min(dt_s, _MOST_S)
        self._shown = self._shown + np.clip(shown - self._shown, -step, step)
        return Gaze(float(self._shown[0]), float(self._shown[1]), open_)

    def _open(self, opening: float, dt_s: float) -> bool:
        """Whether the eyes are, by what is usual for them, and the lids keep still."""
        pace = _RISE_S if opening > self._usual else _FALL_S
        speed, self._opening = (opening - self._opening) / dt_s, opening
        if opening > CLOSED:
            self._usual += (1.0 - np.exp(-dt_s / pace)) * (opening - self._usual)
        still = abs(speed) < LID_SPEED
        return bool(still and opening > max(CLOSED, CLOSED_SHARE * self._usual))

    def _follow(self, angles: Floats, dt_s: float) -> None:
        if self._smooth is None:
            self._smooth = angles
            return
        error = angles - self._smooth
        far = max(float(np.hypot(*error)), 1e-9)
        through = 1.0 / (1.0 + (_GATE_RAD / far) ** _STEEPNESS)
        slow = 1.0 - np.exp(-dt_s / _REST_S)
        self._smooth = self._smooth + (slow + (1.0 - slow) * through) * error


def openness(face: Array) -> float:
    """How open the eyes are: height over width of the contours, mean of both; (478, 3) mm."""
    both = []
    for eye, _ in _EYES:
        upper, lower = face[eye[1:7], 1].mean(), face[eye[9:15], 1].mean()
        both.append((upper - lower) / np.linalg.norm(face[eye[0], :2] - face[eye[7], :2]))
    return float(np.mean(both))


def look(face: Array, pose: Array) -> Floats:
    """Metric face (478, 3) mm and its pose (4, 4), metric -> screen -> yaw and pitch (2,), rad."""
    sines = (_irises(face) - _straight()) / (IRIS_RADIUS_MM * IRIS_SEEN)
    yaw, pitch = np.arcsin(np.clip(sines, -np.sin(_LIMIT), np.sin(_LIMIT)))
    ahead = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    x, y, z = pose[:3, :3].astype(np.float64) @ ahead  # px: right, down, away from the camera
    angles = np.array([np.arctan2(x, -z), np.arctan2(-y, np.hypot(x, z))])
    return np.asarray(np.clip(angles, -_LIMIT, _LIMIT))


def _irises(face: Array) -> Floats:
    """From the middle between an eye's corners to its iris, mean of both eyes (2,) mm."""
    ways = [
        face[iris, :2].astype(np.float64) - 0.5 * (face[eye[0], :2] + face[eye[7], :2])
        for eye, iris in _EYES
    ]
    return np.asarray(np.mean(ways, axis=0))


@lru_cache(maxsize=1)
def _straight() -> Floats:
    """The same of a face that looks straight ahead."""
    return _irises(canonical_face())
