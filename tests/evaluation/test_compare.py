"""Two runs on one input: figures, curves and a film tell how they differ."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from emo_core.evaluation.compare import compare, write
from emo_core.evaluation.track import Track
from emo_core.face.alignment import canonical_face
from emo_core.robot.description import RobotDescription
from emo_core.viz.compare_film import Input

SIM = RobotDescription.load("sim")
JAW = SIM.names.index("jaw")


def run(name: str, late_s: float = 0.0, gain: float = 1.0, seconds: float = 4.0) -> Track:
    """A jaw and a human chin that go up and down, so much later and so much wider."""
    times = np.arange(round(seconds * 25)) / 25
    swing = 0.5 - 0.5 * np.cos(4.0 * (times - late_s) + np.sin(1.7 * (times - late_s)))
    motors = np.tile(SIM.neutral, (len(times), 1))
    motors[:, JAW] = 0.1 + 0.3 * gain * swing
    faces = np.repeat(canonical_face()[None].astype(np.float32), len(times), 0)
    faces[:, 14, 1] -= (12.0 * gain * swing).astype(np.float32)
    return Track(name, SIM, times, motors, SIM.names, times, faces)


def test_figures_say_how_much_and_how_late() -> None:
    figures = compare(run("one"), run("two", late_s=0.08, gain=0.5))
    assert figures["frames"] == 100
    jaw = figures["motors"]["jaw"]
    assert jaw["lag_ms"] == pytest.approx(80.0, abs=4.0)
    assert figures["opening_lag_ms"] == pytest.approx(80.0, abs=4.0)
    assert jaw["max"] == pytest.approx(0.3 * 0.5, abs=0.03)
    assert figures["motors"]["brow_left"]["rms"] == 0.0
    assert figures["opening_slope"] == pytest.approx(0.5, abs=0.05)
    same = compare(run("one"), run("two"))
    assert same["all_motors_rms"] == 0.0 and same["landmarks_mm"] == 0.0


def test_motors_of_one_robot_only_are_named_and_not_compared(tmp_path: Path) -> None:
    other = RobotDescription.load("emo22")
    second = run("two")
    motors = np.tile(other.neutral, (len(second.times_s), 1))
    second = replace(second, robot=other, names=other.names, motors=motors)
    figures = compare(run("one"), second)
    assert set(figures["motors"]) == set(SIM.names) & set(other.names)
    write(run("one"), second, figures, [("robot", "sim", "emo22")], Input(), tmp_path)
    text = (tmp_path / "compare.md").read_text()
    assert "| robot | sim | emo22 |" in text
    assert "Only one of the robots has " in text and "brow_inner_left" in text


def test_robots_without_a_motor_in_common_have_no_rms() -> None:
    second = replace(run("two"), names=tuple(f"other_{name}" for name in SIM.names))
    assert compare(run("one"), second)["all_motors_rms"] is None


def test_the_report_has_curves_and_a_film_of_person_and_both_robots(tmp_path: Path) -> None:
    first, second = run("wide", seconds=0.8), run("still", gain=0.0, seconds=0.8)
    sound = np.sin(np.arange(16_000) / 8).astype(np.float32)
    person = ((k / 5, np.full((96, 128, 3), 60 * k, np.uint8)) for k in range(1, 4))
    settings = [("mouth_gain", "1.0", "0.0")]
    given = Input(sound, person)
    paths = write(first, second, compare(first, second), settings, given, tmp_path)
    assert [path.name for path in paths] == [f"compare.{x}" for x in ("md", "json", "png", "mp4")]
    assert json.loads(paths[1].read_text())["settings"] == {"mouth_gain": ["1.0", "0.0"]}
    assert paths[2].stat().st_size > 10_000
    with av.open(str(paths[3])) as film:
        assert len(film.streams.audio) == 1
        frames = [frame.to_ndarray(format="gray") for frame in film.decode(video=0)]
    assert len(frames) == 20 and frames[0].shape == (520, 3 * 640)
    seen, wide, still = (
        np.array([frame[40:, x : x + 640].astype(int) for frame in frames]) for x in (0, 640, 1280)
    )
    assert [round(float(seen[k].mean()) / 60) for k in (6, 11, 16)] == [1, 2, 3], "at its time"
    moved = [np.abs(each[18] - each[0]).mean() for each in (wide, still)]
    assert moved[0] > 4 * moved[1], "the first robot moves, the second does not"
    assert not list(tmp_path.glob(".*")), "nothing else is left"
