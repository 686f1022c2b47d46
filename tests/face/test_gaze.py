from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emo_core.face.alignment import canonical_face
from emo_core.face.gaze import (
    CLOSED,
    IRIS_RADIUS_MM,
    IRIS_SEEN,
    MAX_SPEED,
    Gaze,
    GazeStream,
    look,
    openness,
)
from emo_core.face.stream import Seen
from emo_core.face.topology import LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS

DT = 0.04


def looking(yaw: float = 0.0, pitch: float = 0.0, lids: float = 1.0) -> np.ndarray:
    """A face whose eyes are turned in the head, the lids open by a share of the usual."""
    face = canonical_face().astype(np.float64)
    for eye, iris in ((RIGHT_EYE, RIGHT_IRIS), (LEFT_EYE, LEFT_IRIS)):
        face[iris, 0] += IRIS_RADIUS_MM * IRIS_SEEN[0] * np.sin(yaw)
        face[iris, 1] += IRIS_RADIUS_MM * IRIS_SEEN[1] * np.sin(pitch)
        middle = face[eye, 1].mean()
        face[eye, 1] = middle + lids * (face[eye, 1] - middle)
    return face.astype(np.float32)


def turned(yaw: float = 0.0, pitch: float = 0.0, scale: float = 2.0) -> np.ndarray:
    """The pose of a head that is turned to the image's right and up: metric -> px."""
    across = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    up = np.array(
        [[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]]
    )
    pose = np.eye(4)
    pose[:3, :3] = scale * np.diag([1.0, -1.0, -1.0]) @ across @ up
    pose[:3, 3] = 320, 240, 0
    return pose.astype(np.float32)


def seen(face: np.ndarray | None, pose: np.ndarray | None = None, person: int = 0) -> Seen:
    if face is None:
        lost = np.full((478, 3), np.nan, np.float32)
        return Seen(lost, np.full((4, 4), np.nan, np.float32), lost, 0, person, False)
    return Seen(face, turned() if pose is None else pose, face, 1, person, False)


@given(st.floats(-0.5, 0.5), st.floats(-0.4, 0.4), st.floats(0.2, 9))
def test_eyes_turn_in_the_head(yaw: float, pitch: float, scale: float) -> None:
    np.testing.assert_allclose(
        look(looking(yaw, pitch), turned(scale=scale)), [yaw, pitch], atol=1e-3
    )


@given(st.floats(-0.5, 0.5), st.floats(-0.4, 0.4))
def test_the_head_turns_with_the_eyes_and_against_them(yaw: float, pitch: float) -> None:
    nose = turned(yaw, pitch) @ [*canonical_face()[4], 1.0]
    assert (nose[0] - 320) * yaw >= 0  # a nose that goes to the image's right is a yaw to the right
    np.testing.assert_allclose(look(looking(), turned(yaw, 0)), [yaw, 0], atol=1e-3)
    np.testing.assert_allclose(look(looking(), turned(0, pitch)), [0, pitch], atol=1e-3)
    # Eyes that stay on the camera while the head turns look at the camera.
    np.testing.assert_allclose(look(looking(-yaw, 0), turned(yaw, 0)), [0, 0], atol=1e-3)
    np.testing.assert_allclose(look(looking(0, -pitch), turned(0, pitch)), [0, 0], atol=1e-3)


def watch(stream: GazeStream, one: Seen, seconds: float) -> list[Gaze]:
    return [stream.feed(one, DT) for _ in range(round(seconds / DT))]


def test_held_while_the_eyes_are_closed_and_followed_when_they_open() -> None:
    stream = GazeStream()
    before = watch(stream, seen(looking(0.3, 0.1)), 1.0)[-1]
    assert before.valid
    assert (before.yaw, before.pitch) == pytest.approx((0.3, 0.1), abs=2e-3)
    # Lids come down, and FaceMesh takes the irises with them.
    shut = watch(stream, seen(looking(0.2, -0.3, lids=0.15)), 0.4)
    assert not any(gaze.valid for gaze in shut)
    assert (shut[-1].yaw, shut[-1].pitch) == pytest.approx((0.3, 0.1), abs=2e-3)
    after = watch(stream, seen(looking(-0.2, 0)), 0.3)[-1]
    assert (after.yaw, after.pitch) == pytest.approx((-0.2, 0), abs=0.02)


def test_eyes_that_look_down_are_not_closed() -> None:
    """Lids go with the gaze; what is usual for a person follows them."""
    stream = GazeStream()
    watch(stream, seen(looking()), 1.0)
    assert openness(looking(lids=0.7)) > CLOSED
    down = watch(stream, seen(looking(0, -0.35, lids=0.7)), 0.5)
    assert all(gaze.valid for gaze in down[1:])  # but for the moment in which the lids go
    assert down[-1].pitch == pytest.approx(-0.35, abs=0.02)


def test_straight_ahead_when_nobody_is_there_and_no_saccade_is_quicker_than_eyes() -> None:
    stream = GazeStream()
    assert stream.feed(seen(None), DT) == Gaze(0.0, 0.0, False)
    gazes = watch(stream, seen(looking(0.5, 0.3)), 1.0)
    gazes += watch(stream, seen(looking(-0.5, -0.3)), 1.0)
    gazes += watch(stream, seen(None), 2.0)
    assert (gazes[-1].yaw, gazes[-1].pitch) == (0.0, 0.0)
    gazes += watch(stream, seen(looking(0.4), person=1), 1.0)
    assert gazes[-1].yaw == pytest.approx(0.4, abs=0.01)
    for before, now in pairwise(gazes):
        assert abs(now.yaw - before.yaw) <= MAX_SPEED * DT + 1e-6


@pytest.mark.parametrize("after", [looking(-0.4, 0.1), None])
def test_images_of_another_time_are_gone_over_to_without_a_step(after: np.ndarray | None) -> None:
    stream = GazeStream()
    gazes = watch(stream, seen(looking(0.5, 0.2)), 1.0)[-1:]
    stream.restart()
    gazes += watch(stream, seen(after), 2.0)
    expected = (0.0, 0.0) if after is None else (-0.4, 0.1)
    assert (gazes[-1].yaw, gazes[-1].pitch) == pytest.approx(expected, abs=2e-3)
    assert max(abs(now.yaw - before.yaw) for before, now in pairwise(gazes)) < 0.25  # of 0.9


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(-0.4, 0.4))
def test_noise_is_smoothed_and_a_saccade_is_there_at_once(seed: int, yaw: float) -> None:
    rng = np.random.default_rng(seed)
    stream = GazeStream()
    still = [
        stream.feed(seen(looking(yaw), turned(*rng.normal(0, 0.008, 2))), DT).yaw
        for _ in range(100)
    ]
    assert np.std(still[50:]) < 0.004
    there = [stream.feed(seen(looking(yaw + 0.25)), DT).yaw for _ in range(3)]
    assert there[1] == pytest.approx(yaw + 0.25, abs=0.02)
