"""The predictive model: from the last four frames of a face to the expression that is coming.

The network learns the mean of what may come, which is short where much may come, and beside it how
much of the way its own prediction takes off the error of holding the current face: that is its
confidence, by which `Predictor` decides whether to go ahead or to mimic.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emo_core.data.faces import rest_face
from emo_core.data.prepare import Clip
from emo_core.face.alignment import canonical_face
from emo_core.face.topology import ROBOT_SCHEMA
from emo_core.mimic.expressions import INPUT_FRAMES
from emo_core.mimic.predictive import INPUTS
from emo_core.models import write_config
from emo_core.rates import FPS
from emo_core.training.export import OPSET, round_to_half, store_half
from emo_core.training.predictive_data import (
    Windows,
    composed,
    filmed,
    rest_changes,
    tracker_noise,
    wander,
)

Array = NDArray[np.float32]
#: Called with (step, of how many, validation figures).
Progress = Callable[[int, int, dict[str, float]], None]
#: A prediction came true if its error is below this share of that of holding the current face.
NEARER = 0.9
#: A person with fewer clips is seen as often as one with this many.
_FEW = 300


@dataclass(frozen=True)
class PredictiveConfig:
    """How the shipped model was made."""

    composed: int = 7000  # sequences on calm faces
    composed_on_talk: int = 1500
    people: int = 150  # faces at rest that expressions are composed on
    shapes: int = 64  # each frame is read as so many numbers
    hidden: int = 320
    steps: int = 9000
    batch: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    #: Shares of a batch: filmed clips; the rest is composed, in proportion.
    filmed: float = 0.45
    #: Below this nobody sees a face move, mm (root mean square over the 113 points).
    visible_mm: float = 0.4
    #: Noise of its own on every landmark, beside the tracker's, up to this standard deviation, mm:
    #: another camera's tracking must not look like a face that sets off.
    own_noise_mm: float = 0.15
    #: Weight of frames without a goal in the error of the prediction.
    still_weight: float = 0.1
    #: Errors below count squared, those above count linearly.
    soft_mm: float = 0.3
    seed: int = 0


class PredictiveNet(nn.Module):
    """(B, 4, 226) mm -> ahead (B, 226) mm, logit of the confidence (B,), seconds (B,)."""

    def __init__(self, hidden: int, shapes: int) -> None:
        super().__init__()
        self.shapes = nn.Linear(INPUTS, shapes, bias=False)  # the same for every frame
        self.trunk = nn.Sequential(
            nn.Linear(INPUT_FRAMES * shapes, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )
        self.ahead = nn.Linear(hidden, INPUTS)
        self.judge = nn.Linear(hidden, 2)

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As the class says."""
        steps = window[:, 1:] - window[:, :-1]  # small beside where the face is, and telling
        seen = torch.cat([0.3 * window[:, -1:], 2.0 * steps], 1)
        hidden = self.trunk(self.shapes(seen).flatten(1))
        judged = self.judge(hidden)
        return self.ahead(hidden), judged[:, 0], nn.functional.softplus(judged[:, 1])


def came_true(ahead: Tensor, truth: Tensor, visible_mm: float) -> Tensor:
    """(B,) 1 where there was visibly somewhere to go and the prediction is nearer than holding."""
    hold = truth.square().mean(1)
    left = (ahead - truth).square().mean(1)
    return ((left < NEARER**2 * hold) & (hold > visible_mm**2)).float()


