"""A person's face at rest: captured while it is calm, kept by name."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emo_core.errors import EmoError
from emo_core.face.topology import EYEBROWS, EYES, LIPS, LOWER_OVAL, NUM_LANDMARKS
from emo_core.files import whole_file
from emo_core.npz import open_npz

Array = NDArray[np.float32]

#: How long a face must be calm, in parts of which length it is looked at, and the longest gap; s.
CALM_S, _PART_S, _GAP_S = 1.0, 0.1, 0.25
#: No region's mean way from the whole second's mean is longer in any part of it, mm: a blink, a
#: word, a smile are; the tracker's noise, averaged over a tenth of a second, is not.
CALM_MM = 0.35
_REGIONS = (EYEBROWS, EYES, LIPS, LOWER_OVAL)
_LOOKED_AT = np.concatenate(_REGIONS)
_COUNT = np.array([len(region) for region in _REGIONS])
_FIRST = np.cumsum([0, *_COUNT[:-1]])
_NAME = re.compile(r"[\w][\w .-]{0,63}")


class StaticCapture:
    """A stage that waits for the first calm second of a face, and again when asked to.

    `calmest` is the calmest second so far, for who cannot wait; None while there was none.

    Args:
        calm_s: another time than a second.
        calm_mm: another motion that is still calm.
    """

    def __init__(self, calm_s: float = CALM_S, calm_mm: float = CALM_MM) -> None:
        self._calm_s, self._calm_mm = calm_s, calm_mm
        self.reset()

    def reset(self) -> None:
        """Wait for the next calm second: another person, or on request."""
        self._window: deque[tuple[float, Array]] = deque()
        self._time_s = 0.0
        self._least = np.inf
        self.calmest: Array | None = None
        self.captured: Array | None = None

    def feed(self, face: Array, dt_s: float) -> Array | None:
        """A metric face (478, 3) mm, `dt_s` after the last -> the face at rest when it is had.

        Raises:
            ValueError: time that does not advance.
        """
        if not dt_s > 0:
            raise ValueError(f"time must advance, got {dt_s} s")
        self._time_s += dt_s
        if self.captured is not None:
            return None
        if not np.isfinite(face).all() or dt_s > _GAP_S:
            self._window.clear()  # a second without gaps
            return None
        self._window.append((self._time_s, face))
        while self._time_s - self._window[0][0] > self._calm_s:
            self._window.popleft()
        if self._time_s - self._window[0][0] < self._calm_s - 1.5 * dt_s:
            return None
        motion = self._motion()
        if motion >= self._least and motion > self._calm_mm:
            return None
        mean: Array = np.mean([kept for _, kept in self._window], 0, np.float64).astype(np.float32)
        if motion < self._least:
            self._least, self.calmest = motion, mean
        if motion > self._calm_mm:
            return None
        self.captured = mean
        return mean

    def _motion(self) -> float:
        """The furthest that a region goes from its mean, in the mean of a part, mm."""
        faces = np.stack([kept[_LOOKED_AT, :2] for _, kept in self._window])
        count = min(max(round(self._calm_s / _PART_S), 1), len(faces))
        starts = np.arange(count) * len(faces) // count
        sizes = np.diff(starts, append=len(faces))
        parts = np.add.reduceat(faces, starts, axis=0) / sizes[:, None, None]
        way = np.linalg.norm(parts - faces.mean(0), axis=-1)
        return float((np.add.reduceat(way, _FIRST, axis=1) / _COUNT).max())


def face_path(folder: str | Path, name: str) -> Path:
    """Where the face of that name is kept.

    Raises:
        EmoError: a name that is none: letters, digits, spaces, dots, dashes.
    """
    if not _NAME.fullmatch(name):
        raise EmoError(f"'{name}' is no name for a face: use letters, digits, spaces, - and .")
    return Path(folder) / f"{name}.npz"


def save_static_face(folder: str | Path, name: str, face: Array) -> Path:
    """Keep a face at rest, metric (478, 3) mm, as a FACE.npz that `--face` takes.

    Raises:
        EmoError: no such name, or it cannot be written.
    """
    path = face_path(folder, name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as part, part.open("wb") as out:
            np.savez_compressed(out, landmarks=face[None].astype(np.float32), fps=np.float64(25))
    except OSError as error:
        raise EmoError(
            f"cannot write {path} ({error.strerror}): name another folder with --faces"
        ) from None
    return path


@dataclass(frozen=True)
class KeptFace:
    """One person's face at rest, kept by name; without a name nobody's, and kept nowhere.

    Raises:
        EmoError: a name that is none, or no folder for it.
    """

    folder: str
    name: str

    def __post_init__(self) -> None:
        if self.name and not self.folder:
            raise EmoError(f"where is the face of '{self.name}'? Give the folder, faces")
        if self.name:
            face_path(self.folder, self.name)

    @property
    def path(self) -> Path | None:
        """The file; None: kept nowhere."""
        return face_path(self.folder, self.name) if self.name else None

    @property
    def missing(self) -> bool:
        """It has a name, and is not there yet."""
        return self.path is not None and not self.path.exists()

    def load(self) -> Array | None:
        """(478, 3) mm; None: there is none yet.

        Raises:
            EmoError: the file is no face.
        """
        return None if self.path is None or self.missing else load_face(self.path)

    def save(self, face: Array) -> str:
        """Keep `face`, (478, 3) mm, if it has a name; returns what was done with it, for a log.

        Raises:
            EmoError: it cannot be written.
        """
        if not self.name:
            return "not kept: no person is named"
        return f"kept as {save_static_face(self.folder, self.name, face)}"


def load_face(path: str | Path) -> Array:
    """Static face from FACE.npz, an image or a video -> metric (478, 3) in mm.

    The mean of the first second's valid frames.

    Raises:
        EmoError: it cannot be read, holds no face, or is of another format.
    """
    path = Path(path)
    if path.suffix.lower() != ".npz":
        # OpenCV and FFmpeg: 0.15 s that who reads a kept face need not wait for.
        from emo_core.face.tracking import track_video

        track = track_video(path)
        landmarks, fps = track.metric, track.fps
    else:
        if not path.is_file():
            raise EmoError(f"no such face file: {path}")
        remedy = f"Make one with './emo track VIDEO -o {path}'"
        with open_npz(path, "a face file", remedy) as stored:
            landmarks, fps = stored["landmarks"], float(stored["fps"])
    if landmarks.ndim != 3 or landmarks.shape[1:] != (NUM_LANDMARKS, 3):
        raise EmoError(f"{path} holds landmarks of shape {landmarks.shape}, not (T, 478, 3)")
    good = landmarks[np.isfinite(landmarks).all(axis=(1, 2))]
    if not len(good):
        raise EmoError(f"{path} holds no valid face")
    face: Array = good[: max(1, round(fps))].mean(0).astype(np.float32)
    return face
