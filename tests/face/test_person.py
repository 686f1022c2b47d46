"""Who is followed, how they look at rest, and that nothing shown ever jumps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emo_core.face.alignment import canonical_face
from emo_core.face.person import PersonFrame, PersonStream
from emo_core.face.stream import Seen
from emo_core.face.topology import EYEBROWS, EYES, LIPS, RIGID_WEIGHTS

DT = 0.04
SKULL = np.array(list(RIGID_WEIGHTS))
LOST = np.full((478, 3), np.nan, np.float32)
POSE = np.diag([2.0, -2.0, -2.0, 1.0]).astype(np.float32)
#: What minimum jerk makes of 12 mm in 0.3 s, mm a frame; a face at rest that glides adds little.
FASTEST = 1.875 * 12 / 0.3 * DT + 0.4


class Nothing:
    """No images here: what is seen is given."""

    def faces(self, rgb: np.ndarray) -> list[np.ndarray]:
        raise AssertionError("not asked")


def face_of(person: int) -> np.ndarray:
    """Somebody at rest: skulls and features some mm apart from each other's."""
    if person == 0:
        return canonical_face().copy()
    rng = np.random.default_rng(person)
    face = canonical_face() + rng.normal(0, 1.3, (478, 3)).astype(np.float32)
    face[LIPS, 1] += rng.uniform(-4, 4)
    return face.astype(np.float32)


def showing(face: np.ndarray, amount: float) -> np.ndarray:
    """An expression: brows up, mouth wide, by `amount` mm."""
    out = face.copy()
    out[EYEBROWS, 1] += amount
    out[LIPS, 0] += amount * np.sign(out[LIPS, 0])
    return out


class Room:
    """A stream fed with what is seen, 25 times a second."""

    def __init__(self, static_face: np.ndarray | None = None) -> None:
        self.stream = PersonStream(Nothing(), static_face)
        self.time = 0.0
        self.noise = np.random.default_rng(7)
        self.frames: list[PersonFrame] = []

    def see(self, face: np.ndarray | None, person: int = 0, dt: float = DT) -> PersonFrame:
        self.time += dt
        metric = LOST if face is None else face + self.noise.normal(0, 0.03, (478, 3))
        pose = POSE if face is not None else np.full((4, 4), np.nan, np.float32)
        seen = Seen(metric.astype(np.float32), pose, metric, int(face is not None), person, False)
        self.frames.append(self.stream.feed_seen(seen, self.time))
        return self.frames[-1]

    def watch(self, face: np.ndarray | None, seconds: float, person: int = 0) -> PersonFrame:
        for _ in range(round(seconds / DT)):
            frame = self.see(face, person)
        return frame


def moved(frame: PersonFrame) -> np.ndarray:
    """What is shown beyond rest, mm; rest where nothing is."""
    if frame.points is None or frame.static is None:
        return np.zeros((478, 3))
    return frame.points - frame.static


def longest_step(frames: list[PersonFrame]) -> float:
    """The furthest any point went in a frame, of what is shown and of the face at rest, mm."""
    ways = [moved(now) - moved(before) for before, now in pairwise(frames)]
    for before, now in pairwise(frames):
        if before.points is not None and now.points is not None:
            ways.append(now.static - before.static)
    return float(max(np.linalg.norm(way, axis=-1).max() for way in ways))


def test_a_moment_will_do_then_a_calm_second_is_taken_over_without_a_step() -> None:
    room, face = Room(), face_of(1)
    first = next(i for i in range(50) if room.see(showing(face, 0.8)).valid)
    assert first * DT == pytest.approx(0.4, abs=2 * DT)
    room.watch(showing(face, 0.8), 0.2)
    # The face was not quite at rest. It moves, and then keeps still for a second.
    for i in range(25):
        room.see(showing(face, 0.8 + 2 * abs(np.sin(0.5 * i))))
    before = len(room.frames)
    frame = room.watch(face, 3.0)
    np.testing.assert_allclose(frame.static, face, atol=0.1)
    np.testing.assert_allclose(moved(frame), 0, atol=0.1)
    assert longest_step(room.frames[before + 1 :]) < 0.25  # noise, and the glide


def test_nobody_is_nothing_and_expressions_are_carried_over_in_full() -> None:
    room, face = Room(), face_of(2)
    assert room.watch(None, 0.5).points is None
    room.watch(face, 1.2)
    frame = room.watch(showing(face, 5), 0.2)
    assert frame.valid
    np.testing.assert_allclose(moved(frame)[EYEBROWS, 1], 5, atol=0.25)
    np.testing.assert_allclose(moved(frame)[EYES], 0, atol=0.25)
    np.testing.assert_allclose(frame.points, frame.seen.metric, atol=0.05)


