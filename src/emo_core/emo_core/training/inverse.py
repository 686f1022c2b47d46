"""The inverse model: from where the landmarks should be to where the motors must go.

226 -> fully connected, batch norm on the first layer -> one sigmoid for each motor, trained with L1
on commands. Three recipes, which differ in what it learns from and in its hidden layers:

* `published`: the babbled pairs as they are;
* `residual`: the same, and each hidden layer adds to what it was given;
* `imagined`: the robot's model of its own face (training.self_model), learned from the same frames,
  imagines new poses without end, with the errors that FaceMesh makes; they are mixed with the
  babbled ones. The shipped models.
"""

from __future__ import annotations

import itertools
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from emo_core.errors import EmoError
from emo_core.face.topology import ROBOT_SCHEMA
from emo_core.models import write_config
from emo_core.robot.babbling import Babble, random_poses
from emo_core.robot.description import GROUPS, RobotDescription
from emo_core.robot.inverse_model import INPUTS, InverseModel
from emo_core.robot.normalization import Profile
from emo_core.robot.pairs import POINTS, SPLITS, Split
from emo_core.training.readings import eye_readings, mouth_readings
from emo_core.training.self_model import SelfModel

Array = NDArray[np.float64]
#: (number generator, how many) -> (B, 226) mm, (B, E) commands.
Pairs = Callable[[np.random.Generator, int], tuple[Array, Array]]
#: (226, K) readings of a face, places of the motors that change them, commands -> readings.
Look = tuple[Array, NDArray[np.intp], Callable[[torch.Tensor], torch.Tensor]]

_EDGE_PERCENTILE = 99.5
_LEAST_SCALE_MM = 0.3
_CHECK_EVERY = 500
_OPSET, _IR_VERSION = 17, 8


@dataclass(frozen=True)
class InverseSettings:
    """What is trained and how.

    Attributes:
        pairs: "imagined" or "babbled".
        hidden: widths; all the same where `residual`.
        poses: imagined ones of each group.
        babbled_share: of a batch, where the rest is imagined.
        own_share: of a batch, its first: faces as the robot makes them. The others stand for
            people's, which no robot can make exactly: they get noise.
        noise_mm: standard deviation, at most, of that noise on each coordinate; each pair draws its
            own level from 0 up.
        shift_mm: the same of one shift shared by all mouth points, or all eye points.
        reading_per_mm: weight of how far what is read off the robot that executes the commands
            (`training.readings`), as its self-model sees it, is from what is read off a face with
            noise. On a person's face chin and cheeks may be wrong, but lips must meet when hers
            do.
        width_weight: of the mouth's width, among these readings.
    """

    pairs: str = "imagined"
    hidden: tuple[int, ...] = (384, 128)
    residual: bool = False
    poses: int = 60_000
    babbled_share: float = 0.25
    own_share: float = 0.75
    noise_mm: float = 0.5
    shift_mm: float = 0.3
    reading_per_mm: float = 0.03
    width_weight: float = 5.0
    steps: int = 12_000
    batch: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3


RECIPES = {
    "imagined": InverseSettings(),
    "published": InverseSettings(pairs="babbled", own_share=1.0),
    "residual": InverseSettings(
        pairs="babbled", own_share=1.0, hidden=(256, 256, 256), residual=True
    ),
}


class InverseNet(nn.Module):
    """(B, 226) standardized mm -> (B, E) in [0, 1]."""

    def __init__(self, hidden: tuple[int, ...], outputs: int, residual: bool) -> None:
        super().__init__()
        sizes = (INPUTS, *hidden, outputs)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.norm = nn.BatchNorm1d(hidden[0])
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.layers[0](x)))
        for layer in self.layers[1:-1]:
            y = torch.relu(layer(x))
            x = x + y if self.residual else y
        return torch.sigmoid(self.layers[-1](x))


def make_profile(data: Babble) -> Profile:
    """The robot's static face, and how far each point moved from it on each axis."""
    static = data.rest.mean(axis=0)
    moved = np.concatenate([data.landmarks[group] for group in GROUPS]) - static
    return Profile(
        static=static,
        edge_lo=np.maximum(np.percentile(-moved, _EDGE_PERCENTILE, axis=0), 0.0),
        edge_hi=np.maximum(np.percentile(moved, _EDGE_PERCENTILE, axis=0), 0.0),
    )


