"""Motor babbling: the robot tries its face out in front of a camera.

The eye group and the mouth group babble one after the other, the other group at neutral: smooth
random curves through random poses, which go to the servos through the safety layer. Each pose is
looked at several times (`looking`), and the looks are averaged.

Poses are babbled in stretches that have nothing to do with each other (each starts at neutral, the
simulated robot's with servos, camera and tracker made anew), so that what was interrupted goes on
with the stretch it was in; on the simulated robot it comes out the same.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emo_core.errors import EmoError
from emo_core.face.topology import ROBOT_LANDMARKS
from emo_core.files import whole_file
from emo_core.npz import open_npz
from emo_core.paths import share_dir
from emo_core.robot.description import GROUPS, RobotDescription
from emo_core.robot.looking import DEFAULT_PREPROCESS, LOOKS, PREPROCESSES, Look, Sight, look_at

Array = NDArray[np.float64]

SCHEMA = 2
DEFAULT_FRAMES = 800
#: Poses that are babbled in one go; an interruption costs no more than these.
STRETCH = 50
#: Correlation length of the random curves, in poses.
_SMOOTH = 4.0
_REST_POSES = 25
#: Of all poses, and of a stretch that is kept, FaceMesh may miss the face in this share at most.
_MOST_LOST = 0.2


@dataclass(frozen=True)
class Babble:
    """What a robot saw of itself.

    Attributes:
        robot: name. signature: `RobotDescription.signature()`. seed: of the poses.
        preprocess: one of `PREPROCESSES`.
        rest: (R, 113, 2) metric mm, at neutral.
        commands: group -> (T, M); landmarks: group -> (T, 113, 2) metric mm.
        lost: poses in which FaceMesh found no face (left out).
    """

    robot: str
    signature: str
    seed: int
    preprocess: str
    rest: Array
    commands: dict[str, Array]
    landmarks: dict[str, Array]
    lost: int

    def frames(self) -> dict[str, int]:
        """Group -> frames."""
        return {group: len(poses) for group, poses in self.commands.items()}

    def save(self, path: Path) -> None:
        """Write one .npz. Raises EmoError if it cannot be written."""
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {f"commands_{g}": self.commands[g].astype(np.float32) for g in GROUPS}
        arrays |= {f"landmarks_{g}": self.landmarks[g].astype(np.float32) for g in GROUPS}
        with whole_file(path) as part, part.open("wb") as out:
            np.savez_compressed(
                out,
                schema=SCHEMA,
                robot=self.robot,
                signature=self.signature,
                seed=self.seed,
                preprocess=self.preprocess,
                rest=self.rest.astype(np.float32),
                lost=self.lost,
                **arrays,
            )

    @classmethod
    def load(cls, path: Path) -> Babble:
        """Read what `save` wrote. Raises EmoError if it is not that."""
        if not path.is_file():
            raise EmoError(f"{path}: no babbling there. Run ./emo babble first")
        with open_npz(path, "a babbling file", "Run ./emo babble again") as data:
            if int(data["schema"]) != SCHEMA:
                raise EmoError(f"{path}: made by another version. Run ./emo babble again")
            return cls(
                robot=str(data["robot"]),
                signature=str(data["signature"]),
                seed=int(data["seed"]),
                preprocess=str(data["preprocess"]),
                rest=np.asarray(data["rest"], np.float64),
                commands={g: np.asarray(data[f"commands_{g}"], np.float64) for g in GROUPS},
                landmarks={g: np.asarray(data[f"landmarks_{g}"], np.float64) for g in GROUPS},
                lost=int(data["lost"]),
            )


@dataclass(frozen=True)
class Comparison:
    """How well FaceMesh sees the robot's pictures after one way of making them ready.

    Attributes:
        found: share of looks in which it found a face.
        shake_mm: root mean square over poses of `Sight.shake_mm`.
    """

    preprocess: str
    found: float
    shake_mm: float


def default_path(robot: RobotDescription) -> Path:
    """Where the babbling of a robot is kept unless said otherwise."""
    return share_dir() / "data" / f"babble_{robot.name}.npz"


def random_poses(
    robot: RobotDescription, group: str, frames: int, rng: np.random.Generator
) -> Array:
    """(frames, M): smooth random curves of one group, the rest (and all gaze) at neutral.

    Each motor follows a Gaussian process of its own, bent so that every command within its limits
    is as likely as any other. Every pose keeps to the interlocks.
    """
    reach = math.ceil(4 * _SMOOTH)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _SMOOTH) ** 2)
    kernel /= np.linalg.norm(kernel)
    noise = rng.standard_normal((frames + 2 * reach, len(robot.motors)))
    curves = np.stack([np.convolve(column, kernel, "valid") for column in noise.T], axis=1)
    share = 0.5 * (1.0 + np.vectorize(math.erf)(curves / math.sqrt(2.0)))
    drawn = robot.lower + share * (robot.upper - robot.lower)
    moving = np.isin(np.arange(len(robot.motors)), robot.group(group))
    moving &= np.isin(np.arange(len(robot.motors)), robot.expressive)
    poses = np.where(moving, drawn, robot.neutral)
    return np.array([_within_interlocks(robot, pose) for pose in poses])


def _within_interlocks(robot: RobotDescription, pose: Array) -> Array:
    """`pose`, drawn towards neutral (which is allowed) as far as the interlocks ask."""
    share = 1.0
    for lock in robot.interlocks:
        at_pose = sum(weight * pose[i] for i, weight in lock.weights)
        at_rest = sum(weight * robot.neutral[i] for i, weight in lock.weights)
        if at_pose > lock.maximum:
            share = min(share, (lock.maximum - at_rest) / (at_pose - at_rest))
    return robot.neutral + share * (pose - robot.neutral)


def babble(
    robot: RobotDescription,
    frames: int = DEFAULT_FRAMES,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    preprocess: str = DEFAULT_PREPROCESS,
    parts: Path | None = None,
    look: Look | None = None,
) -> Babble:
    """Babble `frames` poses with each group.

    Args:
        robot: a robot with a `simulator` section, unless `look` is given.
        frames: for each group.
        seed: of poses and camera; the same seed gives the same data.
        progress: called with (frames done, frames in all).
        preprocess: one of `PREPROCESSES`.
        parts: a folder to leave finished stretches in, and to take them from.
        look: looks at the robot; `look_at`, the simulated one, if not given.

    Raises:
        EmoError: not a simulated robot, or FaceMesh finds no face in more than one pose in five.
    """
    rng = np.random.default_rng(seed)
    done, total = 0, 2 * frames
    still = np.repeat(robot.neutral[None], _REST_POSES, axis=0)
    _, rest = _stretch(robot, still, [seed, len(GROUPS), 0], preprocess, parts, look)
    rest = rest[_found(rest)]
    if not len(rest):
        raise _no_face(robot, _REST_POSES, _REST_POSES)
    lost = 0
    commands: dict[str, Array] = {}
    landmarks: dict[str, Array] = {}
    for number, group in enumerate(GROUPS):
        poses = random_poses(robot, group, frames, rng)
        sent, seen = [], []
        for first in range(0, frames, STRETCH):
            key = [seed, number, first]
            stretch = _stretch(robot, poses[first : first + STRETCH], key, preprocess, parts, look)
            sent.append(stretch[0])
            seen.append(stretch[1])
            done += len(stretch[0])
            lost += int((~_found(stretch[1])).sum())
            if progress is not None:
                progress(done, total)
            if lost > _MOST_LOST * total:  # whatever the others will show
                raise _no_face(robot, lost, done)
        commands[group], landmarks[group] = np.concatenate(sent), np.concatenate(seen)
    found = {g: _found(landmarks[g]) for g in GROUPS}
    return Babble(
        robot=robot.name,
        signature=robot.signature(),
        seed=seed,
        preprocess=preprocess,
        rest=rest,
        commands={g: commands[g][found[g]] for g in GROUPS},
        landmarks={g: landmarks[g][found[g]] for g in GROUPS},
        lost=lost,
    )


def _found(landmarks: Array) -> NDArray[np.bool_]:
    """(T,) in which of the poses (T, 113, 2) there is a face."""
    return np.asarray(np.isfinite(landmarks).all(axis=(1, 2)))


def _no_face(robot: RobotDescription, lost: int, poses: int) -> EmoError:
    return EmoError(
        f"robot '{robot.name}': FaceMesh found no face in {lost} of {poses} poses. Look at the "
        "camera's picture: the whole face must be in it, lit from the front. Then give the same "
        "command again: it goes on with what it saw well"
    )


def _stretch(
    robot: RobotDescription,
    poses: Array,
    seed: list[int],
    preprocess: str,
    parts: Path | None,
    look: Look | None,
) -> tuple[Array, Array]:
    """Commands (T, M) and landmarks (T, 113, 2), NaN where no face was found; from `parts`, or new.

    A part's name holds a hash of all that it depends on, so another robot's is never taken. One in
    which too many faces are missing is not taken, either: the light may be better by now.
    """
    seen_by = robot.simulator if look in (None, look_at) else f"a camera before {robot.bus}"
    what = f"{robot.signature()} {seen_by} {LOOKS} {seed} {preprocess}".encode()
    name = hashlib.sha256(what + poses.tobytes()).hexdigest()[:24]
    file = parts / f"{name}.npz" if parts is not None else None
    if file is not None and file.is_file():
        with open_npz(file, "a stretch of a babbling", f"Remove {file.parent}") as data:
            kept = data["commands"], data["landmarks"]
        if np.mean(~_found(kept[1])) <= _MOST_LOST:
            return kept
    commands, landmarks = [], []
    for sight in (look or look_at)(robot, poses, seed, preprocess):
        face = sight.face
        commands.append(sight.command)
        nothing = np.full((len(ROBOT_LANDMARKS), 2), np.nan)
        landmarks.append(nothing if face is None else face[ROBOT_LANDMARKS, :2])
    made = np.array(commands), np.array(landmarks)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as part, part.open("wb") as out:
            np.savez(out, commands=made[0], landmarks=made[1])
    return made


def compare(
    robot: RobotDescription,
    frames: int,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    look: Look | None = None,
) -> list[Comparison]:
    """The same `frames` poses of each group after each of `PREPROCESSES`.

    Without `look` (as of `babble`) they are the same pictures, too.
    """
    rows, done, total = [], 0, 2 * frames * len(PREPROCESSES)
    for preprocess in PREPROCESSES:
        rng = np.random.default_rng(seed)
        sights: list[Sight] = []
        for number, group in enumerate(GROUPS):
            poses = random_poses(robot, group, frames, rng)
            for sight in (look or look_at)(robot, poses, [seed, number], preprocess):
                sights.append(sight)
                done += 1
                if progress is not None:
                    progress(done, total)
        found = sum(len(sight.faces) for sight in sights) / sum(sight.looks for sight in sights)
        shakes = np.array([sight.shake_mm for sight in sights])
        shakes = shakes[np.isfinite(shakes)]
        shake = float(np.sqrt((shakes**2).mean())) if len(shakes) else math.nan
        rows.append(Comparison(preprocess, found, shake))
    return rows
