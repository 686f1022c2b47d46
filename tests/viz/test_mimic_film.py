"""Person and robot side by side: each at its time, with the sound of the robot's film."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mediapipe", reason="FaceMesh is not installed")

from emo_core.audio.sources import load_audio
from emo_core.errors import EmoError
from emo_core.face.tracking import VideoFile
from emo_core.rates import SAMPLE_RATE
from emo_core.viz import mimic_film
from emo_core.viz.mimic_film import BEGUN, begun_at, side_by_side
from emo_core.viz.video import VideoWriter

#: Seconds of both films, and rates that do not divide one another.
LENGTH_S, PERSON_FPS, ROBOT_FPS = 2.0, 30.0, 25.0


def clock(time_s: float, size: tuple[int, int]) -> np.ndarray:
    """A bar whose length, as a share of the picture's width, is that of the time gone by."""
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    picture[:, : round(time_s / LENGTH_S * size[0])] = 255
    return picture


def told(picture: np.ndarray) -> float:
    """The time a bar tells, in s."""
    return float((picture[200:400] > 127).mean() * LENGTH_S)


def write(path: Path, size: tuple[int, int], fps: float, begun: float | None = None) -> None:
    """A film of a clock; with a click at 1.5 s if begun."""
    rate = None if begun is None else SAMPLE_RATE
    with VideoWriter(path, size, fps, rate) as film:
        if begun is not None:
            film.comment(BEGUN.format(begun))
            click = np.zeros(round(LENGTH_S * SAMPLE_RATE), np.float32)
            click[round(1.5 * SAMPLE_RATE)] = 1.0
            film.add_audio(click)
        for n in range(round(LENGTH_S * fps)):
            film.add_frame(clock(n / fps, size))


def test_each_is_shown_at_its_time(tmp_path: Path) -> None:
    person, robot, out = (tmp_path / f"{name}.mp4" for name in ("person", "robot", "mimic"))
    write(person, (640, 480), PERSON_FPS)
    write(robot, (480, 480), ROBOT_FPS, begun=100.0)
    assert begun_at(robot) == 100.0
    frames = side_by_side(person, robot, 100.5, out)
    assert frames == round(LENGTH_S * PERSON_FPS)
    with VideoFile(out) as film:
        pictures = list(film.timed_frames())
        width = film.size[0]
    assert len(pictures) == frames
    for time_s, picture in pictures:
        left, right = picture[:, 16:656], picture[:, width - 496 : width - 16]
        assert told(left) == pytest.approx(time_s, abs=0.01)
        due_s = min(time_s + 0.5, LENGTH_S - 1 / ROBOT_FPS)
        assert -0.01 < due_s - told(right) < 1 / ROBOT_FPS + 0.01
    assert np.argmax(np.abs(load_audio(out))) / SAMPLE_RATE == pytest.approx(1.0, abs=0.005)


def test_a_robot_whose_film_begins_late_is_shown_and_heard_late(tmp_path: Path) -> None:
    person, robot, out = (tmp_path / f"{name}.mp4" for name in ("person", "robot", "mimic"))
    write(person, (640, 480), PERSON_FPS)
    write(robot, (480, 480), ROBOT_FPS, begun=100.2)
    side_by_side(person, robot, 100.0, out)
    with VideoFile(out) as film:
        *_, (time_s, picture) = film.timed_frames()
    due_s = time_s - 0.2
    assert -0.01 < due_s - told(picture[:, -496:-16]) < 1 / ROBOT_FPS + 0.01
    assert np.argmax(np.abs(load_audio(out))) / SAMPLE_RATE == pytest.approx(1.7, abs=0.005)


@pytest.mark.parametrize("shown_s", [100.013, 99.987, 100.5171])
def test_the_sound_is_in_place_to_the_sample(tmp_path: Path, shown_s: float) -> None:
    write(tmp_path / "robot.mp4", (64, 64), ROBOT_FPS, begun=100.0)
    late_s, size = shown_s - 100.0, 533  # a frame of 30 a second, rounded
    blocks = mimic_film._sound(tmp_path / "robot.mp4", late_s, tmp_path / "none.mp4", size)
    assert blocks is not None
    *whole, last = blocks
    assert all(len(block) == size for block in whole)
    shifted, film = np.concatenate([*whole, last]), load_audio(tmp_path / "robot.mp4")
    start = round(late_s * SAMPLE_RATE)
    expected = film[start:] if start > 0 else np.pad(film, (-start, 0))
    np.testing.assert_array_equal(shifted, expected)


def test_a_film_without_a_picture_is_refused() -> None:
    with pytest.raises(EmoError, match="shows nothing"):
        mimic_film._Pictures(iter(()))


def test_a_video_of_any_shape_and_a_silent_robot(tmp_path: Path) -> None:
    person, robot, out = (tmp_path / f"{name}.mp4" for name in ("person", "robot", "mimic"))
    write(person, (1920, 480), ROBOT_FPS)
    with VideoWriter(robot, (480, 480), ROBOT_FPS) as film:
        film.comment(BEGUN.format(5.0))
        film.add_frame(clock(1.0, (480, 480)))
    side_by_side(person, robot, 5.0, out)
    with VideoFile(out) as film:
        assert film.size[0] < 1920 and film.size[0] % 2 == 0
    with pytest.raises(EmoError, match="no sound"):
        load_audio(out)


def test_with_a_silent_robot_the_video_is_heard(tmp_path: Path) -> None:
    person, robot, out = (tmp_path / f"{name}.mp4" for name in ("person", "robot", "mimic"))
    write(person, (64, 64), PERSON_FPS, begun=0.0)
    with VideoWriter(robot, (64, 64), ROBOT_FPS) as film:
        film.comment(BEGUN.format(5.0))
        film.add_frame(clock(1.0, (64, 64)))
    side_by_side(person, robot, 5.5, out)
    assert np.argmax(np.abs(load_audio(out))) / SAMPLE_RATE == pytest.approx(1.5, abs=0.005)


def test_a_film_that_tells_no_time_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "person.mp4", (64, 64), PERSON_FPS)
    with pytest.raises(EmoError, match="does not say when it began"):
        side_by_side(tmp_path / "person.mp4", tmp_path / "person.mp4", 0.0, tmp_path / "out.mp4")


def test_a_film_that_was_not_finished_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "person.mp4", (64, 64), PERSON_FPS)
    cut = tmp_path / "robot.mp4"
    start = (tmp_path / "person.mp4").read_bytes()[:32]
    cut.write_bytes(start + b"\0\0\x10\0mdat" + bytes(4088))  # what a killed writer leaves
    with pytest.raises(EmoError, match=r"robot\.mp4 .*damaged"):
        side_by_side(tmp_path / "person.mp4", cut, 0.0, tmp_path / "out.mp4")