def test_who_never_keeps_still_is_mimicked_after_two_seconds() -> None:
    room, face = Room(), face_of(1)
    frames = [room.see(showing(face, 5 + 5 * np.sin(0.9 * i))) for i in range(75)]
    first = next(i for i, frame in enumerate(frames) if frame.valid)
    assert 1.8 < first * DT < 2.3
    assert frames[-1].valid


def test_a_known_face_is_shown_from_the_first_image_on_and_kept() -> None:
    face = face_of(1)
    room = Room(static_face=face)
    assert room.see(showing(face, 3)).valid
    frame = room.watch(showing(face, 3), 3.0)  # calm, but not at rest
    np.testing.assert_allclose(moved(frame)[EYEBROWS, 1], 3, atol=0.25)


def test_somebody_else_is_not_taken_for_the_one_who_was_given() -> None:
    room, other = Room(static_face=face_of(1)), face_of(2)
    frame = room.watch(other, 4.0)
    np.testing.assert_allclose(frame.static, other, atol=0.1)
    assert longest_step(room.frames) < FASTEST
    # The one who was given comes back: known at once, and not by a moment's calm.
    room.watch(None, 2.0)
    frame = room.watch(showing(face_of(1), 4), 0.8, person=1)
    np.testing.assert_allclose(moved(frame)[EYEBROWS, 1], 4, atol=0.25)


def test_who_comes_back_is_known_again_though_smiling() -> None:
    room, face = Room(), face_of(3)
    room.watch(face, 1.5)
    room.watch(None, 3.0)
    frame = room.watch(showing(face, 4), 2.0, person=1)
    np.testing.assert_allclose(moved(frame)[EYEBROWS, 1], 4, atol=0.25)
    frame = room.watch(face_of(4), 4.0, person=2)  # another is not
    np.testing.assert_allclose(frame.static, face_of(4), atol=0.1)
    frame = room.watch(showing(face, 4), 2.0, person=3)
    np.testing.assert_allclose(moved(frame)[EYEBROWS, 1], 4, atol=0.25)
    assert longest_step(room.frames) < FASTEST


def test_another_face_in_the_same_place_is_found_out() -> None:
    """Somebody else sat down while the camera was covered: the skull tells."""
    room = Room()
    room.watch(face_of(5), 1.5)
    room.watch(None, 0.6)
    frame = room.watch(face_of(6), 4.0)
    np.testing.assert_allclose(frame.static, face_of(6), atol=0.1)
    assert longest_step(room.frames) < FASTEST


def test_a_face_at_rest_on_request() -> None:
    room, face = Room(), face_of(1)
    room.watch(showing(face, 2), 1.5)
    room.stream.capture()
    frames = [room.see(face) for _ in range(75)]
    captured = [frame.captured for frame in frames if frame.captured is not None]
    assert len(captured) == 1
    np.testing.assert_allclose(captured[0], face, atol=0.1)
    np.testing.assert_allclose(moved(frames[-1]), 0, atol=0.2)
    assert longest_step(frames[1:]) < 0.5
    room.stream.capture()  # who cannot keep still is given the calmest second of two
    frames = [room.see(showing(face, 3 * np.sin(0.9 * i))) for i in range(75)]
    assert sum(frame.captured is not None for frame in frames) == 1


def test_a_person_named_while_in_view_is_gone_over_to() -> None:
    room, face = Room(), face_of(1)
    room.watch(showing(face, 2), 1.5)  # taken for rest
    room.stream.expect(face)
    frame = room.watch(showing(face, 2), 3.0)
    np.testing.assert_allclose(moved(frame)[EYEBROWS, 1], 2, atol=0.25)
    room.stream.expect(None)
    room.watch(showing(face, 2), 1.0)
    room.stream.expect(face_of(2))  # a mistake: she is not there
    frame = room.watch(face, 4.0)
    np.testing.assert_allclose(frame.static, face, atol=0.1)
    assert longest_step(room.frames[20:]) < FASTEST


