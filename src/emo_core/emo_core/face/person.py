"""From images to what a robot is to follow: one person's expression, never a jump.

`FaceStream` sees the face; here it is told whose face at rest it belongs to, so that only the
expression is left, and what is shown while nobody, or somebody else, is there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo_core.face.follower import Faces
from emo_core.face.gaze import Gaze, GazeStream
from emo_core.face.presence import Presence
from emo_core.face.static_face import CALM_MM, StaticCapture
from emo_core.face.stream import FaceStream, Seen
from emo_core.face.topology import NUM_LANDMARKS, RIGID_WEIGHTS

Array = NDArray[np.float32]
Image = NDArray[np.uint8]

#: The first moment in which a face hardly moves will do to begin with, s and mm; who never keeps
#: still is given the calmest one so far after a longer time, s.
MOMENT_S, MOMENT_MM, PATIENCE_S = 0.4, 2 * CALM_MM, 2.0
#: Somebody new, or back after so long, is looked at for so long before anything is shown, s.
AWAY_S, LOOK_S = 0.2, 0.12
#: Mean distance of the skull-fixed points to those of a face at rest, mm: up to the first it is
#: taken for the same person, beyond the second for another (GRID: the same person's within a clip
#: 0.45 in 95 %, between clips 0.85; other people's 1.0 at least, 1.4 to 2.2 mostly).
SAME_MM, OTHER_MM = 0.8, 1.2
#: One image stands for no more time than this, s.
_MOST_S = 0.25
#: Time constant with which the face at rest changes while a face is shown, s: 0.1 mm a frame for 2.
GLIDE_S = 0.3
_NOMINAL_S = 0.04
_REMEMBERED = 4  # people, beside the one given
_SKULL = np.array(list(RIGID_WEIGHTS))
_NOBODY: Array = np.full((NUM_LANDMARKS, 3), np.nan, np.float32)


@dataclass(frozen=True)
class PersonFrame:
    """One image's answer."""

    points: Array | None  # (478, 3) mm, to be shown; None: nobody, and nothing left to show
    static: Array | None  # (478, 3) mm, the person at rest; None: not known yet
    valid: bool  # the face is seen now, and known at rest
    gaze: Gaze
    seen: Seen
    captured: Array | None = None  # the face at rest that was asked for, when it is had


class PersonStream:
    """A stage: `feed(image, time_s)` as images come. Deterministic; `reset` for another camera.

    The face at rest is the first calm second of whoever is followed; until it comes, the first
    0.4 s that are nearly calm. Who leaves and comes back is known again by the skull, while the
    stream lasts. The face at rest never changes by a step while a face is shown, and an expression
    is held, eased to rest and taken up again as `Presence` says.

    Args:
        finder: finds faces, as `FaceTracker(max_faces=2)` does.
        static_face: a known person at rest, (478, 3) metric mm: shown from the first image on,
            unless it turns out to be somebody else's.
    """

    def __init__(self, finder: Faces, static_face: ArrayLike | None = None) -> None:
        self._stream = FaceStream(finder)
        self._rest = _Rest(static_face)
        self._presence = Presence()
        self._gaze = GazeStream()
        self._time_s: float | None = None

    def reset(self) -> None:
        """Forget everybody but the person who was given."""
        self.restart()
        self._gaze.reset()

    def restart(self) -> None:
        """As `reset`, in mid-stream: the gaze goes on from where it is."""
        self._stream.reset()
        self._rest.reset()
        self._presence.reset()
        self._gaze.restart()
        self._time_s = None

    def expect(self, static_face: ArrayLike | None) -> None:
        """From now on this person is known, and taken to be in view; None: nobody is known.

        Raises:
            ValueError: not one finite face (478, 3).
        """
        self._rest.give(static_face)

    def capture(self) -> None:
        """Take the next calm second (or the calmest of two seconds) as the person's face at rest.

        The frame that has it carries it as `captured`.
        """
        self._rest.ask()

    def feed(self, image: Image, time_s: float) -> PersonFrame:
        """RGB or grey uint8 (H, W[, 3]) of any size, captured at `time_s`, which must advance.

        Raises:
            ValueError: time stands still or goes back.
        """
        return self.feed_seen(self._stream.feed(image, time_s), time_s)

    def feed_seen(self, seen: Seen, time_s: float) -> PersonFrame:
        """As `feed`, for what a `FaceStream` saw."""
        dt_s = _NOMINAL_S if self._time_s is None else time_s - self._time_s
        if not dt_s > 0:
            raise ValueError(f"time must advance: {time_s} s after {self._time_s} s")
        self._time_s = time_s
        captured = self._rest.feed(seen, dt_s)
        rest = None if self._rest.looking else self._rest.own
        displacement = _NOBODY if rest is None else (seen.metric - rest).astype(np.float32)
        static = self._rest.shown(at_once=self._presence.resting)
        moved, valid = self._presence.feed(displacement, dt_s)
        points = None
        if static is not None and not self._presence.resting:
            points = static + moved
        return PersonFrame(points, static, valid, self._gaze.feed(seen, dt_s), seen, captured)


