"""`emo bench`: processes are watched rightly, inputs have their length, the report says it all."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import wave
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from emo.bench import dashboard, growth, live, plots, report
from emo.bench.usage import Sample, Usage, family
from emo.cli import bench
from emo.options import BOTH, LIPSYNC, MIMIC
from emo.ros_domain import CHOICES
from emo_core.errors import EmoError
from emo_core.evaluation import speed
from emo_core.evaluation.skew import Skew

ROOT = Path(__file__).resolve().parents[2]
HELLO = ROOT / "src" / "emo" / "emo" / "data" / "hello.flac"

_BUSY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
held = bytearray(60_000_000)
held[::4096] = b"1" * len(held[::4096])
print(flush=True)
while time.process_time() < 1.0:
    pass
sys.stdin.read()
child.kill()
"""


def test_a_process_and_its_children_are_watched():
    process = subprocess.Popen(
        [sys.executable, "-c", _BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    with Usage(process.pid, 0.05) as usage:
        assert len(list(family(process.pid))) == 2
        end = time.monotonic() + 60.0
        while max((sample.cpu_s for sample in usage.samples), default=0.0) < 0.9:
            assert time.monotonic() < end, "its second of work was not seen"
            time.sleep(0.05)
        process.communicate()
    assert len({sample.pid for sample in usage.samples}) == 2
    assert usage.niceness() == {"emo": os.getpriority(os.PRIO_PROCESS, 0)}
    assert all(load >= 0.0 for _, load in usage.load)
    assert max(sample.cpu_s for sample in usage.samples) < 1.5  # it waited from then on
    assert max(sum(look.values()) for _, look in usage.memory()) > 60.0


def test_cores_are_those_of_the_time_asked_for():
    usage = Usage(0)
    usage.samples = [
        Sample(float(t), "camera", 7, 0.5 * t if t < 10 else 5.0, 10.0) for t in range(20)
    ] + [Sample(float(t), "camera", 8, 0.25 * t, 20.0) for t in range(20)]
    assert usage.cores(2.0, 6.0) == {"camera": pytest.approx(0.5 + 0.25)}
    assert usage.cores(12.0, 16.0) == {"camera": pytest.approx(0.25)}
    assert usage.memory()[3] == (3.0, {"camera": 30.0})  # both of that name


def test_inputs_have_the_length_asked_for(tmp_path):
    live.write_speech(HELLO, 9.5, tmp_path / "speech.wav")
    with wave.open(str(tmp_path / "speech.wav")) as file:
        assert (file.getnframes(), file.getframerate()) == (152_000, 16_000)
    live.write_video(None, 2.0, tmp_path / "once.mp4")
    live.write_video(tmp_path / "once.mp4", 5.0, tmp_path / "long.mp4")
    with av.open(str(tmp_path / "long.mp4")) as film:
        frames = list(film.decode(video=0))
    assert len(frames) == 125
    steps = np.diff([frame.time for frame in frames])
    np.testing.assert_allclose(steps, 0.04, atol=1e-3)
    # The third second is the first again, and the second is another.
    pictures = [frame.to_ndarray(format="gray").astype(float) for frame in frames]
    assert np.abs(pictures[50] - pictures[0]).mean() < 1.0
    assert np.abs(pictures[40] - pictures[0]).mean() > 1.0


def test_when_commands_came(tmp_path):
    path = tmp_path / "sent.csv"
    path.write_text("time,source,frame\n1.0,,\n2.5,mimic,0\n3.5,mimic,1\n9.0,,\n")
    assert live._span(path) == (2.5, 3.5)
    path.write_text("time,source,frame\n1.0,,\n")
    assert live._span(path) is None


def test_ways_take_turns_and_what_is_missing_is_said():
    calls: list[str] = []
    ways = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b"), "c": None}
    figures = speed.in_turns(ways, 2)
    assert calls[:4] == ["a", "a", "b", "b"]
    assert calls.count("a") == calls.count("b")
    assert figures["c"] is None
    assert 0.0 <= figures["a"] < 50.0


def test_growth_of_a_long_run(monkeypatch):
    def look(t: int) -> dict[str, float]:
        return {"emo": 90.0 + 0.01 * t, "robot_view": 60.0 if t < 100 else 10.0}

    starts = [float(t) for t in range(0, 1000, 3)]
    skew = Skew(starts, [10.0 + 0.02 * t for t in starts], 20.0, 0.9, 0, 1.0)
    monkeypatch.setattr(growth, "skew_of_film", lambda film: skew)
    result: dict[str, Any] = {
        "commands_s": (0.0, 1000.0),
        "memory": [(t, look(t)) for t in range(1000)],
        "niceness": {"emo": -10, "robot_view": 5},
        "load": [(t, 9.0 if t == 500 else 1.0) for t in range(1000)],
        "pipelines": {"lipsync": {"dropped": 0}, "mimic": {"dropped": 3}},
    }
    changed = growth.with_hours(result, Path("robot.mp4"))
    assert changed["memory_growth"] == pytest.approx(8.0 / 101.5, rel=0.01)
    assert changed["drift_ms"] == pytest.approx(18.0, abs=0.5)
    assert changed["dropped"] == {"lipsync": 0, "mimic": 3}
    assert changed["load"] == {"median": 1.0, "most": 9.0}
    view, emo = changed["processes"]["robot_view"], changed["processes"]["emo"]
    assert view == {"before_mb": 10.0, "after_mb": 10.0, "niceness": 5}
    assert emo["after_mb"] - emo["before_mb"] == pytest.approx(8.0)  # it is the one that grew
    assert emo["niceness"] == -10


def test_the_dashboards_ways_take_turns(monkeypatch, tmp_path):
    began, p95_ms = [], iter([10.0, 10.1, 10.2, 10.4, 20.0, 20.0, 20.0, 22.0])

    @contextlib.contextmanager
    def beside(what: str, usage: Usage) -> Iterator[Any]:
        began.append(what)
        yield dashboard._Beside(None, usage, [], None)

    @contextlib.contextmanager
    def page(environment: Mapping[str, str]) -> Iterator[Any]:
        with beside("page", Usage(0)) as seen:
            yield seen, "http://127.0.0.1:8080/"

    def run(*arguments: Any, environment: Mapping[str, str]) -> dict[str, Any]:
        began.append("graph")
        assert environment["ROS_DOMAIN_ID"] == "77"
        figures = {"end_to_end_ms": {"p95": next(p95_ms)}, "dropped": 1}
        return {"pipelines": {"lipsync": figures}, "commands_s": (1.0, 2.0)}

    monkeypatch.setenv("ROS_DOMAIN_ID", "77")
    monkeypatch.setattr(dashboard, "BROWSER", "chromium")
    monkeypatch.setattr(dashboard, "run", run)
    monkeypatch.setattr(dashboard, "_page", page)
    monkeypatch.setattr(dashboard, "_browser", lambda _, draws: beside(f"{draws=}", Usage(0)))
    first, figures = dashboard.measure(tmp_path, tmp_path, tmp_path, 2)
    turn = ["graph", "page", "graph"]
    turn += ["page", "draws=False", "graph", "page", "draws=True", "graph"]
    assert began == turn + turn
    assert (first["rounds"], figures["rounds"]) == (1, 2)
    assert first["ways"][dashboard.WITHOUT]["p95_ms"] == {"lipsync": [10.0]}
    assert figures["ways"][dashboard.WITHOUT]["p95_ms"] == {"lipsync": [10.0, 20.0]}
    assert figures["ways"][dashboard.SEEN]["dropped"] == 2
    seen = figures["ratios"][dashboard.SEEN]["lipsync"]
    assert seen == pytest.approx({"median": 1.07, "least": 1.04, "most": 1.1})
    assert [len(each["browser_cores"]) for each in figures["ways"].values()] == [0, 0, 2, 2]


@pytest.mark.parametrize("chosen", ["ROS_LOCALHOST_ONLY", "ROS_AUTOMATIC_DISCOVERY_RANGE"])
def test_without_a_browser_its_way_is_left_out(monkeypatch, tmp_path, chosen):
    def turn(way: str, figures: dict[str, Any], *rest: Any) -> None:
        assert rest[-1]["ROS_DOMAIN_ID"] == "0"  # ROS's own: the page finds the graph
        figures["p95_ms"].setdefault("lipsync", []).append(8.0)

    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    monkeypatch.setenv(chosen, "1")
    monkeypatch.setattr(dashboard, "BROWSER", None)
    monkeypatch.setattr(dashboard, "_turn", turn)
    (figures,) = dashboard.measure(tmp_path, tmp_path, tmp_path, 1)
    assert tuple(figures["ways"]) == dashboard.WAYS[:-1]
    told = {"machine": report.machine(), "seconds": 6.0, "dashboard": figures}
    assert "a browser here draws it (no Chromium" in report.markdown(told)
    assert plots.plot(told, tmp_path)


@pytest.mark.parametrize("chosen", CHOICES)
def test_robots_are_apart_whatever_the_shell_chose(monkeypatch, tmp_path, chosen):
    def run(*arguments: Any, environment: Mapping[str, str]) -> dict[str, Any]:
        assert not environment.keys() & set(CHOICES)  # each graph takes a domain of its own
        assert environment["HOME"] == "/home/anna"
        figures = {"end_to_end_ms": {"p95": 8.0}, "dropped": 1}
        return {"pipelines": {"mimic": figures}, "cores": {"emo": 0.5}, "memory_mb": {"emo": 9.0}}

    monkeypatch.setenv(chosen, "1")
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.setattr(growth, "run", run)
    one, two = growth.with_robots((1, 2), tmp_path, tmp_path, tmp_path)
    assert (one["cores"], two["cores"], two["dropped"]) == (0.5, 1.0, 2)


def test_who_is_beside_the_graph_is_waited_for_and_ended():
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    assert not dashboard._looked_at(port)
    with socket.create_connection(("127.0.0.1", port)):
        assert dashboard._looked_at(port)
    server.close()

    says = [sys.executable, "-c", "import sys, time; print('emo: robot sim: http://127.0.0.1:80/', "
            "file=sys.stderr, flush=True); time.sleep(60)"]  # fmt: skip
    with dashboard._watched(says, os.environ) as beside:
        beside.wait(lambda: dashboard._address(beside.said), "the page")
        assert dashboard._address(beside.said) == "http://127.0.0.1:80/"
    assert beside.process.poll() is not None
    ends = [sys.executable, "-c", "raise SystemExit('no viser')"]
    with (
        pytest.raises(EmoError, match="the page is not there: no viser"),
        dashboard._watched(ends, os.environ) as beside,
    ):
        beside.process.wait()
        beside.wait(lambda: False, "the page")


FIGURES = {
    "frames": 75,
    "dropped": 2,
    "end_to_end_ms": {"p50": 8.25, "p95": 12.5, "p99": 20.0},
    "stages_ms": {"arbiter": {"p50": 1.5}, "drivers": {"p50": None}},
}


def test_report_says_what_was_measured(tmp_path):
    run = {
        "pipelines": {"lipsync": FIGURES},
        "startup_s": 2.345,
        "cores": {"emo": 0.25},
        "memory_mb": {"emo": 142.7},
        "memory": [(0.0, {"emo": 50.0}), (1.0, {"emo": 142.7})],
        "load": [(0.0, 0.5), (1.0, 0.75)],
    }
    of_rounds = {"p95_ms": {"lipsync": [8.0, 10.0]}, "dropped": 0, "browser_cores": []}
    figures = {
        "machine": {**report.machine(), "load_before": 3.0},
        "seconds": 60.0,
        "runs": {"lipsync, composed": run},
        "costs": [
            {"job": "log-mel", "way": "as a stream", "ours": True, "ms": 0.0123},
            {"job": "log-mel", "way": "librosa", "ours": False, "ms": None},
        ],
        "motors": [{"robot": "sim", "motors": 11, "inverse_model_ms": 0.01}],
        "hours": {"hours": 1.0, "memory_growth": 0.012, "drift_ms": -3.0, "skew_ms": 9.0,
                  "dropped": {"lipsync": 0}, "load": {"median": 0.6, "most": 2.25},
                  "processes": {
                      "camera": {"before_mb": 40.0, "after_mb": 40.5, "niceness": -10},
                      "emo": {"before_mb": 50.0, "after_mb": 142.7, "niceness": 0}}},
        "dashboard": {
            "rounds": 2,
            "ways": {
                dashboard.WITHOUT: {**of_rounds, "dashboard_cores": []},
                dashboard.SEEN: {**of_rounds, "dashboard_cores": [0.0625, 0.0625]},
            },
            "ratios": {dashboard.SEEN: {"lipsync": {"median": 1.015, "least": 0.9, "most": 1.1}}},
        },
    }  # fmt: skip
    text = report.markdown(figures)
    assert "loaded machine" in text
    assert "| lipsync, composed | lipsync | 8.25 | 12.5 | 20 | 75 | 2 |" in text
    assert "arbiter 1.5" in text
    assert "| lipsync, composed | 2.35 | 0.25 | 143 |" in text
    assert "| log-mel | **as a stream** | 0.0123 | 81301 |" in text
    assert "| log-mel | librosa |  |  |" in text
    assert "| memory growth, % | 1.2 |" in text
    assert "| load of the machine, median (most) | 0.6 (2.2) |" in text
    lines = text.splitlines()
    grown = lines.index("| emo | 0 | 50 | 143 | 92.7 |")  # who grew most comes first
    assert lines[grown + 1] == "| camera | -10 | 40 | 40.5 | 0.5 |"
    assert "| without | lipsync | 9 |  | 0 |  |  |" in text
    assert "| lipsync | 9 | 1.015 (0.900 to 1.100) | 0 | 6.25 |  |" in text
    assert json.loads(json.dumps(figures))["runs"]["lipsync, composed"]["startup_s"] == 2.345
    pictures = plots.plot(figures, tmp_path)
    names = ["latency.png", "memory.png", "hours.png", "dashboard.png"]
    assert [path.name for path in pictures] == names
    assert all(path.stat().st_size > 5000 for path in pictures)
    assert plots.plot({"machine": figures["machine"]}, tmp_path) == []


def test_wrong_calls_are_one_line(emo, tmp_path):
    assert "above 0" in emo("bench", "--seconds", "0", "--out", tmp_path).error_line
    assert "above 0" in emo("bench", "--hours", "0", "--out", tmp_path).error_line
    missing = tmp_path / "none.wav"
    line = emo("bench", "--speech", missing, "--quick", "--out", tmp_path / "out").error_line
    assert "none.wav" in line


@pytest.fixture
def parts(monkeypatch, tmp_path) -> dict[str, Any]:
    """What the parts of a bench in `tmp_path` do, by name, instead of measuring."""
    result = {
        "pipelines": {"lipsync": FIGURES}, "startup_s": 2.0, "cores": {"emo": 0.25},
        "memory_mb": {"emo": 142.7}, "memory": [(0.0, {"emo": 50.0})], "load": [(0.0, 0.5)],
    }  # fmt: skip
    does: dict[str, Any] = {LIPSYNC: result, MIMIC: result, BOTH: result, "costs": [], "robots": []}

    def do(name: str) -> Any:
        if isinstance(does[name], BaseException):
            raise does[name]
        return does[name]

    monkeypatch.setattr(dashboard, "BROWSER", None)
    monkeypatch.setattr(bench, "_inputs", lambda *_: (HELLO, tmp_path / "a", tmp_path / "b"))
    monkeypatch.setattr(bench, "ensure", lambda *_: None)
    monkeypatch.setattr(live, "run", lambda pipeline, *_: do(pipeline))
    monkeypatch.setattr(speed, "measure", lambda *_: do("costs"))
    monkeypatch.setattr(speed, "growth_with_motors", lambda _: [{"motors": 11}])
    monkeypatch.setattr(growth, "with_length", lambda *_: [{"recording_s": 4}])
    monkeypatch.setattr(growth, "with_robots", lambda *_: do("robots"))
    monkeypatch.setattr(dashboard, "measure", lambda *_: iter([]))
    return does


def test_a_part_that_fails_takes_nothing_of_the_others(emo, parts, tmp_path):
    parts["mimic"] = EmoError("emo mimic failed: no face")
    parts["robots"] = EmoError("emo run failed: another emo runs")
    parts["costs"] = [speed.Cost("log-mel", "as a stream", True, 0.5)]
    done = emo("bench", "--out", tmp_path)
    assert done.status == 1
    assert done.err.index("left out: the dashboard") < done.err.index("bench: lipsync, composed")
    assert "emo: bench: live failed: emo mimic failed: no face\n" in done.err
    kept = json.loads((tmp_path / "report.json").read_text())
    assert kept["failed"] == {
        "live": "emo mimic failed: no face",
        "growth": "emo run failed: another emo runs",
    }
    assert list(kept["runs"]) == ["lipsync, composed"]
    assert (kept["motors"], kept["length"]) == ([{"motors": 11}], [{"recording_s": 4}])
    text = (tmp_path / "report.md").read_text()
    assert "**growth failed: emo run failed: another emo runs**" in text
    assert "| log-mel | **as a stream** | 0.5 |" in text and "## With motors" in text
    assert text in done.out


def test_an_interrupt_keeps_what_was_measured(emo, parts, tmp_path):
    parts["costs"] = KeyboardInterrupt()
    done = emo("bench", "--out", tmp_path)
    assert done.status == 130
    assert f"what was measured so far: {tmp_path / 'report.md'}" in done.err
    assert len(json.loads((tmp_path / "report.json").read_text())["runs"]) == 6
    assert "## Live" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "latency.png").stat().st_size > 5000


def test_where_nothing_was_measured_an_older_report_stays(emo, parts, tmp_path):
    (tmp_path / "report.json").write_text("older")
    parts["lipsync"] = EmoError("emo lipsync failed: no ROS")
    done = emo("bench", "--only", "live", "--out", tmp_path)
    assert (done.status, done.out) == (1, "")
    assert done.err.endswith("emo: bench: live failed: emo lipsync failed: no ROS\n")
    assert (tmp_path / "report.json").read_text() == "older"


@pytest.mark.ros
def test_a_live_run_is_measured(tmp_path):
    pytest.importorskip("rclpy", reason="ROS is not set up: the first ./emo lipsync installs it")
    live.write_speech(HELLO, 3.0, tmp_path / "speech.wav")
    start = time.time()
    result = live.run(LIPSYNC, tmp_path / "speech.wav", tmp_path / "none.mp4", tmp_path / "out")
    took = time.time() - start
    assert result["pipelines"]["lipsync"]["frames"] == 75
    assert 0.0 < result["startup_s"] < result["commands_s"][1] < took
    assert {"emo", "robot_view"} <= set(result["cores"])
    assert result["memory_mb"]["emo"] > 30.0


@pytest.mark.slow
def test_a_frame_costs_what_it_costs():
    costs = speed.measure(live.load_audio(HELLO), quick=True)
    jobs = {cost.job for cost in costs}
    for job in jobs:
        assert sum(cost.ours for cost in costs if cost.job == job) == 1
    assert len(jobs) == 5
    assert all(cost.ms is None or cost.ms > 0 for cost in costs)
    assert [row["motors"] for row in speed.growth_with_motors(quick=True)] == [11, 22]
