"""CSV files that a node writes while it runs, in constant memory."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from emo_core.errors import EmoError

#: A process that is killed loses no more than this.
FLUSH_S = 1.0


class Record:
    """One CSV file, or nothing if `folder` is empty.

    Lines go to the disk from a thread of its own: a disk that is busy for a third of a second (as
    file systems are when they commit) must not hold up a motor. A disk that is full ends the
    record, with a line on standard error, and nothing else. A node started again in the same run
    (after a crash) goes on where the file ends, on a new line where one is unfinished.
    """

    def __init__(self, folder: str, name: str, columns: Sequence[str]) -> None:
        self._file: TextIO | None = None
        self._lines: deque[str] = deque()
        self._writing = threading.Lock()
        self._closing = threading.Event()
        if not folder:
            return
        path = Path(folder) / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.stat().st_size == 0:
                begin = ",".join(columns) + "\n"
            else:
                begin = "\n" if _unfinished(path) else ""
            self._file = path.open("a", encoding="utf-8")
            self._file.write(begin)
            self._file.flush()
        except OSError as error:
            raise EmoError(
                f"cannot write {path} ({error.strerror}): give a folder that can be written"
            ) from None
        self._thread = threading.Thread(target=self._run, name=f"record {name}", daemon=True)
        self._thread.start()

    def __bool__(self) -> bool:
        return self._file is not None

    def write(self, line: str) -> None:
        """Append one line (without line end). Never waits for the disk."""
        if self._file is not None:
            self._lines.append(line)

    def flush(self) -> None:
        """Put everything on disk."""
        with self._writing:
            self._drain()

    def close(self) -> None:
        """Put everything on disk and close."""
        if self._file is None:
            return
        self._closing.set()
        self._thread.join()
        with self._writing:
            self._drain()
            if self._file is not None:
                self._file.close()
                self._file = None

    def _run(self) -> None:
        while not self._closing.wait(FLUSH_S):
            with self._writing:
                self._drain()

    def _drain(self) -> None:
        if self._file is None or not self._lines:
            return
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        try:
            self._file.write("\n".join(lines) + "\n")
            self._file.flush()
        except OSError as error:
            print(
                f"emo: cannot write {self._file.name} ({error.strerror}): this record ends here",
                file=sys.stderr,
            )
            self._file = None


def _unfinished(path: Path) -> bool:
    """Whether the last line of a file that is not empty has no end."""
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


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
