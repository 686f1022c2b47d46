"""The training code: what it feeds the networks, what the networks may see, what is exported."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from emo_core.audio.apc import Apc
from emo_core.data.prepare import Clip, save_clip
from emo_core.errors import EmoError
from emo_core.face.alignment import canonical_face
from emo_core.lipsync.audio2landmark import Audio2Landmark

torch = pytest.importorskip("torch", reason="TRAINING LEFT OUT: ./emo test --train installs torch")

from emo_core.training import apc as apc_training  # noqa: E402
from emo_core.training import augment, recipe  # noqa: E402
from emo_core.training.audio2landmark import (  # noqa: E402
    A2LConfig,
    Bank,
    StreamNet,
    load_audio2landmark,
    make_net,
    static_input,
    train,
)
from emo_core.training.export import export_apc, export_audio2landmark  # noqa: E402
from emo_core.training.lipsync_data import (  # noqa: E402
    Basis,
    Lips,
    mouth_readings,
    static_readings,
    versions,
)

torch.set_num_threads(1)  # networks this small only wait for each other's threads

FEATURES = 12
LOOKAHEADS = [0, 40, 80, 160, 240]


def small(architecture: str, lookahead: int) -> A2LConfig:
    return A2LConfig(
        architecture=architecture, lookahead_ms=lookahead, hidden=16, components=8, dropout=0.0
    )


@pytest.mark.parametrize("architecture", ["stream", "slice"])
@pytest.mark.parametrize("lookahead", LOOKAHEADS)
def test_frame_n_sees_rows_up_to_its_lookahead(architecture: str, lookahead: int) -> None:
    torch.manual_seed(0)
    net = make_net(small(architecture, lookahead), FEATURES).eval()
    rows = torch.randn(1, 80, FEATURES, requires_grad=True)
    out = net(rows, torch.zeros(1, 1434))
    frame = 20
    out[0, frame].sum().backward()
    seen = np.flatnonzero(rows.grad[0].abs().sum(-1).numpy())
    assert seen.max() == 2 * frame - 2 + lookahead // 20
    if architecture == "slice":
        assert seen.min() == seen.max() - 24


def test_apc_predicts_from_the_past_only() -> None:
    config = apc_training.ApcConfig(hidden=8, layers=2)
    net = apc_training.ApcNet(config).eval()
    mel = torch.randn(1, 20, 80, requires_grad=True)
    net(mel)[0][0, 10].sum().backward()
    assert np.flatnonzero(mel.grad[0].abs().sum(-1).numpy()).max() == 10


def test_exported_apc_equals_the_trained_one(tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = apc_training.ApcConfig(hidden=32, layers=3)
    net = apc_training.ApcNet(config, np.full(80, -40, np.float32), np.full(80, 15, np.float32))
    export_apc(net, tmp_path / "apc", {})
    mel = np.random.default_rng(0).normal(-40, 15, (50, 80)).astype(np.float32)
    with torch.no_grad():
        expected = net(torch.from_numpy(mel)[None])[0][0].numpy()
    loaded = Apc.load(tmp_path / "apc")
    np.testing.assert_allclose(loaded.feed(mel)[:, 80:], expected, atol=1e-5)
    np.testing.assert_allclose(loaded.features(mel[None])[0, :, 80:], expected, atol=1e-5)


@pytest.mark.parametrize("lookahead", LOOKAHEADS)
def test_exported_audio2landmark_equals_the_trained_one(lookahead: int, tmp_path: Path) -> None:
    torch.manual_seed(2)
    config = small("stream", lookahead)
    nets = [make_net(config, FEATURES).eval() for _ in range(2)]
    decoder = np.random.default_rng(0).normal(size=(8, 1434)).astype(np.float16).astype(np.float32)
    assert all(isinstance(net, StreamNet) for net in nets)
    export_audio2landmark(nets, decoder, config, FEATURES, tmp_path / "a2l", {})
    static = canonical_face() + np.float32(1.5)
    rows = np.random.default_rng(1).normal(size=(60, FEATURES)).astype(np.float32)
    with torch.no_grad():
        inputs = torch.from_numpy(rows)[None], torch.from_numpy(static_input(static))[None]
        coordinates = sum(net(*inputs) for net in nets)[0].numpy() / 2
    expected = static + (coordinates @ decoder).reshape(-1, 478, 3)
    model = Audio2Landmark.load(tmp_path / "a2l", static_face=static)
    pieces = [model.feed(rows[i : i + 7]) for i in range(0, 60, 7)]
    got = np.concatenate(pieces)
    shared = min(len(got), len(expected))
    assert shared >= 30 - lookahead // 40 - 1
    np.testing.assert_allclose(got[:shared], expected[:shared], atol=1e-4)


def test_other_voices_keep_the_time_axis() -> None:
    rng = np.random.default_rng(0)
    mel = np.full((100, 80), -80, np.float32)
    mel[40:60] = rng.normal(-20, 5, (20, 80))
    for _ in range(50):
        other = augment.another_voice(mel, rng)
        assert other.shape == mel.shape
        assert np.isfinite(other).all()
        assert other.min() >= -100
        level = other.mean(1)
        assert level[40:60].min() > level[:40].max()  # the burst begins where it began


def test_warp_moves_a_formant() -> None:
    mel = np.full((1, 80), -60, np.float32)
    mel[0, 40] = 0
    assert augment.warp(mel, 1.2)[0].argmax() > 40 > augment.warp(mel, 0.85)[0].argmax()
    np.testing.assert_allclose(augment.warp(mel, 1.0), mel, atol=1e-3)


def test_readings_are_the_metrics_ones() -> None:
    face = canonical_face().reshape(-1) + np.random.default_rng(0).normal(size=1434)
    points = face.reshape(478, 3)
    opening, width = face @ mouth_readings()
    assert opening == pytest.approx(points[13, 1] - points[14, 1], abs=1e-4)
    assert width == pytest.approx(points[291, 0] - points[61, 0], abs=1e-4)
    assert 10 * (face @ static_readings())[1] == pytest.approx(opening, abs=1e-4)


def talking(count: int = 6, seed: int = 3) -> list[Clip]:
    """A mouth that opens with the loudness."""
    rng = np.random.default_rng(seed)
    out = []
    for index in range(count):
        loud = np.repeat(rng.uniform(0, 1, 10), 8)[:75].astype(np.float32)
        loud[:10] = 0
        landmarks = np.repeat(canonical_face()[None], 75, 0)
        landmarks[:, 14, 1] -= 10 * loud
        mel = np.repeat(-60 + 50 * loud[:, None], 2, 0).repeat(80, 1).astype(np.float32)
        pose = np.zeros((75, 4, 4), np.float32)
        audio = (np.repeat(loud, 640) * rng.normal(0, 0.1, 48_000)).astype(np.float32)
        out.append(Clip(f"clip{index}", landmarks, pose, np.ones(75, bool), audio, mel))
    return out


def test_training_learns_and_keeps_what_it_learned(tmp_path: Path) -> None:
    lips = [Lips.of(clip, person=0) for clip in talking()]
    basis = Basis.fit(lips, 8)
    sequences = versions(lips, 2, np.random.default_rng(0))
    rows = [[(s.mel / 50 + 1).astype(np.float16) for s in batch] for batch in sequences]
    bank = Bank(lips, sequences, rows)
    config = replace(
        A2LConfig(),
        hidden=24,
        components=8,
        people=1,
        epochs=40,
        batch=3,
        lookahead_ms=80,
        dropout=0.0,
        learning_rate=1e-2,
    )
    net = train(bank, basis, config, tmp_path, lambda _: {"score": 0.0}, every=20)
    losses = [
        json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().split("\n")[:-1]
    ]
    assert np.mean(losses[-10:]) < 0.5 * losses[0]
    again, stored, decoder = load_audio2landmark(tmp_path / "best.pt")
    assert stored == config
    inputs = torch.randn(1, 40, 80), torch.zeros(1, 1434)
    with torch.no_grad():
        torch.testing.assert_close(net(*inputs), again(*inputs))
    np.testing.assert_array_equal(decoder, basis.decoder)


def test_streams_carry_each_recording_on() -> None:
    config = apc_training.ApcConfig(streams=2, chunk=5, versions=1)
    mels = [np.arange(40, dtype=np.float32)[:, None].repeat(80, 1) + 100 * i for i in range(3)]
    heard = apc_training.voices(mels, config)
    chunks = list(apc_training.streams(heard, config, np.random.default_rng(0)))
    assert all(mel.shape == (2, 15, 80) for mel, _ in chunks)
    assert [bool(fresh.all()) for _, fresh in chunks] == [True] + [False] * (len(chunks) - 1)
    for (before, _), (after, _) in itertools.pairwise(chunks):
        torch.testing.assert_close(before[:, 5:10], after[:, :5])


TINY_APC = apc_training.ApcConfig(
    hidden=8, layers=2, streams=2, chunk=8, epochs=2, versions=2, learning_rate=0.1
)


def recordings(level_db: float = -40.0) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.normal(level_db, 15, (120, 80)).astype(np.float32) for _ in range(3)]


def test_apc_cut_short_goes_on_and_comes_out_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train_in(folder: str) -> apc_training.ApcNet:
        mels = recordings()
        return apc_training.train_apc(mels, mels[:1], tmp_path / folder, TINY_APC)

    unbroken = train_in("unbroken").state_dict()
    save, saved = torch.save, []

    def killed(stored: object, path: Path) -> None:
        saved.append(path)
        if len(saved) == 2:
            Path(path).write_bytes(b"half a checkpoint")
            raise KeyboardInterrupt
        save(stored, path)

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        train_in("broken")
    resumed = train_in("broken").state_dict()
    assert len(saved) == 3  # the epoch that was whole was not trained again
    for name, weights in unbroken.items():
        assert torch.equal(resumed[name], weights), name


def test_apc_work_folders_of_other_trainings_are_refused(tmp_path: Path) -> None:
    one_epoch = replace(TINY_APC, epochs=1)
    mels = recordings()
    apc_training.train_apc(mels, mels[:1], tmp_path, one_epoch)
    with pytest.raises(EmoError, match=r"holds a training with epochs 1, not 2: .* --work"):
        apc_training.train_apc(mels, mels[:1], tmp_path, TINY_APC)
    with pytest.raises(EmoError, match="other data"):
        apc_training.train_apc(recordings(-39.9), mels[:1], tmp_path, one_epoch)
    apc_training.train_apc(mels, mels[:1], tmp_path, one_epoch)  # the same is taken up
    old = {"net": {}, "raw": {}, "epoch": 0, "config": asdict(one_epoch)}
    torch.save(old, tmp_path / "checkpoint.pt")
    with pytest.raises(EmoError, match="another version"):
        apc_training.train_apc(mels, mels[:1], tmp_path, one_epoch)
    (tmp_path / "checkpoint.pt").write_bytes(b"half a checkpoint")
    with pytest.raises(EmoError, match=r"no whole checkpoint\.pt"):
        apc_training.train_apc(mels, mels[:1], tmp_path, one_epoch)


def test_finished_seeds_are_taken_by_the_same_training_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "anna"
    folder.mkdir()
    (folder / "splits.json").write_text('{"train": ["clip0", "clip1"], "val": ["clip2"]}')
    config = replace(small("stream", 80), components=4, epochs=1, batch=2)
    trained, exported = [], []

    def film(seed: int) -> None:
        for clip in talking(3, seed):
            save_clip(clip, folder / f"{clip.name}.npz")

    def apc(louder: float) -> None:
        def features(inputs: str, folder: Path | None) -> Callable[..., list[np.ndarray]]:
            return lambda mels: [(louder * mel / 50 + 1).astype(np.float16) for mel in mels]

        monkeypatch.setattr(recipe, "Features", features)

    def basis(clips: list[Lips], count: int) -> Basis:  # as it comes: the best takes a second
        decoder = clips[0].displacement[-count:]
        return Basis(decoder, decoder.T)

    def counted(*arguments: object) -> object:
        trained.append(arguments)
        return train(*arguments)  # type: ignore[arg-type]

    def make(config: A2LConfig, seeds: int = 1) -> None:
        recipe.make_audio2landmark(
            [folder], [], tmp_path / "model", tmp_path / "work", config, seeds, versions_of_clip=2
        )

    monkeypatch.setattr(recipe, "Validation", lambda *_: lambda nets: {"score": 0.0})
    monkeypatch.setattr(recipe.Basis, "fit", basis)
    monkeypatch.setattr(recipe, "train", counted)
    monkeypatch.setattr(recipe, "export_audio2landmark", lambda *given: exported.append(given))
    film(seed=3)
    apc(1.0)
    make(config)
    make(config, seeds=2)
    assert len(trained) == len(exported) == 2  # each seed once
    with pytest.raises(EmoError, match=r"seed0 holds a training with epochs 1, not 2: .* --work"):
        make(replace(config, epochs=2))
    with pytest.raises(EmoError, match="lookahead_ms 80, not 240"):
        make(replace(config, lookahead_ms=240))
    apc(1.01)
    with pytest.raises(EmoError, match="other data"):
        make(config)
    apc(1.0)
    film(seed=4)
    with pytest.raises(EmoError, match="other data"):
        make(config)
    assert len(trained) == len(exported) == 2
