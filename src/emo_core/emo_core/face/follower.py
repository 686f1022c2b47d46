"""One person in a stream of images: the same one while several are in view, sharp frames only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from emo_core.face.alignment import to_metric
from emo_core.face.topology import NUM_LANDMARKS, RIGID_WEIGHTS

Array = NDArray[np.float32]
Image = NDArray[np.uint8]

#: A face further from where it was than so many of its own widths, or by this factor larger or
#: smaller, is another person's. In images less than 0.1 s apart a face does not get so far.
_FAR, _LARGER = 0.6, 1.6
#: So long the one who left is waited for before another person is taken, s.
WAIT_S = 1.0
#: Two people are told apart by their skulls as well, for so long after both were in view, s;
#: their shapes are learned so fast, s.
COMPANY_S, _LEARN_S = 3.0, 1.0
_ASIDE = 1.2  # widths apart, where neither hides the other
_KNOWN_S, _APART_MM = 0.3, 0.8  # when they can be told apart
_SKULL = np.array(list(RIGID_WEIGHTS))
#: A frame with less than this share of the recent past's sharpness in some direction is blurred:
#: by 5 % of the face's width, where landmarks begin to be off by 1 mm (docs/mimic.md).
SHARP_ENOUGH = 0.6
#: Grey levels of contrast (standard deviation) below which a face is guessed in the dark.
_LEAST_CONTRAST = 4.0
#: The face region is judged at this size, px, so that distance does not matter.
_PATCH = 128
#: How fast the recent past follows sharper and less sharp frames, s.
_RISE_S, _FALL_S = 0.2, 1.0
#: Less than this share of the landmarks in the picture is no face to trust: the rest is guessed.
_IN_VIEW = 0.6
_NOBODY: Array = np.full((NUM_LANDMARKS, 3), np.nan, np.float32)


class Faces(Protocol):
    """What finds faces in an image, as `FaceTracker` does."""

    def faces(self, rgb: Image) -> list[Array]:
        """RGB uint8 (H, W, 3) -> landmarks float32 (478, 3) px of each face."""


@dataclass(frozen=True)
class Sight:
    """What one image shows of the person followed."""

    screen: Array  # (478, 3) px; NaN: not seen, or too blurred to trust
    faces: int  # how many people are in view
    person: int  # changes when a face was taken that may be another's
    blurred: bool = False

    @property
    def valid(self) -> bool:
        """The person is seen, and sharp."""
        return bool(np.isfinite(self.screen[0, 0]))


class Follower:
    """A stream of images -> the landmarks of one person.

    At first the largest face is taken. It is followed by where it is and how large, and, where two
    pass each other, by the shape of the skull: the same person's varies by 0.5 mm, two people's
    differ by 1 to 3 mm. When it is lost, another is taken only after `WAIT_S`, unless nobody else
    has been there: then the first face that comes back is taken at once.
    """

    def __init__(self, finder: Faces) -> None:
        self._finder = finder
        self._sharpness = Sharpness()
        self._person = 0
        self.reset()

    def reset(self) -> None:
        """Forget the person."""
        self._place: NDArray[np.float64] | None = None  # x, y, width: shares of the image's sides
        self._seen_s = 0.0
        self._mine = np.zeros((len(_SKULL), 2))  # mm, of who is followed
        self._theirs = self._mine  # of who is beside
        self._known_s = 0.0  # so long both have been seen
        self._company_s = -np.inf
        self._time_s = 0.0
        self._sharpness.reset()

    def feed(self, image: Image, time_s: float) -> Sight:
        """RGB or grey uint8 (H, W[, 3]) of any size, captured at `time_s`."""
        if image.ndim == 2:
            image = np.repeat(image[..., None], 3, axis=-1)
        found = [face for face in self._finder.faces(image) if _in_view(face, image)]
        places = [_place(face, image) for face in found]
        skulls = self._skulls(found, time_s)
        chosen = self._choose(places, skulls, time_s)
        if chosen is None:
            return Sight(_NOBODY, len(found), self._person)
        self._place, self._seen_s = places[chosen], time_s
        self._learn(places, skulls, chosen, time_s)
        if not self._sharpness.feed(image, found[chosen], time_s):
            return Sight(_NOBODY, len(found), self._person, blurred=True)
        return Sight(found[chosen], len(found), self._person)

    def _skulls(self, found: list[Array], time_s: float) -> list[NDArray[np.float64]]:
        """Their shapes, while there is company; else none, which costs nothing."""
        if len(found) > 1:
            self._company_s = time_s
        if time_s - self._company_s > COMPANY_S:
            self._known_s = 0.0
            return []
        if not found:
            return []
        metric, _ = to_metric(np.stack(found))
        return list(metric[:, _SKULL, :2].astype(np.float64))

    def _choose(
        self,
        places: list[NDArray[np.float64]],
        skulls: list[NDArray[np.float64]],
        time_s: float,
    ) -> int | None:
        if not places:
            return None
        gone_s = time_s - self._seen_s
        if self._place is None or gone_s > WAIT_S:
            if self._place is not None:
                self._person += 1
                self.reset()
            return max(range(len(places)), key=lambda i: float(places[i][2]))
        far = np.array([_distance(place, self._place) for place in places])
        if skulls and self._told_apart():
            like_me = np.array([_unlike(skull, self._mine) for skull in skulls])
            like_them = np.array([_unlike(skull, self._theirs) for skull in skulls])
            far = np.where(like_me > like_them, np.inf, far)  # the other, whatever the place
            far = np.where(like_me < 0.5 * like_them, np.minimum(far, 1.0), far)
        elif len(places) == 1 and gone_s > 0.2 and not skulls:
            return 0  # alone before and after: the same, wherever; a hand was in the way
        nearest = int(far.argmin())
        return nearest if far[nearest] <= 1.0 else None

    def _told_apart(self) -> bool:
        """Both have been seen for a while, and they differ by more than FaceMesh does by itself."""
        return self._known_s >= _KNOWN_S and _unlike(self._mine, self._theirs) > _APART_MM

    def _learn(
        self,
        places: list[NDArray[np.float64]],
        skulls: list[NDArray[np.float64]],
        chosen: int,
        time_s: float,
    ) -> None:
        """Remember who is followed and who is beside, while both are seen, side by side."""
        dt_s, self._time_s = max(time_s - self._time_s, 1e-3), time_s
        if len(skulls) < 2:
            return
        other = 1 - chosen if chosen < 2 else 0
        if _way(places[chosen], places[other]) < _ASIDE:
            return
        self._known_s = min(self._known_s + min(dt_s, _KNOWN_S / 4), _LEARN_S)
        share = min(dt_s / self._known_s, 1.0)
        self._mine = self._mine + share * (skulls[chosen] - self._mine)
        self._theirs = self._theirs + share * (skulls[other] - self._theirs)


def _unlike(skull: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Mean distance of two skulls' points, mm."""
    return float(np.linalg.norm(skull - other, axis=-1).mean())


