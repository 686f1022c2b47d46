"""CSV files that a node writes while it runs, in constant memory."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from emo_core.errors import EmoError

#: A process that is killed loses no more than this.
FLUSH_S = 1.0


class Record:
    """One CSV file, or nothing if `folder` is empty.

    A node started again in the same run (after a crash) goes on where the file ends.
    """

    def __init__(self, folder: str, name: str, columns: Sequence[str]) -> None:
        self._file: TextIO | None = None
        self._flushed_s = 0.0
        if not folder:
            return
        path = Path(folder) / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = not path.exists() or path.stat().st_size == 0
            self._file = path.open("a", encoding="utf-8", buffering=1 << 16)
        except OSError as error:
            raise EmoError(
                f"cannot write {path} ({error.strerror}): give a folder that can be written"
            ) from None
        if fresh:
            self._file.write(",".join(columns) + "\n")
            self._file.flush()

    def __bool__(self) -> bool:
        return self._file is not None

    def write(self, line: str) -> None:
        """Append one line (without line end)."""
        if self._file is None:
            return
        self._file.write(line + "\n")
        now = time.monotonic()
        if now - self._flushed_s > FLUSH_S:
            self._flushed_s = now
            self._file.flush()

    def flush(self) -> None:
        """Put everything on disk."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Put everything on disk and close."""
        if self._file is not None:
            self._file.close()
            self._file = None


def seconds(nanoseconds: int) -> str:
    """Nanoseconds as decimal seconds, nothing lost: `1700000000.123456789`."""
    return f"{nanoseconds // 1_000_000_000}.{nanoseconds % 1_000_000_000:09d}"


def unused(path: Path) -> Path:
    """`path`, or with a number where a run before left it; its folder is made.

    Raises:
        EmoError: the folder cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmoError(
            f"cannot make {path.parent} ({error.strerror}): give a folder that can be written"
        ) from None
    free = path
    for number in itertools.count(2):
        if not free.exists():
            break
        free = path.with_stem(f"{path.stem}-{number}")
    return free
