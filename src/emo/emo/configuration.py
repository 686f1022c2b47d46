"""What a recording was made with, and how two of them differ in it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import yaml

from emo.replay import recorded_options
from emo_core.bag import Bag
from emo_core.bag.provenance import recorded_models
from emo_core.robot.portable import MESH, ROBOT, portable

#: Options that change what a pipeline makes of its input; the others say where that comes from.
_SETTINGS = ("lookahead", "mouth_gain", "predict", "person")


def made_with(bag: Bag) -> dict[str, str]:
    """Name -> value of the settings, robot, face, models and code; files by their checksums too.

    Raises:
        EmoError: the recording holds no robot, and neither does this machine.
    """
    options = recorded_options(bag)
    robot = bag.attached if ROBOT in bag.attached else portable(options.robot)
    parts = b"".join(robot.get(part, b"") for part in (ROBOT, MESH))
    face = Path(options.static_face)
    return {
        **{name: str(getattr(options, name)) for name in _SETTINGS},
        "robot": f"{yaml.safe_load(robot[ROBOT])['name']} {_checksum(parts)}",
        "static_face": f"{face.name} {_checksum(face.read_bytes())}" if face.is_file() else "-",
        **{f"models/{name}": checksum for name, checksum in recorded_models(bag.info).items()},
        "inference": bag.info.get("inference", "-"),
        "code": bag.info.get("code", "-"),
    }


def told_apart(first: Bag, second: Bag) -> list[tuple[str, str, str]]:
    """What two recordings were made with where that differs: name, of the first, of the second."""
    one, two = made_with(first), made_with(second)
    names = dict.fromkeys((*one, *two))
    rows = [(name, one.get(name, "-"), two.get(name, "-")) for name in names]
    return [row for row in rows if row[1] != row[2]]


def heading(rows: list[tuple[str, str, str]]) -> tuple[str, str]:
    """The same for people, of each of the two, without what only checksums tell."""
    told = [row for row in rows if row[0] != "code" and not row[0].startswith("models/")]
    first, second = (", ".join(f"{row[0]} {row[i]}" for row in told) for i in (1, 2))
    return first, second


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]
