"""A robot's description as files that mean the same on any machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from emo_core.errors import EmoError
from emo_core.robot.description import RobotDescription, read_file

#: Names of the files; the description names the mesh beside it.
ROBOT, MESH = "robot.yaml", "robot_mesh.npz"


def portable(name_or_path: str | Path) -> dict[str, bytes]:
    """`ROBOT`, with whatever it extends laid in, and the `MESH` of a robot with a picture.

    Raises:
        EmoError: as `RobotDescription.load`; the mesh cannot be read.
    """
    robot = RobotDescription.load(name_or_path)
    data = read_file(name_or_path).copy()
    files = {}
    if robot.simulator is not None:
        mesh = robot.simulator.skin.mesh
        try:
            files[MESH] = mesh.read_bytes()
        except OSError as error:
            raise EmoError(f"{mesh}: cannot be read ({error.strerror})") from error
        skin = {**data["simulator"]["skin"], "mesh": MESH}
        data["simulator"] = {**data["simulator"], "skin": skin}
    return {ROBOT: yaml.safe_dump(data, sort_keys=False).encode(), **files}


def is_same(files: Mapping[str, bytes], name_or_path: str | Path) -> bool:
    """Whether a robot here is the one of `files`, of which others than its own do not count.

    Damaged ones are no robot's; who loads them is told so.
    """
    try:
        here = portable(name_or_path)
        same: bool = yaml.safe_load(files[ROBOT]) == yaml.safe_load(here[ROBOT])
    except (EmoError, yaml.YAMLError):
        return False
    return same and files.get(MESH) == here.get(MESH)
