"""Model folders: `config.json` beside `model.onnx`, read strictly.

`config.json` holds `schema`, `kind`, the facts a reader checks, and `sha256` of every file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emo_core.errors import EmoError
from emo_core.inference import open_session

MODEL_SCHEMA = 1
#: The file of the network itself.
NETWORK = "model.onnx"


def file_sha256(path: Path) -> str:
    """Hash of a file, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_model(
    folder: Path,
    expected: Mapping[str, object],
    remedy: str,
    counts: Mapping[str, int] | None = None,
    files: Sequence[str] = (NETWORK,),
) -> tuple[dict[str, Any], Any]:
    """Check and open a model folder.

    Args:
        counts: keys of config.json that hold whole numbers, and the least each may be.
        expected, remedy, files: as in `check_model`; the network is among the files.

    Returns:
        config, ONNX Runtime session (see `inference`).

    Raises:
        EmoError: missing, damaged, not what is expected, or EMO_INFERENCE wants what is not here.
    """
    config = check_model(folder, expected, remedy, files)
    for key, least in (counts or {}).items():
        value = config.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise _wrong(folder, key, config, f"a whole number of {least} or more", remedy)
    path = folder / NETWORK
    try:
        session = open_session(path)
    except (RuntimeError, ValueError) as error:  # ONNX Runtime's errors derive from these
        raise EmoError(f"{path}: not a model ({str(error).splitlines()[0]}). {remedy}") from None
    return config, session


def check_model(
    folder: Path, expected: Mapping[str, object], remedy: str, files: Sequence[str]
) -> dict[str, Any]:
    """config.json of a model folder whose files are what it says.

    Args:
        expected: keys of config.json and the only values they may have.
        remedy: what to do when the model is of no use: ends every message.
        files: what its reader opens: config.json holds their checksums.

    Raises:
        EmoError: missing, damaged, or not what is expected.
    """
    config = read_config(folder, remedy)
    for key, value in {"schema": MODEL_SCHEMA, **expected}.items():
        if config.get(key) != value:
            raise _wrong(folder, key, config, repr(value), remedy)
    checksums = config.get("sha256")
    if not isinstance(checksums, dict):
        raise _wrong(folder, "sha256", config, "the files' checksums", remedy)
    for name in files:
        if name not in checksums:
            raise EmoError(f"{folder / 'config.json'}: sha256 does not name {name}. {remedy}")
    for name, checksum in checksums.items():
        path = folder / name
        if not path.is_file():
            raise EmoError(f"{path}: missing. {remedy}")
        if file_sha256(path) != checksum:
            raise EmoError(f"{path}: damaged (its checksum is not config.json's). {remedy}")
    return config


def _wrong(
    folder: Path, key: str, config: Mapping[str, object], wanted: str, remedy: str
) -> EmoError:
    said = f"is {config[key]!r}, not" if key in config else "is missing: it must be"
    return EmoError(f"{folder / 'config.json'}: {key} {said} {wanted}. {remedy}")


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
