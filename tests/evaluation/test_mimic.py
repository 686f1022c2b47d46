"""The closed loop of mimicry: its scores on made-up curves, and a run from clip to picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from emo_core.evaluation.mimic import READINGS, SETTLING_S, Pair, Shot, Stage, perform_track, score
from emo_core.evaluation.mimic_lead import Played
from emo_core.face.alignment import canonical_face
from emo_core.face.topology import EYEBROWS
from emo_core.face.tracking import FaceTracker
from emo_core.mimic.composition import Composition
from emo_core.paths import config_dir
from emo_core.robot.description import RobotDescription

Emo = Callable[..., Any]
FACE = canonical_face()


@pytest.fixture(scope="module")
def robot() -> RobotDescription:
    return RobotDescription.load("sim")


def moved(curve: np.ndarray, points: list[int], axis: int) -> np.ndarray:
    """(T, 478, 3): the canonical face with some points moved along a curve, mm."""
    faces = np.repeat(FACE[None], len(curve), axis=0).astype(np.float32)
    faces[:, points, axis] += curve[:, None]
    return faces


def shot(seen: np.ndarray, once: np.ndarray | None = None) -> Shot:
    return Shot(seen, seen if once is None else once, seen)


@pytest.mark.parametrize(
    ("reading", "points", "axis"),
    [
        ("mouth_opening", [13], 1),
        ("mouth_width", [291], 0),
        ("eye_opening", [159, 386], 1),
        ("brow_height", list(EYEBROWS), 1),
    ],
)
def test_each_reading_reads_its_own_motion(reading: str, points: list[int], axis: int) -> None:
    faces = moved(np.array([0.0, 2.0]), points, axis)
    for name, read in READINGS.items():
        change = float(np.diff(read(faces))[0])
        if name == reading:
            assert change == pytest.approx(2.0, abs=0.15)  # lips do not lie in one plane
        else:
            assert change == pytest.approx(0.0, abs=0.02), name


def test_slope_and_r_are_those_of_frames_about_their_clips_means() -> None:
    rng = np.random.default_rng(0)
    pairs = []
    for offset in (0.0, 20.0):  # a robot that starts elsewhere in the second clip
        curve, noise = rng.normal(0, 1.5, 400), rng.normal(0, 0.9, 400)
        seen = moved(0.8 * curve + offset, [291], 0)
        once = moved(0.8 * curve + offset + noise, [291], 0)
        pairs.append(Pair("", moved(curve, [291], 0), shot(seen, once)))
    figures = score(pairs, ["mouth_width"])["mouth_width"]
    assert figures["r"] == pytest.approx(1.0, abs=1e-4)
    assert figures["slope"] == pytest.approx(0.8, abs=1e-3)
    assert figures["clips_r"] == pytest.approx(1.0, abs=1e-4)
    assert figures["person_sd_mm"] == pytest.approx(1.5, abs=0.1)
    assert figures["once"]["r"] == pytest.approx(1.2 / np.hypot(1.2, 0.9), abs=0.03)
    assert figures["once"]["slope"] == pytest.approx(0.8, abs=0.05)


def test_frames_without_a_face_and_the_first_do_not_count() -> None:
    curve = np.sin(np.arange(60.0))
    person, seen = moved(curve, [291], 0), moved(curve, [291], 0)
    seen[: round(25 * SETTLING_S), 291] = 50.0
    seen[30], person[40] = np.nan, np.nan
    robot_curve, person_curve = Pair("", person, shot(seen)).curves("mouth_width")
    assert len(robot_curve) == 60 - round(25 * SETTLING_S) - 2
    assert np.allclose(robot_curve, person_curve, atol=1e-4)


def play(frames_ahead: float, final_ahead: float = 1.0) -> Played:
    """An onset of 20 frames; with prediction it comes so many frames sooner."""
    time = np.arange(80.0)

    def lift(delay: float, final: float) -> Shot:
        return shot(moved(5.0 * final * np.clip((time - 20 + delay) / 20, 0, 1), [*EYEBROWS], 1))

    composition = Composition(np.zeros((80, 10, 2)), np.zeros((10, 2)), 19, 40, 70, "brow_raise")
    goal = shot(moved(np.repeat([0.0, 5.0], 30), [*EYEBROWS], 1))
    plain = lift(0.0, 1.0)
    return Played(composition, plain.seen, lift(frames_ahead, final_ahead), plain, goal)


@pytest.mark.parametrize("frames", [0.0, 3.0, 5.5])
def test_lead_is_how_much_earlier_half_of_the_way_is_gone(frames: float) -> None:
    assert play(frames).lead_ms("seen") == pytest.approx(40.0 * frames, abs=0.5)


def test_who_stops_short_has_a_final_error_and_one_who_never_moves_no_lead() -> None:
    short = play(3.0, final_ahead=0.8)
    brows = len(EYEBROWS) / 113
    assert short.final_error(short.plain, "seen") == pytest.approx(0.0, abs=1e-4)
    assert short.final_error(short.ahead, "seen") == pytest.approx(1.0 * brows, abs=1e-3)
    assert play(3.0, final_ahead=0.3).lead_ms("skin") is None


def test_a_person_who_opens_the_mouth_opens_the_robots(robot: RobotDescription) -> None:
    gap = 12.0 * np.clip((np.arange(50.0) - 25) / 10, 0, 1)
    track = moved(-gap, [14, 17, 152, 87, 317, 178, 402, 88, 318], 1)
    track[:3] = np.nan  # nobody there
    person, commands = perform_track(robot, track, FACE, predict=False)
    jaw = robot.names.index("jaw")
    assert np.isnan(person[0]).all()
    assert np.isfinite(person[3:]).all()
    assert np.allclose(commands[0], robot.neutral, atol=1e-6)
    assert commands[-1, jaw] > commands[20, jaw] + 0.15


def test_takes_are_averaged_and_the_same_again(robot: RobotDescription) -> None:
    commands = np.repeat(robot.neutral[None], 6, axis=0).astype(np.float32)
    with FaceTracker() as finder:
        stage = Stage(robot, finder, takes=2)
        first, again = stage(commands, number=7), stage(commands, number=7)
        other = stage(commands, number=8)
    assert np.array_equal(first.seen, again.seen)
    assert not np.array_equal(first.once, other.once)
    second = 2 * first.seen - first.once  # of two takes, the other
    assert np.abs(second - first.once).mean() > 0.05
    corners = first.skin[:, [33, 263]]
    assert np.linalg.norm(corners[:, 0] - corners[:, 1], axis=-1) == pytest.approx(90.0, abs=0.1)


def test_the_command_reports_talking_faces_and_expressions(emo: Emo, prepared: Path) -> None:
    given = ("eval", "mimic", prepared, "--clips", 1, "--composed", 1, "--takes", 1)
    figures = json.loads(emo(*given, "--json", "--debug").out)
    talking = figures["talking"][prepared.name]
    assert talking["clips"] == 1
    assert talking["face_found"] > 0.9
    # A made-up face, whose lips do not fit each other: it moves, but less alike than people's.
    assert talking["mouth_opening"]["skin"]["r"] > 0.6
    assert talking["mouth_opening"]["r"] > 0.5
    assert 0.15 < talking["mouth_opening"]["slope"] < 1.3
    assert talking["mouth_opening"]["once"] == {
        key: talking["mouth_opening"][key] for key in ("r", "slope", "clips_r")
    }
    assert 0 < talking["lag_ms"] < 150
    assert figures["composed"]["expressions"] == 1
    assert figures["strangers"] == [prepared.name]


def test_mistakes_are_one_line(emo: Emo, prepared: Path, tmp_path: Path) -> None:
    assert "--takes at least 1" in emo("eval", "mimic", prepared, "--takes", 0).err
    real = tmp_path / "real.yaml"
    given = yaml.safe_load((config_dir() / "robots" / "sim.yaml").read_text())
    del given["simulator"]
    real.write_text(yaml.safe_dump(given | {"bus": {"kind": "lx", "port": "/dev/null"}}))
    asked = emo("eval", "mimic", prepared, "--robot", real)
    assert asked.status == 1
    assert "simulator is missing" in asked.err
