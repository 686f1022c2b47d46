"""Results on disk: whole or not there."""

from __future__ import annotations

import numpy as np
import pytest

from emo.cli._files import ArraySpool, check_output, write_npz
from emo_core.errors import EmoError
from emo_core.files import results_folder, whole_file


def test_output_is_checked_before_the_work(tmp_path):
    assert check_output(str(tmp_path / "a.npz"), (".npz",)) == tmp_path / "a.npz"
    with pytest.raises(EmoError, match="mkdir -p"):
        check_output(str(tmp_path / "no" / "a.npz"), (".npz",))
    with pytest.raises(EmoError, match=r"\.npz or \.mp4"):
        check_output(str(tmp_path / "a.txt"), (".npz", ".mp4"))
    (tmp_path / "b.npz").mkdir()
    with pytest.raises(EmoError, match="is a folder"):
        check_output(str(tmp_path / "b.npz"), (".npz",))


def test_an_output_that_is_an_input_is_refused(tmp_path):
    speech, link = tmp_path / "in.mp4", tmp_path / "link.mp4"
    speech.write_bytes(b"sound")
    link.symlink_to(speech)
    for out in (speech, link, tmp_path / ".." / tmp_path.name / "in.mp4"):
        with pytest.raises(EmoError, match=r"in\.mp4 would be replaced .*another name with -o"):
            check_output(str(out), (".mp4",), str(speech), None)
    for read in ("-", "http://127.0.0.1/in.mp4", "x" * 5000, str(tmp_path / "none.mp4"), None):
        assert check_output(str(speech), (".mp4",), read) == speech


@pytest.mark.parametrize("end", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_result_and_no_rubbish(tmp_path, end):
    target = tmp_path / "a.npz"
    target.write_bytes(b"old")
    with pytest.raises(end), whole_file(target) as part:
        part.write_bytes(b"half")
        raise end
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_one_line(tmp_path):
    with pytest.raises(EmoError, match="No space left on device"), whole_file(tmp_path / "a.npz"):
        raise OSError(28, "No space left on device")


def test_a_folder_of_results_is_one_process_at_a_time(tmp_path):
    folder = tmp_path / "out" / "lipsync"
    with results_folder(folder):
        with pytest.raises(EmoError, match=r"another emo writes to .*choose another folder"):
            with results_folder(folder):
                pass
        with results_folder(tmp_path / "out"):
            pass
    with results_folder(folder):
        assert not list(folder.iterdir())


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "text").write_text("not a folder")
    with pytest.raises(EmoError, match=r"cannot write to .*choose another folder with --out"):
        with results_folder(tmp_path / "text"):
            pass


@pytest.mark.parametrize("spool_bytes", [100, 10_000_000])
def test_spooled_rows_come_back(tmp_path, monkeypatch, spool_bytes):
    monkeypatch.setattr("emo.cli._files.SPOOL_BYTES", spool_bytes)
    rng = np.random.default_rng(0)
    blocks = [rng.normal(size=(n, 5, 3)).astype(np.float32) for n in (1, 0, 7, 300)]
    with ArraySpool(tmp_path) as spool:
        for block in blocks:
            spool.append(block)
        write_npz(tmp_path / "a.npz", {"x": spool, "names": np.array(["a", "bc"])})
    with np.load(tmp_path / "a.npz") as stored:
        np.testing.assert_array_equal(stored["x"], np.concatenate(blocks))
        assert stored["x"].dtype == np.float32
        assert list(stored["names"]) == ["a", "bc"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
