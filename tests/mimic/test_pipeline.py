"""Images to motors: on faces that were composed, on people filmed, on a camera that is not kind."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from emo_core.errors import EmoError
from emo_core.face.alignment import canonical_face
from emo_core.face.gaze import Gaze
from emo_core.face.person import PersonFrame
from emo_core.face.stream import Seen
from emo_core.face.topology import ROBOT_LANDMARKS
from emo_core.face.tracking import FaceTracker, VideoFile
from emo_core.mimic.action_units import UNITS, action_units, show
from emo_core.mimic.composition import compose
from emo_core.mimic.pipeline import Mimic, MimicFrame
from emo_core.robot.mapping import LandmarksToMotors

FPS = 25.0
ROBOT = "emo22"


class Nothing:
    """No images here: faces are given."""

    def faces(self, rgb: np.ndarray) -> list[np.ndarray]:
        raise AssertionError("not asked")


def mimic(predict: bool) -> Mimic:
    return Mimic.load(ROBOT, predict, finder=Nothing())


def person(points: np.ndarray | None, valid: bool = True) -> PersonFrame:
    lost = np.full((478, 3), np.nan, np.float32)
    seen = Seen(lost, np.full((4, 4), np.nan, np.float32), lost, int(valid), 0, False)
    static = None if points is None else canonical_face()
    return PersonFrame(points, static, valid, Gaze(0.0, 0.0, valid), seen)


def expressions(count: int) -> Iterator[np.ndarray]:
    """Composed on the canonical face, (T, 478, 3) each, from rest to rest."""
    rng = np.random.default_rng(5)
    for _ in range(count):
        fields = action_units(canonical_face())
        yield show(canonical_face(), fields, compose(rng).intensities).astype(np.float32)


def test_without_prediction_it_is_plain_mimicry_to_the_bit() -> None:
    pipeline = mimic(predict=False)
    plain = LandmarksToMotors.load(ROBOT, canonical_face())
    for faces in expressions(2):
        pipeline.reset()
        for i, face in enumerate(faces):
            frame = pipeline.feed_face(person(face), i / FPS)
            assert frame.motors is not None
            np.testing.assert_array_equal(frame.predicted, face)
            np.testing.assert_array_equal(frame.motors, plain(face))
            assert frame.seconds == 0.0


def test_with_prediction_the_motors_set_off_earlier_and_arrive_at_the_same() -> None:
    pipeline, leads = mimic(predict=True), []
    plain = LandmarksToMotors.load(ROBOT, canonical_face())
    for faces in expressions(24):
        pipeline.reset()
        ahead = np.stack(
            [pipeline.feed_face(person(face), i / FPS).motors for i, face in enumerate(faces)]
        )
        own = np.asarray(plain(faces))
        furthest = np.linalg.norm(own - own[0], axis=1).argmax()
        way = own[furthest] - own[0]
        shares = [((motors - own[0]) @ way) / (way @ way) for motors in (ahead, own)]
        halves = [
            float(np.interp(0.5, np.maximum.accumulate(s), np.arange(len(s)))) for s in shares
        ]
        leads.append((halves[1] - halves[0]) / FPS)
        np.testing.assert_allclose(ahead[-1], own[-1], atol=0.02)
    assert np.mean(leads) > 0.05  # some it is not sure of, and mimics
    assert min(leads) > -1 / FPS


def test_nobody_is_no_opinion_and_a_face_lost_at_its_peak_is_let_go_without_a_jump() -> None:
    pipeline = mimic(predict=True)
    for faces in expressions(4):
        pipeline.reset()
        assert pipeline.feed_face(person(None, valid=False), 0.0).motors is None
        frames: list[MimicFrame] = []
        onset = int(np.linalg.norm(faces - faces[0], axis=(1, 2)).argmax()) - 4
        for i in range(1, onset + 60):
            seen = i <= onset  # lost in the midst of it, and held
            frames.append(pipeline.feed_face(person(faces[min(i, onset)], seen), i / FPS))
        assert max(frame.trust for frame in frames) > 0.3
        assert frames[-1].trust == 0.0
        np.testing.assert_allclose(frames[-1].predicted, faces[onset], atol=1e-3)
        shown = np.stack([frame.predicted[ROBOT_LANDMARKS, :2] for frame in frames])
        steps = np.linalg.norm(np.diff(shown, axis=0), axis=-1).max(1)
        assert steps[onset:].max() <= max(steps[:onset].max(), 0.5)


def test_prediction_is_switched_while_it_runs_without_a_jump() -> None:
    pipeline, faces = mimic(predict=True), next(expressions(1))
    steps = []
    for switched in (False, True):
        pipeline.reset()
        shown = []
        for i, face in enumerate(faces):
            pipeline.predict = not (switched and i % 10 < 5)
            shown.append(pipeline.feed_face(person(face), i / FPS).predicted)
        steps.append(np.linalg.norm(np.diff(shown, axis=0), axis=-1).max())
    assert steps[1] < steps[0] + 1.0


def test_lids_that_sink_as_the_eyes_look_down_lower_the_robots() -> None:
    pipeline = mimic(predict=False)
    fields, lids = action_units(canonical_face()), list(UNITS).index("lid_close")
    motors = []
    for i, share in enumerate((0.0, 0.2, 0.4, 0.7, 1.0)):
        intensities = np.zeros((1, len(fields), 2))
        intensities[0, lids] = share
        face = show(canonical_face(), fields, intensities)[0].astype(np.float32)
        motors.append(pipeline.feed_face(person(face), i / FPS).motors)
    for side in ("lid_upper_right", "lid_upper_left"):
        down = [frame[pipeline.motor_names.index(side)] for frame in motors]
        assert all(b < a - 0.03 for a, b in pairwise(down))


def test_a_robot_that_is_not_there_is_one_line() -> None:
    with pytest.raises(EmoError, match="nobody"):
        Mimic.load("nobody", finder=Nothing())


# --- filmed


def clip(folder: Path, count: int = 70) -> list[np.ndarray]:
    video = sorted(p for p in folder.iterdir() if p.suffix in (".mp4", ".mpg"))[0]
    with VideoFile(video) as film:
        return [cv2.resize(image, (640, 512)) for image in islice(film.frames(), count)]


def watch(images: list[np.ndarray]) -> list[MimicFrame]:
    with FaceTracker(max_faces=2) as tracker:
        return Mimic.load(ROBOT, finder=tracker).run(images, FPS)


def steps(frames: list[MimicFrame]) -> tuple[float, float]:
    """The longest of what is shown beyond rest, mm, and of any motor."""

    def beyond(frame: MimicFrame) -> np.ndarray:
        if frame.predicted is None or frame.face.static is None:
            return np.zeros((478, 3))
        return frame.predicted - frame.face.static

    shown = max(np.linalg.norm(beyond(b) - beyond(a), axis=-1).max() for a, b in pairwise(frames))
    motors = max(
        np.abs(b.motors - a.motors).max()
        for a, b in pairwise(frames)
        if a.motors is not None and b.motors is not None
    )
    return float(shown), float(motors)


@pytest.mark.data
def test_the_same_video_gives_the_same_commands(data_dir: Path) -> None:
    images = clip(data_dir / "grid_s1", 40)
    with Mimic.load(ROBOT) as pipeline:
        first, again = pipeline.run(images, FPS), pipeline.run(images, FPS)
    assert sum(frame.valid for frame in first) > 25
    for one, two in zip(first, again, strict=True):
        assert (one.motors is None) == (two.motors is None)
        if one.motors is not None:
            np.testing.assert_array_equal(one.motors, two.motors)
        assert one.gaze == two.gaze


@pytest.mark.data
def test_a_talker_before_a_camera_that_is_not_kind(data_dir: Path) -> None:
    """Lights out, blur, a hand over the lens, images that are missing, grey, small, or cut off."""
    images = clip(data_dir / "grid_s1")
    shown, motors = steps(watch(images))
    dark, blank = (0.02 * images[0]).astype(np.uint8), np.zeros_like(images[0])
    for i in range(25, 32):
        images[i] = dark
    images[36] = cv2.filter2D(images[36], -1, np.full((1, 15), 1 / 15, np.float32))
    images[40] = images[44] = blank
    for i in range(48, 60):
        images[i] = cv2.resize(cv2.cvtColor(images[i], cv2.COLOR_RGB2GRAY), (320, 256))
    for i in range(60, 70):
        images[i] = np.roll(images[i], 40 * (i - 59), axis=1)  # he goes out of the picture
        images[i][:, : 40 * (i - 59)] = 0
    frames = watch(images)
    assert not any(frame.valid for frame in frames[25:32])
    assert all(frame.valid for frame in frames[51:58])
    assert not frames[-1].valid
    disturbed = steps(frames)
    assert disturbed[0] < 1.2 * max(shown, 3.0)
    assert disturbed[1] < 1.2 * max(motors, 0.3)


@pytest.mark.data
def test_two_people_change_places_and_one_of_them_leaves(data_dir: Path) -> None:
    his, her = clip(data_dir / "grid_s1"), clip(data_dir / "grid_s4")
    alone = [max(pair) for pair in zip(steps(watch(his)), steps(watch(her)), strict=True)]
    images = []
    for i in range(70):
        image = np.full((480, 1000, 3), 90, np.uint8)
        right, left = round(30 + 640 * i / 69), round(670 - 640 * i / 69)
        image[60:410, right : right + 300] = cv2.resize(his[i][56:476, 140:500], (300, 350))
        if i < 60:
            image[120:400, left : left + 240] = cv2.resize(her[i][56:476, 140:500], (240, 280))
        images.append(image)
    for i in range(50):  # and he, too, and she comes back
        image = np.full((480, 1000, 3), 90, np.uint8)
        if i > 8:
            image[120:400, 400:640] = cv2.resize(her[i][56:476, 140:500], (240, 280))
        images.append(image)
    frames = watch(images)
    assert frames[-1].valid
    assert {frame.face.seen.person for frame in frames} == {0, 1}
    shown, motors = steps(frames)
    assert shown < 1.2 * max(alone[0], 3.0)
    assert motors < 1.2 * max(alone[1], 0.3)