class Imagination:
    """Pairs from poses that the robot never tried.

    Args:
        split: frames that the self-models learn from.
        poses: new ones for each group, drawn as babbling draws them.

    Attributes:
        models: group -> self-model.
    """

    def __init__(
        self, robot: RobotDescription, split: Split, poses: int, rng: np.random.Generator
    ) -> None:
        self.models = {group: SelfModel(half) for group, half in split.halves.items()}
        self._split = split
        self._commands, self._faces = {}, {}
        for group, half in split.halves.items():
            tried = random_poses(robot, group, poses, rng)
            self._commands[group] = tried[:, robot.expressive[half.columns]]
            self._faces[group] = self.models[group](self._commands[group])

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Array, Array]:
        """`count` random pairs, as `Split.draw`."""
        x, y = [], np.zeros((count, self._split.motors))
        for group, half in self._split.halves.items():
            rows = rng.integers(len(self._faces[group]), size=count)
            x.append(self._faces[group][rows] + self.models[group].errors(rng, count))
            y[:, half.columns] = self._commands[group][rows]
        return np.concatenate(x, axis=1), y


def disturb(x: Array, rng: np.random.Generator, settings: InverseSettings) -> Array:
    """(B, 226) mm with noise as `InverseSettings` has it."""
    level = rng.random((len(x), 1))
    out = x + settings.noise_mm * level * rng.standard_normal(x.shape)
    for points in POINTS.values():
        count = points.stop - points.start
        shift = settings.shift_mm * level * rng.standard_normal((len(x), 2))
        out[:, 2 * points.start : 2 * points.stop] += np.tile(shift, count)
    return out


