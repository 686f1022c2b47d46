"""`emo bench`: processes are watched rightly, inputs have their length, the report says it all."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import wave
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from emo.bench import growth, live, report
from emo.bench.usage import Sample, Usage, family
from emo.options import LIPSYNC
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
    looks = [(t, 100.0 + (50.0 if t < 100 else 0.0) + 0.01 * t) for t in range(1000)]
    starts = [float(t) for t in range(0, 1000, 3)]
    skew = Skew(starts, [10.0 + 0.02 * t for t in starts], 20.0, 0.9, 0, 1.0)
    monkeypatch.setattr(growth, "skew_of_film", lambda film: skew)
    result: dict[str, Any] = {
        "commands_s": (0.0, 1000.0),
        "memory": looks,
        "pipelines": {"lipsync": {"dropped": 0}, "mimic": {"dropped": 3}},
    }
    changed = growth.with_hours(result, Path("robot.mp4"))
    assert changed["memory_growth"] == pytest.approx(8.0 / 101.5, rel=0.01)
    assert changed["drift_ms"] == pytest.approx(18.0, abs=0.5)
    assert changed["dropped"] == {"lipsync": 0, "mimic": 3}


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
        "memory": [(0.0, 50.0), (1.0, 142.7)],
    }
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
                  "dropped": {"lipsync": 0}},
    }  # fmt: skip
    text = report.markdown(figures)
    assert "loaded machine" in text
    assert "| lipsync, composed | lipsync | 8.25 | 12.5 | 20 | 75 | 2 |" in text
    assert "arbiter 1.5" in text
    assert "| lipsync, composed | 2.35 | 0.25 | 143 |" in text
    assert "| log-mel | **as a stream** | 0.0123 |" in text
    assert "| log-mel | librosa |  |" in text
    assert "| memory growth, % | 1.2 |" in text
    assert json.loads(json.dumps(figures))["runs"]["lipsync, composed"]["startup_s"] == 2.345
    plots = report.plot(figures, tmp_path)
    assert [path.name for path in plots] == ["latency.png", "memory.png"]
    assert all(path.stat().st_size > 5000 for path in plots)
    assert report.plot({"machine": figures["machine"]}, tmp_path) == []


def test_wrong_calls_are_one_line(emo, tmp_path):
    assert "above 0" in emo("bench", "--seconds", "0", "--out", tmp_path).error_line
    assert "above 0" in emo("bench", "--hours", "0", "--out", tmp_path).error_line
    missing = tmp_path / "none.wav"
    line = emo("bench", "--speech", missing, "--quick", "--out", tmp_path / "out").error_line
    assert "none.wav" in line


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
