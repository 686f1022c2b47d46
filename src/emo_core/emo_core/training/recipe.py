"""The recipe of the shipped lip-sync models, from prepared clips and speech to model folders."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from emo_core.audio.apc import Apc
from emo_core.audio.mel import FLOOR_DB, N_MELS, LogMel
from emo_core.audio.sources import load_audio, recordings_in
from emo_core.data.prepare import Clip, load_split
from emo_core.errors import EmoError
from emo_core.evaluation import metrics
from emo_core.evaluation.voice import static_face, voiced_frames
from emo_core.training.apc import ApcConfig, train_apc
from emo_core.training.audio2landmark import (
    A2LConfig,
    Bank,
    StreamNet,
    load_audio2landmark,
    static_input,
    train,
    training_data,
)
from emo_core.training.checkpoints import load_checkpoint
from emo_core.training.export import export_apc, export_audio2landmark
from emo_core.training.lipsync_data import TAIL_ROWS, Basis, Lips, versions

Array = NDArray[np.float32]

REPORTED = (
    "opening_r", "width_r", "opening_slope", "closure", "closure_paired", "lag_ms", "abs_lag_ms",
    "jitter_mm",
)  # fmt: skip
#: A speaker with few clips is heard this many times for each of the others' once.
_FEW, _REPEAT = 100, 3


def speech_mels(folders: Iterable[Path]) -> list[Array]:
    """Log-mel of every recording under the folders, (K, 80) each.

    Raises:
        EmoError: no such folder, or none in it.
    """
    paths = [path for folder in folders for path in recordings_in(folder)]
    return [LogMel().feed(load_audio(path)) for path in paths]


def make_apc(
    speech: Sequence[Path],
    clips: Sequence[Path],
    out: Path,
    work: Path,
    config: ApcConfig,
) -> None:
    """Train on speech folders and the clips' training splits; export to `out`.

    The last twentieth of the speech folders' recordings is held out, to watch the training by.
    """
    mels = speech_mels(speech)
    kept = len(mels) - max(1, len(mels) // 20)
    mels, held_out = mels[:kept], mels[kept:]
    mels += [clip.mel for folder in clips for clip in load_split(folder, "train")]
    net = train_apc(mels, held_out, work, config)
    minutes = round(sum(map(len, mels)) / 50 / 60)
    export_apc(net, out, {"training": asdict(config), "minutes_of_speech": minutes})


class Features:
    """Log-mel -> the rows Audio2Landmark reads, by the shipped APC model (its inputs by name)."""

    def __init__(self, inputs: str, folder: Path | None = None) -> None:
        self._apc = Apc.load(folder)
        columns = {"apc+mel": slice(None), "mel": slice(0, N_MELS), "apc": slice(N_MELS, None)}
        if inputs not in columns:
            raise EmoError(f"inputs '{inputs}': give one of {', '.join(columns)}")
        self._columns = columns[inputs]

    def __call__(self, mels: Sequence[Array], together: int = 32) -> list[NDArray[np.float16]]:
        """Log-mels (K, 80) in dB -> rows (K, F) of each."""
        order = np.argsort([len(mel) for mel in mels])
        rows: list[NDArray[np.float16]] = [np.zeros((0, 0), np.float16)] * len(mels)
        for at in range(0, len(order), together):
            chosen = order[at : at + together]
            longest = len(mels[chosen[-1]])
            batch = np.full((len(chosen), longest, N_MELS), FLOOR_DB, np.float32)
            for b, i in enumerate(chosen):
                batch[b, : len(mels[i])] = mels[i]
            features = self._apc.features(batch)[..., self._columns].astype(np.float16)
            for b, i in enumerate(chosen):
                rows[i] = features[b, : len(mels[i])].copy()
        return rows


class Validation:
    """Scores a network on held-out clips, each group by its own mean."""

    def __init__(self, groups: dict[str, list[Clip]], features: Features, decoder: Array) -> None:
        self._decoder = decoder
        self._groups = {
            name: [self._prepared(clip, features) for clip in clips]
            for name, clips in groups.items()
        }

    @staticmethod
    def _prepared(
        clip: Clip, features: Features
    ) -> tuple[Clip, NDArray[np.bool_], Array, NDArray[np.float16]]:
        voiced = voiced_frames(clip.audio, len(clip.landmarks))
        static = static_face(clip.landmarks, voiced, clip.valid).astype(np.float32)
        tail = np.full((TAIL_ROWS, N_MELS), FLOOR_DB, np.float32)
        return clip, voiced, static, features([np.concatenate([clip.mel, tail])])[0]

    @torch.no_grad()
    def __call__(self, nets: nn.Module | Sequence[nn.Module]) -> dict[str, object]:
        """Means over clips for each group; `score` (lower is better) is what selects."""
        members = [nets] if isinstance(nets, nn.Module) else list(nets)
        out: dict[str, object] = {}
        parts = []
        for name, clips in self._groups.items():
            ours, still = [], []
            for clip, voiced, static, rows in clips:
                frames = len(clip.landmarks)
                inputs = torch.from_numpy(rows[None].astype(np.float32))
                face = torch.from_numpy(static_input(static))[None]
                coordinates = sum(net(inputs, face) for net in members)[0, :frames] / len(members)
                displacement = coordinates.numpy() @ self._decoder
                faces = static + displacement.reshape(frames, -1, 3)
                true = np.nan_to_num(clip.landmarks)
                rest = np.broadcast_to(static, true.shape)
                ours.append(metrics.score_clip(faces, true, voiced, clip.valid))
                still.append(metrics.score_clip(rest, true, voiced, clip.valid))
            mean, _ = metrics.average(ours)
            ratio = mean["d_pl"] / metrics.average(still)[0]["d_pl"]
            out[name] = {"ratio": round(ratio, 4), **{k: round(mean[k], 4) for k in REPORTED}}
            parts.append(ratio - mean["opening_r"] - 0.5 * mean["width_r"] - 0.5 * mean["closure"])
        weights = np.array([1.0] + [0.25] * (len(parts) - 1))
        out["score"] = round(float(np.dot(weights, parts) / weights.sum()), 4)
        return out


def make_bank(
    folders: Sequence[Path], features: Features, count: int, seed: int
) -> tuple[Bank, list[Lips]]:
    """The training splits of prepared folders in `count` versions of every clip."""
    clips: list[Lips] = []
    for person, folder in enumerate(folders):
        one = [Lips.of(clip, person) for clip in load_split(folder, "train")]
        clips += one * (_REPEAT if len(one) < _FEW else 1)
    sequences = versions(clips, count, np.random.default_rng(seed))
    rows = [features([sequence.mel for sequence in version]) for version in sequences]
    return Bank(clips, sequences, rows), clips


def make_audio2landmark(
    folders: Sequence[Path],
    strangers: Sequence[Path],
    out: Path,
    work: Path,
    config: A2LConfig,
    seeds: int = 1,
    versions_of_clip: int = 8,
    apc: Path | None = None,
) -> dict[str, object]:
    """Train `seeds` networks and export their mean; returns its validation figures.

    Args:
        folders: prepared folders with splits.json; the first speaker's validation counts most.
        strangers: prepared clips of other speakers, which select too.
        work: what is finished there is taken, so a run cut short starts its unfinished seed again.

    Raises:
        EmoError: `work` holds another training; there are no clips.
    """
    features = Features(config.inputs, apc)
    config = replace(config, people=len(folders))
    every = range(config.seed, config.seed + seeds)
    runs = {work / f"seed{seed}": replace(config, seed=seed) for seed in every}
    finished = [folder for folder in runs if (folder / "done").exists()]
    for folder in finished:  # before the minutes that the bank takes
        load_checkpoint(folder / "best.pt", runs[folder])
    bank, clips = make_bank(folders, features, versions_of_clip, config.seed)
    basis = Basis.fit(clips, config.components)
    groups = {folder.name: load_split(folder, "val") for folder in folders}
    if strangers:
        groups["strangers"] = [Clip.load(path) for path in strangers]
    validation = Validation(groups, features, basis.decoder)
    for folder in finished:
        load_checkpoint(folder / "best.pt", runs[folder], training_data(bank, basis))
    nets = []
    for folder, one in runs.items():
        if folder not in finished:
            train(bank, basis, one, folder, validation)
            (folder / "done").touch()
        nets.append(load_audio2landmark(folder / "best.pt")[0])
    report: dict[str, object] = validation(nets)
    (work / "validation.json").write_text(json.dumps(report, indent=1) + "\n")
    streaming = [net for net in nets if isinstance(net, StreamNet)]
    if len(streaming) == len(nets):
        width = bank.rows[0][0].shape[1]
        facts: dict[str, object] = {
            "training": asdict(config),
            "seeds": seeds,
            "versions": versions_of_clip,
            "clips": len({clip.name for clip in clips}),
            "validation": report,
        }
        export_audio2landmark(streaming, basis.decoder, config, width, out, facts)
    return report
