"""Faces made again: what the inverse model says, executed on the simulated robot and looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emo_core.errors import EmoError
from emo_core.evaluation.inverse import rounded
from emo_core.face.topology import OUTER_EYE_CORNERS, ROBOT_LANDMARKS
from emo_core.robot.babbling import Babble
from emo_core.robot.description import RobotDescription
from emo_core.robot.inverse_model import InverseModel
from emo_core.robot.looking import see
from emo_core.robot.pairs import Split
from emo_core.robot.sim.skin import Skin

Array = NDArray[np.float64]

#: Between the outer eye corners in the metric frame.
_CORNERS_MM = 90.0
#: Of the poses' camera, so that it is not babbling's.
_SEED = 1


@dataclass(frozen=True)
class Executed:
    """Faces that the robot made again from what its inverse model said.

    Each field is (113,): the mean distance, in metric mm, of each point from the face asked for.

    Attributes:
        true, true_random: on the simulated skin itself, of the face made again, and of another
            held-out face in its place.
        seen, seen_random: the same, but both faces seen by FaceMesh.
        seen_repeated: of the very commands of the face asked for, executed once more: FaceMesh's
            own error, which no inverse model can undercut.
        faces: how many. lost: in how many FaceMesh saw none.
    """

    true: Array
    true_random: Array
    seen: Array
    seen_random: Array
    seen_repeated: Array
    faces: int
    lost: int

    def as_json(self) -> dict[str, object]:
        """Means over the points, and each point's own."""
        kinds = ("true", "true_random", "seen", "seen_random", "seen_repeated")
        errors: dict[str, Array] = {kind: getattr(self, kind) for kind in kinds}
        return {
            "faces": self.faces,
            "lost": self.lost,
            "error_mm": {kind: rounded(error.mean()) for kind, error in errors.items()},
            "over_random_face": {
                "true": rounded(self.true.mean() / self.true_random.mean()),
                "seen": rounded(self.seen.mean() / self.seen_random.mean()),
                "seen_repeated": rounded(self.seen_repeated.mean() / self.seen_random.mean()),
            },
            "landmarks": [int(index) for index in ROBOT_LANDMARKS],
            "error_mm_per_landmark": {
                kind: [rounded(value) for value in error] for kind, error in errors.items()
            },
        }


def execute(
    robot: RobotDescription, data: Babble, folder: Path | None = None, faces: int = 200
) -> Executed:
    """Ask the robot for held-out faces, and compare what comes of it with what was asked.

    Args:
        robot: with a `simulator` section.
        folder: the model's; `models/<robot.inverse_model>` if not given.
        faces: how many, drawn from the test split's pairs.

    Raises:
        EmoError: no model, another robot's data or model, or FaceMesh sees no face at all.
    """
    model = InverseModel.load(robot, folder)
    rng = np.random.default_rng(_SEED)
    wanted, true = Split(data, robot, "test").draw(rng, faces)
    others = np.roll(np.arange(faces), 1)
    driven = robot.expressive

    def full(commands: Array) -> Array:
        poses = np.repeat(robot.neutral[None], faces, axis=0)
        poses[:, driven] = commands
        return poses

    predicted = full(np.asarray(model(wanted), dtype=np.float64))
    seen, repeated = (_seen(robot, poses) for poses in (predicted, full(true)))
    found = np.isfinite(seen + repeated).all(axis=(1, 2))
    if not found.any():
        raise EmoError(
            f"robot '{robot.name}': FaceMesh sees none of the faces that its inverse model makes. "
            f"Train it again: ./emo train inverse --robot {robot.name}"
        )
    asked = wanted.reshape(faces, -1, 2)
    skin = Skin(robot)
    rest = skin(robot.neutral)
    scale = _CORNERS_MM / np.linalg.norm(np.subtract(*rest[list(OUTER_EYE_CORNERS)]))
    made, meant = (
        scale * skin(full(c))[:, ROBOT_LANDMARKS, :2] for c in (predicted[:, driven], true)
    )
    return Executed(
        true=_apart(made, meant),
        true_random=_apart(meant[others], meant),
        seen=_apart(seen[found], asked[found]),
        seen_random=_apart(asked[others], asked),
        seen_repeated=_apart(repeated[found], asked[found]),
        faces=faces,
        lost=int((~found).sum()),
    )


def _seen(robot: RobotDescription, poses: Array) -> Array:
    """(N, M) -> (N, 113, 2) metric mm; NaN where FaceMesh sees no face."""
    out = np.full((len(poses), len(ROBOT_LANDMARKS), 2), np.nan)
    for row, face in enumerate(see(robot, poses, seed=_SEED)):
        if face is not None:
            out[row] = face[ROBOT_LANDMARKS, :2]
    return out


def _apart(a: Array, b: Array) -> Array:
    """(N, 113, 2) twice -> (113,) mean Euclidean distance."""
    return np.asarray(np.linalg.norm(a - b, axis=-1).mean(axis=0))
