from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emo_core.face import topology
from emo_core.face.alignment import canonical_face, to_metric, to_screen


def rotation(x: float, y: float, z: float) -> np.ndarray:
    c, s = np.cos([x, y, z]), np.sin([x, y, z])
    about_x = np.array([[1, 0, 0], [0, c[0], -s[0]], [0, s[0], c[0]]])
    about_y = np.array([[c[1], 0, s[1]], [0, 1, 0], [-s[1], 0, c[1]]])
    about_z = np.array([[c[2], -s[2], 0], [s[2], c[2], 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


angle = st.floats(-0.7, 0.7)


@settings(max_examples=50, deadline=None)
@given(angle, angle, angle, st.floats(0.3, 20), st.floats(-2000, 2000), st.integers(0, 2**32 - 1))
def test_pose_and_scale_are_removed(
    x: float, y: float, z: float, scale: float, shift: float, seed: int
) -> None:
    expression = np.zeros((478, 3), np.float32)
    rng = np.random.default_rng(seed)
    expression[topology.LIPS] = rng.normal(0, 5, (40, 3))
    face = canonical_face() + expression
    flipped = face * [1, -1, -1]  # screen: y down, z away
    screen = (scale * flipped @ rotation(x, y, z).T + shift).astype(np.float32)
    metric, pose = to_metric(screen)
    np.testing.assert_allclose(metric, face, atol=0.02)
    np.testing.assert_allclose(to_screen(metric, pose), screen, atol=0.01 * scale + 0.01)


def test_canonical_face_is_as_documented() -> None:
    face = canonical_face()
    mirror = np.load(
        __import__("importlib.resources", fromlist=["files"])
        .files("emo_core.face").joinpath("mirror.npy").open("rb")
    )  # fmt: skip
    left, right = face[263], face[33]
    assert np.linalg.norm(left - right) == pytest.approx(90, abs=1e-3)
    np.testing.assert_allclose((face * [-1, 1, 1])[mirror], face, atol=1e-3)
    assert face[10, 1] > face[152, 1]  # y is up
    assert face[1, 2] > face[10, 2]  # z is towards the camera: the nose
    assert left[0] > right[0]  # x is to the image's right: the person's left
    with pytest.raises(ValueError, match="read-only"):
        face[0] = 0


def test_missing_frames_stay_missing() -> None:
    screen = np.stack([canonical_face() * 3, np.full((478, 3), np.nan)]).astype(np.float32)
    metric, pose = to_metric(screen)
    assert np.isfinite(metric[0]).all()
    assert np.isnan(metric[1]).all()
    assert np.isnan(pose[1]).all()


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="478"):
        to_metric(np.zeros((468, 3), np.float32))


def test_tables_agree_with_mediapipe() -> None:
    connections = pytest.importorskip("mediapipe.python.solutions.face_mesh_connections")

    def points(edges: frozenset[tuple[int, int]]) -> set[int]:
        return {i for edge in edges for i in edge}

    assert points(connections.FACEMESH_LIPS) == set(topology.LIPS)
    assert points(connections.FACEMESH_LEFT_EYE) == set(topology.LEFT_EYE)
    assert points(connections.FACEMESH_RIGHT_EYE) == set(topology.RIGHT_EYE)
    assert points(connections.FACEMESH_LEFT_EYEBROW) == set(topology.LEFT_EYEBROW)
    assert points(connections.FACEMESH_FACE_OVAL) > set(topology.LOWER_OVAL)
    assert len(set(topology.ROBOT_LANDMARKS)) == 113
    assert (len(topology.EYES_BROWS), len(topology.LIPS_JAW)) == (52, 61)


def test_robot_points_of_both_kinds_and_of_no_other() -> None:
    faces = np.random.default_rng(0).normal(size=(2, 478, 3)).astype(np.float32)
    points = topology.robot_points(faces)
    assert points.shape == (2, 113, 2) and points.dtype == np.float64
    np.testing.assert_array_equal(points[1, 0], faces[1, topology.ROBOT_LANDMARKS[0], :2])
    assert topology.robot_points(points) is points
    with pytest.raises(ValueError, match=r"\(468, 3\)"):
        topology.robot_points(faces[0, :468])
