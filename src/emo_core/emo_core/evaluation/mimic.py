"""The closed loop of mimicry: person -> motors -> simulated robot -> its picture -> FaceMesh.

The person and the robot are looked at by the same eyes: `FaceStream`, which is FaceMesh with the
smoothing that a person gets. The robot is filmed through the simulated camera as it is, shaking
included. That shaking is as large as what a mouth's width does in speech, so, as in babbling, the
robot is looked at several times and the mean counts: it does the same again in each take, before a
camera that shakes otherwise. What one take alone shows is reported, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_core.camera.image import as_received
from emo_core.evaluation.clips import EvalClip, Progress
from emo_core.evaluation.metrics import lag_ms, opening, pearson, slope, width
from emo_core.face.person import PersonStream
from emo_core.face.smoothing import smooth_track
from emo_core.face.stream import FaceStream, Seen
from emo_core.face.topology import EYEBROWS, OUTER_EYE_CORNERS
from emo_core.face.tracking import FaceTracker, VideoFile
from emo_core.mimic.pipeline import Mimic, MimicFrame
from emo_core.rates import FPS
from emo_core.robot.description import RobotDescription
from emo_core.robot.sim.camera import Camera
from emo_core.robot.sim.servos import simulate
from emo_core.robot.sim.skin import Skin

Array = NDArray[np.float32]
Figures = dict[str, Any]

#: Between the outer eye corners in the metric frame, mm.
_CORNERS_MM = 90.0
#: Takes of everything the robot does: as many as babbling takes looks.
TAKES = 5
#: A person is taken up within 0.3 s, and FaceMesh settles: frames that are not scored, s.
SETTLING_S = 0.4


def eye_opening(face: Array) -> NDArray[np.float64]:
    """Mean over both eyes of the gap in the lids' middle, mm: (..., 478, 3) -> (...)."""
    points = np.asarray(face, np.float64)
    gaps = points[..., [159, 386], :2] - points[..., [145, 374], :2]
    return np.asarray(np.linalg.norm(gaps, axis=-1).mean(-1))


def brow_height(face: Array) -> NDArray[np.float64]:
    """Mean height of both brows in the metric frame, mm: (..., 478, 3) -> (...)."""
    return np.asarray(face[..., EYEBROWS, 1].mean(-1, dtype=np.float64))


#: What is read off a face, mm.
READINGS = {
    "mouth_opening": opening,
    "mouth_width": width,
    "eye_opening": eye_opening,
    "brow_height": brow_height,
}


@dataclass(frozen=True)
class Shot:
    """The robot while it did something, each (T, 478, 3) metric mm.

    Attributes:
        seen: by `FaceStream` through the camera, mean over takes; NaN where it never saw a face.
        once: the first take alone.
        skin: where the skin truly was, scaled to the metric frame: what only a simulation knows.
    """

    seen: Array
    once: Array
    skin: Array


class Stage:
    """The simulated robot before its camera; commands in, what is seen of it out.

    Args:
        robot: with a `simulator` section.
        finder: FaceMesh.
        takes: how often it does the same and is looked at.
    """

    def __init__(self, robot: RobotDescription, finder: FaceTracker, takes: int = TAKES) -> None:
        self.robot = robot
        self._finder = finder
        self._takes = takes
        self._skin = Skin(robot)
        right, left = OUTER_EYE_CORNERS
        rest = self._skin(robot.neutral)
        self._scale = _CORNERS_MM / float(np.linalg.norm(rest[left] - rest[right]))

    def __call__(self, commands: Array, fps: float = FPS, number: int = 0) -> Shot:
        """(T, M) commands, `fps` a second, through safety layer and servos, and looked at.

        The picture of a frame is taken `servo_lag_s` after its command was sent: the lag is known,
        and is part of `lag_ms` where that is reported. The same `number`, the same cameras.
        """
        horns = simulate(self.robot, commands, fps, fps, self.robot.servo_lag_s)
        speeds = np.diff(horns, axis=0, prepend=horns[:1]) * fps
        takes = np.stack(
            [self._film(horns, speeds, fps, [number, take]) for take in range(self._takes)]
        )
        found = np.isfinite(takes).all(axis=(2, 3))
        times = found.sum(axis=0)[:, None, None]
        total = np.where(found[..., None, None], takes, 0.0).sum(axis=0)
        seen = np.where(times > 0, total / np.maximum(times, 1), np.nan).astype(np.float32)
        skin = np.stack([self._skin(at) for at in horns]) * self._scale
        return Shot(seen, takes[0], skin.astype(np.float32))

    def _film(
        self, horns: NDArray[np.float64], speeds: NDArray[np.float64], fps: float, seed: list[int]
    ) -> Array:
        self._finder.reset()
        camera = Camera(self.robot, seed)
        stream = FaceStream(self._finder)
        seen = []
        for n, (at, speed) in enumerate(zip(horns, speeds, strict=True)):
            picture = np.ascontiguousarray(camera(at, n / fps, speed)[..., ::-1])
            seen.append(stream.feed(picture, n / fps).metric)
        return np.stack(seen)


def perform_film(
    robot: RobotDescription, film: VideoFile, static: Array, predict: bool, finder: FaceTracker
) -> tuple[Array, Array]:
    """A film of a person, through the whole pipeline, packed as the camera node packs pictures.

    Args:
        static: (478, 3) metric mm, the person at rest.
        predict: go ahead of the person.

    Returns:
        (T, 478, 3) the person as FaceStream sees it, NaN where it saw none, and (T, M) commands;
        those of neutral while there are none.
    """
    mimic = Mimic.load(robot, predict, static, finder=finder)
    frames = mimic.run(map(as_received, film.frames()), film.fps)
    return np.stack([frame.face.seen.metric for frame in frames]), _commands(robot, frames)


