"""What made a recording: fingerprints of code and models, to tell why a replay differs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import emo_core
from emo_core.paths import models_dir

_PARTS = (".onnx", ".npz", ".json")


def fingerprints() -> dict[str, str]:
    """`code` (of emo_core) and `models` (JSON: file -> its own), for a recording's info."""
    sources = Path(emo_core.__file__).parent
    folder = models_dir()
    models = {
        str(path.relative_to(folder)): _digest([path])
        for path in sorted(folder.rglob("*"))
        if path.suffix in _PARTS
    }
    return {"code": _digest(sorted(sources.rglob("*.py"))), "models": json.dumps(models)}


def differences(info: Mapping[str, str]) -> list[str]:
    """What is another now than a recording's info says, in words."""
    now = fingerprints()
    found = []
    then, here = (json.loads(each.get("models") or "{}") for each in (info, now))
    others = [name for name in then if then[name] != here.get(name)]
    if others:
        found.append(f"models changed since: {', '.join(others)}")
    if info.get("code") and info["code"] != now["code"]:
        found.append("the code of emo_core changed since")
    return found


def _digest(paths: Iterable[Path]) -> str:
    total = hashlib.sha256()
    for path in paths:
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:16]
