"""Audio2Landmark: speech features -> facial landmark displacement at 25 Hz. Networks and training.

Two architectures with one interface, `rows (B, R, F), static (B, 1434) -> coordinates (B, N, K)`
for frames 0..N-1, frame n from feature rows up to `2 n - 2 + look-ahead / 20 ms`:

- `SliceNet`, the published recipe: a three-layer bidirectional LSTM over a slice of 25 rows, Luong
  attention (Luong et al. 2015), the static face, displacement. Every frame costs 25 steps.
- `StreamNet`: a causal GRU over pairs of rows, whose output is held back by the look-ahead.
  Every frame costs one step, and the past reaches as far as it helps.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emo_core.face.alignment import canonical_face
from emo_core.training.checkpoints import save_checkpoint
from emo_core.training.lipsync_data import (
    COORDINATES,
    Basis,
    HeardClip,
    Lips,
    People,
    another_static,
    mouth_readings,
    static_readings,
)

Array = NDArray[np.float32]

SLICE_ROWS = 25


@dataclass(frozen=True)
class A2LConfig:
    """Architecture and training; kept with the weights."""

    architecture: str = "stream"
    inputs: str = "apc+mel"
    lookahead_ms: int = 240
    hidden: int = 384
    layers: int = 2
    components: int = 64
    people: int = 2
    static_noise_mm: float = 0.3
    other_static: float = 0.3
    dropout: float = 0.3
    batch: int = 24
    epochs: int = 60
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    opening_weight: float = 20.0
    width_weight: float = 60.0
    velocity_weight: float = 1.0
    robust_mm: float = 0.5
    seed: int = 0


class StaticFace(nn.Module):
    """Static face (B, 1434), as `static_input` gives it -> what the network may know of it.

    Of anybody: the mouth at rest. Of people trained on, who are recognized by their features:
    how this static face differs from their usual one, in coordinates of the basis. In training
    people often go unrecognized, so that strangers are nothing new.
    """

    readings: Tensor
    means: Tensor
    encoder: Tensor
    shape: Tensor
    radius: Tensor
    KNOWN = 40

    def __init__(self, people: int, components: int, unrecognized: float = 0.3) -> None:
        super().__init__()
        self.known = min(self.KNOWN, components)
        self.unrecognized = unrecognized
        self.register_buffer("readings", torch.from_numpy(10.0 * static_readings()))
        self.register_buffer("means", torch.zeros(people, COORDINATES))
        self.register_buffer("encoder", torch.zeros(COORDINATES, self.known))
        self.register_buffer("shape", torch.zeros(COORDINATES))
        self.register_buffer("radius", torch.ones(()))
        self.width = self.readings.shape[1] + self.known + people

    def know(self, people: People, basis: Basis) -> None:
        """Take over who was trained on."""
        face = canonical_face().reshape(-1)
        self.means.copy_(torch.from_numpy(people.means - face))
        self.encoder.copy_(torch.from_numpy(basis.encoder[:, : self.known] / 10.0))
        points = np.zeros((478, 3), np.float32)
        points[people.shape_points] = 1.0 / len(people.shape_points)
        self.shape.copy_(torch.from_numpy(points.reshape(-1)))
        self.radius.copy_(torch.tensor(people.radius_mm))

    def forward(self, static: Tensor) -> Tensor:
        """(B, 1434) -> (B, width)."""
        off = 10.0 * static[:, None] - self.means  # (B, P, 1434) mm
        distance = (off.square() @ self.shape).clamp(min=1e-6).sqrt()
        known = torch.sigmoid((self.radius - distance) / (0.05 * self.radius))
        if self.training:
            kept = torch.rand(len(static), 1, device=static.device) >= self.unrecognized
            known = known * kept
        usual = (known[..., None] * (off @ self.encoder)).sum(1)
        return torch.cat([static @ self.readings, usual, known], -1)


class StreamNet(nn.Module):
    """Causal GRU over pairs of rows; the look-ahead is a delay of its output."""

    def __init__(self, config: A2LConfig, features: int) -> None:
        super().__init__()
        self.delay = config.lookahead_ms // 40 - 1
        self.static = StaticFace(config.people, config.components)
        self.rest = nn.Linear(self.static.width, config.components)
        self.enter = nn.Sequential(
            nn.Dropout(config.dropout / 2),
            nn.Linear(2 * features, config.hidden),
            nn.LayerNorm(config.hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
        )
        self.gru = nn.GRU(
            config.hidden + self.static.width,
            config.hidden,
            config.layers,
            batch_first=True,
            dropout=config.dropout,
        )
        self.leave = nn.Sequential(
            nn.Linear(2 * config.hidden, config.hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.components),
        )

    def step(self, pairs: Tensor, static: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Pairs (B, T, 2F), static (B, 1434) -> coordinates (B, T, K), next state."""
        entered = self.enter(pairs)
        face = self.static(static)[:, None]
        everywhere = face.expand(-1, pairs.shape[1], -1)
        hidden, state = self.gru(torch.cat([entered, everywhere], -1), state)
        return self.leave(torch.cat([hidden, entered], -1)) + self.rest(face), state

    def forward(self, rows: Tensor, static: Tensor) -> Tensor:
        """Rows (B, R, F) -> coordinates (B, N, K) of the frames whose rows are all there."""
        head = 1 + 2 * max(0, -self.delay)
        rows = nn.functional.pad(rows, (0, 0, head, 0))
        pairs = rows[:, : rows.shape[1] // 2 * 2].reshape(len(rows), -1, 2 * rows.shape[2])
        out, _ = self.step(pairs, static, None)
        return out[:, max(0, self.delay) :]


class SliceNet(nn.Module):
    """BiLSTM over a slice of 25 rows, Luong attention, static face."""

    def __init__(self, config: A2LConfig, features: int) -> None:
        super().__init__()
        self.ahead = config.lookahead_ms // 20 - 2
        hidden = config.hidden
        self.lstm = nn.LSTM(
            features, hidden, 3, batch_first=True, bidirectional=True, dropout=config.dropout
        )
        self.score = nn.Linear(2 * hidden, 2 * hidden, bias=False)
        self.static = StaticFace(config.people, config.components)
        self.leave = nn.Sequential(
            nn.Linear(4 * hidden + self.static.width, 2 * hidden),
            nn.Tanh(),
            nn.Dropout(config.dropout),
            nn.Linear(2 * hidden, config.components),
        )

    def forward(self, rows: Tensor, static: Tensor) -> Tensor:
        """Rows (B, R, F) -> coordinates (B, N, K) of the frames whose rows are all there."""
        rows = nn.functional.pad(rows, (0, 0, SLICE_ROWS - 1 - self.ahead, 0))
        slices = rows.unfold(1, SLICE_ROWS, 2).transpose(2, 3)
        batch, frames = slices.shape[:2]
        outputs, _ = self.lstm(slices.flatten(0, 1))
        centre = max(0, SLICE_ROWS - 1 - self.ahead)
        query = outputs[:, min(centre, SLICE_ROWS - 1)]
        weights = torch.softmax((outputs @ self.score(query)[..., None])[..., 0], -1)
        context = (weights[..., None] * outputs).sum(1)
        face = self.static(static)[:, None].expand(-1, frames, -1).flatten(0, 1)
        out: Tensor = self.leave(torch.cat([query, context, face], -1))
        return out.unflatten(0, (batch, frames))


def make_net(config: A2LConfig, features: int) -> StreamNet | SliceNet:
    """The network of a configuration."""
    if config.architecture == "slice":
        return SliceNet(config, features)
    return StreamNet(config, features)


def static_input(static: Array) -> Array:
    """Static face (..., 478, 3) -> what the network is told of it: cm off the canonical face."""
    flat: Array = ((static - canonical_face()) / 10.0).reshape(*static.shape[:-2], -1)
    return flat


@dataclass(frozen=True)
class Bank:
    """All versions of all clips as feature rows, and their targets."""

    clips: list[Lips]
    sequences: list[list[HeardClip]]
    rows: list[list[NDArray[np.float16]]]  # as `sequences`: (R, F)


def batches(
    bank: Bank, basis: Basis, config: A2LConfig, rng: np.random.Generator
) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """One epoch: each clip once, in a version drawn at random.

    Returns rows (B, R, F), static (B, 1434), target (B, N, K), weight (B, N).
    """
    count = len(bank.sequences[-1])
    order = rng.permutation(count)
    out = []
    for at in range(0, count - config.batch // 2, config.batch):
        chosen = []
        for i in order[at : at + config.batch]:
            version = int(rng.integers(len(bank.sequences)))
            if i < len(bank.sequences[version]):
                chosen.append((bank.sequences[version][i], bank.rows[version][i]))
        longest = max(len(rows) for _, rows in chosen)
        frames = longest // 2 + 1
        features = chosen[0][1].shape[1]
        rows = np.zeros((len(chosen), longest, features), np.float32)
        static = np.zeros((len(chosen), COORDINATES), np.float32)
        target = np.zeros((len(chosen), frames, config.components), np.float32)
        weight = np.zeros((len(chosen), frames), np.float32)
        for b, (sequence, values) in enumerate(chosen):
            rows[b, : len(values)] = values
            anyone = int(rng.integers(len(bank.clips)))
            clip = bank.clips[sequence.clip if sequence.clip >= 0 else anyone]
            moved: Array = np.zeros(COORDINATES, np.float32)
            if sequence.clip >= 0 and rng.random() < config.other_static:
                moved = another_static(clip, rng)
            static[b] = static_input(clip.static) + moved / 10.0
            first = sequence.start // 2
            if sequence.clip < 0:
                weight[b, : len(values) // 2] = 1.0
                continue
            last = first + len(clip.displacement)
            target[b, first:last] = (clip.displacement - moved) @ basis.encoder
            weight[b, first:last] = clip.valid
        static += rng.normal(0, config.static_noise_mm / 10, static.shape).astype(np.float32)
        out.append(tuple(torch.from_numpy(a) for a in (rows, static, target, weight)))
    return out  # type: ignore[return-value]


def training_data(bank: Bank, basis: Basis) -> dict[str, Tensor]:
    """What tells the data of a training: the clips' basis, and how the first of them is heard."""
    heard = bank.rows[0][0].mean(0, np.float32)
    return {"decoder": torch.from_numpy(basis.decoder), "heard": torch.from_numpy(heard)}


def train(
    bank: Bank,
    basis: Basis,
    config: A2LConfig,
    out: Path,
    validate: Callable[[nn.Module], dict[str, float]],
    every: int = 5,
) -> nn.Module:
    """Train; returns (and keeps in `out/best.pt`) the averaged weights that validate best."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    features = bank.rows[0][0].shape[1]
    net = make_net(config, features)
    net.static.know(People.of(bank.clips), basis)
    averaged = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995)
    )
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    readings = torch.from_numpy(basis.decoder @ mouth_readings())
    out.mkdir(parents=True, exist_ok=True)
    (out / "log.jsonl").write_text("")
    best = float("inf")
    steps = config.epochs * len(batches(bank, basis, config, np.random.default_rng(0)))
    step = 0
    for epoch in range(config.epochs):
        began, losses = time.monotonic(), []
        net.train()
        for rows, static, target, weight in batches(bank, basis, config, rng):
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * min(
                    (step + 1) / 100, 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.01
                )
            with torch.autocast("cpu", torch.bfloat16):
                predicted = net(rows, static)
            loss = _loss(predicted.float(), target, weight, readings, config)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            averaged.update_parameters(net)
            losses.append(loss.item())
            step += 1
        line: dict[str, float] = {"epoch": epoch, "loss": round(float(np.mean(losses)), 3)}
        if (epoch + 1) % every == 0 or epoch == config.epochs - 1:
            line |= validate(averaged.module.eval())
            if line["score"] < best:
                best = line["score"]
                save_checkpoint(
                    out / "best.pt",
                    config,
                    net=averaged.module.state_dict(),
                    features=features,
                    validation=line,
                    **training_data(bank, basis),
                )
        line["seconds"] = round(time.monotonic() - began, 1)
        with (out / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        print(json.dumps(line), file=sys.stderr, flush=True)
    return load_audio2landmark(out / "best.pt")[0]


def load_audio2landmark(path: Path) -> tuple[StreamNet | SliceNet, A2LConfig, Array]:
    """Network, configuration and decoder (K, 1434) of a checkpoint written by `train`."""
    stored = torch.load(path, weights_only=True)
    config = A2LConfig(**stored["config"])
    net = make_net(config, stored["features"])
    net.load_state_dict(stored["net"])
    net.eval()
    return net, config, stored["decoder"].numpy()


def _loss(
    predicted: Tensor, target: Tensor, weight: Tensor, readings: Tensor, config: A2LConfig
) -> Tensor:
    frames = min(predicted.shape[1], target.shape[1])
    error = predicted[:, :frames] - target[:, :frames]
    weight = weight[:, :frames]
    total = weight.sum().clamp(min=1)
    squared = error.square().sum(-1)
    if config.robust_mm:  # squared for small errors, linear for large ones, per frame
        scale = config.robust_mm * 20.0
        squared = 2 * scale * ((squared + scale**2).sqrt() - scale)
    position = (squared * weight).sum() / total
    weights = torch.tensor([config.opening_weight, config.width_weight])
    mouth = ((error @ readings).square() @ weights * weight).sum() / total
    both = weight[:, 1:] * weight[:, :-1]
    velocity = (error.diff(dim=1).square().sum(-1) * both).sum() / both.sum().clamp(min=1)
    loss = position + mouth + config.velocity_weight * velocity
    return loss / 100.0
