"""When a run of recordings is over, and when nothing will come of it any more."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS is not set up: the first ./emo lipsync installs it")

from emo.cli import _live
from emo.cli._live import REST_S, STALL_S, START_S
from emo.monitor import Stream
from emo_core.errors import EmoError

pytestmark = pytest.mark.ros

BOTH = {"lipsync", "mimic"}


class Run:
    """Streams whose commands came at times of its own, in s since the start."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)
        self.monitor: Any = SimpleNamespace(
            errors={}, streams={name: Stream() for name in names}, neutral=False
        )

    def hear(self, name: str, at_s: float, end: bool = False) -> None:
        stream = self.monitor.streams[name]
        stream.heard = 1000.0 + at_s
        stream.began = stream.began or stream.heard
        stream.ended = stream.heard if end else None

    def over(self, at_s: float, recorded: set[str] = BOTH, **came_back_s: float) -> bool:
        self.now_s = 1000.0 + at_s
        times = {name: 1000.0 + at_s for name, at_s in came_back_s.items()}
        return _live._over(self.monitor, 1000.0, recorded, times)


def test_a_run_is_over_when_all_streams_have_ended_and_the_face_rests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Run(monkeypatch, *BOTH)
    run.hear("lipsync", 5.0, end=True)
    run.hear("mimic", 8.0)
    assert not run.over(9.0)
    run.hear("mimic", 9.0, end=True)
    assert not run.over(9.0 + REST_S - 0.1) and run.over(9.0 + REST_S + 0.1)
    run.monitor.neutral = True
    assert not run.over(10.0) and run.over(10.5)


def test_what_never_begins_or_stalls_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch, "lipsync")
    assert not run.over(START_S - 1)
    run.monitor.errors["microphone"] = "no such device"
    with pytest.raises(EmoError, match=r"no motor command of lipsync within .*no such device"):
        run.over(START_S + 1)
    run.hear("lipsync", 20.0)
    assert not run.over(20.0 + STALL_S - 1)
    assert not run.over(1e6, recorded=set()), "a live one never ends"
    with pytest.raises(EmoError, match="no motor command of lipsync for 10 s"):
        run.over(20.0 + STALL_S + 1, normalization=19.0)


def test_an_end_that_passed_while_a_node_was_down_is_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(monkeypatch, *BOTH)
    run.hear("lipsync", 20.0)
    run.hear("mimic", 22.0)
    down = {"audio2landmark": 21.0, "arbiter": 25.0, "camera": 3.0}
    assert not run.over(25.0 + STALL_S - 1, **down), "it may take that long to be back"
    run.hear("mimic", 34.0, end=True)
    assert capsys.readouterr().err == ""
    assert run.over(25.0 + STALL_S + REST_S, **down)
    assert capsys.readouterr().err.splitlines() == [
        "emo: lipsync: the recording ended while audio2landmark and arbiter started again: its "
        "last frames are missing"
    ]
