"""CSV records: complete, off the control path, and a full disk ends only the record."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytestmark = pytest.mark.ros

from emo_nodekit.records import Record  # noqa: E402


def test_lines_arrive_in_order_and_go_on_after_a_restart(tmp_path: Path) -> None:
    for run in range(2):
        record = Record(str(tmp_path), "a.csv", ["n"])
        for n in range(1000):
            record.write(str(1000 * run + n))
        record.flush()
        record.close()
    assert (tmp_path / "a.csv").read_text().splitlines() == ["n", *map(str, range(2000))]


def test_what_was_killed_over_a_line_goes_on_in_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n,m\n1,2\n3,")
    for numbers in ("5,6", "7,8"):
        record = Record(str(tmp_path), "a.csv", ["n", "m"])
        record.write(numbers)
        record.close()
    assert (tmp_path / "a.csv").read_text() == "n,m\n1,2\n3,\n5,6\n7,8\n"


def test_no_folder_no_record() -> None:
    record = Record("", "a.csv", ["n"])
    record.write("1")
    record.flush()
    record.close()
    assert not record


def test_a_disk_that_blocks_does_not_hold_up_the_writer(tmp_path: Path) -> None:
    record = Record(str(tmp_path), "a.csv", ["n"])
    with record._writing:  # the thread is at the disk
        began = time.monotonic()
        for n in range(1000):
            record.write(str(n))
        assert time.monotonic() - began < 0.5
    record.close()
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 1001


def test_a_full_disk_ends_the_record_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    record = Record(str(tmp_path), "a.csv", ["n"])
    assert record._file is not None
    record._file.close()
    record._file = open("/dev/full", "w")
    record.write("1")
    record.flush()
    assert not record
    record.write("2")
    record.close()
    assert capsys.readouterr().err.count("cannot write") == 1
