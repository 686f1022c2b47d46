"""Motor babbling: the robot tries its face out in front of a camera.

The eye group and the mouth group babble one after the other, the other group at neutral: smooth
random curves through random poses. Each frame is the robot at rest in a pose, its picture as the
camera sees it, and that picture as the real FaceMesh sees it: nothing else is known about a robot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from emo_core.errors import EmoError
from emo_core.face.alignment import to_metric
from emo_core.face.topology import ROBOT_LANDMARKS
from emo_core.face.tracking import FaceTracker
from emo_core.paths import share_dir
from emo_core.robot.description import GROUPS, RobotDescription
from emo_core.robot.sim.render import Renderer

Array = NDArray[np.float64]
SCHEMA = 1
DEFAULT_FRAMES = 3000
#: Frames from one random pose to the next.
_SPAN = (2, 7)
#: Share of the coordinates of a pose that are drawn at an end of their limits.
_EXTREME = 0.12


@dataclass(frozen=True)
class Babble:
    """What a robot saw of itself.

    Attributes:
        robot: name. signature: `RobotDescription.signature()`. seed: of the poses.
        rest: (R, 113, 2) metric mm, at neutral.
        commands: group -> (T, M); landmarks: group -> (T, 113, 2) metric mm.
        lost: frames in which FaceMesh found no face (left out).
    """

    robot: str
    signature: str
    seed: int
    rest: Array
    commands: dict[str, Array]
    landmarks: dict[str, Array]
    lost: int

    def frames(self) -> dict[str, int]:
        """Group -> frames."""
        return {group: len(poses) for group, poses in self.commands.items()}

    def save(self, path: Path) -> None:
        """Write one .npz."""
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {f"commands_{g}": self.commands[g].astype(np.float32) for g in GROUPS}
        arrays |= {f"landmarks_{g}": self.landmarks[g].astype(np.float32) for g in GROUPS}
        np.savez_compressed(
            path,
            schema=SCHEMA,
            robot=self.robot,
            signature=self.signature,
            seed=self.seed,
            rest=self.rest.astype(np.float32),
            lost=self.lost,
            **arrays,
        )

    @classmethod
    def load(cls, path: Path) -> Babble:
        """Read what `save` wrote. Raises EmoError if it is not that."""
        if not path.is_file():
            raise EmoError(f"{path}: no babbling there. Run ./emo babble first")
        try:
            with np.load(path, allow_pickle=False) as data:
                if int(data["schema"]) != SCHEMA:
                    raise EmoError(f"{path}: made by another version. Run ./emo babble again")
                return cls(
                    robot=str(data["robot"]),
                    signature=str(data["signature"]),
                    seed=int(data["seed"]),
                    rest=np.asarray(data["rest"], np.float64),
                    commands={g: np.asarray(data[f"commands_{g}"], np.float64) for g in GROUPS},
                    landmarks={g: np.asarray(data[f"landmarks_{g}"], np.float64) for g in GROUPS},
                    lost=int(data["lost"]),
                )
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise EmoError(
                f"{path}: not a babbling file ({error}). Run ./emo babble again"
            ) from error


def default_path(robot: RobotDescription) -> Path:
    """Where the babbling of a robot is kept unless said otherwise."""
    return share_dir() / "data" / f"babble_{robot.name}.npz"


def random_poses(
    robot: RobotDescription, group: str, frames: int, rng: np.random.Generator
) -> Array:
    """(frames, M): smooth curves through random poses of one group, the rest at neutral.

    Every pose keeps to limits and interlocks.
    """
    low, high, neutral = robot.lower, robot.upper, robot.neutral
    moving = np.zeros(len(robot.motors), dtype=bool)
    moving[robot.group(group)] = True

    def pose() -> Array:
        drawn = low + rng.random(len(low)) * (high - low)
        end = np.where(rng.random(len(low)) < 0.5, low, high)
        drawn = np.where(rng.random(len(low)) < _EXTREME, end, drawn)
        # Real faces are mostly near symmetric and often near rest: draw some poses nearer to it.
        drawn = neutral + (drawn - neutral) * rng.choice([1.0, 1.0, 0.5])
        return np.where(moving, _within_interlocks(robot, drawn), neutral)

    out: list[Array] = []
    here = neutral.copy()
    while len(out) < frames:
        there = pose()
        steps = int(rng.integers(*_SPAN))
        for k in range(1, steps + 1):
            share = k / steps
            out.append(here + share * share * (3 - 2 * share) * (there - here))
        here = there
    return np.array(out[:frames])


def _within_interlocks(robot: RobotDescription, pose: Array) -> Array:
    """`pose`, drawn towards neutral (which is allowed) as far as the interlocks ask."""
    share = 1.0
    for lock in robot.interlocks:
        at_pose = sum(weight * pose[i] for i, weight in lock.weights)
        at_rest = sum(weight * robot.neutral[i] for i, weight in lock.weights)
        if at_pose > lock.maximum:
            share = min(share, (lock.maximum - at_rest) / (at_pose - at_rest))
    return robot.neutral + share * (pose - robot.neutral)


def see(renderer: Renderer, tracker: FaceTracker, poses: Array) -> Iterator[Array | None]:
    """For each pose (M,) of (T, M): its (478, 3) metric face as FaceMesh sees it, or None."""
    for pose in poses:
        screen = tracker.track(renderer(pose)[..., ::-1])  # BGR -> RGB
        yield None if screen is None else np.asarray(to_metric(screen)[0], dtype=np.float64)


def babble(
    robot: RobotDescription,
    frames: int = DEFAULT_FRAMES,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Babble:
    """Babble `frames` frames with each group.

    Args:
        robot: a robot with a `simulator` section.
        frames: for each group.
        seed: of the poses; the same seed gives the same data.
        progress: called with (frames done, frames in all).

    Raises:
        EmoError: FaceMesh finds no face in more than one frame in five.
    """
    rng = np.random.default_rng(seed)
    renderer = Renderer(robot)
    done, lost, total = 0, 0, 2 * frames
    commands: dict[str, Array] = {}
    landmarks: dict[str, Array] = {}
    with FaceTracker() as tracker:
        still = np.repeat(robot.neutral[None], 25, axis=0)
        rest = [face for face in see(renderer, tracker, still) if face is not None][5:]
        for group in GROUPS:
            poses = random_poses(robot, group, frames, rng)
            kept, faces = [], []
            for pose, face in zip(poses, see(renderer, tracker, poses), strict=True):
                done += 1
                if progress is not None:
                    progress(done, total)
                if face is None:
                    lost += 1
                    continue
                kept.append(pose)
                faces.append(face[ROBOT_LANDMARKS, :2])
            commands[group] = np.array(kept).reshape(-1, len(robot.motors))
            landmarks[group] = np.array(faces).reshape(-1, len(ROBOT_LANDMARKS), 2)
    if lost > total / 5 or not rest:
        raise EmoError(
            f"robot '{robot.name}': FaceMesh found no face in {lost} of {total} pictures. "
            "Look at the camera's picture: the whole face must be in it, lit from the front"
        )
    return Babble(
        robot=robot.name,
        signature=robot.signature(),
        seed=seed,
        rest=np.array(rest)[:, ROBOT_LANDMARKS, :2],
        commands=commands,
        landmarks=landmarks,
        lost=lost,
    )
