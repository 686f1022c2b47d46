"""The predictive model as the robot runs it: fallback, going ahead, streaming, strict loading."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emo_core.data.prepare import Clip
from emo_core.errors import EmoError
from emo_core.evaluation.predictive import evaluate_predictive
from emo_core.face.alignment import canonical_face
from emo_core.face.topology import EYES, ROBOT_LANDMARKS
from emo_core.mimic.action_units import UNITS, action_units
from emo_core.mimic.composition import Composition, minimum_jerk, perform
from emo_core.mimic.predictive import NAME, PredictiveModel, Predictor
from emo_core.paths import models_dir

FACE = canonical_face()
REST = FACE[ROBOT_LANDMARKS, :2].astype(np.float64)


class Stub:
    """Says what it is told; keeps the windows it saw."""

    def __init__(self, ahead: float = 0.0, confidence: float = 0.0, seconds: float = 0.5) -> None:
        self.ahead, self.confidence, self.seconds = ahead, confidence, seconds
        self.windows: list[np.ndarray] = []

    def __call__(self, windows: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.windows.append(np.array(windows[0]))
        ahead = np.full((1, 113, 2), self.ahead)
        return ahead, np.array([self.confidence]), np.array([self.seconds])


def predictor(stub: Stub) -> Predictor:
    return Predictor(stub, REST)  # type: ignore[arg-type]


def walk(frames: int, seed: int = 0) -> np.ndarray:
    """Faces that wander: (frames, 478, 3)."""
    steps = np.random.default_rng(seed).normal(0.0, 0.3, (frames, 478, 3))
    return (FACE + np.cumsum(steps, axis=0)).astype(np.float32)


def test_unsure_is_plain_mimicry_to_the_bit() -> None:
    unsure = predictor(Stub(ahead=5.0, confidence=0.45))
    for face in walk(40):
        answer = unsure.feed(face)
        assert np.array_equal(answer.landmarks, face)
        assert answer.trust == 0.0 and answer.seconds == 0.0


def test_sure_goes_ahead_smoothly_and_comes_back_smoothly() -> None:
    stub = Stub(ahead=4.0, confidence=1.0)
    sure = predictor(stub)
    ahead = [float((sure.feed(FACE).landmarks - FACE)[13, 1]) for _ in range(25)]
    assert ahead[:4] == [0.0] * 4  # four frames to see, and two that agree
    assert ahead[-1] == pytest.approx(4.0, abs=0.01)
    assert np.diff(ahead).min() >= -1e-5
    stub.confidence = 0.0
    back = [float((sure.feed(FACE).landmarks - FACE)[13, 1]) for _ in range(25)]
    assert np.diff(back).max() <= 1e-5 and np.diff(back).min() > -0.25 * 4.0
    assert back[-1] == pytest.approx(0.0, abs=0.01)
    untouched = np.setdiff1d(np.arange(478), ROBOT_LANDMARKS)
    assert np.array_equal(sure.feed(FACE).landmarks[untouched], FACE[untouched])


def test_lids_are_as_the_person_has_them_however_sure_the_model_is() -> None:
    sure = predictor(Stub(ahead=4.0, confidence=1.0))
    for face in walk(30):
        answer = sure.feed(face)
        assert np.array_equal(answer.landmarks[EYES], face[EYES])
    others = np.setdiff1d(ROBOT_LANDMARKS, EYES)
    assert (answer.landmarks - face)[others, :2] == pytest.approx(4.0, abs=0.01)


def test_one_frame_of_confidence_moves_nothing() -> None:
    stub = Stub(ahead=4.0)
    one = predictor(stub)
    for i in range(40):
        stub.confidence = float(i % 4 == 0)
        assert np.array_equal(one.feed(FACE).landmarks, FACE)


def test_a_near_peak_asks_for_more_confidence() -> None:
    for seconds, moves in ((0.05, False), (0.5, True)):
        near = predictor(Stub(ahead=4.0, confidence=0.65, seconds=seconds))
        moved = [np.ptp(near.feed(FACE).landmarks - FACE) > 0.1 for _ in range(12)]
        assert any(moved) == moves


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(12.0, 120.0))
def test_any_frame_rate_gives_the_same_windows(seed: int, fps: float) -> None:
    """What moves evenly is seen alike at any rate: windows are 40 ms apart."""
    speed = np.random.default_rng(seed).normal(0.0, 10.0, (113, 2))
    stub = Stub()
    any_rate = predictor(stub)
    times = np.arange(0.0, 0.6, 1.0 / fps)
    for time in times:
        any_rate.feed((REST + time * speed).astype(np.float32), float(time))
    assert stub.windows
    last = stub.windows[-1]
    expected = speed * (times[-1] - 0.04 * np.arange(3, -1, -1))[:, None, None]
    assert np.abs(last - expected).max() < 2e-4  # float32 faces of 100 mm


def test_gaps_lost_faces_and_repeated_frames() -> None:
    stub = Stub()
    live = predictor(stub)
    faces = walk(30)
    for i in range(8):
        live.feed(faces[i], 0.04 * i)
    seen = len(stub.windows)
    assert seen == 5  # from the fourth frame on
    live.feed(faces[8], 0.04 * 7)  # no newer: it replaces the last
    assert np.allclose(stub.windows[-1][-1], faces[8][ROBOT_LANDMARKS, :2] - REST, atol=1e-4)
    live.feed(faces[9], 2.0)  # after a gap the window begins again
    assert len(stub.windows) == seen + 1
    lost = np.full((478, 3), np.nan, np.float32)
    answer = live.feed(lost, 2.04)
    assert np.isnan(answer.landmarks).all() and answer.trust == 0.0
    for i in range(3):
        live.feed(faces[i], 2.08 + 0.04 * i)
    assert len(stub.windows) == seen + 1


def test_faces_of_another_shape_are_refused() -> None:
    live = predictor(Stub())
    with pytest.raises(ValueError, match="landmarks"):
        live.feed(np.zeros((468, 3)))
    with pytest.raises(ValueError, match="static_face"):
        live.set_static(np.full((478, 3), np.nan))


# The shipped model.


def tracker_noise(frames: int, seed: int) -> np.ndarray:
    """As FaceMesh's on calm faces: 0.1 mm, smooth over the face, hardly in time: (T, 113, 2)."""
    rng = np.random.default_rng(seed)
    x, y = (REST[:, axis] / 40.0 for axis in (0, 1))
    shapes = np.stack([np.ones(113), x, y, x * y, np.sin(2 * x), np.cos(2 * y)])
    weights = 0.06 * rng.normal(0.0, 1.0, (frames, 6, 2))
    return np.einsum("tsd,sp->tpd", weights, shapes)


