"""latency.csv of a run -> figures of each pipeline. No ROS."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from emo.latency import first_stamp, summarize

HEADER = (
    "frame,stamp,driver,source,speech_features,audio2landmark,face_tracking,predictive_model,"
    "normalization,inverse_model,arbiter,received,written\n"
)


def lipsync(frame: int, driver: str, received: float, written: float | str) -> str:
    ages = [1, 2, "", "", 3, 4, 5, received, written]
    return f"{frame},{100 + frame * 0.04},{driver},lipsync,{','.join(map(str, ages))}\n"


def mimic(frame: int, written: float | str) -> str:
    ages = ["", "", 8, 9, 10, 11, 12, 13, written]
    return f"{frame},{200 + frame / 30},eye_driver,mimic,{','.join(map(str, ages))}\n"


def test_latency_is_that_of_the_write_and_drops_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "latency.csv"
    drivers = {"eye_driver": 6.0, "mouth_driver": 7.0}
    rows = [lipsync(n, *each, 10) for n, each in itertools.product([0, 1, 3], drivers.items())]
    rows[1], rows[2] = rows[2], rows[1]  # one driver may be a frame ahead of the other
    path.write_text(HEADER + "".join(rows) + "4,100.16,eye")
    figures = summarize(path, ["lipsync"])["lipsync"]
    assert (figures["frames"], figures["written"], figures["dropped"]) == (3, 3, 1)
    assert figures["end_to_end_ms"] == {"p50": 10.0, "p95": 10.0, "p99": 10.0}
    assert list(figures["stages_ms"]) == [
        "microphone_and_speech_features",
        "audio2landmark",
        "normalization",
        "inverse_model",
        "arbiter",
        "transport_to_drivers",
        "drivers",
    ]
    assert figures["stages_ms"]["drivers"]["p50"] == 4.0
    assert sum(stage["p50"] for stage in figures["stages_ms"].values()) == 10.0


def test_a_line_that_goes_on_in_an_unfinished_one_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "latency.csv"
    rows = [lipsync(n, "mouth_driver", 6, 10) for n in range(4)]
    rows[1] = ",".join(rows[1].split(",")[:6])  # killed; frame 2 is of the process after it
    path.write_text(HEADER + "".join(rows))
    figures = summarize(path, ["lipsync"])["lipsync"]
    assert (figures["frames"], figures["written"], figures["dropped"]) == (2, 2, 2)
    assert figures["end_to_end_ms"]["p99"] == 10.0


def test_each_pipeline_has_figures_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "latency.csv"
    rows = [mimic(n, 20 + n) for n in range(5) if n != 2]
    rows += [lipsync(n, "mouth_driver", 6, 10) for n in range(3)]
    path.write_text(HEADER + "".join(np.random.default_rng(0).permutation(rows)))
    figures = summarize(path, ["lipsync", "mimic"])
    assert (figures["lipsync"]["frames"], figures["lipsync"]["dropped"]) == (3, 0)
    assert (figures["mimic"]["frames"], figures["mimic"]["dropped"]) == (4, 1)
    assert figures["mimic"]["stages_ms"]["camera_and_face_tracking"]["p50"] == 8.0
    assert "audio2landmark" not in figures["mimic"]["stages_ms"]
    assert figures["mimic"]["end_to_end_ms"]["p50"] == np.median([20, 21, 23, 24])


def test_a_frame_whose_motors_another_source_drives_is_neither_written_nor_dropped(
    tmp_path: Path,
) -> None:
    path = tmp_path / "latency.csv"
    rows = [lipsync(0, "eye_driver", 6, ""), lipsync(0, "mouth_driver", 6, 10)]
    rows += [lipsync(1, "eye_driver", 6, ""), lipsync(1, "mouth_driver", 6, "")]
    path.write_text(HEADER + "".join(rows))
    figures = summarize(path, ["lipsync"])["lipsync"]
    assert (figures["frames"], figures["written"], figures["dropped"]) == (2, 1, 0)
    assert figures["end_to_end_ms"]["p99"] == 10.0


def test_what_a_camera_left_out_is_dropped_too(tmp_path: Path) -> None:
    path = tmp_path / "latency.csv"
    path.write_text(HEADER + "".join(mimic(n, 20) for n in range(4)))
    assert summarize(path, ["mimic"], {"mimic": 6})["mimic"]["dropped"] == 2
    assert summarize(path, ["mimic"], {"mimic": 0})["mimic"]["dropped"] == 0
    assert first_stamp(path, "mimic") == 200.0
    assert first_stamp(path, "lipsync") is first_stamp(tmp_path / "none.csv", "mimic") is None


def test_no_latency_without_frames(tmp_path: Path) -> None:
    figures = summarize(tmp_path / "latency.csv", ["lipsync"])["lipsync"]
    assert (figures["frames"], figures["dropped"]) == (0, 0)
    assert figures["end_to_end_ms"]["p95"] is None
    (tmp_path / "latency.csv").write_text(HEADER)
    assert summarize(tmp_path / "latency.csv", ["lipsync"])["lipsync"] == {**figures} | {
        "stages_ms": {
            name: {"p50": None, "p95": None, "p99": None}
            for name in ("transport_to_drivers", "drivers")
        }
    }
