"""Files that are whole or not there at all, and folders that one process writes to."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from emo_core.errors import EmoError


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A path to write to that becomes `target` only if all went well, and is removed if not.

    Raises:
        EmoError: it cannot be written.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, target)
    except OSError as error:
        raise EmoError(
            f"cannot write {target}: {error.strerror or error}. Free some space or choose "
            "another place"
        ) from error
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def results_folder(folder: Path) -> Iterator[None]:
    """A folder for results, made where it is not there, and held until the end.

    Two that write to one folder would take each other's files away.

    Raises:
        EmoError: another process writes to it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise EmoError(
            f"cannot write to {folder} ({error.strerror}): choose another folder with --out"
        ) from None
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise EmoError(
                    f"another emo writes to {folder}: wait for its end, or choose another folder "
                    "with --out"
                ) from None
        yield
    finally:
        os.close(handle)
