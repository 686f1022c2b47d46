"""Files that are whole or not there at all."""

from __future__ import annotations

import contextlib
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
