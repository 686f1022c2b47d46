"""Every process of the running graph is killed in turn: the others go on, and it comes back.

One graph of both pipelines, a process for each node, on servos that live on behind a port of their
own. How soon each is back, `benchmarks/respawn.py` measures; that killed drivers take the servos up
where they are is tested in `test_processes.py` and `test_faults.py`.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not set up: the first ./emo lipsync installs it")
pytest.importorskip("emo_interfaces.msg", reason="emo's messages are not built: ./emo lipsync")
pytest.importorskip("mediapipe", reason="FaceMesh is not installed")

from onlooker import NEAR, Onlooker
from probing import spinning
from served import served
from sounds import speech_like, write_float_wav
from videos import film_a_face
from waiting import until

from emo.graph import Process, build_graph
from emo.options import LIPSYNC, MIMIC, GraphOptions
from emo.supervisor import Supervisor
from emo_core.errors import EmoError
from emo_core.robot.description import RobotDescription
from emo_nodekit.running import URGENT

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.usefixtures("ros")]

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = GraphOptions(
    pipeline="both", source="file", camera="file", robot="lx_fake", record=True,
    dashboard=importlib.util.find_spec("viser") is not None,
)  # fmt: skip
#: Every process, from the pipelines' ends to the sources.
NAMES = [entry.name for entry in build_graph(OPTIONS)]
#: Longer than in earnest: nobody drives the face meanwhile, and it must reach neutral.
DELAY_S = 2.0
#: The machine may be busy.
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Rig:
    """The graph at work, and what is heard of it."""

    lines: list[str]
    runs: Supervisor
    seen: Onlooker
    witness: Any

    def whole(self) -> bool:
        """Whether every process runs, the servos answer, and each pipeline drives some of them."""
        seen = self.seen
        all_run = self.runs.pids.keys() == set(NAMES) and "mouth_driver" not in seen.errors
        return all_run and {LIPSYNC, MIMIC} <= seen.driven[-1]

    def nodes(self, name: str) -> tuple[str, ...]:
        """The nodes of a process, once they have reported."""
        end = f":{self.runs.pids[name]}"
        processes = self.witness.processes
        until(lambda: any(process.endswith(end) for process in processes.values()), PATIENCE_S, 0.1)
        found: list[tuple[str, ...]] = self.witness.groups()
        return next(nodes for nodes in found if processes[nodes[0]].endswith(end))


@contextmanager
def supervised(graph: list[Process], lines: list[str]) -> Iterator[Supervisor]:
    """The graph runs, looked after in a thread, which must not give up."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended, trouble = threading.Event(), []

    def look_after(runs: Supervisor) -> None:
        try:
            while not ended.is_set():
                runs.watch(0.1)
        except EmoError as error:
            trouble.append(error)

    with Supervisor(graph, environment, lines.append, DELAY_S) as runs:
        thread = threading.Thread(target=look_after, args=(runs,))
        thread.start()
        try:
            yield runs
        finally:
            ended.set()
            thread.join()
    assert not trouble


@pytest.fixture(scope="module")
def respawn() -> ModuleType:
    """The benchmark, which kills and waits."""
    spec = importlib.util.spec_from_file_location("respawn", ROOT / "benchmarks" / "respawn.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["respawn"] = module  # for its dataclasses
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rig(respawn: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Both pipelines at work, on ten minutes of speech and a face that is shown again and again."""
    folder = tmp_path_factory.mktemp("killed")
    speech, lines = folder / "speech.wav", list[str]()
    write_float_wav(speech, np.tile(speech_like(10.0), 60), 16_000)
    with ExitStack() as stack:
        robot = stack.enter_context(served("lx", folder, URGENT))
        options = replace(
            OPTIONS, robot=robot, speech=str(speech), video=str(film_a_face(folder / "face.mp4")),
            out=str(folder / "out"),
        )  # fmt: skip
        graph = build_graph(options)
        for entry in graph:
            if entry.executable == "camera":
                entry.parameters["loop"] = True
        runs = stack.enter_context(supervised(graph, lines))
        seen = Onlooker(RobotDescription.load(robot))
        stack.enter_context(spinning(seen))
        yield Rig(lines, runs, seen, respawn.Witness(seen))


def pipeline_of(name: str) -> str:
    """The pipeline whose signal is gone without this process; empty: both, or none."""
    for pipeline, others in ((LIPSYNC, MIMIC), (MIMIC, LIPSYNC)):
        alone = {entry.name for entry in build_graph(replace(OPTIONS, pipeline=others))}
        if name not in alone:
            return pipeline
    return ""


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_process_comes_back_and_says_so(rig: Rig, name: str) -> None:
    seen = rig.seen
    until(rig.whole, PATIENCE_S, 0.1)
    pid, nodes, pipeline = rig.runs.pids[name], rig.nodes(name), pipeline_of(name)
    steps, states = len(seen.path), len(seen.driven)
    print(rig.witness.kill(nodes, PATIENCE_S))
    assert rig.runs.pids[name] != pid
    assert any(line.startswith(f"[{name}] ended (signal SIGKILL)") for line in rig.lines)
    for node in nodes:
        assert {crashes for _, _, crashes in rig.witness.said[node]} <= {0, 1}
        assert rig.witness.said[node][-1][2] == 1, "in every report from then on"
    told = f"[{name}] [WARN] its process ended (signal SIGKILL) and was started again"
    until(lambda: rig.lines.count(told) == len(nodes))
    until(lambda: len(seen.path) > steps + 20, PATIENCE_S, 0.1)
    assert seen.excess(steps - 1) < NEAR
    if name == "arbiter":  # nobody drove the face
        assert seen.rested(steps)
    if pipeline and name != "speaker":
        assert any(pipeline not in driven for driven in seen.driven[states:])
        until(lambda: pipeline in seen.driven[-1], PATIENCE_S, 0.1)


def test_with_both_signals_gone_the_face_goes_to_neutral_and_comes_back(rig: Rig) -> None:
    seen = rig.seen
    until(rig.whole, PATIENCE_S, 0.1)
    steps = len(seen.path)
    for pipeline in (LIPSYNC, MIMIC):
        os.kill(rig.runs.pids[f"{pipeline}/inverse_model"], signal.SIGKILL)
    states = len(seen.driven)
    until(lambda: seen.rested(steps), PATIENCE_S, 0.1)
    assert set() in seen.driven[states:]
    until(rig.whole, PATIENCE_S, 0.1)
    steps = len(seen.path)
    until(lambda: seen.moved(steps) > 2 * NEAR, PATIENCE_S, 0.1)
