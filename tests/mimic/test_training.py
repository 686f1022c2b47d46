"""Training the predictive model: what it is shown, and what is exported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emo_core.data.faces import rest_face
from emo_core.data.prepare import Clip
from emo_core.face.topology import robot_points
from emo_core.mimic.expressions import find_expressions
from emo_core.mimic.predictive import PredictiveModel
from emo_core.models import read_config

torch = pytest.importorskip("torch", reason="TRAINING LEFT OUT: ./emo test --train installs torch")

from emo_core.training.predictive import (  # noqa: E402
    PredictiveConfig,
    PredictiveNet,
    came_true,
    export_predictive,
    train_predictive,
)
from emo_core.training.predictive_data import Windows, filmed, mirror  # noqa: E402

SMALL = replace(
    PredictiveConfig(), composed=120, composed_on_talk=10, people=10, hidden=32, shapes=16,
    steps=300, batch=128, learning_rate=3e-3,
)  # fmt: skip


def test_windows_are_the_frames_before_and_goals_the_peaks(clips: list[Clip]) -> None:
    clip = next(clip for clip in clips if find_expressions(clip.landmarks))
    (onset, *_) = find_expressions(clip.landmarks)
    windows = Windows.of([filmed(clip)])
    inputs, ahead, going, seconds = windows.batch(np.arange(len(windows.ends)))
    moved = (robot_points(clip.landmarks) - robot_points(rest_face(clip))).reshape(-1, 226)
    row = onset.inputs[-1] - 3  # windows end in frame 3 and later
    assert np.allclose(inputs[row], moved[onset.inputs.start : onset.inputs.stop], atol=0.01)
    assert np.allclose(ahead[row], moved[onset.peak] - moved[onset.inputs[-1]], atol=0.01)
    assert going[row] == 1 and seconds[row] == pytest.approx((onset.peak - onset.inputs[-1]) / 25)
    assert not ahead[going == 0].any() and going[: onset.start - 3].sum() == 0


def test_frames_without_a_face_are_in_no_window(clips: list[Clip]) -> None:
    lost = clips[0].landmarks.copy()
    lost[20] = np.nan
    windows = Windows.of([filmed(replace(clips[0], landmarks=lost))])
    assert not set(windows.ends) & {20, 21, 22, 23}
    assert {19, 24} <= set(windows.ends)


def test_the_mirror_swaps_sides_and_is_its_own_inverse() -> None:
    table = mirror()
    assert np.array_equal(table[table], np.arange(113))
    assert table[0] == 10 and table[52] == 62  # brows' outer ends; corners of the mouth
    assert (table != np.arange(113)).sum() > 100


def test_came_true_asks_for_a_visible_way_and_a_nearer_guess() -> None:
    far, near = torch.full((1, 226), 2.0), torch.full((1, 226), 0.1)
    assert came_true(0.5 * far, far, 0.4) == 1
    assert came_true(0.05 * far, far, 0.4) == 0  # hardly nearer than holding
    assert came_true(-far, far, 0.4) == 0
    assert came_true(near, near, 0.4) == 0  # nobody sees it


def test_training_learns_and_exports_what_it_learned(clips: list[Clip], tmp_path: Path) -> None:
    steps: list[float] = []
    people = [clips[:8], clips[8:16]]
    figures = train_predictive(
        people, clips[16:], tmp_path / "model", SMALL, {"people": ["a", "b"]},
        lambda step, _, seen: steps.append(seen["composed"]),
    )  # fmt: skip
    assert figures["filmed"] < 0.97  # over the hold-current error, all frames of an onset
    assert steps[-1] == figures["composed"]
    config = read_config(tmp_path / "model", "")
    assert config["provenance"]["people"] == ["a", "b"]
    assert config["provenance"]["clips"] == 16
    PredictiveModel.load(tmp_path / "model")


def test_the_exported_model_equals_the_trained_one(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = PredictiveNet(32, 16)
    export_predictive(net, tmp_path, {})
    model = PredictiveModel.load(tmp_path)
    windows = np.random.default_rng(0).normal(0.0, 3.0, (50, 4, 226)).astype(np.float32)
    with torch.no_grad():
        ahead, logit, seconds = net(torch.from_numpy(windows))
    got = model(windows.reshape(50, 4, 113, 2))
    for seen, expected in zip(got, (ahead, torch.sigmoid(logit), seconds), strict=True):
        assert np.allclose(seen.reshape(expected.shape), expected.numpy(), atol=1e-4)
