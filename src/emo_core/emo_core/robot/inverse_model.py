"""The trained inverse model of one robot: landmarks in its proportions -> motor commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo_core.errors import EmoError
from emo_core.face.topology import ROBOT_LANDMARKS
from emo_core.models import load_model
from emo_core.paths import models_dir
from emo_core.robot.description import RobotDescription
from emo_core.robot.normalization import Profile

INPUTS = 2 * len(ROBOT_LANDMARKS)
#: Which points, in which order, in which units: a model is trained for one such list.
LANDMARK_SCHEMA = "facemesh113xy-mm-1"


class InverseModel:
    """Landmarks -> commands, on ONNX Runtime, one thread. Read one with `load`.

    Attributes:
        profile: the robot's static face and edges, measured with the model's data.
    """

    def __init__(self, session: Any, profile: Profile, low: ArrayLike, high: ArrayLike) -> None:
        self._session = session
        self.profile = profile
        self._low = np.asarray(low, dtype=np.float32)
        self._high = np.asarray(high, dtype=np.float32)

    @classmethod
    def load(cls, robot: RobotDescription, folder: Path | None = None) -> InverseModel:
        """Read `models/<robot.inverse_model>`, or `folder`.

        Raises:
            EmoError: missing, truncated, of another schema or shape, or another robot's.
        """
        folder = folder or models_dir() / robot.inverse_model
        expected = {
            "kind": "inverse",
            "landmarks": LANDMARK_SCHEMA,
            "motors": list(robot.names),
            "robot_signature": robot.signature(),
        }
        remedy = (
            f"Restore the model from the repository, set inverse_model in {robot.file}, or train: "
            f"./emo babble --robot {robot.name} && ./emo train inverse --robot {robot.name}"
        )
        _, session = load_model(folder, expected, remedy)
        shapes = session.get_inputs()[0].shape[1:], session.get_outputs()[0].shape[1:]
        if shapes != ([INPUTS], [len(robot.motors)]):
            raise EmoError(
                f"{folder / 'model.onnx'}: maps {shapes[0]} to {shapes[1]}, "
                f"not {INPUTS} to {len(robot.motors)}. {remedy}"
            )
        return cls(session, Profile.load(folder / "profile.npz"), robot.lower, robot.upper)

    def __call__(self, landmarks: ArrayLike) -> NDArray[np.float32]:
        """(226,) or (T, 226) mm, as `Normalizer` gives them -> (M,) or (T, M) within limits."""
        x = np.asarray(landmarks, dtype=np.float32)
        out = self._session.run(None, {"landmarks": np.atleast_2d(x)})[0]
        commands = np.clip(out, self._low, self._high)
        return np.asarray(commands[0] if x.ndim == 1 else commands)
