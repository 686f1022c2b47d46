"""File locks (flock): each ends with the process that holds it."""

from __future__ import annotations

import fcntl
from pathlib import Path


def is_held(path: Path) -> bool:
    """Whether some process holds the lock, as far as this user can see."""
    try:
        file = path.open("rb")
    except OSError:  # nobody ever did, or another user's
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