def _in_view(face: Array, image: Image) -> bool:
    size = np.array([image.shape[1], image.shape[0]])
    inside = ((face[:, :2] >= 0) & (face[:, :2] < size)).all(1)
    return float(inside.mean()) >= _IN_VIEW


def _place(face: Array, image: Image) -> NDArray[np.float64]:
    """Middle and width in shares of the image's width and height, so its size may change."""
    height, width = image.shape[:2]
    x, y = 0.5 * (face[:, :2].min(0) + face[:, :2].max(0))
    return np.array([x / width, y / height, np.ptp(face[:, 0]) / width, height / width])


def _way(place: NDArray[np.float64], last: NDArray[np.float64]) -> float:
    """From one place to another, in widths of the face there."""
    way = np.hypot(place[0] - last[0], (place[1] - last[1]) * place[3])
    return float(way / max(last[2], 1e-9))


def _distance(place: NDArray[np.float64], last: NDArray[np.float64]) -> float:
    """How unlike the same person, images apart; up to 1 it is the same."""
    size = abs(np.log(max(place[2], 1e-9) / max(last[2], 1e-9)))
    return float(max(_way(place, last) / _FAR, size / np.log(_LARGER)))


class Sharpness:
    """Tells frames that are much less sharp than the recent past: a camera on a moving head.

    The gradient's energy of the face region, in four directions, over the region's variance, so
    that light and distance do not matter; motion blurs in its own direction. A face that stays
    unsharp (another focus) is taken as it is after about a second.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the recent past."""
        self._recent: NDArray[np.float64] | None = None
        self._size: tuple[int, ...] = ()
        self._time_s = 0.0

    def feed(self, image: Image, face: Array, time_s: float) -> bool:
        """RGB uint8 (H, W, 3) and landmarks (478, 3) px at `time_s` -> sharp enough?"""
        energy, contrast = gradient_energy(image, face)
        if contrast < _LEAST_CONTRAST:
            return False
        if self._recent is None or image.shape != self._size:
            self._recent, self._time_s, self._size = energy, time_s, image.shape
            return True
        dt_s = max(time_s - self._time_s, 1e-3)
        self._time_s = time_s
        sharp = bool((energy / self._recent).min() >= SHARP_ENOUGH)
        pace = np.where(energy > self._recent, _RISE_S, _FALL_S)
        self._recent = self._recent + (1.0 - np.exp(-dt_s / pace)) * (energy - self._recent)
        return sharp


def gradient_energy(image: Image, face: Array) -> tuple[NDArray[np.float64], float]:
    """Of the face region: energy of the gradient in 4 directions (4,) over its variance, contrast.

    Contrast is the standard deviation in grey levels; 0 where hardly any of it is in the picture.
    """
    height, width = image.shape[:2]
    (x0, y0), (x1, y1) = face[:, :2].min(0), face[:, :2].max(0)
    left, right = max(int(x0), 0), min(int(x1) + 1, width)
    top, bottom = max(int(y0), 0), min(int(y1) + 1, height)
    if right - left < 8 or bottom - top < 8:
        return np.zeros(4), 0.0
    grey = cv2.cvtColor(np.ascontiguousarray(image[top:bottom, left:right]), cv2.COLOR_RGB2GRAY)
    patch = cv2.resize(grey, (_PATCH, _PATCH), interpolation=cv2.INTER_AREA).astype(np.float32)
    middle = patch[1:-1, 1:-1]
    energy = np.array(
        [
            np.square(patch[1:-1, 2:] - middle).mean(),
            np.square(patch[2:, 1:-1] - middle).mean(),
            0.5 * np.square(patch[2:, 2:] - middle).mean(),
            0.5 * np.square(patch[2:, :-2] - middle).mean(),
        ],
        np.float64,
    )
    variance = float(patch.var())
    return (energy + 1e-3) / (variance + 1e-3), float(np.sqrt(variance))
