"""Model folders: `config.json` beside `model.onnx`, read strictly.

`config.json` holds `schema`, `kind`, the facts a reader checks, and `sha256` of every file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emo_core.errors import EmoError
from emo_core.inference import open_session

MODEL_SCHEMA = 1


def file_sha256(path: Path) -> str:
    """Hash of a file, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_model(
    folder: Path, expected: Mapping[str, object], remedy: str
) -> tuple[dict[str, Any], Any]:
    """Check and open a model folder.

    Args:
        expected: keys of config.json and the only values they may have.
        remedy: what to do when the model is of no use: ends every message.

    Returns:
        config, ONNX Runtime session (see `inference`).

    Raises:
        EmoError: missing, damaged, not what is expected, or EMO_INFERENCE wants what is not here.
    """
    config = read_config(folder, remedy)
    for key, value in {"schema": MODEL_SCHEMA, **expected}.items():
        if config.get(key) != value:
            raise EmoError(
                f"{folder / 'config.json'}: {key} is {config.get(key)!r}, not {value!r}. {remedy}"
            )
    checksums = config.get("sha256")
    for name, checksum in (checksums if isinstance(checksums, dict) else {}).items():
        path = folder / name
        if not path.is_file():
            raise EmoError(f"{path}: missing. {remedy}")
        if file_sha256(path) != checksum:
            raise EmoError(f"{path}: damaged (its checksum is not config.json's). {remedy}")
    path = folder / "model.onnx"
    if not path.is_file():
        raise EmoError(f"{path}: missing. {remedy}")
    try:
        session = open_session(path)
    except (RuntimeError, ValueError) as error:  # ONNX Runtime's errors derive from these
        raise EmoError(f"{path}: not a model ({str(error).splitlines()[0]}). {remedy}") from None
    return config, session


def read_config(folder: Path, remedy: str) -> dict[str, Any]:
    """`config.json` of a model folder.

    Raises:
        EmoError: missing or not JSON.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise EmoError(f"{path}: missing. {remedy}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EmoError(f"{path}: cannot be read ({error}). {remedy}") from None
    if not isinstance(config, dict):
        raise EmoError(f"{path}: not a mapping. {remedy}")
    return config


def write_config(folder: Path, config: Mapping[str, object]) -> None:
    """Write `config.json` with the checksums of the folder's other files (text files left out)."""
    files = sorted(p for p in folder.iterdir() if p.suffix in {".onnx", ".npz", ".npy"})
    checksums = {p.name: file_sha256(p) for p in files}
    full = {"schema": MODEL_SCHEMA, **config, "sha256": checksums}
    (folder / "config.json").write_text(json.dumps(full, indent=2) + "\n", encoding="utf-8")