def perform_track(
    robot: RobotDescription, track: Array, static: Array, predict: bool
) -> tuple[Array, Array]:
    """As `perform_film`, for a person who was tracked before: (T, 478, 3) metric mm at 25 Hz."""
    smoothed = smooth_track(track, FPS)
    person = PersonStream(_NobodyThere(), static)
    mimic = Mimic.load(robot, predict, static, finder=_NobodyThere())
    frames = []
    for n, face in enumerate(smoothed):
        there = bool(np.isfinite(face).all())
        pose = np.full((4, 4), 1.0 if there else np.nan, np.float32) * np.eye(4, dtype=np.float32)
        seen = Seen(face, pose, face, int(there), 1, False)
        frames.append(mimic.feed_face(person.feed_seen(seen, n / FPS), n / FPS))
    return smoothed, _commands(robot, frames)


def _commands(robot: RobotDescription, frames: Sequence[MimicFrame]) -> Array:
    neutral = robot.neutral.astype(np.float32)
    return np.stack([neutral if frame.motors is None else frame.motors for frame in frames])


class _NobodyThere:
    """Finds no face: the tracks that are fed were tracked before."""

    def faces(self, rgb: NDArray[np.uint8]) -> list[Array]:
        return []


@dataclass(frozen=True)
class Pair:
    """A person and the robot that mimicked it, frame by frame; (T, 478, 3) metric mm each."""

    name: str
    person: Array
    shot: Shot
    fps: float = FPS

    def curves(self, reading: str, of: str = "seen") -> tuple[NDArray[Any], NDArray[Any]]:
        """(n,) of robot and person about their means, in the frames in which both were seen."""
        read = READINGS[reading]
        robot, person = read(getattr(self.shot, of)), read(self.person)
        keep = np.isfinite(robot) & np.isfinite(person)
        keep[: round(SETTLING_S * self.fps)] = False
        robot, person = robot[keep], person[keep]
        if not len(robot):
            return robot, person
        return robot - robot.mean(), person - person.mean()


def score(pairs: Sequence[Pair], readings: Sequence[str]) -> Figures:
    """r and slope of robot on person for each reading.

    `r`, `slope`: all frames of all clips together, each clip about its own mean, as FaceMesh sees
    the robot; `once`, `skin`: the same of one take alone, and of the simulated skin; `clips_r`:
    mean over clips of each clip's own r; `person_sd_mm`: how much the person moved.
    """
    out: Figures = {}
    for reading in readings:
        figures: Figures = {}
        for of in ("seen", "once", "skin"):
            both = [pair.curves(reading, of) for pair in pairs]
            robot, person = (np.concatenate(curves) for curves in zip(*both, strict=True))
            figures[of] = {
                "r": pearson(robot, person),
                "slope": slope(robot, person),
                "clips_r": float(np.nanmean([pearson(*curves) for curves in both])),
            }
        out[reading] = {**figures.pop("seen"), **figures, "person_sd_mm": float(person.std())}
    return out


#: What talking faces move enough to be scored on.
TALKING = ("mouth_opening", "mouth_width", "eye_opening")


@dataclass(frozen=True)
class Talker:
    """A clip, and the film it was made of; None: only the clip is there."""

    clip: EvalClip
    film: Path | None


def talking(
    robot: RobotDescription,
    groups: dict[str, list[Talker]],
    predict: bool = True,
    takes: int = TAKES,
    progress: Progress | None = None,
) -> Figures:
    """Filmed people who talk and blink, mimicked.

    Args:
        groups: name -> clips of a person.
        predict: as the robot runs: it goes ahead where it is sure.

    Returns:
        group -> clips, frames, face_found, lag_ms (of the mouth's opening, from person to
        picture) and `score` of the readings in `TALKING`; "all": all groups together.
    """
    done, total = 0, sum(map(len, groups.values()))
    pairs: dict[str, list[Pair]] = {}
    with FaceTracker(max_faces=2) as of_person, FaceTracker() as of_robot:
        stage = Stage(robot, of_robot, takes)
        for group, talkers in groups.items():
            pairs[group] = []
            for talker in talkers:
                clip, fps = talker.clip, float(FPS)
                if talker.film is None:
                    person, commands = perform_track(
                        robot, clip.clip.landmarks, clip.static, predict
                    )
                else:
                    with VideoFile(talker.film) as film:
                        fps = film.fps
                        of_person.reset()
                        person, commands = perform_film(
                            robot, film, clip.static, predict, of_person
                        )
                pairs[group].append(Pair(clip.name, person, stage(commands, fps, done), fps))
                done += 1
                if progress:
                    progress(done, total, "talking faces")
    if len(groups) > 1:
        pairs["all"] = [pair for group in groups for pair in pairs[group]]
    return {group: _figures(robot, of_group) for group, of_group in pairs.items()}


def _figures(robot: RobotDescription, pairs: Sequence[Pair]) -> Figures:
    found = [np.isfinite(pair.shot.seen).all(axis=(1, 2)) for pair in pairs]
    lags = []
    for pair, robot_there in zip(pairs, found, strict=True):
        there = robot_there & np.isfinite(pair.person).all(axis=(1, 2))
        curves = opening(pair.shot.seen), opening(pair.person)
        lags.append(lag_ms(*curves, pair.fps, there))
    return {
        "clips": len(pairs),
        "frames": sum(map(len, found)),
        "face_found": float(np.concatenate(found).mean()),
        "lag_ms": 1000 * robot.servo_lag_s + float(np.nanmean(lags)),
        **score(pairs, TALKING),
    }
