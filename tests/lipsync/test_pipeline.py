from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emo_core.audio.apc import Apc
from emo_core.audio.mel import LogMel
from emo_core.errors import EmoError
from emo_core.face.alignment import canonical_face
from emo_core.lipsync.audio2landmark import Audio2Landmark, mouth_gains
from emo_core.lipsync.pipeline import Lipsync
from emo_core.paths import models_dir

RNG = np.random.default_rng(1)
SPEECHLIKE = (0.1 * RNG.standard_normal(40_000)).astype(np.float32)
SPEECHLIKE *= np.clip(np.sin(np.arange(40_000) / 1500), 0, 1).astype(np.float32)


@pytest.mark.parametrize("variant", ["full", "live"])
@pytest.mark.parametrize("size", [320, 333, 6400])
def test_streaming_equals_offline(variant: str, size: int) -> None:
    pipeline = Lipsync.load(variant)
    whole = pipeline.animate(SPEECHLIKE)
    pipeline.reset()
    pieces = [pipeline.feed(SPEECHLIKE[i : i + size]) for i in range(0, len(SPEECHLIKE), size)]
    streamed = np.concatenate([*pieces, pipeline.flush()])
    assert whole.shape == (63, 478, 3)  # ceil(40000 / 640)
    np.testing.assert_allclose(streamed, whole, atol=1e-4)


@pytest.mark.parametrize("variant", ["full", "live"])
def test_lookahead_is_all_it_waits_for(variant: str) -> None:
    pipeline = Lipsync.load(variant)
    for frame in range(5):
        needed = 640 * frame + 16 * pipeline.lookahead_ms
        fed = pipeline._samples
        assert len(pipeline.feed(SPEECHLIKE[fed : needed - 1])) == 0
        assert len(pipeline.feed(SPEECHLIKE[needed - 1 : needed])) == 1


def test_what_comes_later_than_the_lookahead_changes_nothing() -> None:
    pipeline = Lipsync.load("live")
    other = SPEECHLIKE.copy()
    cut = 640 * 30 + 16 * pipeline.lookahead_ms
    other[cut:] = 0.3
    a, b = pipeline.animate(SPEECHLIKE), pipeline.animate(other)
    np.testing.assert_array_equal(a[:31], b[:31])
    assert np.abs(a[31:40] - b[31:40]).max() > 0.01


@pytest.mark.parametrize("samples", [0, 1, 319, 640, 641])
def test_short_recordings(samples: int) -> None:
    faces = Lipsync.load("full").animate(np.zeros(samples, np.float32))
    assert faces.shape == (-(-samples // 640), 478, 3)
    assert np.isfinite(faces).all()


@pytest.mark.parametrize("variant", ["full", "live"])
def test_still_when_silent(variant: str) -> None:
    faces = Lipsync.load(variant).animate(np.zeros(160_000, np.float32))
    steps = np.linalg.norm(np.diff(faces[25:], axis=0), axis=-1)
    assert steps.max() < 0.02  # mm per frame
    lips = np.abs(faces[25:, 13, 1] - faces[25:, 14, 1])
    assert lips.max() < 1.5


def test_mouth_gain_scales_opening_and_leaves_the_eyes() -> None:
    gains = mouth_gains(2.0)
    assert gains[13] == gains[14] == gains[0] == gains[17] == 2.0
    assert (gains[[33, 263, 159, 105, 10, 168]] == 1.0).all()
    opened = [
        Lipsync.load("full", mouth_gain=gain).animate(SPEECHLIKE)[:, [13, 14], 1]
        for gain in (1.0, 2.0)
    ]
    rest = canonical_face()[[13, 14], 1]
    np.testing.assert_allclose(opened[1] - rest, 2 * (opened[0] - rest), atol=1e-4)
    with pytest.raises(EmoError, match="mouth_gain"):
        Lipsync.load("full", mouth_gain=-1)


def test_static_face_shifts_the_result() -> None:
    static = canonical_face() + np.float32([3, 0, 0])
    moved = Lipsync.load("full", static_face=static).animate(SPEECHLIKE)
    assert (moved[0] - Lipsync.load("full").animate(SPEECHLIKE)[0]).mean(0)[0] > 2
    with pytest.raises(EmoError, match="static face"):
        Lipsync.load("full", static_face=static[:10])


@pytest.mark.parametrize("name", ["apc", "audio2landmark_full"])
def test_damaged_models_are_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    load = Apc.load if name == "apc" else Audio2Landmark.load
    with pytest.raises(EmoError, match="missing"):
        load(folder)
    shutil.copytree(models_dir() / name, folder)
    load(folder)
    whole = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EmoError, match="checksum"):
        load(folder)
    (folder / "model.onnx").write_bytes(whole)
    config = json.loads((folder / "config.json").read_text())
    for key in ("kind", "schema"):
        (folder / "config.json").write_text(json.dumps({**config, key: "other"}))
        with pytest.raises(EmoError, match=key):
            load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(EmoError, match="cannot be read"):
        load(folder)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("sha256", None, "is missing: it must be the files' checksums"),
        ("sha256", ["model.onnx"], r"is \['model.onnx'\], not the files' checksums"),
        ("sha256", {}, "does not name model.onnx"),
        ("sha256", {"model.onnx": 5}, None),
        ("kind", None, "is missing: it must be 'apc'"),
        ("layers", None, "is missing: it must be a whole number of 1 or more"),
        ("hidden", "512", "is '512', not a whole number"),
        ("hidden", 0, "is 0, not a whole number of 1 or more"),
        ("layers", True, "is True, not a whole number"),
    ],
)
def test_a_config_that_leaves_something_out_is_refused(
    key: str, value: object, says: str | None, tmp_path: Path
) -> None:
    refused(tmp_path / "apc", key, value, says, Apc.load)


@pytest.mark.parametrize("key", ["lookahead_ms", "features", "layers", "hidden"])
def test_numbers_that_a_speech_model_needs(key: str, tmp_path: Path) -> None:
    folder = tmp_path / "audio2landmark_live"
    refused(folder, key, None, "is missing: it must be a whole number", Audio2Landmark.load)


def refused(
    folder: Path, key: str, value: object, says: str | None, load: Callable[[Path], object]
) -> None:
    """A shipped model whose config.json has another value, or none, for one key."""
    shutil.copytree(models_dir() / folder.name, folder)
    config = json.loads((folder / "config.json").read_text())
    config[key] = value
    if value is None:
        del config[key]
    (folder / "config.json").write_text(json.dumps(config))
    wrong = r"model\.onnx: damaged.*" if says is None else rf"config\.json: {key} {says}.*"
    with pytest.raises(EmoError, match=wrong + r"Restore it from the repository"):
        load(folder)


def test_features_of_another_width_are_refused() -> None:
    with pytest.raises(EmoError, match="features"):
        Audio2Landmark.load("audio2landmark_live").feed(np.zeros((4, 80), np.float32))


@pytest.mark.data
def test_apc_foresees_better_than_the_last_frame_repeated(data_dir: Path) -> None:
    from emo_core.audio.sources import load_audio

    recordings = sorted((data_dir / "librispeech" / "test-other").rglob("*.flac"))[::25]
    apc = Apc.load()
    ours, last = 0.0, 0.0
    for path in recordings:
        normal, foreseen = apc.predict(LogMel().feed(load_audio(path)))
        ours += np.abs(foreseen[3][:-3] - normal[3:]).sum()
        last += np.abs(normal[:-3] - normal[3:]).sum()
    assert ours / last < 0.9
