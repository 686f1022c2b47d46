"""What made a recording: what its replay needs, and what tells why a replay differs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import emo_core
from emo_core import inference
from emo_core.errors import EmoError
from emo_core.paths import models_dir
from emo_core.robot.portable import portable

_PARTS = (".onnx", ".npz", ".json")


@dataclass(frozen=True)
class Origin:
    """What a recording says of the graph that made it.

    Attributes:
        info: `emo` (version), `graph` (its options, JSON), `kept` (JSON: path -> name among
            `files`), and the `fingerprints`.
        files: name -> content: the robot, as `emo_core.robot.portable`, and what the graph read.
        missing: what could not be kept, in words.
    """

    info: dict[str, str]
    files: dict[str, bytes]
    missing: list[str]


def origin(graph: str, robot: str, paths: Iterable[str]) -> Origin:
    """What a recording keeps of the graph that is recorded.

    Args:
        graph: its options (JSON).
        robot: a name or a YAML file; empty: none.
        paths: files that it reads; empty ones count as none.
    """
    files: dict[str, bytes] = {}
    kept: dict[str, str] = {}
    missing = []
    if robot:
        try:
            files.update(portable(robot))
        except EmoError as error:
            missing.append(f"the robot is not kept: {error}")
    for number, path in enumerate(filter(None, paths)):
        name = f"{number}/{Path(path).name}"  # two may have one name
        try:
            files[name] = Path(path).read_bytes()
            kept[path] = name
        except OSError as error:
            missing.append(f"cannot keep {path}: {error.strerror}")
    info = {"emo": emo_core.__version__, "graph": graph, "kept": json.dumps(kept)}
    return Origin({**info, **fingerprints()}, files, missing)


def fingerprints() -> dict[str, str]:
    """`code` (of emo_core), `models` (JSON: file -> its own), `inference` (where they run)."""
    sources = Path(emo_core.__file__).parent
    folder = models_dir()
    models = {
        str(path.relative_to(folder)): _digest([path])
        for path in sorted(folder.rglob("*"))
        if path.suffix in _PARTS
    }
    code = _digest(sorted(sources.rglob("*.py")))
    return {"code": code, "models": json.dumps(models), "inference": inference.asked()}


def recorded_models(info: Mapping[str, str]) -> dict[str, str]:
    """Model file -> its fingerprint, as a recording's info tells; empty where it cannot be read."""
    try:
        models = json.loads(info.get("models") or "{}")
    except json.JSONDecodeError:
        return {}
    return models if isinstance(models, dict) else {}


def differences(info: Mapping[str, str]) -> list[str]:
    """What is another now than a recording's info says, in words."""
    now = fingerprints()
    found = []
    then, here = recorded_models(info), recorded_models(now)
    others = [name for name in then if then[name] != here.get(name)]
    if others:
        found.append(f"models changed since: {', '.join(others)}")
    if info.get("code") and info["code"] != now["code"]:
        found.append("the code of emo_core changed since")
    ran = info.get("inference", now["inference"])
    if ran != now["inference"]:
        found.append(f"its networks ran on {ran}, here they run on {now['inference']}")
    return found


def _digest(paths: Iterable[Path]) -> str:
    total = hashlib.sha256()
    for path in paths:
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:16]
