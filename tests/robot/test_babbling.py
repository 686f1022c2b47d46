"""Babbling: which poses, how they are seen, and that an interruption changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from babbles import made_babble

from emo_core.errors import EmoError
from emo_core.robot import babbling, looking
from emo_core.robot.babbling import Babble, babble, compare, random_poses
from emo_core.robot.description import RobotDescription
from emo_core.robot.looking import Sight, look_at, prepared, see
from emo_core.robot.sim.render import Renderer


def test_every_command_is_as_likely_as_any_other(sim: RobotDescription) -> None:
    free = replace(sim, interlocks=())
    poses = random_poses(free, "mouth", 20000, np.random.default_rng(0))
    moving = poses[:, sim.group("mouth")]
    shares = np.histogram(moving, bins=10, range=(0.0, 1.0))[0] / moving.size
    assert np.allclose(shares, 0.1, atol=0.01)
    steps = np.abs(np.diff(moving, axis=0))
    assert steps.mean() < 0.1 and steps.max() < 0.6  # smooth
    between = np.corrcoef(moving.T) - np.eye(moving.shape[1])
    assert np.abs(between).max() < 0.1


def test_gaze_is_not_babbled(emo22: RobotDescription) -> None:
    poses = random_poses(emo22, "eye", 200, np.random.default_rng(0))
    moved = np.ptp(poses, axis=0) > 0.0
    for motor, moves in zip(emo22.motors, moved, strict=True):
        assert moves == (motor.group == "eye" and not motor.gaze)


def test_what_was_interrupted_goes_on_and_comes_out_the_same(
    sim: RobotDescription, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(babbling, "STRETCH", 3)
    monkeypatch.setattr(looking, "LOOKS", 2)
    monkeypatch.setattr(babbling, "_REST_POSES", 2)
    whole = babble(sim, frames=5, seed=2)

    def stop(done: int, _total: int) -> None:
        if done >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        babble(sim, frames=5, seed=2, progress=stop, parts=tmp_path)
    finished = len(list(tmp_path.glob("*.npz")))
    assert finished == 3  # rest, and both stretches of the eyes
    seen = []

    def counting(*args: object) -> object:
        seen.append(args)
        return look_at(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(babbling, "look_at", counting)
    again = babble(sim, frames=5, seed=2, parts=tmp_path)
    assert len(seen) == 2  # only the mouth's
    for group in ("eye", "mouth"):
        assert np.array_equal(again.commands[group], whole.commands[group])
        assert np.array_equal(again.landmarks[group], whole.landmarks[group])
    assert np.array_equal(again.rest, whole.rest)
    # Another seed, and another robot, find nothing of theirs there.
    babble(sim, frames=5, seed=3, parts=tmp_path)
    assert len(seen) == 2 + 5


class Lamp:
    """A way to look that finds a face only where there is light.

    Attributes:
        dark: how many of the first poses of each look are in the dark.
        poses: looked at, of each look.
    """

    def __init__(self) -> None:
        self.dark = 0
        self.poses: list[int] = []

    def __call__(
        self, robot: RobotDescription, poses: np.ndarray, seed: int | Sequence[int], _way: str
    ) -> Iterator[Sight]:
        self.poses.append(len(poses))
        rng = np.random.default_rng(seed)
        for number, pose in enumerate(poses):
            faces = rng.normal(0.0, 1.0, (1, 478, 3))
            yield Sight(pose, faces[: 0 if number < self.dark else 1], 1)


def test_after_the_light_is_mended_it_goes_on_from_what_it_saw(
    sim: RobotDescription, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(babbling, "STRETCH", 10)
    whole = babble(sim, 30, look=Lamp())
    lamp = Lamp()

    def fails(done: int, _total: int) -> None:
        lamp.dark = 10 if done >= 20 else 0

    with pytest.raises(EmoError, match=r"no face in 20 of 40 poses.* lit from the front"):
        babble(sim, 30, progress=fails, parts=tmp_path, look=lamp)
    assert lamp.poses == [25, 10, 10, 10, 10]  # 12 of 60 may be lost: the last 20 are left out
    lamp.dark, lamp.poses = 0, []
    again = babble(sim, 30, parts=tmp_path, look=lamp)
    assert lamp.poses == [10, 10, 10, 10]
    assert again.lost == 0
    for group in ("eye", "mouth"):
        assert np.array_equal(again.commands[group], whole.commands[group])
        assert np.array_equal(again.landmarks[group], whole.landmarks[group])


def test_few_faces_may_be_missing(
    sim: RobotDescription, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(babbling, "STRETCH", 10)
    lamp = Lamp()
    lamp.dark = 2
    assert babble(sim, 30, parts=tmp_path, look=lamp).lost == 12  # of 60: just enough are seen
    lamp.poses = []
    assert babble(sim, 30, parts=tmp_path, look=lamp).lost == 12
    assert lamp.poses == []
    lamp.dark = 3
    with pytest.raises(EmoError, match="no face in 15 of 50 poses"):
        babble(sim, 30, look=lamp)


def test_a_face_that_is_never_seen_at_rest_ends_it_at_once(sim: RobotDescription) -> None:
    lamp = Lamp()
    lamp.dark = 50
    with pytest.raises(EmoError, match="no face in 25 of 25 poses"):
        babble(sim, 30, look=lamp)
    assert lamp.poses == [25]


def test_a_babbling_half_written_leaves_the_one_before(
    sim: RobotDescription, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(file: Any, **arrays: object) -> None:
        Path(file if isinstance(file, Path) else file.name).write_bytes(b"half a file")
        raise KeyboardInterrupt

    path = tmp_path / "babble_sim.npz"
    before, after = made_babble(sim, 10), made_babble(sim, 20)
    before.save(path)
    monkeypatch.setattr(np, "savez_compressed", killed)
    with pytest.raises(KeyboardInterrupt):
        after.save(path)
    assert Babble.load(path).frames() == before.frames()
    assert list(tmp_path.iterdir()) == [path]


def test_poses_pass_the_safety_layer(sim: RobotDescription) -> None:
    jaw, lip = sim.names.index("jaw"), sim.names.index("lower_lip")
    pose = sim.neutral.copy()
    pose[jaw], pose[lip] = 1.0, 0.0  # the interlock forbids
    (sight,) = look_at(sim, pose[None])
    assert sight.command[jaw] - sight.command[lip] <= 0.9 + 1e-9
    assert sight.looks == len(sight.faces) == 5
    assert 0.0 < sight.shake_mm < 3.0


def test_the_same_look_is_the_same_face(sim: RobotDescription) -> None:
    poses = np.repeat(sim.neutral[None], 2, axis=0)
    first, again = (list(see(sim, poses, seed=1)) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert one is not None and np.array_equal(one, other)


def test_the_ways_to_prepare_are_compared_on_the_same_poses(sim: RobotDescription) -> None:
    rows = compare(sim, frames=2)
    assert [row.preprocess for row in rows] == ["colour", "grayscale", "equalizeHist"]
    assert all(0.5 < row.found <= 1.0 and 0.0 < row.shake_mm < 5.0 for row in rows)
    assert len({row.shake_mm for row in rows}) == 3


def test_prepared_pictures(sim: RobotDescription) -> None:
    picture = Renderer(sim)(sim.neutral)
    assert np.array_equal(prepared(picture, "colour"), picture[..., ::-1])
    grey, flat = prepared(picture, "grayscale"), prepared(picture, "equalizeHist")
    for image in (grey, flat):
        assert image.shape == picture.shape
        assert np.array_equal(image[..., 0], image[..., 2])
    assert np.ptp(flat) == 255 and np.ptp(flat) > np.ptp(grey)


def test_a_robot_without_a_picture_is_refused(sim: RobotDescription) -> None:
    with pytest.raises(EmoError, match="simulator is missing"):
        babble(replace(sim, simulator=None), frames=5)
