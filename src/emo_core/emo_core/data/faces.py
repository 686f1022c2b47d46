"""Folders of faces to learn expressions from: prepared clips, or videos, with sound or without."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emo_core.data.prepare import Clip, prepare_folder
from emo_core.errors import EmoError
from emo_core.evaluation.voice import static_face, voiced_frames
from emo_core.mimic.expressions import FIRST_FRAMES

#: Without splits.json every so manieth clip, by name, is for validation, and the next for testing.
_EVERY = 10


def prepared(folder: Path, out: Path) -> tuple[Path, Iterator[tuple[str, str | None]]]:
    """Where the clips of a folder are, and the work of tracking them (see `prepare_folder`).

    A folder of prepared clips is taken as it is; the videos of another are tracked into `out`.

    Raises:
        EmoError: no such folder, or neither clips nor videos in it.
    """
    if folder.is_dir() and any(folder.glob("*.npz")):
        return folder, iter(())
    return out, prepare_folder(folder, out, sound=False)


def names_of(folder: Path, split: str | None = None) -> list[str]:
    """The prepared clips of a folder, by name; of a split: "train", "val" or "test".

    By `splits.json`; without one, every tenth clip is for validation and the one after for testing.

    Raises:
        EmoError: `splits.json` cannot be read.
    """
    names = sorted(path.stem for path in folder.glob("*.npz"))
    if split is None:
        return names
    listed = _listed(folder, split)
    if listed is not None:
        return [name for name in names if name in set(listed)]
    kinds = {_EVERY - 2: "val", _EVERY - 1: "test"}
    return [name for i, name in enumerate(names) if kinds.get(i % _EVERY, "train") == split]


def _listed(folder: Path, split: str) -> list[str] | None:
    path = folder / "splits.json"
    if not path.is_file():
        return None
    try:
        return sorted(json.loads(path.read_text())[split])
    except (OSError, KeyError, TypeError, ValueError):
        raise EmoError(f"{path} has no list '{split}': remove the file or mend it") from None


def training_id(folder: Path) -> str:
    """By which a folder's training clips are known again, whatever the folder is called."""
    names = _listed(folder, "train") or names_of(folder, "train")
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def load_faces(folder: Path, split: str | None = None) -> list[Clip]:
    """The prepared clips of a folder, or of a split of it, that show a face.

    Raises:
        EmoError: there is none.
    """
    clips = [Clip.load(folder / f"{name}.npz") for name in names_of(folder, split)]
    clips = [clip for clip in clips if clip.valid.any()]
    if not clips:
        part = f"of '{split}' " if split else ""
        raise EmoError(f"no clip {part}in {folder} shows a face: add videos of faces")
    return clips


def rest_face(clip: Clip) -> NDArray[np.float32]:
    """The person at rest, (478, 3) mm: before speech; in a clip without, the first frames.

    Raises:
        ValueError: no frame has a face.
    """
    voiced = voiced_frames(clip.audio, len(clip.landmarks))
    if voiced.any():
        return static_face(clip.landmarks, voiced, clip.valid)
    if not clip.valid.any():
        raise ValueError("no frame has a face")
    first: NDArray[np.float32] = np.median(clip.landmarks[clip.valid][:FIRST_FRAMES], axis=0)
    return first
