"""Clips to evaluate on: from a folder of videos, or one that `./emo data prepare` made."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from emo_core.data.prepare import Clip, prepare_folder, videos_in
from emo_core.errors import EmoError
from emo_core.evaluation.voice import static_face, voiced_frames
from emo_core.face.alignment import canonical_face

Item = TypeVar("Item")
#: Called with (done, of how many, what).
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class EvalClip:
    """A prepared clip, with what every metric and predictor needs to know of it."""

    clip: Clip

    @property
    def name(self) -> str:
        """The video's name without its suffix."""
        return self.clip.name

    @property
    def frames(self) -> int:
        """Number of 25 Hz frames, T."""
        return len(self.clip.landmarks)

    @cached_property
    def voiced(self) -> NDArray[np.bool_]:
        """(T,) which frames have voice."""
        return voiced_frames(self.clip.audio, self.frames)

    @cached_property
    def static(self) -> NDArray[np.float32]:
        """(478, 3) mean of the frames before speech: the model's input and the baseline."""
        return static_face(self.clip.landmarks, self.voiced, self.clip.valid)

    @cached_property
    def displacement(self) -> NDArray[np.float32]:
        """(T, 478, 3) landmarks less the static face; NaN where no face was found."""
        return np.asarray(self.clip.landmarks - self.static, dtype=np.float32)


@dataclass(frozen=True)
class ClipSet:
    """What a folder gave: clips to score, clips to fit baselines on, and what was left out."""

    clips: list[EvalClip]
    training: list[EvalClip]  # empty: fit on the other clips (leave one out)
    skipped: dict[str, str]  # name -> reason
    split: str | None
    training_source: str


def cache_folder(folder: Path, cache: Path | None = None) -> Path:
    """Where the prepared clips of a folder of videos are kept between runs.

    Under `cache`, else $XDG_CACHE_HOME/emo, else ~/.cache/emo. The name holds a hash of the
    folder's path and of the canonical face: another face, other landmarks, another cache.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    root = cache or base / "emo" / "prepared"
    key = hashlib.sha256(str(folder.resolve()).encode() + canonical_face().tobytes()).hexdigest()
    return root / f"{folder.resolve().name}-{key[:12]}"


def load_clips(
    folder: Path,
    *,
    split: str | None = None,
    names: Sequence[str] | None = None,
    most: int | None = None,
    train: Path | None = None,
    max_training: int = 200,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> ClipSet:
    """The clips of DIR to score, and those for the baselines.

    DIR holds videos, or npz clips of `./emo data prepare`, with or without `splits.json`. Scored
    are the clips in `names`, else those of `split` (default "test" where DIR has `splits.json`),
    else all; at most `most` of them, evenly spread. Baselines are fitted on `train` (a folder such
    as DIR; its split "train" where it has one), else on DIR's split "train", at most
    `max_training` clips evenly spread over the list, never one that is scored.

    Raises:
        EmoError: no such folder, split or clip; nothing could be used.
    """
    if not folder.is_dir():
        raise EmoError(f"no such folder: {folder}. Give a folder of videos or of prepared clips")
    splits = _splits(folder)
    stems = _names_in(folder)
    if names:
        unknown = sorted(set(names) - set(stems))
        if unknown:
            raise EmoError(f"{folder} has no clip {', '.join(unknown)}: see its file names")
        wanted, split = list(names), None
    elif split is not None or splits:
        split = split or "test"
        if split not in splits:
            raise EmoError(
                f"{folder} has no split '{split}' (it has: {', '.join(splits) or 'none'}): "
                "give --split or --clips"
            )
        wanted = splits[split]
    else:
        wanted = stems
    if most is not None:
        wanted = spread(wanted, most)
    scored, skipped = _load(folder, wanted, cache, progress)
    if not scored:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in sorted(skipped.items())[:3])
        raise EmoError(f"no clip of {folder} can be used ({reasons})")
    source, said = (train, str(train)) if train else (folder, str(folder))
    listed = _splits(source).get("train", _names_in(source) if train else [])
    if source.resolve() == folder.resolve():
        listed = [name for name in listed if name not in set(wanted)]
    chosen = spread(listed, max_training)
    if not chosen:
        return ClipSet(scored, [], skipped, split, "the other clips scored (leave one out)")
    training, _ = _load(source, chosen, cache, progress)
    part = "split 'train' of " if "train" in _splits(source) else ""
    count = f"{len(training)} of {len(listed)} clips"
    return ClipSet(scored, training, skipped, split, f"{part}{said} ({count})")


def _splits(folder: Path) -> dict[str, list[str]]:
    path = folder / "splits.json"
    if not path.is_file():
        return {}
    try:
        splits = json.loads(path.read_text())
        return {str(key): [str(name) for name in names] for key, names in splits.items()}
    except (json.JSONDecodeError, AttributeError, TypeError) as error:
        raise EmoError(
            f"{path} is not a table of splits ({error}): it should hold "
            '{"train": [names], "test": [names]}'
        ) from None


def _is_prepared(folder: Path) -> bool:
    return any(folder.glob("*.npz"))


def _names_in(folder: Path) -> list[str]:
    if _is_prepared(folder):
        return sorted(path.stem for path in folder.glob("*.npz"))
    return [path.stem for path in videos_in(folder)]


def spread(items: list[Item], count: int) -> list[Item]:
    """At most `count` of the items, evenly spread over the list."""
    if len(items) <= count:
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]


def _load(
    folder: Path, names: Sequence[str], cache: Path | None, progress: Progress | None
) -> tuple[list[EvalClip], dict[str, str]]:
    """Load the named clips, tracking the videos that were not tracked before."""
    skipped: dict[str, str] = {}
    if _is_prepared(folder):
        prepared = folder
    else:
        prepared = cache_folder(folder, cache)
        _forget_changed(folder, prepared, set(names))
        for done, (name, reason) in enumerate(prepare_folder(folder, prepared, list(names)), 1):
            if reason is not None:
                skipped[name] = reason
            if progress:
                progress(done, len(names), "tracking")
    clips = []
    for name in names:
        path = prepared / f"{name}.npz"
        if not path.is_file():
            skipped.setdefault(name, f"there is no {name} in {folder}")
            continue
        try:
            clip = Clip.load(path)
        except EmoError as error:
            skipped[name] = str(error)
            continue
        if not clip.valid.any():
            skipped[name] = "no face in any frame"
            continue
        clips.append(EvalClip(clip))
    return clips, skipped


def _forget_changed(folder: Path, prepared: Path, names: set[str]) -> None:
    """Drop cached clips that are older than their videos."""
    for video in videos_in(folder):
        stored = prepared / f"{video.stem}.npz"
        known = video.stem in names and stored.is_file()
        if known and stored.stat().st_mtime < video.stat().st_mtime:
            stored.unlink()
