"""Half precision, and TensorRT where there is one, against the CPU in full: what becomes of it.

Half precision without the hardware: every number that goes from one operation of a network to the
next is rounded to half. (Within one step of a GRU sums stay in full, as tensor cores keep them;
the shipped models' weights are halves already.)
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_core import inference
from emo_core.audio.apc import Apc
from emo_core.audio.mel import LogMel
from emo_core.errors import EmoError
from emo_core.face.alignment import canonical_face
from emo_core.face.topology import EYEBROWS, EYES, LIPS, LOWER_OVAL, robot_points
from emo_core.lipsync import VARIANTS
from emo_core.lipsync.audio2landmark import Audio2Landmark
from emo_core.mimic.expressions import INPUT_FRAMES
from emo_core.mimic.predictive import NAME, PredictiveModel
from emo_core.models import read_config, write_config
from emo_core.paths import models_dir
from emo_core.rates import SAMPLE_RATE
from emo_core.robot.description import RobotDescription
from emo_core.robot.inverse_model import InverseModel
from emo_core.robot.normalization import Normalizer

Array = NDArray[np.float32]

ROUNDED = "half, emulated on the CPU"
#: Points that the robot shows, and their x and y.
_SHOWN = np.unique(np.concatenate([EYEBROWS, EYES, LIPS, LOWER_OVAL]))


@dataclass(frozen=True)
class Difference:
    """A network run in another way than on the CPU in full, on the same input.

    Attributes:
        network: which. Each is fed what the CPU in full makes of the stages before it, frame by
            frame, and keeps its own state.
        way: how it was run.
        unit: of the differences.
        mean, most: of the absolute difference.
        spread: standard deviation over time of what the network says, in the same unit.
        ms, cpu_ms: median of one frame, this way and on the CPU in full, in turns.
    """

    network: str
    way: str
    unit: str
    mean: float
    most: float
    spread: float
    ms: float
    cpu_ms: float


@dataclass(frozen=True)
class _Job:
    """A network, how to open it from a folder, and what it is fed frame by frame."""

    network: str
    unit: str
    open: Callable[[Path], Callable[[Any], Array]]
    frames: Sequence[Any]


def measure(speech: Array, robot: RobotDescription, folder: Path) -> list[Difference]:
    """Every network of both pipelines on `speech` (16 kHz), in every way that this machine has.

    Args:
        folder: for the rounded models; the package onnx makes them.

    Raises:
        EmoError: less than a second of speech, a model is missing or damaged, TensorRT does not
            start.
    """
    if len(speech) < SAMPLE_RATE:
        raise EmoError("give a second of speech or more")
    rows = []
    for job in _jobs(speech, robot):
        shipped = models_dir() / job.network
        rounded = folder / job.network
        round_to_half(shipped, rounded)
        rows.append(_compare(job, ROUNDED, inference.CPU, rounded))
        if inference.has_tensorrt():
            for where in (inference.TENSORRT, inference.TENSORRT_HALF):
                rows.append(_compare(job, where, where, shipped))
    return rows


def _jobs(speech: Array, robot: RobotDescription) -> Iterator[_Job]:
    mel = LogMel().feed(speech)
    chunks = [mel[at : at + 2] for at in range(0, len(mel) - 1, 2)]
    yield _Job("apc", "", lambda folder: Apc.load(folder).feed, chunks)
    with _running(inference.CPU):
        apc = Apc.load()
        features = [apc.feed(chunk) for chunk in chunks]
        lips = Audio2Landmark.load(VARIANTS["full"])
        faces = np.concatenate([lips.feed(rows) for rows in features])
        profile = InverseModel.load(robot).profile
    for name in VARIANTS.values():
        yield _Job(name, "mm", _opened_lips, features)
    still = robot_points(canonical_face())
    moved = (robot_points(faces) - still).astype(np.float32)
    windows = [moved[at : at + INPUT_FRAMES] for at in range(len(moved) - INPUT_FRAMES)]
    yield _Job(NAME, "mm", lambda folder: _first_of(PredictiveModel.load(folder)), windows)
    normalizer = Normalizer(canonical_face(), profile)
    poses = [np.asarray(normalizer(face), np.float32).reshape(-1) for face in faces]
    open_inverse = lambda folder: InverseModel.load(robot, folder)  # noqa: E731
    yield _Job(robot.inverse_model, "of a motor's range", open_inverse, poses)


def _opened_lips(folder: Path) -> Callable[[Array], Array]:
    model = Audio2Landmark.load(folder)
    return lambda rows: model.feed(rows)[:, _SHOWN]


def _first_of(model: PredictiveModel) -> Callable[[Array], Array]:
    return lambda window: model(window)[0]


def _compare(job: _Job, way: str, where: str, folder: Path) -> Difference:
    with _running(inference.CPU):
        full = job.open(models_dir() / job.network)
    with _running(where):
        other = job.open(folder)
    wanted, got, times = [], [], []
    for frame in job.frames:
        start = time.perf_counter()
        wanted.append(np.array(full(frame)))
        middle = time.perf_counter()
        got.append(np.array(other(frame)))
        times.append((time.perf_counter() - middle, middle - start))
    right = np.concatenate([np.atleast_2d(each) for each in wanted if len(each)])
    error = np.abs(np.concatenate([np.atleast_2d(each) for each in got if len(each)]) - right)
    ms, cpu_ms = 1e3 * np.median(times, axis=0)
    spread = float(np.sqrt(right.var(axis=0).mean()))
    return Difference(
        job.network, way, job.unit, float(error.mean()), float(error.max()), spread,
        float(ms), float(cpu_ms),
    )  # fmt: skip


@contextlib.contextmanager
def _running(where: str) -> Iterator[None]:
    """While the block lasts, networks are opened there."""
    before = os.environ.get(inference.VARIABLE)
    os.environ[inference.VARIABLE] = where
    try:
        yield
    finally:
        if before is None:
            del os.environ[inference.VARIABLE]
        else:
            os.environ[inference.VARIABLE] = before


def round_to_half(source: Path, target: Path) -> None:
    """A model folder whose network rounds every input and every operation's result to half.

    Raises:
        EmoError: the package onnx is not installed, or `source` is no model folder.
    """
    try:
        import onnx
        from onnx import TensorProto, helper
    except ImportError:
        raise EmoError(
            "rounding a network needs the package onnx: pip install -r requirements/train.txt"
        ) from None
    config = read_config(source, "Restore it from the repository")
    shutil.copytree(source, target)
    model = onnx.shape_inference.infer_shapes(onnx.load(str(source / "model.onnx")))
    graph = model.graph
    floats = {
        value.name
        for value in (*graph.value_info, *graph.input, *graph.output)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }

    def rounded(name: str, result: str) -> list[Any]:
        half = f"{result}/half"
        return [
            helper.make_node("Cast", [name], [half], to=TensorProto.FLOAT16),
            helper.make_node("Cast", [half], [result], to=TensorProto.FLOAT),
        ]

    inputs = {value.name: f"{value.name}/rounded" for value in graph.input if value.name in floats}
    nodes = [node for name, result in inputs.items() for node in rounded(name, result)]
    for node in graph.node:
        node.input[:] = [inputs.get(name, name) for name in node.input]
        made = [name for name in node.output if name in floats]
        node.output[:] = [f"{name}/full" if name in floats else name for name in node.output]
        nodes += [node, *(each for name in made for each in rounded(f"{name}/full", name))]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, str(target / "model.onnx"))
    write_config(target, {key: config[key] for key in config if key not in ("schema", "sha256")})
