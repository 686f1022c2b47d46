"""Normalization, babbling, inverse model, and the loop through FaceMesh."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emo_core.errors import EmoError
from emo_core.face.alignment import canonical_face
from emo_core.face.topology import LIPS_INNER, LIPS_OUTER, LOWER_OVAL, ROBOT_LANDMARKS
from emo_core.robot.babbling import Babble, babble, random_poses
from emo_core.robot.description import Interlock, RobotDescription
from emo_core.robot.inverse_model import InverseModel, load_profile
from emo_core.robot.mapping import LandmarksToMotors, closed_loop
from emo_core.robot.normalization import BROW_GAIN, CONTACT_MM, GAP_GAIN, Normalizer, Profile
from emo_core.robot.sim.skin import Skin

MODEL = Path(__file__).resolve().parents[2] / "models" / "inverse_sim"
PLACE = {int(index): row for row, index in enumerate(ROBOT_LANDMARKS)}


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile.load(MODEL / "profile.npz")


def test_rest_is_rest(profile: Profile) -> None:
    static = canonical_face()
    x = Normalizer(static, profile)(static)
    assert x.shape == (226,) and x.dtype == np.float32
    assert np.allclose(x.reshape(113, 2), profile.static, atol=1e-5)


@pytest.mark.parametrize(
    ("point", "axis", "scale"),
    [(105, 1, BROW_GAIN), (105, 0, 0.9), (152, 1, 0.9), (291, 0, 1), (159, 1, 1)],
)
@pytest.mark.parametrize("alpha", [0.9, 0.45])
def test_displacements_are_scaled_and_kept_within_the_edges(
    profile: Profile, point: int, axis: int, scale: float, alpha: float
) -> None:
    """At the default alpha lips sideways and lids in full, brows up and more, else by alpha."""
    static = canonical_face()
    row = PLACE[point]
    for way in (-100.0, 0.5, 100.0):
        face = static.copy()
        face[point, axis] += way
        moved = Normalizer(static, profile, alpha)(face).reshape(113, 2) - profile.static
        edges = profile.edge_lo[row, axis], profile.edge_hi[row, axis]
        expected = np.clip(scale * way * alpha / 0.9, -edges[0], edges[1])
        assert moved[row, axis] == pytest.approx(expected, abs=1e-4)
        assert moved[row, 1 - axis] == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("rest_gap", [0.3, 6.0])
def test_the_gap_of_the_lips_is_carried_over(profile: Profile, rest_gap: float) -> None:
    """Whatever the person's lips do at rest, touching is touching and 5 mm are 5 and a little."""
    face = canonical_face().copy()
    face[14, 1] = face[13, 1] - rest_gap
    normalizer = Normalizer(face, profile)
    up, low = PLACE[13], PLACE[14]
    touching = profile.static[up, 1] - profile.static[low, 1]
    for apart, wanted in ((0.2, 0.0), (CONTACT_MM + 5.0, 5.0 * GAP_GAIN)):
        face[14, 1] = face[13, 1] - apart
        out = normalizer(face).reshape(113, 2)
        assert out[up, 1] - out[low, 1] - touching == pytest.approx(wanted, abs=1e-4)


def test_normalizer_batches_and_refuses(profile: Profile) -> None:
    static = canonical_face()
    normalizer = Normalizer(static, profile)
    faces = static + np.random.default_rng(0).normal(size=(4, 478, 3))
    assert np.allclose(normalizer(faces), [normalizer(face) for face in faces])
    assert np.allclose(normalizer(faces), normalizer(faces[:, ROBOT_LANDMARKS, :2]))
    with pytest.raises(ValueError, match="expected"):
        normalizer(faces[:, :100])
    with pytest.raises(ValueError, match="finite"):
        Normalizer(np.full((478, 3), np.nan), profile)


