"""What a training leaves in its work folder, for the same training to take up again."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emo_core.errors import EmoError
from emo_core.files import whole_file

#: Rounding differs between machines; other data does not come as near.
_RELATIVE, _ABSOLUTE = 1e-5, 1e-4


def save_checkpoint(path: Path, config: Any, **contents: Any) -> None:
    """Write a checkpoint, or leave the last one as it is.

    Args:
        config: a dataclass, the training's settings.
        contents: tensors, state dictionaries, numbers, text.

    Raises:
        EmoError: it cannot be written.
    """
    with whole_file(path) as part:
        torch.save({"config": asdict(config), **contents}, part)


def load_checkpoint(
    path: Path, config: Any, data: Mapping[str, Tensor] | None = None
) -> dict[str, Any]:
    """What `save_checkpoint` wrote for a training with these settings, on this data.

    Args:
        data: contents by which the data is told from other data.

    Raises:
        EmoError: it was another training, or the file cannot be read.
    """
    folder = path.parent
    remedy = "remove it, or give another folder with --work"
    if not zipfile.is_zipfile(path):  # as torch writes them
        raise EmoError(f"{folder} holds no whole {path.name}: {remedy}")
    stored: dict[str, Any] = torch.load(path, weights_only=True)
    held, wanted = stored.get("config", {}), asdict(config)
    other = [
        f"{key} {held.get(key)}, not {wanted.get(key)}"
        for key in {**wanted, **held}
        if held.get(key) != wanted.get(key)
    ]
    if other:
        raise EmoError(f"{folder} holds a training with {'; '.join(other)}: {remedy}")
    for key, value in (data or {}).items():
        if key not in stored:
            raise EmoError(f"{folder} holds another version's training: {remedy}")
        same = stored[key].shape == value.shape
        if not same or not torch.allclose(stored[key], value, rtol=_RELATIVE, atol=_ABSOLUTE):
            raise EmoError(f"{folder} holds a training on other data: {remedy}")
    return stored
