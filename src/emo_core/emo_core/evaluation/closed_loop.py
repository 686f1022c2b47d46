"""Motors -> simulated robot -> its picture -> FaceMesh: is the robot's mouth the film's?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emo_core.evaluation.clips import EvalClip, Progress
from emo_core.evaluation.lipsync import finite
from emo_core.evaluation.metrics import (
    average,
    closure,
    closure_paired,
    lag_ms,
    opening,
    pearson,
    slope,
    width,
)
from emo_core.rates import FPS
from emo_core.robot import DEFAULT_ROBOT
from emo_core.robot.description import RobotDescription
from emo_core.robot.mapping import LandmarksToMotors
from emo_core.robot.mapping import closed_loop as see_robot

Array = NDArray[np.float32]


class SeenRobot:
    """Landmarks in, the robot's face as FaceMesh sees it out.

    Each clip starts from the robot at neutral. Commands go out `servo_lag_s` ahead of the sound, as
    they do when the robot speaks its own audio and the speaker waits for the servos.

    Args:
        robot: a name in config/robots or a file.
    """

    def __init__(self, robot: str) -> None:
        self.description = RobotDescription.load(robot)

    def __call__(self, landmarks: Array, static: Array) -> tuple[Array, NDArray[np.bool_]]:
        """(T, 478, 3) metric mm and their static face -> what is seen, likewise, and valid (T,)."""
        commands = LandmarksToMotors.load(self.description, static)(landmarks)
        seen = see_robot(self.description, commands, FPS)
        return seen, np.isfinite(seen).all(axis=(1, 2))


def score_seen(seen: Array, clip: EvalClip, valid: NDArray[np.bool_]) -> dict[str, float]:
    """The robot's mouth against the film's, frame by frame; `seen` (T, 478, 3) metric mm.

    The robot's face has other proportions: distances between landmarks would measure that, so only
    the mouth's curves are compared. Its opening is measured in its own metric frame, where its
    outer eye corners are as far apart as a human's.
    """
    film = clip.clip.landmarks
    keep = clip.clip.valid & valid
    robot, human = opening(seen), opening(film)
    lag = lag_ms(robot, human, FPS, keep)
    return {
        "opening_r": pearson(robot[keep], human[keep]),
        "width_r": pearson(width(seen)[keep], width(film)[keep]),
        "opening_slope": slope(robot[keep], human[keep]),
        "closure": closure(robot, human, clip.voiced, keep),
        "closure_paired": closure_paired(robot, human, clip.voiced, keep),
        "lag_ms": lag,
        "abs_lag_ms": abs(lag),
        "face_found": float(valid.mean()),
    }


@dataclass(frozen=True)
class ClosedLoop:
    """Scores of the loop, clip by clip: driven by the model, and by the film's own landmarks."""

    clips: list[str]
    model: list[dict[str, float]]
    film: list[dict[str, float]]
    servo_lag_ms: float

    def as_json(self) -> dict[str, object]:
        """Means; `film` is what the robot could do were the model perfect."""
        return {
            "clips": len(self.clips),
            "servo_lag_ms": self.servo_lag_ms,
            "model": finite(average(self.model)[0]),
            "film": finite(average(self.film)[0]),
        }


def closed_loop(
    clips: Sequence[EvalClip],
    predictions: Sequence[Array],
    robot: str = DEFAULT_ROBOT,
    progress: Progress | None = None,
) -> ClosedLoop:
    """Run predictions, and the film's own landmarks, through the robot; score what is seen.

    Raises:
        EmoError: no such robot, or no inverse model for it.
    """
    seen_robot = SeenRobot(robot)
    model, film = [], []
    for index, (clip, prediction) in enumerate(zip(clips, predictions, strict=True)):
        seen, valid = seen_robot(prediction, clip.static)
        model.append(score_seen(seen, clip, valid))
        filmed = np.where(clip.clip.valid[:, None, None], clip.clip.landmarks, clip.static)
        seen, valid = seen_robot(filmed, clip.static)
        film.append(score_seen(seen, clip, valid))
        if progress:
            progress(index + 1, len(clips), "closed loop")
    lag = 1000 * float(seen_robot.description.servo_lag_s)
    return ClosedLoop([clip.name for clip in clips], model, film, lag)