def test_the_shipped_model_loads_and_is_deterministic(sim: RobotDescription) -> None:
    model = InverseModel.load(sim, MODEL)
    x = np.random.default_rng(0).normal(scale=2.0, size=(7, 226)).astype(np.float32)
    x += model.profile.static.reshape(-1).astype(np.float32)
    batch = model(x)
    assert batch.shape == (7, 11) and np.all((batch >= 0) & (batch <= 1))
    assert np.allclose(batch, [model(row) for row in x], atol=1e-5)
    rest = model(model.profile.static.reshape(-1))
    assert np.abs(rest - sim.neutral).mean() < 0.06


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("truncate", "damaged"),
        ("no model", "missing"),
        ("no config", "missing"),
        ("not json", "cannot be read"),
        ("schema", "schema is 99"),
        ("landmarks", "landmarks is"),
        ("motors", "motors is"),
        ("sha256", "sha256 does not name profile.npz"),
    ],
)
def test_strict_loading(sim: RobotDescription, tmp_path: Path, damage: str, message: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    config = json.loads((folder / "config.json").read_text())
    if damage == "truncate":
        (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:1000])
    elif damage == "no model":
        (folder / "model.onnx").unlink()
    elif damage == "no config":
        (folder / "config.json").unlink()
    elif damage == "not json":
        (folder / "config.json").write_text("{")
    else:
        config[damage] = {
            "schema": 99,
            "landmarks": "other",
            "motors": ["a"],
            "sha256": {"model.onnx": config["sha256"]["model.onnx"]},
        }[damage]
        (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(EmoError, match=message) as caught:
        InverseModel.load(sim, folder)
    assert "./emo babble --robot sim && ./emo train inverse --robot sim" in str(caught.value)
    with pytest.raises(EmoError, match=message):
        load_profile(sim, folder)


def test_another_robots_model_is_refused(sim: RobotDescription) -> None:
    moved = replace(sim, motors=(replace(sim.motors[0], neutral=0.4), *sim.motors[1:]))
    with pytest.raises(EmoError, match="robot_signature is"):
        InverseModel.load(moved, MODEL)


def test_poses_keep_to_limits_groups_and_interlocks(sim: RobotDescription) -> None:
    lock = Interlock("jaw", ((10, 1.0), (4, 1.0)), 0.8)
    robot = replace(sim, interlocks=(lock,))
    poses = random_poses(robot, "mouth", 500, np.random.default_rng(0))
    assert poses.shape == (500, 11)
    assert np.all((poses >= robot.lower) & (poses <= robot.upper))
    assert np.all(poses[:, 10] + poses[:, 4] <= 0.8 + 1e-9)
    assert np.all(poses[:, robot.group("eye")] == robot.neutral[robot.group("eye")])
    assert np.all(np.ptp(poses[:, robot.group("mouth")], axis=0) > 0.4)


def test_babbling_is_seen_saved_and_repeatable(sim: RobotDescription, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    data = babble(sim, frames=12, seed=4, progress=lambda done, total: seen.append((done, total)))
    assert data.lost == 0 and data.frames() == {"eye": 12, "mouth": 12}
    assert seen[-1] == (24, 24)
    data.save(tmp_path / "b.npz")
    back = Babble.load(tmp_path / "b.npz")
    assert back.signature == sim.signature() and back.seed == 4
    assert np.allclose(back.landmarks["mouth"], data.landmarks["mouth"], atol=1e-3)
    (tmp_path / "b.npz").write_bytes(b"no")
    with pytest.raises(EmoError, match=r"Run \./emo babble"):
        Babble.load(tmp_path / "b.npz")
    data.save(tmp_path / "c.npz")
    (tmp_path / "c.npz").write_bytes((tmp_path / "c.npz").read_bytes()[:3000])
    with pytest.raises(EmoError, match=r"Run \./emo babble"):
        Babble.load(tmp_path / "c.npz")
    with pytest.raises(EmoError, match=r"Run \./emo babble"):
        Babble.load(tmp_path / "none.npz")


def test_a_talking_face_is_seen_talking_on_the_robot(sim: RobotDescription) -> None:
    """Canonical face whose lower lip and chin go down: the robot opens and shuts in time."""
    static = canonical_face()
    frames = 50
    opening = 2.0 * (1 - np.cos(2 * np.pi * np.arange(frames) / 12.5)) ** 2
    share = np.zeros(len(static))
    across = np.sin(np.pi * np.arange(1, 10) / 10)
    share[LIPS_INNER[11:]] = share[LIPS_OUTER[11:]] = across
    share[LOWER_OVAL] = np.sin(np.pi * np.arange(len(LOWER_OVAL)) / (len(LOWER_OVAL) - 1)) ** 2
    faces = np.repeat(static[None].astype(np.float64), frames, axis=0)
    faces[..., 1] -= share * opening[:, None]
    commands = LandmarksToMotors.load(sim, static)(faces)
    assert commands.shape == (frames, 11)
    made = Skin(sim)(commands.astype(np.float64))
    gap = made[:, 13, 1] - made[:, 14, 1]
    assert np.corrcoef(gap, opening)[0, 1] > 0.95
    assert gap[opening < 0.1].max() < 1.0 and gap[opening > 7].min() > 5.0
    seen = closed_loop(sim, commands)
    gap = np.linalg.norm(seen[:, 13] - seen[:, 14], axis=1)
    assert np.isfinite(gap).all()
    assert np.corrcoef(gap[3:], opening[3:])[0, 1] > 0.9
    assert gap[opening < 0.1].max() < 2.5 and gap[opening > 7].min() > 4.0