def train_inverse(
    robot: RobotDescription,
    data: Babble,
    out: Path,
    seed: int = 0,
    settings: InverseSettings | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> float:
    """Train, export to `out`, and make sure that what was exported is what was trained.

    Args:
        robot: whose babbling it is.
        data: `Babble.load(...)`.
        out: the model's folder, `models/<robot.inverse_model>`.
        seed: of weights, pairs and noise.
        settings: one of `RECIPES`, or another; "imagined" if not given.
        progress: called with (step, steps, validation L1) now and then.

    Returns:
        L1 on the validation split.

    Raises:
        EmoError: the data are another robot's, or too few.
    """
    settings = settings or InverseSettings()
    torch.set_num_threads(1)  # repeatable, and as fast for matrices this small
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    known, held_out = Split(data, robot, "train"), Split(data, robot, "val")
    pairs: Pairs = known.draw
    errors: dict[str, float] = {}
    looks: list[Look] = []
    if settings.pairs == "imagined":
        imagined = Imagination(robot, known, settings.poses, rng)

        def pairs(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
            tried = round(settings.babbled_share * count)
            parts = known.draw(rng, tried), imagined.draw(rng, count - tried)
            x, y = (np.concatenate(part) for part in zip(*parts, strict=True))
            return x, y

        errors = {group: model.error_mm for group, model in imagined.models.items()}
        for group, readings in (
            ("mouth", mouth_readings(settings.width_weight)),
            ("eye", eye_readings()),
        ):
            points = slice(2 * POINTS[group].start, 2 * POINTS[group].stop)
            reader = imagined.models[group].reader(readings[points])
            looks.append((readings, known.halves[group].columns, reader))
    sample = known.draw(rng, 20_000)[0]
    mean, scale = sample.mean(axis=0), np.maximum(sample.std(axis=0), _LEAST_SCALE_MM)

    def standard(x: Array) -> torch.Tensor:
        return torch.from_numpy(((x - mean) / scale).astype(np.float32))

    x, y = held_out.pairs(np.arange(len(held_out)))
    val_in, val_out = standard(x), torch.from_numpy(y)
    network = InverseNet(settings.hidden, known.motors, settings.residual)
    rate = settings.learning_rate
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=settings.steps)
    best, best_weights = np.inf, network.state_dict()
    for step in range(1, settings.steps + 1):
        x, y = pairs(rng, settings.batch)
        wanted = torch.from_numpy(y.astype(np.float32))
        own = round(settings.own_share * settings.batch)
        x[own:] = disturb(x[own:], rng, settings)
        commands = network(standard(x))
        loss = (commands - wanted).abs().mean()
        for readings, columns, reader in looks:
            asked = torch.from_numpy((x[own:] @ readings).astype(np.float32))
            shown = reader(commands[own:][:, columns])
            loss = loss + settings.reading_per_mm * (shown - asked).abs().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % _CHECK_EVERY == 0 or step == settings.steps:
            network.eval()
            with torch.no_grad():
                val = float((network(val_in) - val_out).abs().mean())
            network.train()
            if val < best:
                best = val
                best_weights = {k: v.clone() for k, v in network.state_dict().items()}
            if progress is not None:
                progress(step, settings.steps, val)
    network.load_state_dict(best_weights)
    network.eval()
    provenance = {
        "babbling_seed": data.seed,
        "frames": data.frames(),
        "splits": SPLITS,
        "seed": seed,
        **asdict(settings),
        **{f"self_model_error_mm_{group}": round(error, 4) for group, error in errors.items()},
        "validation_l1": round(best, 5),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    export(network, mean, scale, robot, make_profile(data), out, provenance)
    sample = held_out.draw(rng, 100)[0]
    with torch.no_grad():
        trained = network(standard(sample)).numpy()
    low, high = robot.lower[robot.expressive], robot.upper[robot.expressive]
    if not np.allclose(
        InverseModel.load(robot, out)(sample), np.clip(trained, low, high), atol=1e-4
    ):
        raise EmoError(
            "the exported model does not agree with the trained one: "
            "check that onnx and onnxruntime are the versions of requirements/train.txt"
        )
    return best


def _folded(network: InverseNet, mean: Array, scale: Array) -> list[tuple[Array, Array]]:
    """(weight, bias) of each layer: standardization and batch norm become part of the first."""
    layers = [
        (layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy())
        for layer in network.layers
        if isinstance(layer, nn.Linear)
    ]
    norm = network.norm
    gain = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach().double().numpy()
    weight, bias = layers[0]
    bias = (bias - norm.running_mean.double().numpy()) * gain + norm.bias.detach().double().numpy()
    weight = weight * gain[:, None] / scale
    return [(weight, bias - weight @ mean), *layers[1:]]


def export(
    network: InverseNet,
    mean: Array,
    scale: Array,
    robot: RobotDescription,
    profile: Profile,
    out: Path,
    provenance: dict[str, object],
) -> None:
    """model.onnx, profile.npz, config.json; `network` as `eval` has it."""
    out.mkdir(parents=True, exist_ok=True)
    layers = _folded(network, mean, scale)
    nodes, constants, value = [], [], "landmarks"
    for i, (weight, bias) in enumerate(layers):
        last = i == len(layers) - 1
        constants += [
            numpy_helper.from_array(weight.astype(np.float32), f"w{i}"),
            numpy_helper.from_array(bias.astype(np.float32), f"b{i}"),
        ]
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [f"y{i}"], transB=1))
        result = "commands" if last else f"x{i + 1}"
        nodes.append(helper.make_node("Sigmoid" if last else "Relu", [f"y{i}"], [result]))
        if network.residual and i > 0 and not last:
            nodes.append(helper.make_node("Add", [value, result], [f"sum{i}"]))
            result = f"sum{i}"
        value = result
    outputs = len(robot.expressive)
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
    profile.save(out / "profile.npz")
    config = {
        "kind": "inverse",
        "landmarks": ROBOT_SCHEMA,
        "robot": robot.name,
        "robot_signature": robot.signature(),
        "motors": [robot.names[i] for i in robot.expressive],
        "architecture": {
            "inputs": INPUTS,
            "hidden": [len(bias) for _, bias in layers[:-1]],
            "layers": "residual relu, sigmoid" if network.residual else "relu, sigmoid",
        },
        "provenance": provenance,
    }
    write_config(out, config)
