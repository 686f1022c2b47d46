"""Babbling cut into splits, and combined."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from babbles import made_babble, with_gaze

from emo_core.errors import EmoError
from emo_core.robot.description import RobotDescription
from emo_core.robot.pairs import GAP, SPLITS, Split


def test_no_pose_is_in_two_splits_and_neighbours_are_left_out(sim: RobotDescription) -> None:
    data = made_babble(sim, 320)
    rows: dict[str, set[int]] = {}
    for name in SPLITS:
        half = Split(data, sim, name).halves["eye"]
        found = [
            int(np.flatnonzero((data.commands["eye"][:, sim.group("eye")] == one).all(axis=1))[0])
            for one in half.commands
        ]
        rows[name] = set(found)
    assert not rows["train"] & rows["val"] and not rows["val"] & rows["test"]
    assert min(rows["val"]) - max(rows["train"]) > GAP
    assert min(rows["test"]) - max(rows["val"]) > GAP


def test_every_face_of_the_eyes_meets_every_mouth(sim: RobotDescription) -> None:
    data = made_babble(sim, 320)
    split = Split(data, sim, "val")
    x, y = split.pairs(np.arange(len(split)))
    eyes, mouths = (len(split.halves[group].faces) for group in ("eye", "mouth"))
    assert x.shape == (eyes * mouths, 226) and y.shape == (eyes * mouths, 11)
    assert len(np.unique(np.concatenate([x, y], axis=1), axis=0)) == eyes * mouths
    for pair in (0, 7, eyes * mouths - 1):
        eye = np.flatnonzero((data.commands["eye"][:, :4] == y[pair, :4]).all(axis=1))
        mouth = np.flatnonzero((data.commands["mouth"][:, 4:] == y[pair, 4:]).all(axis=1))
        face = np.concatenate(
            [data.landmarks["eye"][eye[0], :52], data.landmarks["mouth"][mouth[0], 52:]]
        )
        assert np.allclose(x[pair], face.reshape(-1))


def test_gaze_is_left_out(sim: RobotDescription) -> None:
    robot = with_gaze(sim)
    split = Split(made_babble(robot, 320), robot, "train")
    assert split.motors == 10
    assert split.halves["eye"].columns.tolist() == [0, 1, 2]
    assert split.halves["mouth"].columns.tolist() == list(range(3, 10))
    assert np.allclose(
        split.halves["eye"].commands, made_babble(robot, 320).commands["eye"][:256, 1:4]
    )


def test_too_few_frames_and_another_robot_are_refused(sim: RobotDescription) -> None:
    with pytest.raises(EmoError, match="too few"):
        Split(made_babble(sim, 120), sim, "test")
    moved = replace(sim, motors=(replace(sim.motors[0], neutral=0.4), *sim.motors[1:]))
    with pytest.raises(EmoError, match=r"has changed\. Run \./emo babble --robot sim again"):
        Split(made_babble(sim, 320), moved, "train")
