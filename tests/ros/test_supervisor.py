"""The supervisor of `./emo lipsync --processes`, on small children of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from waiting import until

from emo import supervisor
from emo.supervisor import Supervisor
from emo_core.errors import EmoError

CHILDREN = """
import os, signal, sys, time
NAME = sys.argv[1]
NOTES = os.environ["NOTES"]

def note(text):
    with open(NOTES, "a") as file:
        file.write(f"{NAME} {text}\\n")

def wait(slow_s=0.0):
    def leave(number, frame):
        time.sleep(slow_s)
        note("leaves")
        sys.exit(0)
    signal.signal(signal.SIGINT, leave)
    note("runs")
    print("up")
    while True:
        time.sleep(0.05)

def done():
    print("all done")

def crash():
    note("crashes")
    print("Traceback of mine")
    sys.exit("no such bus")

def hopeless():
    print("model not found")
    return 2

def node():
    from emo_nodekit.running import stop_event
    stop = stop_event()
    note("runs")
    while not stop.wait(0.5):
        pass
    return stop.status

def deaf():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note("runs")
    time.sleep(60)
"""


@dataclass(frozen=True)
class Child:
    """An entry of the graph that runs one function of CHILDREN."""

    name: str
    function: str
    executable: str = "node"
    isolated: bool = False

    @property
    def module(self) -> str:
        return f"children_{self.function}"

    def ros_args(self) -> list[str]:
        return [self.name]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "children.py").write_text(CHILDREN)
    for function in ("wait", "done", "crash", "hopeless", "deaf", "node"):
        source = f"from children import {function} as main\n"
        (tmp_path / f"children_{function}.py").write_text(source)
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    return {**os.environ, "PYTHONPATH": paths, "NOTES": str(tmp_path / "notes")}


@pytest.fixture
def notes(tmp_path: Path) -> Callable[[], list[str]]:
    path = tmp_path / "notes"
    return lambda: path.read_text().splitlines() if path.exists() else []


def until_watched(runs: Supervisor, condition: Callable[[], bool]) -> None:
    """Wait for a condition while the supervisor does its work."""

    def watched() -> bool:
        runs.watch(0.02)
        return condition()

    until(watched)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_lines_are_prefixed_and_a_finished_process_stays_finished(
    environment: dict[str, str],
) -> None:
    lines: list[str] = []
    with Supervisor([Child("ears", "done")], environment, lines.append) as runs:
        until(lambda: not runs.watch(0.02))
    assert lines == [
        "[ears] all done", "[ears] ended: its work is done, or it was interrupted by hand"
    ]  # fmt: skip
    assert runs.restarts == {"ears": 0}


def test_a_killed_process_comes_back_with_growing_delay(
    environment: dict[str, str], notes: Callable[[], list[str]]
) -> None:
    lines: list[str] = []
    with Supervisor([Child("lips", "wait")], environment, lines.append, 0.1) as runs:
        for count in (1, 2):
            until_watched(runs, lambda n=count: notes().count("lips runs") == n)  # type: ignore[misc]
            os.kill(runs.pids["lips"], signal.SIGKILL)
            until_watched(runs, lambda n=count: runs.restarts["lips"] == n)  # type: ignore[misc]
        until_watched(runs, lambda: notes().count("lips runs") == 3)
        pid = runs.pids["lips"]
    assert [line for line in lines if "again" in line] == [
        "[lips] ended (signal SIGKILL): starting it again in 0.1 s",
        "[lips] ended (signal SIGKILL): starting it again in 0.2 s",
    ]
    assert not alive(pid)


def test_what_is_ended_by_hand_comes_back(
    environment: dict[str, str], notes: Callable[[], list[str]]
) -> None:
    pytest.importorskip("rclpy", reason="ROS is not set up: the first ./emo lipsync installs it")
    lines: list[str] = []
    with Supervisor([Child("lips", "node")], environment, lines.append, 0.1) as runs:
        until_watched(runs, lambda: "lips runs" in notes())
        os.kill(runs.pids["lips"], signal.SIGTERM)
        assert runs.came_back_s == {}
        killed_s = time.monotonic()
        until_watched(runs, lambda: notes().count("lips runs") == 2)
        assert runs.came_back_s["lips"] > killed_s
        os.kill(runs.pids["lips"], signal.SIGINT)
        until(lambda: not runs.watch(0.02))
    assert lines == [
        "[lips] ended (signal SIGTERM): starting it again in 0.1 s",
        "[lips] ended: its work is done, or it was interrupted by hand",
    ]


def test_a_process_that_keeps_crashing_ends_the_graph(
    environment: dict[str, str], notes: Callable[[], list[str]]
) -> None:
    graph = [Child("steady", "wait"), Child("motors", "crash")]
    with (
        pytest.raises(EmoError, match=r"motors ended 4 times in a row \(status 1\): no such bus"),
        Supervisor(graph, environment, lambda line: None, 0.01) as runs,
    ):
        until_watched(runs, lambda: "steady runs" in notes())
        pid = runs.pids["steady"]
        runs.watch(10.0)
    assert notes().count("motors crashes") == supervisor.TRIES
    assert not alive(pid), "the others are stopped too"


def test_what_no_restart_can_mend_is_said_at_once(environment: dict[str, str]) -> None:
    graph = [Child("lips", "hopeless")]
    with (
        pytest.raises(EmoError, match="lips cannot run: model not found"),
        Supervisor(graph, environment, lambda line: None) as runs,
    ):
        runs.watch(10.0)
    assert runs.restarts == {"lips": 0}


@pytest.mark.parametrize(
    ("function", "why"),
    [("hopeless", "cannot run: model not found"), ("crash", "ended 4 times in a row (status 1)")],
)
def test_what_only_looks_on_is_left_out_and_the_graph_goes_on(
    environment: dict[str, str], notes: Callable[[], list[str]], function: str, why: str
) -> None:
    lines: list[str] = []
    graph = [Child("recorder", function, isolated=True), Child("drivers", "wait")]
    with Supervisor(graph, environment, lines.append, 0.01) as runs:
        until_watched(runs, lambda: any("goes on without it" in line for line in lines))
        until_watched(runs, lambda: "drivers runs" in notes())
        restarts = runs.restarts["recorder"]
        assert runs.watch(0.5), "the drivers run"
        assert set(runs.pids) == {"drivers"}
        assert runs.restarts["recorder"] == restarts
    (line,) = [line for line in lines if "goes on without it" in line]
    assert line.startswith(f"[recorder] the process recorder {why}")


def test_drivers_stop_after_the_pipeline_and_before_the_view(
    environment: dict[str, str], notes: Callable[[], list[str]]
) -> None:
    graph = [
        Child("view", "wait", "robot_view"),
        Child("drivers", "wait", "drivers"),
        Child("features", "wait"),
        Child("microphone", "wait"),
    ]
    with Supervisor(graph, environment, lambda line: None) as runs:
        until_watched(runs, lambda: sum(line.endswith("runs") for line in notes()) == 4)
    left = [line.split()[0] for line in notes() if line.endswith("leaves")]
    assert sorted(left[:2]) == ["features", "microphone"]
    assert left[2:] == ["drivers", "view"]


def test_a_deaf_process_is_killed(
    environment: dict[str, str],
    notes: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervisor, "INTERRUPT_S", 0.1)
    monkeypatch.setattr(supervisor, "TERMINATE_S", 0.1)
    with Supervisor([Child("deaf", "deaf")], environment, lambda line: None) as runs:
        until_watched(runs, lambda: "deaf runs" in notes())
        pid = runs.pids["deaf"]
    assert not alive(pid)


@pytest.fixture
def parent(environment: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, signal, sys\n"
        # Whoever runs the tests in a shell's background has SIGINT ignored, and hands that down.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"sys.path[:0] = {[str(folder) for folder in Path(__file__).parents[:2]]!r}\n"
        "from emo.supervisor import Supervisor\n"
        f"from {Path(__file__).stem} import Child\n"
        "with Supervisor([Child('lips', 'wait')], os.environ) as runs:\n"
        "    print(runs.pids['lips'], flush=True)\n"
        "    runs.watch(60.0)\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    yield process
    process.kill()
    process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal")
def test_a_killed_supervisor_leaves_nothing_behind(
    parent: subprocess.Popen[bytes], notes: Callable[[], list[str]]
) -> None:
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    until(lambda: "lips runs" in notes())
    parent.kill()
    until(lambda: not alive(pid))


def test_ctrl_c_stops_the_children_in_order(
    parent: subprocess.Popen[bytes], notes: Callable[[], list[str]]
) -> None:
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    until(lambda: "lips runs" in notes())
    parent.send_signal(signal.SIGINT)
    parent.wait(timeout=60)
    assert notes()[-1] == "lips leaves"
    assert not alive(pid)


def test_ctrl_c_during_the_start_ends_without_a_word(environment: dict[str, str]) -> None:
    lines: list[str] = []
    graph = [Child(f"node{i}", "wait") for i in range(4)]
    began = time.monotonic()
    with Supervisor(graph, environment, lines.append):
        pass  # stopped while Python still starts
    assert [line for line in lines if not line.endswith("] up")] == []
    assert time.monotonic() - began < supervisor.INTERRUPT_S, "nobody had to be killed"


def test_a_signal_that_outlasts_the_watch_does_not_hold_it_up(environment: dict[str, str]) -> None:
    script = (
        "import os, signal, time\n"
        "from emo.supervisor import Supervisor\n"
        "signal.signal(signal.SIGALRM, lambda *_: time.sleep(0.2))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.02)\n"
        "Supervisor([], os.environ).watch(0.1)\n"
    )
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=30.0)