class _Rest:
    """Whose face it is, and how it looks at rest.

    What is true between calls (the goal is `_own`'s, the face at rest that is gone over to):
    `_given` was named or asked for; it outlives `reset`, and is never in `_known`.
    `_unnamed` was given and is no more. The goal may still be it; it is never in `_known`.
    `_known` were found by looking, and left; whoever is in view is not among them.
    `_looked` holds the skulls seen since somebody came or was named; None: it is told who it is.
    `_settled`: there is a goal, and no better one is looked for. Else a calm second replaces it.
    `_asked`: a capture is under way, settled or not; what it takes becomes `_given`.

    Attributes:
        own: the face at rest that belongs to who is in view, (478, 3) mm; None: not known yet.
    """

    def __init__(self, given: ArrayLike | None) -> None:
        self._capture = StaticCapture()
        self._moment = StaticCapture(MOMENT_S, MOMENT_MM)
        self._own, self._shown = _Glide(), _Glide()
        self._given = _face(given)
        self._unnamed: Array | None = None
        self._looked: list[Array] | None = []  # skulls, until it is told who it is
        self.reset()

    def give(self, given: ArrayLike | None) -> None:
        """Another person is known, and taken to be in view; None: nobody is."""
        face, before = _face(given), self._given
        self._given = face
        if face is not None:
            self._settle(face)
            self._looked, self._looked_s = [], 0.0
        elif before is not None and self._own.goal is before:
            self._unnamed, self._settled = before, False
            self._capture.reset()

    def reset(self) -> None:
        """Nobody is known but who was given."""
        self._own.clear()
        self._shown.clear()
        self._known: list[tuple[Array, bool]] = []  # who was here before, and was it calm
        self._person: int | None = None
        self._asked = self._settled = False
        self._new()
        if self._given is not None:
            self._settle(self._given)

    @property
    def own(self) -> Array | None:
        return self._own.value

    @property
    def looking(self) -> bool:
        """It is not told yet who came back. Who was given is taken to be there until then."""
        return self._looked is not None and self._own.goal is not self._given

    def ask(self) -> None:
        """The face at rest is to be captured anew."""
        self._asked, self._settled = True, False
        self._capture.reset()
        self._asked_s = 0.0

    def _new(self) -> None:
        """Somebody else is there, or may be."""
        goal = self._own.goal
        if goal is not None and goal is not self._given and goal is not self._unnamed:
            self._known = [(goal, self._settled), *self._known[: _REMEMBERED - 1]]
        self._own.clear()
        self._capture.reset()
        self._moment.reset()
        self._settled = False  # no better face at rest is looked for
        self._seen_s = self._asked_s = self._away_s = 0.0
        self._looked = []
        self._looked_s = 0.0

    def feed(self, seen: Seen, dt_s: float) -> Array | None:
        """What is seen, `dt_s` after the last -> the face at rest that was asked for, once."""
        self._own.move(dt_s)
        self._shown.move(dt_s)
        if self._person is not None and seen.person != self._person:
            self._new()
        self._person = seen.person
        calm = None
        if self._asked or not self._settled:
            calm = self._capture.feed(seen.metric, dt_s)
        if self._own.goal is None:
            self._moment.feed(seen.metric, dt_s)
        if not seen.valid:
            self._away_s += dt_s
            return None
        if max(self._away_s, dt_s) > AWAY_S and self._looked is None:
            self._looked, self._looked_s = [], 0.0
        self._away_s = 0.0
        dt_s = min(dt_s, _MOST_S)
        self._seen_s += dt_s
        self._look(seen.metric, dt_s)
        if self._own.goal is None:
            self._begin()
        if self._asked:
            return self._answer(calm, dt_s)
        if calm is not None:
            self._settle(calm)
        return None

    def _begin(self) -> None:
        """Whoever it is has just come: a moment will do for now."""
        moment = self._moment.captured
        if moment is None and self._seen_s >= PATIENCE_S:
            moment = self._moment.calmest
        if moment is not None and self._looked is None:
            self._own.aim(moment)

    def _answer(self, calm: Array | None, dt_s: float) -> Array | None:
        """The face at rest that was asked for."""
        self._asked_s += dt_s
        face = calm
        if face is None and self._asked_s >= PATIENCE_S:
            face = self._capture.calmest
        if face is not None:
            self._asked = False
            self._given = face
            self._settle(face)
        return face

    def _settle(self, face: Array) -> None:
        self._own.aim(face)
        self._settled = True

    def _look(self, face: Array, dt_s: float) -> None:
        """For a moment: is it who was here before? The skull tells."""
        if self._looked is None:
            return
        self._looked.append(face[_SKULL, :2])
        self._looked_s += dt_s
        if self._looked_s < LOOK_S:
            return
        skull: Array = np.mean(self._looked, axis=0)
        self._looked = None
        if self._own.goal is not None:
            if _unlike(skull, self._own.goal) > OTHER_MM:
                self._new()  # and another look, at nothing but who it may be
            return
        known = [*self._known]
        if self._given is not None:
            known.insert(0, (self._given, True))
        distances = [_unlike(skull, face) for face, _ in known]
        if distances and min(distances) <= SAME_MM:
            likest = int(np.argmin(distances))
            face, self._settled = known[likest]
            self._own.aim(face)
            self._known = [one for one in self._known if one[0] is not face]

    def shown(self, at_once: bool) -> Array | None:
        """The face at rest to show, (478, 3) mm; it changes `at_once` only while none is shown."""
        if self._own.goal is not None:
            if at_once:
                self._shown.clear()
            self._shown.aim(self._own.goal)
        return self._shown.value