def test_a_person_no_longer_named_is_found_out_by_looking() -> None:
    face = face_of(1)
    room = Room(static_face=showing(face, 2))  # a bad likeness
    frame = room.watch(face, 1.5)
    np.testing.assert_allclose(moved(frame)[EYEBROWS, 1], -2, atol=0.25)
    before = len(room.frames)
    room.stream.expect(None)
    assert room.see(face).valid  # and goes on being shown
    frame = room.watch(face, 3.0)
    np.testing.assert_allclose(frame.static, face, atol=0.1)
    assert all(frame.valid for frame in room.frames)
    assert longest_step(room.frames[before - 1 :]) < 0.4  # noise, and the glide


def test_a_person_no_longer_named_is_forgotten_on_leaving() -> None:
    face = face_of(1)
    room = Room(static_face=showing(face, 2))
    for i in range(50):
        room.see(showing(face, 3 * np.sin(0.9 * i)))
    room.stream.expect(None)
    for i in range(20):
        room.see(showing(face, 3 * np.sin(0.9 * i)))  # no calm second
    room.watch(None, 3.0)
    assert not room.watch(face, 0.28, person=1).valid  # nobody who is known
    frame = room.watch(face, 1.5, person=1)
    assert frame.valid
    np.testing.assert_allclose(moved(frame), 0, atol=0.2)
    # Who was found by looking is known when back, as anybody.
    room.watch(None, 3.0)
    assert room.watch(showing(face, 4), 0.28, person=2).valid


@pytest.mark.parametrize("away", [False, True])
def test_a_face_asked_for_is_had_though_its_owner_is_known(away: bool) -> None:
    """Named, or known again, while the capture is under way."""
    face = face_of(1)
    room = Room(static_face=showing(face, 2))
    room.watch(face, 1.0)
    room.stream.capture()
    room.watch(None, 2.0 if away else 0.1)
    if not away:
        room.stream.expect(showing(face, 1))
    frames = [room.see(face, int(away)) for _ in range(75)]
    captured = [frame.captured for frame in frames if frame.captured is not None]
    assert len(captured) == 1
    np.testing.assert_allclose(captured[0], face, atol=0.1)
    np.testing.assert_allclose(moved(frames[-1]), 0, atol=0.2)


def test_a_camera_that_stood_still_is_a_loss() -> None:
    room, face = Room(), face_of(1)
    room.watch(face, 1.5)
    room.watch(showing(face, 6), 0.4)
    frame = room.see(showing(face, -6), dt=4.0)
    assert np.abs(moved(frame)[EYEBROWS, 1]).max() < 1.0  # from rest, where it was eased to
    frame = room.watch(showing(face, -6), 0.4)
    np.testing.assert_allclose(moved(frame)[EYEBROWS, 1], -6, atol=0.25)


def test_time_that_stands_still_is_refused() -> None:
    room = Room()
    room.see(face_of(1))
    with pytest.raises(ValueError, match="advance"):
        room.see(face_of(1), dt=0.0)


def test_a_face_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="one finite face"):
        PersonStream(Nothing(), LOST)
    with pytest.raises(ValueError, match="one finite face"):
        PersonStream(Nothing()).expect(np.zeros((113, 2)))


def test_the_same_twice_after_a_reset() -> None:
    room = Room()
    faces = [face_of(1)] * 30 + [None] * 50 + [showing(face_of(2), 3)] * 40
    first = [room.see(face, int(i > 70)) for i, face in enumerate(faces)]
    room.stream.reset()
    room.time, room.noise = 0.0, np.random.default_rng(7)
    again = [room.see(face, int(i > 70)) for i, face in enumerate(faces)]
    for one, two in zip(first, again, strict=True):
        assert (one.points is None) == (two.points is None)
        if one.points is not None:
            np.testing.assert_array_equal(one.points, two.points)
            np.testing.assert_array_equal(one.static, two.static)


part = st.tuples(
    st.integers(3, 60),  # frames
    st.integers(-1, 3),  # who; -1: nobody
    st.floats(-3, 3),  # with which expression
    st.booleans(),  # does the follower notice another person?
)


@settings(max_examples=60, deadline=None)
@given(st.lists(part, min_size=2, max_size=8), st.booleans())
def test_whoever_comes_and_goes_nothing_jumps(
    parts: list[tuple[int, int, float, bool]], known: bool
) -> None:
    """People with their expressions; it takes them a moment to change places."""
    room, number = Room(face_of(0) if known else None), 0
    for frames, who, amount, noticed in parts:
        number += noticed
        for _ in range(6):
            room.see(None, number)
        for _ in range(frames):
            room.see(None if who < 0 else showing(face_of(who), amount), number)
    assert longest_step(room.frames) < FASTEST
