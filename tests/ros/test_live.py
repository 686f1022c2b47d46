"""When a run of the live graph is over, and when something is wrong with it. No ROS."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from emo.cli import _live
from emo.cli._inputs import recordings
from emo.options import GraphOptions
from emo_core.errors import EmoError
from emo_core.files import results_folder


@dataclass
class Watched:
    """What `emo.monitor.Monitor` tells."""

    streams: dict[str, SimpleNamespace]
    neutral: bool = True
    errors: dict[str, str] = field(default_factory=dict)


def stream(began: float | None, ended: float | None = None, heard: float = 0.0) -> SimpleNamespace:
    """Times in seconds ago."""
    now = time.monotonic()
    ago = [None if when is None else now - when for when in (began, ended)]
    return SimpleNamespace(began=ago[0], ended=ago[1], heard=now - heard, active=True)


def over(recorded: set[str], started: float = 20.0, neutral: bool = True, **streams: Any) -> bool:
    watched: Any = Watched(streams, neutral, {"camera": "unplugged"})
    return _live._over(watched, time.monotonic() - started, recorded, {})


def test_a_run_is_over_when_all_recordings_are_and_the_face_rests() -> None:
    both = {"lipsync", "mimic"}
    assert over(both, lipsync=stream(9.0, 5.0), mimic=stream(9.0, 2.0))
    assert not over(both, lipsync=stream(9.0, 5.0), mimic=stream(9.0, 0.5)), "just now"
    assert not over(both, lipsync=stream(9.0, 5.0), mimic=stream(9.0))
    assert not over(both, lipsync=stream(9.0, 5.0), mimic=stream(None)), "still to begin"
    assert not over({"mimic"}, neutral=False, mimic=stream(9.0, 3.0)), "not at rest"
    assert over({"mimic"}, neutral=False, mimic=stream(9.0, 5.0)), "never at rest"


def test_a_live_source_never_ends_a_run() -> None:
    streams = {"lipsync": stream(99.0, 50.0), "mimic": stream(99.0, None, heard=60.0)}
    assert not over({"lipsync"}, **streams), "a camera may be unplugged for a while"


def test_what_does_not_begin_or_stops_is_told_with_its_cause() -> None:
    with pytest.raises(EmoError, match="no motor command of mimic within 60 s: camera: unplugged"):
        over(set(), started=61.0, mimic=stream(None))
    # The first one's going on does not hide the second one's trouble.
    with pytest.raises(EmoError, match="no motor command of mimic for 10 s: camera: unplugged"):
        over({"mimic"}, lipsync=stream(9.0), mimic=stream(30.0, None, heard=11.0))


def test_faults_may_come_and_go_while_they_are_looked_at() -> None:
    class Mended(str):
        def __format__(self, spec: str) -> str:
            errors.clear()  # by the monitor's own thread, just then
            return str(self)

    errors: dict[str, str] = {"camera": Mended("unplugged"), "microphone": "unplugged"}
    watched: Any = Watched({"mimic": stream(9.0)}, errors=errors)
    assert not _live._over(watched, time.monotonic() - 20.0, {"mimic"}, {})
    assert not errors


def test_recordings_are_those_of_the_pipelines_that_run() -> None:
    files = {"source": "file", "speech": "a.wav", "camera": "file", "video": "b.mp4"}
    expected = {"lipsync": "a.wav", "mimic": "b.mp4"}
    assert recordings(GraphOptions(pipeline="both", **files)) == expected  # type: ignore[arg-type]
    for name, path in expected.items():
        assert recordings(GraphOptions(pipeline=name, **files)) == {name: path}  # type: ignore[arg-type]
    assert recordings(GraphOptions(pipeline="both")) == {}


def test_a_run_that_is_refused_leaves_the_results_of_the_one_that_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_live.inputs, "check", lambda *_: None)
    monkeypatch.setattr("emo.ros_setup.enter_ros", lambda *_: None)
    monkeypatch.setenv("ROS_DOMAIN_ID", "0")
    film = tmp_path / "robot.mp4"
    film.write_bytes(b"being written")
    args = argparse.Namespace(out=str(tmp_path), namespace=tmp_path.name)
    with results_folder(tmp_path), pytest.raises(EmoError, match="another emo writes to"):
        _live.run(args, "lipsync")
    with _live.alone(args.namespace), pytest.raises(EmoError, match="another emo runs in"):
        _live.run(args, "lipsync")
    assert film.exists()
