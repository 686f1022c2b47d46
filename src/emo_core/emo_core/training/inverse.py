"""The inverse model: from where the landmarks should be to where the motors must go.

A robot's babbling (emo_core.robot.babbling) is cut into training, validation and test stretches
first, for eyes and mouth apart, and only then are eyes and mouths of one split combined at random:
no pose that is tested was ever trained on, not even in another combination. The network is small:
226 -> hidden layers -> one sigmoid for each motor, trained with L1 on commands.
"""

from __future__ import annotations

import itertools
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from emo_core.errors import EmoError
from emo_core.face.topology import EYES_BROWS
from emo_core.models import write_config
from emo_core.robot.babbling import Babble
from emo_core.robot.description import GROUPS, RobotDescription
from emo_core.robot.inverse_model import INPUTS, LANDMARK_SCHEMA, InverseModel
from emo_core.robot.normalization import Profile

Array = NDArray[np.float32]

#: Frames left out between two splits: neighbouring frames of smooth babbling are alike.
GAP = 10
SPLITS = {"train": (0.0, 0.8), "val": (0.8, 0.9), "test": (0.9, 1.0)}
_EDGE_PERCENTILE = 99.5
_OPSET, _IR_VERSION = 17, 8


@dataclass(frozen=True)
class InverseSettings:
    """What is trained and how."""

    hidden: tuple[int, ...] = (256, 128)
    steps: int = 6000
    batch: int = 256
    learning_rate: float = 2e-3
    #: Standard deviation (mm) of noise added to each landmark coordinate in training: FaceMesh
    #: shakes, and people make faces that the robot cannot make exactly.
    noise_mm: float = 1.0
    #: The same for one shift shared by all mouth points, or all eye points.
    shift_mm: float = 0.5