def smile() -> tuple[np.ndarray, np.ndarray, int]:
    """A composed smile of 0.8 s from frame 25 on: frames, peak, the frame it is complete."""
    way = minimum_jerk((np.arange(80) - 25) / 20.0)
    intensities = np.zeros((80, len(UNITS), 2))
    intensities[:, list(UNITS).index("lip_corner_pull")] = 0.9 * way[:, None]
    intensities[:, list(UNITS).index("cheek_raise")] = 0.6 * way[:, None]
    composition = Composition(intensities, intensities[-1], 25, 45, 80, "happiness")
    moved, peak = perform(FACE, action_units(FACE), composition)
    return moved + tracker_noise(len(moved), 8), peak, 45


def test_the_shipped_model_is_ahead_of_a_smile_and_ends_where_it_ends() -> None:
    faces, peak, complete = smile()
    live = Predictor(PredictiveModel.load(), np.zeros((113, 2)))
    answers = np.array([live.feed(face).landmarks for face in faces])
    size = (peak**2).sum()
    done, mimicry = ((where * peak).sum((1, 2)) / size for where in (answers, faces))
    half = [int(np.argmax(way > 0.5)) for way in (done, mimicry)]
    assert half[1] - half[0] >= 2  # 80 ms
    assert done.max() < 1.4
    assert np.abs(done[complete + 5 :] - mimicry[complete + 5 :]).max() < 0.1
    assert np.array_equal(answers[:25].astype(np.float32), faces[:25].astype(np.float32))


@pytest.mark.parametrize("kind", ["smooth", "white"])
def test_the_shipped_model_lets_a_still_face_be(kind: str) -> None:
    noise = tracker_noise(1500, 9)  # a minute
    if kind == "white":
        noise = np.random.default_rng(9).normal(0.0, 0.15, noise.shape)
    live = Predictor(PredictiveModel.load(), np.zeros((113, 2)))
    for face in noise:
        answer = live.feed(face)
        assert np.linalg.norm(answer.landmarks - face, axis=-1).mean() < 0.3


def test_answers_repeat_and_do_not_depend_on_what_came_before_a_reset() -> None:
    faces, _, _ = smile()
    model = PredictiveModel.load()
    live = Predictor(model, np.zeros((113, 2)))
    first = [live.feed(face).landmarks for face in faces]
    live.reset()
    again = [live.feed(face).landmarks for face in faces]
    assert np.array_equal(first, again)


def test_loading_is_strict(tmp_path: Path) -> None:
    with pytest.raises(EmoError, match="missing"):
        PredictiveModel.load(tmp_path / "none")
    other = tmp_path / "other"
    shutil.copytree(models_dir() / NAME, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "landmarks": "other-1"}))
    with pytest.raises(EmoError, match=r"landmarks is 'other-1'.*train predictive"):
        PredictiveModel.load(other)
    shutil.copyfile(models_dir() / NAME / "config.json", other / "config.json")
    (other / "model.onnx").write_bytes((other / "model.onnx").read_bytes()[:-1])
    with pytest.raises(EmoError, match="damaged"):
        PredictiveModel.load(other)


def test_nobody_to_compose_on_is_one_line(clips: list[Clip]) -> None:
    model = PredictiveModel.load(models_dir() / NAME)
    with pytest.raises(EmoError, match="no face to compose"):
        evaluate_predictive(model, {"anna": clips[:1]}, strangers=[], count=1)


def test_eval_predictive(folder: Path, tmp_path: Path, emo: Callable[..., Any]) -> None:
    result = emo(
        "eval", "predictive", folder, "--composed", 8, "--calm-minutes", 0.5, "--json",
        "--out", tmp_path,
    )  # fmt: skip
    assert result.status == 0, result.err
    figures = json.loads(result.out)
    assert figures["strangers"] == [folder.name]
    assert figures["lead"]["expressions"] == 8
    assert set(figures["composed"]["error_mm"]) == {"model", "answer", "hold", "linear", "random"}
    assert len(figures["composed"]["per_landmark_mm"]["model"]) == 113
    assert figures["false_alarms"]["calm"]["minutes"] == 0.5
    assert (tmp_path / "predictive.png").stat().st_size > 10_000
    text = emo("eval", "predictive", folder, "--composed", 4, "--calm-minutes", 0.5)
    assert text.status == 0 and "false a minute" in text.out