def _face(given: ArrayLike | None) -> Array | None:
    face = None if given is None else np.asarray(given, np.float32)
    if face is not None and (face.shape != (NUM_LANDMARKS, 3) or not np.isfinite(face).all()):
        raise ValueError(f"expected one finite face ({NUM_LANDMARKS}, 3), got {face.shape}")
    return face


def _unlike(skull: Array, face: Array) -> float:
    """Mean distance of skull-fixed points, mm."""
    return float(np.linalg.norm(skull - face[_SKULL, :2], axis=-1).mean())


class _Glide:
    """A face that goes to another without a step, critically damped.

    Attributes:
        goal: where it goes, and where it began; None: nowhere.
        value: where it is, float32.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin with the next goal."""
        self.goal: Array | None = None
        self.value: Array | None = None
        self._way: NDArray[np.float64] | None = None  # goal less value; None: there
        self._speed = np.zeros(0)

    def aim(self, goal: Array) -> None:
        """Go there; the first goal is where it is."""
        if self.goal is None or self.value is None:
            self.value = goal
        elif goal is not self.goal:
            if self._way is None:
                self._speed = np.zeros(goal.shape)
            self._way = goal.astype(np.float64) - self.value
        self.goal = goal

    def move(self, dt_s: float) -> None:
        """Time goes on: x = (a + b t) exp(-t / GLIDE_S), exactly."""
        if self._way is None or self.goal is None:
            return
        b = self._speed + self._way / GLIDE_S
        decay = np.exp(-dt_s / GLIDE_S)
        self._way = (self._way + b * dt_s) * decay
        self._speed = b * decay - self._way / GLIDE_S
        self.value = (self.goal - self._way).astype(np.float32)
        if max(np.abs(self._way).max(), GLIDE_S * np.abs(self._speed).max()) < 1e-3:
            self._way, self.value = None, self.goal
