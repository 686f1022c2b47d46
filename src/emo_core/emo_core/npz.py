"""Archives of arrays (.npz), read so that a damaged one is a line for people."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile

from emo_core.errors import EmoError

#: What a file of other contents, an empty one, and any flipped byte make NumPy and zipfile raise,
#: and a number's place taken by something else.
_DAMAGE = (
    OSError,
    EOFError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextlib.contextmanager
def open_npz(path: str | Path, what: str, remedy: str) -> Iterator[NpzFile]:
    """The arrays of an .npz. They are read, and so checked, where the block asks for them.

    Args:
        what: what the file should be, with its article.
        remedy: what to do when it is not; ends the message.

    Raises:
        EmoError: missing, damaged, or it does not hold what the block asks for.
    """
    try:
        data = np.load(path, allow_pickle=False)
        if not isinstance(data, NpzFile):
            raise ValueError("a single array, not an archive")
        with data:
            yield data
    except _DAMAGE as error:
        text = " ".join(str(error).split()) or "it is cut short"
        raise EmoError(f"{path} is not {what} ({text}). {remedy}") from error
