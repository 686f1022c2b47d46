"""Faces made again: what the inverse model says, executed on the simulated robot and looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emo_core.errors import EmoError
from emo_core.evaluation.inverse import rounded
from emo_core.face.topology import OUTER_EYE_CORNERS, ROBOT_LANDMARKS
from emo_core.robot.babbling import Babble, see
from emo_core.robot.description import RobotDescription
from emo_core.robot.inverse_model import InverseModel
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

    Attributes:
        seen_mm: (113,) mean distance of each point from the face asked for, both seen by FaceMesh.
        random_mm: (113,) the same for another held-out face in its place.
        true_mm, true_random_mm: likewise, measured on the simulated skin itself.
        faces: how many. lost: in how many FaceMesh saw none.
    """

    seen_mm: Array
    random_mm: Array
    true_mm: Array
    true_random_mm: Array
    faces: int
    lost: int

    def as_json(self) -> dict[str, object]:
        """Means over the points, and each point's own."""
        return {
            "faces": self.faces,
            "lost": self.lost,
            "error_mm": rounded(self.seen_mm.mean()),
            "random_face_mm": rounded(self.random_mm.mean()),
            "over_random_face": rounded(self.seen_mm.mean() / self.random_mm.mean()),
            "true_error_mm": rounded(self.true_mm.mean()),
            "true_over_random_face": rounded(self.true_mm.mean() / self.true_random_mm.mean()),
            "landmarks": [int(index) for index in ROBOT_LANDMARKS],
            "error_mm_per_landmark": [rounded(value) for value in self.seen_mm],
            "random_face_mm_per_landmark": [rounded(value) for value in self.random_mm],
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
    seen = np.full((faces, len(ROBOT_LANDMARKS), 2), np.nan)
    for row, face in enumerate(see(robot, predicted, seed=_SEED)):
        if face is not None:
            seen[row] = face[ROBOT_LANDMARKS, :2]
    found = np.isfinite(seen).all(axis=(1, 2))
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
        seen_mm=_apart(seen[found], asked[found]),
        random_mm=_apart(asked[others], asked),
        true_mm=_apart(made, meant),
        true_random_mm=_apart(meant[others], meant),
        faces=faces,
        lost=int((~found).sum()),
    )


def _apart(a: Array, b: Array) -> Array:
    """(N, 113, 2) twice -> (113,) mean Euclidean distance."""
    return np.asarray(np.linalg.norm(a - b, axis=-1).mean(axis=0))
