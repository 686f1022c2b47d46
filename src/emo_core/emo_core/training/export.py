"""Trained networks -> model folders: ONNX with weights stored in half precision.

Weights are rounded to float16 first and computed with in float32 (a Cast that ONNX Runtime folds
when it loads), so the file is half as large and the exported model equals the rounded network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from emo_core.audio.apc import MEL_SETTINGS, SHIFTS
from emo_core.lipsync.audio2landmark import LANDMARK_SCHEMA
from emo_core.models import write_config
from emo_core.training.apc import ApcNet
from emo_core.training.audio2landmark import A2LConfig, StreamNet
from emo_core.training.lipsync_data import COORDINATES

OPSET = 17
_SMALL = 256


def round_to_half(net: nn.Module) -> None:
    """Round weights, in place, to what the file will hold; small ones stay as they are."""
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.numel() > _SMALL:
                parameter.copy_(parameter.half().float())


class _ApcGraph(nn.Module):
    def __init__(self, net: ApcNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, mel: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        normal = self.net.normalize(mel)
        hidden, following = self.net.gru(normal, state)
        foreseen = [self.net.predict(hidden, normal, shift) for shift in SHIFTS]
        return torch.cat([normal, hidden], -1), following, *foreseen


class _LandmarkGraph(nn.Module):
    def __init__(self, nets: Sequence[StreamNet], decoder: Tensor) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.register_buffer("decoder", decoder)

    def forward(self, pairs: Tensor, static: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        layers = state.shape[0] // len(self.nets)
        total, states = torch.zeros(()), []
        for i, net in enumerate(self.nets):
            coordinates, following = net.step(pairs, static, state[i * layers : (i + 1) * layers])
            total = total + coordinates
            states.append(following)
        return total / len(self.nets) @ self.decoder, torch.cat(states)


def export_apc(net: ApcNet, folder: Path, provenance: dict[str, object]) -> None:
    """Write `model.onnx` and `config.json` of an APC model."""
    net.eval()
    round_to_half(net)
    config = net.config
    folder.mkdir(parents=True, exist_ok=True)
    example = (torch.zeros(1, 4, 80), torch.zeros(config.layers, 1, config.hidden))
    names = ["features", "next_state", *(f"pred_{shift}" for shift in SHIFTS)]
    axes = {"mel": {0: "batch", 1: "rows"}, "state": {1: "batch"}, "next_state": {1: "batch"}}
    _export(_ApcGraph(net), example, ["mel", "state"], names, axes, folder)
    facts = {"hidden": config.hidden, "layers": config.layers, "mel": MEL_SETTINGS}
    write_config(folder, {"kind": "apc", **facts, "provenance": provenance})


def export_audio2landmark(
    nets: Sequence[StreamNet],
    decoder: NDArray[np.float32],
    config: A2LConfig,
    features: int,
    folder: Path,
    provenance: dict[str, object],
) -> None:
    """Write an Audio2Landmark model: the mean of `nets`, trained alike from other seeds."""
    rounded = torch.from_numpy(decoder).half().float()
    for net in nets:
        net.eval()
        round_to_half(net)
    folder.mkdir(parents=True, exist_ok=True)
    layers = config.layers * len(nets)
    example = (
        torch.zeros(1, 3, 2 * features),
        torch.zeros(1, COORDINATES),
        torch.zeros(layers, 1, config.hidden),
    )
    outputs = ["displacement", "next_state"]
    axes = {"pairs": {1: "pairs"}}
    graph = _LandmarkGraph(nets, rounded)
    _export(graph, example, ["pairs", "static", "state"], outputs, axes, folder)
    facts = {
        "landmarks": LANDMARK_SCHEMA,
        "lookahead_ms": config.lookahead_ms,
        "features": features,
        "hidden": config.hidden,
        "layers": layers,
    }
    write_config(folder, {"kind": "audio2landmark", **facts, "provenance": provenance})


def _export(
    graph: nn.Module,
    example: tuple[Tensor, ...],
    inputs: list[str],
    outputs: list[str],
    axes: dict[str, dict[int, str]],
    folder: Path,
) -> None:
    path = folder / "model.onnx"
    dynamic = {name: {1: "rows_out"} for name in outputs if name != "next_state"} | axes
    torch.onnx.export(
        graph.eval(),
        example,
        str(path),
        input_names=inputs,
        output_names=outputs,
        dynamic_axes=dynamic,
        opset_version=OPSET,
        dynamo=False,
    )
    model = onnx.load(str(path))
    store_half(model)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def store_half(model: onnx.ModelProto) -> None:
    """Store large weights in half precision, in place: a Cast makes single of them again."""
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        half = values.astype(np.float16)
        if values.size <= _SMALL or not np.array_equal(half.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, name + "_half"))
        casts.append(helper.make_node("Cast", [name + "_half"], [name], to=TensorProto.FLOAT))
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)
