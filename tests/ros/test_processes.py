"""`./emo lipsync --processes` as an operator meets it: a node dies, the operator stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from served import served
from waiting import until

from emo_core.robot.description import RobotDescription

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.ros, pytest.mark.slow]


def children(parent: int) -> dict[str, int]:
    """Module and process id of the nodes that `parent` runs."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
            line = (stat.parent / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == parent and fields[0] != "Z" and "import main" in line:
            found[line.split("from ")[1].split(" import")[0]] = int(stat.parent.name)
    return found


wait = partial(until, timeout_s=60.0, step_s=0.1)


@pytest.fixture
def robot(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The simulated robot; or, by its parameter, one behind a servo protocol, as a process."""
    kind = getattr(request, "param", "sim")
    if kind == "sim":
        yield kind
        return
    with served(kind, tmp_path) as file:
        yield file


@pytest.fixture
def graph(tmp_path: Path, robot: str) -> Iterator[subprocess.Popen[str]]:
    """The graph at work on a minute of noise."""
    import wave

    with wave.open(str(tmp_path / "noise.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        noise = np.random.default_rng(0).normal(0.0, 2000.0, 60 * 16000)
        file.writeframes(noise.astype("<i2").tobytes())
    command = [sys.executable, "-c", "import sys; from emo.cli import main; sys.exit(main())"]
    process = subprocess.Popen(
        [*command, "lipsync", str(tmp_path / "noise.wav"), "--processes", "--headless",
         "--robot", robot, "--out", str(tmp_path / "out")],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    journal = tmp_path / "out" / "latency.csv"  # a line for each command at the servos
    try:
        wait(lambda: journal.exists() and len(journal.read_text().splitlines()) > 30)
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_killed_node_comes_back_and_ctrl_c_ends_neutral(
    graph: subprocess.Popen[str], tmp_path: Path
) -> None:
    nodes = children(graph.pid)
    assert len(nodes) == 9, "a process for each entry of the graph"
    killed = nodes["emo_audio2landmark.audio2landmark"]
    os.kill(killed, signal.SIGKILL)
    wait(lambda: children(graph.pid).get("emo_audio2landmark.audio2landmark", killed) != killed)
    graph.send_signal(signal.SIGINT)
    _, said = graph.communicate(timeout=60)
    assert "[audio2landmark] ended (signal SIGKILL): starting it again" in said
    assert "Traceback" not in said
    assert not any(Path("/proc", str(pid)).exists() for pid in nodes.values())
    figures = json.loads((tmp_path / "out" / "latency.json").read_text())
    assert figures["frames"] > 0


def test_a_killed_emo_leaves_no_process(graph: subprocess.Popen[str]) -> None:
    nodes = children(graph.pid)
    graph.kill()
    wait(lambda: not any(Path("/proc", str(pid)).exists() for pid in nodes.values()))


@pytest.mark.parametrize("robot", ["lx"], indirect=True)
def test_killed_drivers_take_the_servos_up_where_they_are(
    graph: subprocess.Popen[str], tmp_path: Path, robot: str
) -> None:
    def sent() -> list[list[str]]:
        return [row.split(",") for row in (tmp_path / "out" / "sent.csv").read_text().splitlines()]

    killed = children(graph.pid)["emo_motor_drivers.drivers"]
    time.sleep(1.5)  # records are on disk a second later
    os.kill(killed, signal.SIGKILL)
    at_death = len(sent())
    wait(lambda: len(sent()) > at_death + 100)
    graph.send_signal(signal.SIGINT)
    _, said = graph.communicate(timeout=60)
    assert "[drivers] ended (signal SIGKILL): starting it again" in said
    times, jaw = np.array([[row[0], row[-1]] for row in sent()[1:]], dtype=float).T
    died = int(np.argmax(np.diff(times)))
    assert died >= at_death - 2
    # What the last second sent is lost with the process; noise says little, so the mouth is near.
    resumed = jaw[died + 1 :][np.isfinite(jaw[died + 1 :])]
    assert abs(resumed[0] - np.nanmedian(jaw[died - 20 : died])) < 0.3
    assert np.abs(np.diff(resumed)).max() < 0.2
    neutral = RobotDescription.load(robot).neutral[-1]
    assert resumed[-1] == pytest.approx(neutral, abs=0.03)