def train_predictive(
    trained: Sequence[Sequence[Clip]],
    held_out: Sequence[Clip],
    out: Path,
    config: PredictiveConfig,
    facts: dict[str, object],
    progress: Progress | None = None,
) -> dict[str, float]:
    """Train on clips, a list for each person, and write the model folder.

    Args:
        held_out: clips to watch the training by, of the same people.
        facts: what the model folder should say of the clips.

    Returns:
        Validation figures: error over the hold-current error in filmed and in composed onsets,
        all frames of an onset counted.

    Raises:
        EmoError: no clip has a calm stretch.
    """
    begun = time.monotonic()
    rng = np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)
    clips = [clip for person in trained for clip in person]
    noise = tracker_noise(clips)
    talk = [
        variant
        for person in trained
        for clip in list(person) * max(1, _FEW // len(person))
        for variant in (filmed(clip), filmed(clip, rng))
    ]
    rests = [np.asarray(canonical_face(), np.float32)]
    for person in trained:
        chosen = [person[i] for i in rng.choice(len(person), min(8, len(person)), replace=False)]
        rests += [rest_face(clip) for clip in chosen]
    parts = [
        Windows.of(talk),
        Windows.of(composed(rests, noise, config.composed, config.people, rng)),
        Windows.of(composed(rests, noise, config.composed_on_talk, config.people, rng, talk)),
    ]
    shares = _shares(parts, config)
    validation = {
        "filmed": Windows.of([filmed(clip) for clip in held_out]),
        "composed": Windows.of(
            composed([rest_face(clip) for clip in held_out], tracker_noise(held_out), 300, 20, rng)
        ),
    }
    net = PredictiveNet(config.hidden, config.shapes)
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.steps, pct_start=0.1
    )
    changes = rest_changes(clips)
    figures: dict[str, float] = {}
    for step in range(1, config.steps + 1):
        batch = [
            part.batch(rng.integers(len(part.ends), size=round(share * config.batch)))
            for part, share in zip(parts, shares, strict=True)
        ]
        inputs, ahead, going, seconds = (
            np.concatenate([part[i] for part in batch]) for i in range(4)
        )
        level = config.own_noise_mm * rng.random((len(inputs), 1, 1), np.float32)
        inputs += level * rng.standard_normal(inputs.shape, np.float32)
        inputs += wander(changes, len(inputs), rng)
        loss = _loss(net, inputs, ahead, going, seconds, config)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 1000 == 0 or step == config.steps:
            figures = _validate(net, validation)
            if progress:
                progress(step, config.steps, figures)
    provenance = {
        **facts,
        "training": asdict(config),
        "clips": len(clips),
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "validation": figures,
    }
    export_predictive(net, out, provenance)
    return figures


def _shares(parts: Sequence[Windows], config: PredictiveConfig) -> list[float]:
    rest = 1.0 - config.filmed
    of_composed = len(parts[1].ends) + len(parts[2].ends)
    return [config.filmed, *(rest * len(part.ends) / of_composed for part in parts[1:])]


def _loss(
    net: PredictiveNet,
    inputs: Array,
    ahead: Array,
    going: Array,
    seconds: Array,
    config: PredictiveConfig,
) -> Tensor:
    truth, go = torch.from_numpy(ahead), torch.from_numpy(going)
    predicted, logit, wait = net(torch.from_numpy(inputs))
    # Distance of each landmark in mm, as it is judged. What to expect of an onset is learned from
    # onsets; telling them from the rest is the confidence's part.
    miss = (predicted - truth).unflatten(1, (-1, 2)).square().sum(2)
    error = (miss + config.soft_mm**2).sqrt().mean(1)
    weight = go + config.still_weight * (1.0 - go)
    error = (weight * error).sum() / weight.sum()
    worth = came_true(predicted.detach(), truth, config.visible_mm)
    doubt = nn.functional.binary_cross_entropy_with_logits(logit, worth)
    late = ((wait - torch.from_numpy(seconds)).abs() * go).sum() / go.sum().clamp(min=1)
    return error + doubt + 0.3 * late


@torch.no_grad()
def _validate(net: PredictiveNet, sets: dict[str, Windows]) -> dict[str, float]:
    """Error over the hold-current error where there is somewhere to go; mean over landmarks."""
    out: dict[str, float] = {}
    net.eval()
    for name, windows in sets.items():
        inputs, truth, _, _ = windows.batch(np.flatnonzero(windows.goal >= 0))
        predicted, logit, _ = net(torch.from_numpy(inputs))
        left = _mean_distance(predicted.numpy() - truth)
        hold = _mean_distance(truth)
        out[name] = round(float(left.sum() / hold.sum()), 4)
        out[name + "_confidence"] = round(float(torch.sigmoid(logit).mean()), 3)
    net.train()
    return out


def _mean_distance(moved: Array) -> Array:
    distance: Array = np.linalg.norm(moved.reshape(len(moved), -1, 2), axis=-1).mean(-1)
    return distance


class _Graph(nn.Module):
    def __init__(self, net: PredictiveNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ahead, logit, seconds = self.net(window)
        return ahead, torch.sigmoid(logit), seconds


def export_predictive(net: PredictiveNet, folder: Path, provenance: dict[str, object]) -> None:
    """Write `model.onnx` and `config.json`."""
    import onnx

    net.eval()
    round_to_half(net)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    names = ["ahead", "confidence", "seconds"]
    torch.onnx.export(
        _Graph(net),
        (torch.zeros(2, INPUT_FRAMES, INPUTS),),
        str(path),
        input_names=["window"],
        output_names=names,
        dynamic_axes={name: {0: "batch"} for name in ["window", *names]},
        opset_version=OPSET,
        dynamo=False,
    )
    model = onnx.load(str(path))
    store_half(model)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    facts = {"kind": "predictive", "landmarks": ROBOT_SCHEMA, "fps": FPS}
    made_with = {"torch": torch.__version__, "python": platform.python_version()}
    write_config(folder, {**facts, "provenance": {**provenance, **made_with}})
