"""Archives of arrays that are damaged: one line for people, whoever reads them."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emo_core.data.prepare import Clip
from emo_core.errors import EmoError
from emo_core.face.static_face import load_face
from emo_core.npz import open_npz
from emo_core.robot.babbling import Babble
from emo_core.robot.normalization import Profile
from emo_core.robot.sim.skin import load_mesh

#: Who reads archives: the function, the array that it asks for first, what it says.
READERS: list[tuple[Callable[[Path], object], str, str]] = [
    (load_face, "landmarks", r"is not a face file \(.*Make one with './emo track VIDEO"),
    (Profile.load, "static", r"is not a robot profile \(.*Train the inverse model again"),
    (Babble.load, "schema", r"is not a babbling file \(.*Run \./emo babble again"),
    (load_mesh, "points", r"is not a face mesh \(.*Restore it from the repository"),
    (Clip.load, "landmarks", r"is not a prepared clip \(.*run './emo data prepare'"),
]


def archive(name: str) -> bytearray:
    out = io.BytesIO()
    np.savez_compressed(out, **{name: np.arange(1000)})
    return bytearray(out.getvalue())


def empty(name: str) -> bytes:
    return b""


def cut(name: str) -> bytes:
    return bytes(archive(name)[:500])


def flipped(name: str) -> bytes:
    """The first byte of the deflated array, which then is no deflate block."""
    data = archive(name)
    first = 30 + int.from_bytes(data[26:28], "little") + int.from_bytes(data[28:30], "little")
    data[first] = 0xFF
    with pytest.raises(zlib.error), np.load(io.BytesIO(data)) as stored:
        stored[name]
    return bytes(data)


def encrypted(name: str) -> bytes:
    """By a flipped bit in the archive's directory."""
    data = archive(name)
    data[data.index(b"PK\x01\x02") + 8] ^= 1
    with pytest.raises(RuntimeError), np.load(io.BytesIO(data)) as stored:
        stored[name]
    return bytes(data)


def single(name: str) -> bytes:
    out = io.BytesIO()
    np.save(out, np.arange(3))
    return out.getvalue()


def others(name: str) -> bytes:
    return bytes(archive("x"))


@pytest.mark.parametrize("damage", [empty, cut, flipped, encrypted, single, others])
@pytest.mark.parametrize("reader", READERS, ids=[says.split()[3] for _, _, says in READERS])
def test_damage_is_one_line(
    reader: tuple[Callable[[Path], object], str, str],
    damage: Callable[[str], bytes],
    tmp_path: Path,
) -> None:
    load, name, says = reader
    file = tmp_path / "a.npz"
    file.write_bytes(damage(name))
    with pytest.raises(EmoError, match=rf"a\.npz {says}") as caught:
        load(file)
    assert "\n" not in str(caught.value) and "()" not in str(caught.value)


def test_a_list_where_a_number_belongs_is_one_line(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", landmarks=np.zeros((1, 478, 3)), fps=np.zeros(3))
    with pytest.raises(EmoError, match="is not a face file"):
        load_face(tmp_path / "a.npz")


def test_whole_archives_are_read_and_a_blocks_own_error_passes(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(archive("x"))
    with open_npz(tmp_path / "a.npz", "an archive", "Mend it") as stored:
        np.testing.assert_array_equal(stored["x"], np.arange(1000))
    with pytest.raises(EmoError, match=r"^another version$"):
        with open_npz(tmp_path / "a.npz", "an archive", "Mend it"):
            raise EmoError("another version")
    with pytest.raises(EmoError, match=r"no\.npz is not an archive .*No such file.* Mend it$"):
        with open_npz(tmp_path / "no.npz", "an archive", "Mend it"):
            pass
