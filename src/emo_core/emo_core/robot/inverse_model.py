"""The trained inverse model of one robot: landmarks in its proportions -> motor commands.

It drives the motors that make expressions. Those that turn the eyeballs follow gaze instead: they
are not among its outputs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo_core.errors import EmoError
from emo_core.face.topology import ROBOT_LANDMARKS, ROBOT_SCHEMA
from emo_core.models import NETWORK, check_model, load_model
from emo_core.paths import models_dir
from emo_core.robot.description import RobotDescription
from emo_core.robot.normalization import Profile

INPUTS = 2 * len(ROBOT_LANDMARKS)
_PROFILE = "profile.npz"


class InverseModel:
    """Landmarks -> commands, on ONNX Runtime, one thread. Read one with `load`.

    A single frame goes through buffers that are bound once: give each thread its own model.

    Attributes:
        names: the E motors it drives, in the order of its commands.
        profile: the robot's static face and edges, measured with the model's data.
    """

    def __init__(self, session: Any, profile: Profile, robot: RobotDescription) -> None:
        import onnxruntime as ort  # not for who only reads the profile

        driven = robot.expressive
        self.names = tuple(robot.names[i] for i in driven)
        self.profile = profile
        self._session = session
        self._low = robot.lower[driven].astype(np.float32)
        self._high = robot.upper[driven].astype(np.float32)
        self._in = np.zeros((1, INPUTS), np.float32)
        self._out = np.zeros((1, len(driven)), np.float32)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input("landmarks", ort.OrtValue.ortvalue_from_numpy(self._in))
        self._binding.bind_ortvalue_output("commands", ort.OrtValue.ortvalue_from_numpy(self._out))

    @classmethod
    def load(cls, robot: RobotDescription, folder: Path | None = None) -> InverseModel:
        """Read `models/<robot.inverse_model>`, or `folder`.

        Raises:
            EmoError: missing, truncated, of another schema or shape, or another robot's.
        """
        folder = folder or models_dir() / robot.inverse_model
        expected, remedy = _expected(robot), _remedy(robot)
        _, session = load_model(folder, expected, remedy, files=(NETWORK, _PROFILE))
        shapes = session.get_inputs()[0].shape[1:], session.get_outputs()[0].shape[1:]
        if shapes != ([INPUTS], [len(robot.expressive)]):
            raise EmoError(
                f"{folder / 'model.onnx'}: maps {shapes[0]} to {shapes[1]}, "
                f"not {INPUTS} to {len(robot.expressive)}. {remedy}"
            )
        return cls(session, Profile.load(folder / _PROFILE), robot)

    def __call__(self, landmarks: ArrayLike) -> NDArray[np.float32]:
        """(226,) or (T, 226) mm, as `Normalizer` gives them -> (E,) or (T, E) within limits."""
        x = np.asarray(landmarks, dtype=np.float32)
        if x.ndim == 1:
            self._in[0] = x
            self._session.run_with_iobinding(self._binding)
            out = self._out[0]
        else:
            out = self._session.run(None, {"landmarks": x})[0]
        return np.asarray(np.minimum(np.maximum(out, self._low), self._high))


def load_profile(robot: RobotDescription, folder: Path | None = None) -> Profile:
    """The robot's face, of `models/<robot.inverse_model>` or `folder`, without its network.

    Raises:
        EmoError: as `InverseModel.load`.
    """
    folder = folder or models_dir() / robot.inverse_model
    check_model(folder, _expected(robot), _remedy(robot), (_PROFILE,))
    return Profile.load(folder / _PROFILE)


def _expected(robot: RobotDescription) -> dict[str, object]:
    """What config.json of the robot's model must say."""
    return {
        "kind": "inverse",
        "landmarks": ROBOT_SCHEMA,
        "motors": [robot.names[i] for i in robot.expressive],
        "robot_signature": robot.signature(),
    }


def _remedy(robot: RobotDescription) -> str:
    return (
        f"Restore the model from the repository, set inverse_model in {robot.file}, or train: "
        f"./emo babble --robot {robot.name} && ./emo train inverse --robot {robot.name}"
    )
