"""Looking at a robot in one pose after the other: a simulated one, or one before a real camera.

At each pose the robot comes to rest, and the camera looks several times: FaceMesh sets its region
of interest by the picture before, so the first look is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from emo_core.errors import EmoError
from emo_core.face.alignment import to_metric
from emo_core.face.topology import ROBOT_LANDMARKS
from emo_core.face.tracking import FaceTracker
from emo_core.robot.bench import Bench
from emo_core.robot.description import RobotDescription
from emo_core.robot.safety import SafetyLayer
from emo_core.robot.sim.camera import Camera
from emo_core.robot.sim.servos import SimulatedServos

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

#: How a picture is made ready for FaceMesh.
PREPROCESSES = ("colour", "grayscale", "equalizeHist")
DEFAULT_PREPROCESS = "colour"
#: From a pose's command to the first look at it, and from look to look.
_SETTLE_S, _LOOK_S = 0.3, 0.04
LOOKS, _DROPPED = 6, 1
_TICK_S = 0.02


@dataclass(frozen=True)
class Sight:
    """One pose as it was seen.

    Attributes:
        command: (M,) what the safety layer really sent.
        faces: (n, 478, 3) metric mm, one for each look that found a face.
        looks: how many looks there were.
    """

    command: Array
    faces: Array
    looks: int

    @property
    def face(self) -> Array | None:
        """(478, 3) mean over the looks; None if none found a face."""
        return np.asarray(self.faces.mean(axis=0)) if len(self.faces) else None

    @property
    def shake_mm(self) -> float:
        """Standard deviation from look to look, root mean square over points and axes."""
        if len(self.faces) < 2:
            return math.nan
        return float(np.sqrt(self.faces[:, ROBOT_LANDMARKS, :2].var(axis=0, ddof=1).mean()))


#: Robot, poses (T, M), seed, one of `PREPROCESSES` -> what is seen of each pose, in order.
Look = Callable[[RobotDescription, Array, "int | Sequence[int]", str], Iterator[Sight]]


def look_at(
    robot: RobotDescription,
    poses: Array,
    seed: int | Sequence[int] = 0,
    preprocess: str = DEFAULT_PREPROCESS,
) -> Iterator[Sight]:
    """The robot takes up poses (T, M), one after the other from neutral, and is looked at.

    Args:
        robot: with a `simulator` section.
        seed: of the camera.
        preprocess: one of `PREPROCESSES`.

    Raises:
        EmoError: the robot is not a simulated one.
    """
    if robot.simulator is None:
        raise EmoError(
            f"{robot.file}: simulator is missing: babbling looks at the simulated robot. "
            "Add a simulator section, or 'extends: sim.yaml'"
        )
    safety = SafetyLayer(robot)
    servos = SimulatedServos(robot.simulator.servos, robot.neutral, robot.neutral)
    camera = Camera(robot, seed)
    now = 0.0

    def drive(pose: Array, seconds: float) -> Array:
        nonlocal now
        for _ in range(max(1, math.ceil(seconds / _TICK_S - 1e-9))):
            now += _TICK_S
            servos.positions(now)
            sent = safety.step(pose, now).positions
            servos.command(sent, now)
        return np.asarray(sent)

    with FaceTracker() as tracker:
        for pose in poses:
            sent = drive(pose, _SETTLE_S)
            faces = []
            for look in range(LOOKS):
                image = prepared(camera(servos.horns(now), now), preprocess)
                screen = tracker.track(image)
                if screen is not None and look >= _DROPPED:
                    faces.append(to_metric(screen)[0])
                sent = drive(pose, _LOOK_S)
            seen = np.array(faces, dtype=np.float64).reshape(len(faces), -1, 3)
            yield Sight(sent, seen, LOOKS - _DROPPED)


def look_through(bench: Bench) -> Look:
    """As `look_at`, of the robot on an entered bench, by the camera before it."""

    def look(
        robot: RobotDescription, poses: Array, seed: int | Sequence[int], preprocess: str
    ) -> Iterator[Sight]:
        bench.home()
        for pose in poses:
            sent, seen = bench.pose(
                pose, _SETTLE_S, LOOKS, lambda rgb: prepared(rgb[..., ::-1], preprocess)
            )
            faces = [face for face in seen[_DROPPED:] if face is not None]
            found = np.array(faces, dtype=np.float64).reshape(len(faces), -1, 3)
            yield Sight(sent, found, LOOKS - _DROPPED)

    return look


def see(
    robot: RobotDescription, poses: Array, seed: int | Sequence[int] = 0
) -> Iterator[Array | None]:
    """For each pose (M,) of (T, M): its (478, 3) metric face as babbling sees it, or None."""
    for sight in look_at(robot, poses, seed):
        yield sight.face


def prepared(bgr: Image, preprocess: str) -> Image:
    """A camera's BGR picture as RGB for FaceMesh, after one of `PREPROCESSES`."""
    if preprocess == "colour":
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    if preprocess == "equalizeHist":
        grey = cv2.equalizeHist(grey)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
