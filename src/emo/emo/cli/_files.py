"""Results on disk: checked before the work starts, and larger than memory."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from emo_core.errors import EmoError

#: Rows of a streamed array stay in memory up to this many bytes, then go to a file.
SPOOL_BYTES = 16_000_000


def check_output(path: str, suffixes: tuple[str, ...], *read: str | None) -> Path:
    """The output path, if it can be written.

    Args:
        read: what the command reads, if it was named.

    Raises:
        EmoError: another suffix, a missing folder, a folder in its place, no right to write; or
            what is read would be replaced.
    """
    target = Path(path)
    if target.suffix.lower() not in suffixes:
        raise EmoError(f"cannot tell what to write: {path}: give a name that ends in "
                       f"{' or '.join(suffixes)}")  # fmt: skip
    if target.is_dir():
        raise EmoError(f"{path} is a folder: give the name of a file")
    folder = target.parent
    if not folder.is_dir():
        raise EmoError(f"output folder does not exist: {folder}. Make it: mkdir -p '{folder}'")
    if not os.access(folder, os.W_OK) or (target.exists() and not os.access(target, os.W_OK)):
        raise EmoError(f"no right to write {path}: choose another place with -o")
    keep_inputs([target], read, "the result: give another name with -o")
    return target


def keep_inputs(written: Iterable[Path], read: Iterable[str | Path | None], by: str) -> None:
    """What a command reads is none of the files that it removes or writes.

    Args:
        read: paths, devices and addresses; None or empty: not named.
        by: what would take its place, and what to do.

    Raises:
        EmoError: it is, under this name or another.
    """
    targets = list(written)
    for source in read:
        if source and any(_same(source, target) for target in targets):
            raise EmoError(f"{source} would be replaced by {by}")


def _same(one: str | Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them is not there
        return False


class ArraySpool:
    """A float32 array (T, ...) that grows by rows: small in memory, large in an unnamed file."""

    def __init__(self, folder: Path) -> None:
        import tempfile

        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(SPOOL_BYTES, dir=str(folder))
        self.rows = 0
        self.row_shape: tuple[int, ...] = ()

    def append(self, rows: NDArray[np.float32]) -> None:
        """Add rows (n, ...)."""
        self.row_shape = rows.shape[1:]
        self.rows += len(rows)
        if rows.size:
            self._file.write(np.ascontiguousarray(rows, np.float32).data.cast("B"))

    def write_npy(self, out: IO[bytes]) -> None:
        """The whole array in NPY format."""
        header = {"descr": "<f4", "fortran_order": False, "shape": (self.rows, *self.row_shape)}
        np.lib.format.write_array_header_1_0(out, header)  # type: ignore[no-untyped-call]  # numpy's
        self._file.seek(0)
        while block := self._file.read(1 << 20):
            out.write(block)

    def close(self) -> None:
        """Forget everything."""
        self._file.close()

    def __enter__(self) -> ArraySpool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def write_npz(path: Path, arrays: dict[str, NDArray[np.generic] | ArraySpool]) -> None:
    """An uncompressed .npz of arrays and spools, in constant memory."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as out:
                if isinstance(array, ArraySpool):
                    array.write_npy(out)
                else:
                    np.lib.format.write_array(  # type: ignore[no-untyped-call]  # numpy's
                        out, np.asanyarray(array), allow_pickle=False
                    )
