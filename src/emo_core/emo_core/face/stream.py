"""From images to one person's face: found, followed, freed of head pose, smoothed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emo_core.face.alignment import to_metric, to_screen
from emo_core.face.follower import Faces, Follower
from emo_core.face.smoothing import Smoother
from emo_core.face.topology import NUM_LANDMARKS
from emo_core.face.tracking import Track

Array = NDArray[np.float32]
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Seen:
    """One image's face. All NaN where the person was not seen, or too blurred to trust."""

    metric: Array  # (478, 3) mm
    pose: Array  # (4, 4) metric -> screen; as tracked: head motion is not smoothed
    screen: Array  # (478, 3) px, `pose @ metric`
    faces: int  # people in view
    person: int  # changes when a face was taken that may be another's
    blurred: bool

    @property
    def valid(self) -> bool:
        """There is a face."""
        return bool(np.isfinite(self.pose[0, 0]))


class FaceStream:
    """A stage: `feed(image, time_s)` as images come, `reset()` for another camera.

    Args:
        finder: finds faces, as `FaceTracker(max_faces=2)` does.
        smooth: take off the tracker's shaking.
    """

    def __init__(self, finder: Faces, smooth: bool = True) -> None:
        self._follower = Follower(finder)
        self._smoother = Smoother() if smooth else None
        self._time_s: float | None = None
        self._person = 0

    def reset(self) -> None:
        """Forget person, noise and time."""
        self._follower.reset()
        if self._smoother is not None:
            self._smoother.reset()
        self._time_s = None

    def feed(self, image: Image, time_s: float) -> Seen:
        """RGB or grey uint8 (H, W[, 3]) of any size, captured at `time_s`, which must advance.

        Raises:
            ValueError: time stands still or goes back.
        """
        if self._time_s is not None and not time_s > self._time_s:
            raise ValueError(f"time must advance: {time_s} s after {self._time_s} s")
        dt_s = 1.0 if self._time_s is None else time_s - self._time_s
        self._time_s = time_s
        sight = self._follower.feed(image, time_s)
        metric, pose = to_metric(sight.screen)
        screen = sight.screen
        if self._smoother is not None:
            if sight.person != self._person:
                self._smoother.reset()
            metric = self._smoother.feed(metric, dt_s)
            screen = to_screen(metric, pose)
        self._person = sight.person
        return Seen(metric, pose, screen, sight.faces, sight.person, sight.blurred)


def collect(seen: list[Seen], fps: float) -> Track:
    """What a stream saw, in one piece."""
    if not seen:
        nothing = np.zeros((0, NUM_LANDMARKS, 3), np.float32)
        return Track(nothing, nothing, np.zeros((0, 4, 4), np.float32), np.zeros(0, bool), fps)
    return Track(
        np.stack([one.screen for one in seen]),
        np.stack([one.metric for one in seen]),
        np.stack([one.pose for one in seen]),
        np.array([one.valid for one in seen]),
        fps,
        sum(one.blurred for one in seen),
    )
