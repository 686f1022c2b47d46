"""A robot's model of its own face, and what is learned from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from babbles import made_babble, made_faces, with_gaze

from emo_core.errors import EmoError
from emo_core.face.alignment import canonical_face
from emo_core.face.topology import EYEBROWS, ROBOT_LANDMARKS
from emo_core.robot.description import RobotDescription
from emo_core.robot.inverse_model import InverseModel
from emo_core.robot.mapping import LandmarksToMotors
from emo_core.robot.pairs import POINTS, Split

torch = pytest.importorskip("torch", reason="TRAINING LEFT OUT: ./emo test --train installs torch")

from emo_core.evaluation.inverse import evaluate_inverse, nearest_neighbour  # noqa: E402
from emo_core.training.inverse import (  # noqa: E402
    RECIPES,
    InverseSettings,
    disturb,
    train_inverse,
)
from emo_core.training.readings import eye_readings, mouth_readings  # noqa: E402
from emo_core.training.self_model import SelfModel  # noqa: E402


@pytest.fixture(scope="module")
def sim() -> RobotDescription:
    return RobotDescription.load("sim")


def short(recipe: str) -> InverseSettings:
    return replace(RECIPES[recipe], steps=200, poses=2000)


def test_the_self_model_knows_poses_it_never_saw(sim: RobotDescription) -> None:
    half = Split(made_babble(sim, 320, noise_mm=0.3), sim, "train").halves["eye"]
    model = SelfModel(half)
    poses = np.repeat(sim.neutral[None], 200, axis=0)
    poses[:, :4] = np.random.default_rng(9).random((200, 4))
    truth = made_faces(sim, "eye", poses)[:, POINTS["eye"]].reshape(200, -1)
    error = np.sqrt(((model(poses[:, :4]) - truth) ** 2).mean())
    assert error < 0.2  # two thirds of the noise it learned from
    assert model.error_mm == pytest.approx(0.3, abs=0.05)  # and it knows the noise
    drawn = model.errors(np.random.default_rng(0), 4000)
    assert drawn.std() == pytest.approx(model.error_mm, rel=0.05)


def test_a_reader_is_the_model_read(sim: RobotDescription) -> None:
    half = Split(made_babble(sim, 320), sim, "train").halves["mouth"]
    model = SelfModel(half)
    lips = mouth_readings()[2 * POINTS["mouth"].start :]
    poses = half.commands[:50]
    asked = torch.from_numpy(poses.astype(np.float32)).requires_grad_()
    read = model.reader(lips)(asked)
    assert np.allclose(read.detach().numpy(), model(poses) @ lips, atol=1e-2)
    read.sum().backward()
    assert torch.isfinite(asked.grad).all() and asked.grad.abs().sum() > 0


def test_readings_are_gaps_the_mouths_width_and_the_brows_heights() -> None:
    face = canonical_face()
    flat = face[ROBOT_LANDMARKS, :2].reshape(-1)
    mouth, eyes = flat @ mouth_readings(width_weight=3.0), flat @ eye_readings()
    assert mouth[4] == pytest.approx(face[13, 1] - face[14, 1], abs=1e-4)
    assert mouth[9] == pytest.approx(3.0 * (face[291, 0] - face[61, 0]), abs=1e-3)
    assert eyes[[1, 4]] == pytest.approx(face[[159, 386], 1] - face[[145, 374], 1], abs=1e-4)
    assert eyes[6:].mean() == pytest.approx(
        np.delete(face[EYEBROWS, 1], [2, 7, 12, 17]).mean(), abs=1e-4
    )


def test_noise_moves_parts_as_one_and_its_level_differs_from_pair_to_pair() -> None:
    settings = InverseSettings(noise_mm=0.0, shift_mm=1.0)
    x = np.zeros((2000, 226))
    out = disturb(x, np.random.default_rng(0), settings).reshape(2000, 113, 2)
    for points in POINTS.values():
        assert np.all(out[:, points] == out[:, [points.start]])
    assert np.abs(np.corrcoef(out[:, 0, 0], out[:, -1, 0])[0, 1]) < 0.1
    noisy = disturb(x, np.random.default_rng(0), InverseSettings(noise_mm=2.0, shift_mm=0.0))
    level = noisy.std(axis=1)
    assert level.min() < 0.1 and level.max() == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_what_is_exported_is_what_was_trained_and_knows_the_robot(
    sim: RobotDescription, tmp_path: Path, recipe: str
) -> None:
    """`train_inverse` compares the two; here: it learned, and the same seed learns the same."""
    data = made_babble(sim, 320)
    seen: list[int] = []
    settings = short(recipe)
    val = train_inverse(
        sim, data, tmp_path / "a", 3, settings, lambda step, _steps, _l1: seen.append(step)
    )
    assert seen[-1] == 200
    known, asked = Split(data, sim, "train"), Split(data, sim, "val")
    nearest = np.concatenate(
        [nearest_neighbour(known.halves[g], half) for g, half in asked.halves.items()]
    )
    assert val < 0.8 * nearest.mean()
    assert evaluate_inverse(sim, data, tmp_path / "a", torch=False).l1["model"].mean() < 1.5 * val
    train_inverse(sim, data, tmp_path / "b", 3, settings)
    x = asked.draw(np.random.default_rng(0), 5)[0]
    first, second = (InverseModel.load(sim, tmp_path / name)(x) for name in "ab")
    assert np.allclose(first, second, atol=1e-6)


def test_another_robots_model_is_not_replaced(emo: Callable[..., Any], tmp_path: Path) -> None:
    base = RobotDescription.load("sim").file
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"extends: {base}\nname: mine\n")
    command = ["train", "inverse", "--robot", mine]
    done = emo(*command)
    assert done.status == 1
    assert "inverse_sim is the robot sim's: write inverse_model: inverse_mine in" in done.err
    mine.write_text(f"extends: {base}\nname: mine\ninverse_model: inverse_mine\n")
    assert "babble_mine.npz" in emo(*command).err  # that comes first


def test_gaze_is_not_driven(
    sim: RobotDescription, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot = replace(with_gaze(sim), inverse_model="gazing")
    train_inverse(robot, made_babble(robot, 320), tmp_path / "gazing", settings=short("published"))
    monkeypatch.setattr("emo_core.robot.inverse_model.models_dir", lambda: tmp_path)
    assert InverseModel.load(robot).names == robot.names[1:]
    motors = LandmarksToMotors.load(robot, canonical_face())(np.stack([canonical_face()] * 3))
    assert motors.shape == (3, 11) and np.allclose(motors[:, 0], robot.neutral[0])
    one = LandmarksToMotors.load(robot, canonical_face())(canonical_face())
    assert np.allclose(one, motors[0], atol=1e-5)
    with pytest.raises(EmoError, match="motors is"):
        InverseModel.load(replace(sim, inverse_model="gazing"))
