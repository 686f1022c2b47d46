"""Babbling of robots that nobody had to draw: landmarks are a smooth function of the commands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from emo_core.face.alignment import canonical_face
from emo_core.face.topology import ROBOT_LANDMARKS
from emo_core.robot.babbling import Babble
from emo_core.robot.description import GROUPS, RobotDescription
from emo_core.robot.pairs import POINTS

Array = NDArray[np.float64]
STATIC: Array = canonical_face()[ROBOT_LANDMARKS, :2].astype(np.float64)


def with_gaze(robot: RobotDescription) -> RobotDescription:
    """The robot with its first motor turning an eyeball."""
    return replace(robot, motors=(replace(robot.motors[0], gaze="yaw"), *robot.motors[1:]))


def made_faces(robot: RobotDescription, group: str, commands: Array) -> Array:
    """(T, M) -> (T, 113, 2) mm; motors of gaze do nothing, as do those of the other group."""
    rng = np.random.default_rng(GROUPS.index(group))
    motors = [i for i in robot.group(group) if not robot.motors[i].gaze]
    offset = commands[:, motors] - robot.neutral[motors]
    pull = rng.normal(scale=6.0, size=(len(motors), *STATIC[POINTS[group]].shape))
    moved = np.tanh(1.5 * offset) @ pull.reshape(len(motors), -1)
    faces = np.repeat(STATIC[None], len(commands), axis=0)
    faces[:, POINTS[group]] += moved.reshape(len(commands), *pull.shape[1:])
    return faces


def made_babble(robot: RobotDescription, frames: int, noise_mm: float = 0.3) -> Babble:
    """Independent poses within the limits, seen with noise."""
    rng = np.random.default_rng(5)
    commands, landmarks = {}, {}
    for group in GROUPS:
        poses = np.repeat(robot.neutral[None], frames, axis=0)
        motors = robot.group(group)
        poses[:, motors] = rng.uniform(
            robot.lower[motors], robot.upper[motors], (frames, len(motors))
        )
        commands[group] = poses
        faces = made_faces(robot, group, poses)
        landmarks[group] = faces + noise_mm * rng.standard_normal(faces.shape)
    rest = STATIC + noise_mm * rng.standard_normal((20, *STATIC.shape))
    return Babble(
        robot=robot.name,
        signature=robot.signature(),
        seed=5,
        preprocess="colour",
        rest=rest,
        commands=commands,
        landmarks=landmarks,
        lost=0,
    )
