"""The trained inverse model of one robot: landmarks in its proportions -> motor commands."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import ArrayLike, NDArray

from emo_core.errors import EmoError
from emo_core.face.topology import ROBOT_LANDMARKS
from emo_core.paths import models_dir
from emo_core.robot.description import RobotDescription
from emo_core.robot.normalization import Profile

MODEL_SCHEMA = 1
INPUTS = 2 * len(ROBOT_LANDMARKS)
#: Which points, in which order, in which units: a model is trained for one such list.
LANDMARK_SCHEMA = "facemesh113xy-mm-1"


def file_sha256(path: Path) -> str:
    """Hash of a file, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
        again = f"./emo babble --robot {robot.name} && ./emo train inverse --robot {robot.name}"
        config = _read_config(folder, again)
        expected = {
            "schema": MODEL_SCHEMA,
            "kind": "inverse",
            "landmarks": LANDMARK_SCHEMA,
            "motors": list(robot.names),
            "robot_signature": robot.signature(),
        }
        for key, value in expected.items():
            if config.get(key) != value:
                raise EmoError(
                    f"{folder / 'config.json'}: made for another {key} than {robot.file} asks for. "
                    f"Set inverse_model in the robot's file, or train: {again}"
                )
        checksums = config.get("sha256")
        for name in ("model.onnx", "profile.npz"):
            path = folder / name
            if not path.is_file():
                raise EmoError(
                    f"{path}: missing. Restore it from the repository, or train: {again}"
                )
            if not isinstance(checksums, dict) or file_sha256(path) != checksums.get(name):
                raise EmoError(
                    f"{path}: damaged (its checksum is not config.json's). "
                    f"Restore it from the repository, or train: {again}"
                )
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = ort.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        shapes = session.get_inputs()[0].shape[1:], session.get_outputs()[0].shape[1:]
        if shapes != ([INPUTS], [len(robot.motors)]):
            raise EmoError(
                f"{folder / 'model.onnx'}: maps {shapes[0]} to {shapes[1]}, "
                f"not {INPUTS} to {len(robot.motors)}. Train: {again}"
            )
        return cls(session, Profile.load(folder / "profile.npz"), robot.lower, robot.upper)

    def __call__(self, landmarks: ArrayLike) -> NDArray[np.float32]:
        """(226,) or (T, 226) mm, as `Normalizer` gives them -> (M,) or (T, M) within limits."""
        x = np.asarray(landmarks, dtype=np.float32)
        out = self._session.run(None, {"landmarks": np.atleast_2d(x)})[0]
        commands = np.clip(out, self._low, self._high)
        return np.asarray(commands[0] if x.ndim == 1 else commands)


def _read_config(folder: Path, again: str) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise EmoError(f"{path}: no inverse model there. Make one: {again}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EmoError(
            f"{path}: cannot be read ({error}). Make the model again: {again}"
        ) from error
    if not isinstance(config, dict):
        raise EmoError(f"{path}: not a mapping. Make the model again: {again}")
    return config