class _Network(nn.Module):
    """(B, 226) standardized mm -> (B, M) in [0, 1]."""

    def __init__(self, hidden: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        sizes = (INPUTS, *hidden, outputs)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return torch.sigmoid(self.layers[-1](x))


class _Split:
    """Eyes and mouths of one split, combined at random."""

    def __init__(self, data: Babble, robot: RobotDescription, split: str) -> None:
        first, last = SPLITS[split]
        self._faces, self._commands = {}, {}
        for group in GROUPS:
            count = len(data.commands[group])
            frames = slice(int(first * count) + (GAP if first else 0), int(last * count))
            self._faces[group] = data.landmarks[group][frames].astype(np.float32)
            self._commands[group] = data.commands[group][frames].astype(np.float32)
            if len(self._faces[group]) < 20:
                raise EmoError(
                    f"the babbling of robot '{data.robot}' has {count} frames of group '{group}': "
                    "too few. Run ./emo babble with more --frames"
                )
        self._eye_motors = robot.group("eye")

    def pick(self, rng: np.random.Generator, count: int) -> tuple[Array, Array]:
        """`count` random pairs: (count, 226) mm and (count, M) commands."""
        eye = rng.integers(len(self._faces["eye"]), size=count)
        mouth = rng.integers(len(self._faces["mouth"]), size=count)
        faces = self._faces["mouth"][mouth]  # a copy
        faces[:, : len(EYES_BROWS)] = self._faces["eye"][eye, : len(EYES_BROWS)]
        commands = self._commands["mouth"][mouth]
        commands[:, self._eye_motors] = self._commands["eye"][eye][:, self._eye_motors]
        return faces.reshape(count, INPUTS), commands


def make_profile(data: Babble) -> Profile:
    """The robot's static face, and how far each point moved from it on each axis."""
    static = data.rest.mean(axis=0)
    moved = np.concatenate([data.landmarks[group] for group in GROUPS]) - static
    return Profile(
        static=static,
        edge_lo=np.maximum(np.percentile(-moved, _EDGE_PERCENTILE, axis=0), 0.0),
        edge_hi=np.maximum(np.percentile(moved, _EDGE_PERCENTILE, axis=0), 0.0),
    )


def train_inverse(
    robot: RobotDescription,
    data: Babble,
    out: Path,
    seed: int = 0,
    settings: InverseSettings | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> dict[str, float]:
    """Train, export to `out`, and judge what was exported on the test split.

    Args:
        robot: whose babbling it is.
        data: `Babble.load(...)`.
        out: the model's folder, `models/<robot.inverse_model>`.
        seed: of weights, pairs and noise.
        settings: recipe; the default made the shipped models.
        progress: called with (step, steps, validation L1) now and then.

    Returns:
        `l1`, `nearest_neighbour`, `random` on held-out pairs, and `l1_<motor>`.

    Raises:
        EmoError: the data are another robot's, or too few.
    """
    settings = settings or InverseSettings()
    if data.signature != robot.signature():
        raise EmoError(
            f"the babbling is of robot '{data.robot}' as it was described then: "
            f"{robot.file} has changed. Run ./emo babble --robot {robot.name} again"
        )
    torch.set_num_threads(1)  # repeatable, and as fast for matrices this small
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    parts = {name: _Split(data, robot, name) for name in SPLITS}
    sample, _ = parts["train"].pick(rng, 20000)
    mean, scale = sample.mean(axis=0), np.maximum(sample.std(axis=0), 0.3)
    val_x, val_y = parts["val"].pick(rng, 4000)
    network = _Network(settings.hidden, len(robot.motors))
    rate = settings.learning_rate
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=settings.steps)
    best, best_weights = np.inf, network.state_dict()
    val_in, val_out = torch.from_numpy((val_x - mean) / scale), torch.from_numpy(val_y)
    eyes = 2 * len(EYES_BROWS)
    for step in range(1, settings.steps + 1):
        x, y = parts["train"].pick(rng, settings.batch)
        x += settings.noise_mm * rng.standard_normal(x.shape, dtype=np.float32)
        shift = settings.shift_mm * rng.standard_normal((len(x), 2, 1, 2), dtype=np.float32)
        x[:, :eyes] += np.repeat(shift[:, 0], eyes // 2, axis=1).reshape(len(x), -1)
        x[:, eyes:] += np.repeat(shift[:, 1], (INPUTS - eyes) // 2, axis=1).reshape(len(x), -1)
        loss = (network(torch.from_numpy((x - mean) / scale)) - torch.from_numpy(y)).abs().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % 200 == 0 or step == settings.steps:
            with torch.no_grad():
                val = float((network(val_in) - val_out).abs().mean())
            if val < best:
                best = val
                best_weights = {k: v.clone() for k, v in network.state_dict().items()}
            if progress is not None:
                progress(step, settings.steps, val)
    network.load_state_dict(best_weights)
    _export(network, mean, scale, robot, data, out, seed, settings, best)
    return _judge(InverseModel.load(robot, out), parts, robot, rng, network, mean, scale)


def _export(
    network: _Network,
    mean: Array,
    scale: Array,
    robot: RobotDescription,
    data: Babble,
    out: Path,
    seed: int,
    settings: InverseSettings,
    val_l1: float,
) -> None:
    """model.onnx (standardization folded into the first layer), profile.npz, config.json."""
    out.mkdir(parents=True, exist_ok=True)
    weights = [
        (layer.weight.detach().numpy().astype(np.float64), layer.bias.detach().numpy())
        for layer in network.layers
        if isinstance(layer, nn.Linear)
    ]
    first, bias = weights[0]
    weights[0] = (first / scale, bias - (first / scale) @ mean)
    outputs = len(robot.motors)
    nodes, constants, value = [], [], "landmarks"
    for i, (weight, bias) in enumerate(weights):
        last = i == len(weights) - 1
        constants += [
            numpy_helper.from_array(weight.astype(np.float32), f"w{i}"),
            numpy_helper.from_array(bias.astype(np.float32), f"b{i}"),
        ]
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [f"y{i}"], transB=1))
        value = "commands" if last else f"x{i + 1}"
        nodes.append(helper.make_node("Sigmoid" if last else "Relu", [f"y{i}"], [value]))
    graph = helper.make_graph(
        nodes,
        "inverse",
        [helper.make_tensor_value_info("landmarks", TensorProto.FLOAT, ["batch", INPUTS])],
        [helper.make_tensor_value_info("commands", TensorProto.FLOAT, ["batch", outputs])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    model.ir_version = _IR_VERSION
    onnx.checker.check_model(model)
    onnx.save(model, str(out / "model.onnx"))
    make_profile(data).save(out / "profile.npz")
    config = {
        "kind": "inverse",
        "landmarks": LANDMARK_SCHEMA,
        "robot": robot.name,
        "robot_signature": robot.signature(),
        "motors": list(robot.names),
        "architecture": {
            "inputs": INPUTS,
            "hidden": list(settings.hidden),
            "layers": "relu, sigmoid",
        },
        "provenance": {
            "babbling_seed": data.seed,
            "frames": data.frames(),
            "seed": seed,
            "steps": settings.steps,
            "batch": settings.batch,
            "learning_rate": settings.learning_rate,
            "noise_mm": settings.noise_mm,
            "shift_mm": settings.shift_mm,
            "validation_l1": round(val_l1, 5),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    write_config(out, config)


def _judge(
    model: InverseModel,
    parts: dict[str, _Split],
    robot: RobotDescription,
    rng: np.random.Generator,
    network: _Network,
    mean: Array,
    scale: Array,
) -> dict[str, float]:
    """L1 on commands over held-out pairs: the exported model, nearest neighbour, random."""
    x, y = parts["test"].pick(rng, 2000)
    known_x, known_y = parts["train"].pick(rng, 4000)
    exported = model(x)
    with torch.no_grad():
        trained = network(torch.from_numpy((x - mean) / scale)).numpy()
    if not np.allclose(exported, trained, atol=1e-4):
        raise EmoError(
            "the exported model does not agree with the trained one: "
            "check that onnx and onnxruntime are the versions of requirements/train.txt"
        )
    each = np.abs(exported - y).mean(axis=0)
    distances = (x**2).sum(1)[:, None] + (known_x**2).sum(1)[None] - 2 * x @ known_x.T
    nearest = known_y[distances.argmin(axis=1)]
    drawn = rng.random(y.shape)
    return {
        "l1": float(each.mean()),
        "nearest_neighbour": float(np.abs(nearest - y).mean()),
        "random": float(np.abs(drawn - y).mean()),
        **{f"l1_{name}": float(value) for name, value in zip(robot.names, each, strict=True)},
    }
