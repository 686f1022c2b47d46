"""Train the APC speech representation (Chung & Glass 2020, "Generative pre-training for speech").

A causal GRU reads log-mel frames and predicts the frame `SHIFT` steps ahead; its hidden states
are the features. Streams of whole recordings, end to end, with the state carried across chunks:
as it will run.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from emo_core.audio.apc import SHIFTS
from emo_core.audio.mel import N_MELS
from emo_core.training.augment import another_voice
from emo_core.training.checkpoints import load_checkpoint, save_checkpoint

Array = NDArray[np.float32]

SHIFT = 3
#: Shifts read off the same states by a linear layer that does not train them.
PROBED_SHIFTS = tuple(shift for shift in SHIFTS if shift != SHIFT)


@dataclass(frozen=True)
class ApcConfig:
    """Architecture and training. `hidden` and `layers` are the published 512 and 3."""

    hidden: int = 512
    layers: int = 3
    dropout: float = 0.4
    input_dropout: float = 0.1
    masked_bands: int = 16
    streams: int = 48
    chunk: int = 64
    epochs: int = 24
    learning_rate: float = 1.5e-3
    weight_decay: float = 1e-2
    versions: int = 12
    seed: int = 0


class ApcNet(nn.Module):
    """Log-mel in dB (B, T, 80) -> features (B, T, hidden)."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: ApcConfig, mean: Array | None = None, std: Array | None = None):
        super().__init__()
        self.config = config
        zeros, ones = np.zeros(N_MELS, np.float32), np.ones(N_MELS, np.float32)
        self.register_buffer("mean", torch.from_numpy(zeros if mean is None else mean))
        self.register_buffer("std", torch.from_numpy(ones if std is None else std))
        self.gru = nn.GRU(
            N_MELS, config.hidden, config.layers, batch_first=True, dropout=config.dropout
        )
        self.post = nn.ModuleDict({str(s): nn.Linear(config.hidden, N_MELS) for s in SHIFTS})

    def normalize(self, mel: Tensor) -> Tensor:
        """Log-mel in dB -> zero mean, unit variance for each band."""
        return (mel - self.mean) / self.std

    def forward(self, mel: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, T, 80) dB, state (layers, B, hidden) -> features (B, T, hidden), next state."""
        features, state = self.gru(self.spoiled(self.normalize(mel)), state)
        return features, state

    def spoiled(self, normal: Tensor) -> Tensor:
        """In training, a stretch of bands is missing from each stream, and values here and there
        (as SpecAugment, Park et al. 2019); in use, nothing is.
        """
        if not self.training:
            return normal
        count = len(normal)
        width = torch.randint(0, self.config.masked_bands + 1, (count, 1))
        first = (torch.rand(count, 1) * (N_MELS - width)).long()
        band = torch.arange(N_MELS)
        kept = (band < first) | (band >= first + width)
        return nn.functional.dropout(normal * kept[:, None], self.config.input_dropout)

    def predict(self, features: Tensor, normal: Tensor, shift: int) -> Tensor:
        """Features (B, T, hidden) and normalized frames (B, T, 80) -> the frame `shift` ahead.

        The post-net says what will change: a frame that stays as it is costs nothing to learn.
        """
        out: Tensor = normal + self.post[str(shift)](features)
        return out


def statistics(mels: Sequence[Array]) -> tuple[Array, Array]:
    """Mean and standard deviation of each band over all frames, float32 (80,) each."""
    frames = np.concatenate(list(mels))
    return frames.mean(0), frames.std(0)


def voices(mels: Sequence[Array], config: ApcConfig) -> list[list[NDArray[np.float16]]]:
    """Every recording in `config.versions` voices, rooms and microphones; the first as it is.

    Without them the network learns its few hundred speakers by heart (shift 3, LibriSpeech: 0.70
    of the last frame's error on speakers trained on, 0.88 on others).
    """
    rng = np.random.default_rng(config.seed)
    return [
        [mel.astype(np.float16)]
        + [another_voice(mel, rng).astype(np.float16) for _ in range(config.versions - 1)]
        for mel in mels
    ]


def streams(
    heard: Sequence[Sequence[NDArray[np.float16]]], config: ApcConfig, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch: recordings in random order and voice, laid end to end in parallel streams.

    Yields:
        mel (B, chunk + 10, 80) (the last ten frames are targets only), fresh (B,) True where a
        stream starts anew.
    """
    order = rng.permutation(len(heard))
    pieces = [heard[i][int(rng.integers(len(heard[i])))] for i in order]
    tape = np.concatenate(pieces).astype(np.float32)
    length = (len(tape) - max(SHIFTS)) // config.streams
    starts = np.arange(config.streams) * length
    for at in range(0, length - config.chunk + 1, config.chunk):
        window = np.arange(config.chunk + max(SHIFTS)) + at
        mel = tape[starts[:, None] + window[None]]
        yield torch.from_numpy(mel), torch.full((config.streams,), at == 0)


def train_apc(
    mels: Sequence[Array], held_out: Sequence[Array], out: Path, config: ApcConfig
) -> ApcNet:
    """Train on log-mels (K, 80) each; checkpoints and a log in `out`.

    Interrupted, it goes on after the last whole epoch, and comes out the same.

    Raises:
        EmoError: `out` holds another training.
    """
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    net = ApcNet(config, *statistics(mels))
    heard = voices(mels, config)
    averaged = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.995), use_buffers=True)
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    checkpoint = out / "checkpoint.pt"
    out.mkdir(parents=True, exist_ok=True)
    first = 0
    told = {"mean": net.mean, "std": net.std}
    if checkpoint.exists():
        stored = load_checkpoint(checkpoint, config, told)
        net.load_state_dict(stored["net"])
        averaged.load_state_dict(stored["averaged"])
        optimizer.load_state_dict(stored["optimizer"])
        torch.set_rng_state(stored["torch_rng"])
        rng.bit_generator.state = json.loads(stored["rng"])
        first = stored["epoch"] + 1
    total = config.epochs * _steps_per_epoch(mels, config)
    step = first * _steps_per_epoch(mels, config)
    for epoch in range(first, config.epochs):
        began, losses, state = time.monotonic(), [], None
        for mel, fresh in streams(heard, config, rng):
            for group in optimizer.param_groups:
                warm = min(1.0, (step + 1) / 100)
                cosine = 0.5 * (1 + math.cos(math.pi * step / total))
                group["lr"] = config.learning_rate * warm * cosine
            if state is not None:
                state = state.detach() * (~fresh)[None, :, None]
            loss, state = _loss(net, mel, state)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            averaged.update_parameters(net)
            losses.append(loss.item())
            step += 1
        ratios = shift_ratios(averaged.module.eval(), held_out)
        line = {
            "epoch": epoch,
            "loss": float(np.mean(losses)),
            "held_out_ratio": {str(s): round(r, 4) for s, r in ratios.items()},
            "seconds": round(time.monotonic() - began, 1),
        }
        with (out / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        print(json.dumps(line), file=sys.stderr, flush=True)
        save_checkpoint(
            checkpoint,
            config,
            net=net.state_dict(),
            averaged=averaged.state_dict(),
            optimizer=optimizer.state_dict(),
            torch_rng=torch.get_rng_state(),
            rng=json.dumps(rng.bit_generator.state),
            epoch=epoch,
            **told,
        )
    smoothed: ApcNet = averaged.module.eval()
    return smoothed


@torch.no_grad()
def shift_ratios(net: ApcNet, mels: Sequence[Array]) -> dict[int, float]:
    """L1 error of the prediction over that of repeating the last frame, for each shift."""
    ours = dict.fromkeys(SHIFTS, 0.0)
    last = dict.fromkeys(SHIFTS, 0.0)
    for mel in mels:
        frames = torch.from_numpy(mel)[None]
        features, _ = net(frames)
        normal = net.normalize(frames)
        for shift in SHIFTS:
            predicted = net.predict(features[:, :-shift], normal[:, :-shift], shift)
            ours[shift] += (predicted - normal[:, shift:]).abs().sum().item()
            last[shift] += (normal[:, :-shift] - normal[:, shift:]).abs().sum().item()
    return {shift: ours[shift] / last[shift] for shift in SHIFTS}


def _loss(net: ApcNet, mel: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    length = mel.shape[1] - max(SHIFTS)
    target = net.normalize(mel)
    with torch.autocast("cpu", torch.bfloat16):  # twice to four times as fast where the CPU has it
        features, state = net(mel[:, :length], state)
        now = target[:, :length]
        predictions = {SHIFT: net.predict(features, now, SHIFT)}
        predictions |= {s: net.predict(features.detach(), now, s) for s in PROBED_SHIFTS}
    loss = torch.zeros(())
    for shift, predicted in predictions.items():
        loss = loss + (predicted.float() - target[:, shift : shift + length]).abs().mean()
    return loss, state.float()


def _steps_per_epoch(mels: Sequence[Array], config: ApcConfig) -> int:
    frames = sum(len(mel) for mel in mels) - max(SHIFTS)
    return int(frames // config.streams // config.chunk)
