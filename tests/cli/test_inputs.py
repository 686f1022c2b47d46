"""lipsync, mimic, run: inputs and other runs' results are left alone; the browser. No ROS."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sounds import speech_like
from waiting import until

from emo.cli import _live
from emo.options import GraphOptions
from emo_core.errors import EmoError
from emo_core.face.alignment import canonical_face
from emo_core.face.static_face import save_static_face
from emo_core.viz.video import VideoWriter

#: Everything that any run leaves.
EVERYTHING = {
    "commands.csv",
    "lipsync/commands.csv",
    "mimic/commands.csv",
    "sent.csv",
    "latency.csv",
    "latency.json",
    "robot.mp4",
    "mimic.mp4",
}


@pytest.fixture
def live(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, emo: Callable[..., Any]
) -> Callable[..., Any]:
    """`live("lipsync", ...)`: the command, up to where its graph would start."""

    def graph(*_: object) -> bool:
        raise EmoError("the graph would start")

    monkeypatch.setattr("emo.ros_setup.enter_ros", lambda *_: None)
    monkeypatch.setattr(_live, "run_graph", graph)
    monkeypatch.setenv("ROS_DOMAIN_ID", "0")
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: emo(*arguments, "--namespace", tmp_path.name, "--headless")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder with what runs before left."""
    folder = tmp_path / "out"
    for name in EVERYTHING:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("of a run before")
    return folder


def left(folder: Path) -> set[str]:
    """What is there, as paths in the folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def speech(wav: Callable[..., Path]) -> Path:
    return wav(speech_like(0.5))


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "video.mp4"
    with VideoWriter(path, (64, 64), 25) as film:
        for _ in range(3):
            film.add_frame(np.zeros((64, 64, 3), np.uint8))
    return path


@pytest.mark.parametrize(
    ("command", "gone"),
    [
        ("lipsync", EVERYTHING - {"lipsync/commands.csv", "mimic/commands.csv", "mimic.mp4"}),
        ("mimic", EVERYTHING - {"lipsync/commands.csv", "mimic/commands.csv"}),
        ("run", EVERYTHING - {"commands.csv"}),
    ],
)
def test_of_earlier_results_those_that_the_command_writes_itself_go(
    live: Callable[..., Any], results: Path, speech: Path, video: Path, command: str, gone: set[str]
) -> None:
    inputs = {"lipsync": [speech], "mimic": [video], "run": [speech, "--video", video]}[command]
    assert "the graph would start" in live(command, *inputs, "--out", results).error_line
    assert left(results) == EVERYTHING - gone


@pytest.mark.parametrize("name", ["robot.mp4", "sent.csv"])
def test_a_recording_among_the_results_is_refused_before_anything_goes(
    live: Callable[..., Any], results: Path, speech: Path, name: str
) -> None:
    sound = speech.read_bytes()
    speech.replace(results / name)
    link = speech.with_name("linked.wav")
    link.symlink_to(results / name)
    for given in (f"out/{name}", link):
        line = live("lipsync", given, "--out", results).error_line
        assert f"{given} would be replaced by the results: choose another folder with" in line
    assert (results / name).read_bytes() == sound
    assert left(results) == EVERYTHING
    # Elsewhere it is a recording as any other.
    assert "would start" in live("lipsync", results / name, "--out", results / "new").error_line
    assert left(results) == EVERYTHING


def test_a_video_among_the_results_is_refused_before_anything_goes(
    live: Callable[..., Any], results: Path, speech: Path, video: Path
) -> None:
    film = video.replace(results / "mimic.mp4")
    for inputs in (["mimic", film], ["run", speech, "--video", film]):
        line = live(*inputs, "--out", results).error_line
        assert f"{film} would be replaced by the results" in line
    assert left(results) == EVERYTHING


def test_the_face_of_a_run_before_is_refused_not_replaced(
    live: Callable[..., Any], results: Path, speech: Path, video: Path
) -> None:
    face = save_static_face(results, "static_face", canonical_face())
    stored = face.read_bytes()
    line = live("lipsync", speech, "--face", face, "--out", results).error_line
    assert f"{face} would be replaced by the results" in line
    kept = save_static_face("faces", "me", canonical_face())
    person = ["--video", video, "--faces", results, "--person", "static_face"]
    line = live("run", speech, *person, "--face", kept, "--out", results).error_line
    assert f"{face} would be replaced by the results" in line
    assert face.read_bytes() == stored
    assert left(results) == EVERYTHING | {face.name}
    live("lipsync", speech, "--face", kept, "--out", results)
    assert face.read_bytes() != stored, "one that nobody reads"


def test_a_face_that_cannot_be_read_is_told_before_anything_goes(
    live: Callable[..., Any], results: Path, speech: Path, video: Path
) -> None:
    line = live("lipsync", speech, "--face", "typo.npz", "--out", results).error_line
    assert "no such face file: typo.npz" in line
    Path("me.npz").write_text("no face")
    person = ["--faces", ".", "--person", "me"]
    assert "me.npz" in live("mimic", video, *person, "--out", results).error_line
    person[-1] = "a/b"
    assert "no name for a face" in live("mimic", video, *person, "--out", results).error_line
    assert left(results) == EVERYTHING


class Graph:
    """A graph in which nothing happens, and its supervisor: the test says what it sees."""

    def __init__(self, watch: Callable[[], None]) -> None:
        self.watch = lambda timeout_s: watch()
        self.came_back_s: dict[str, float] = {}
        self.failed = False
        self.streams = {"lipsync": SimpleNamespace(began=None, active=True)}

    def __enter__(self) -> Graph:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self) -> None:
        pass

    stop = release = start

    def is_set(self) -> bool:
        return False


@pytest.fixture
def browsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was opened in a browser."""
    pages: list[str] = []
    monkeypatch.setattr("webbrowser.open", pages.append)
    return pages


def run_graph(monkeypatch: pytest.MonkeyPatch, port: int, watch: Callable[[], None]) -> None:
    """A run that is over after one look; `watch` is called at that."""
    graph = Graph(watch)
    monkeypatch.setattr("emo.supervisor.Supervisor", lambda *_: graph)
    monkeypatch.setattr(_live, "_ros", lambda: graph)
    monkeypatch.setattr(_live, "_over", lambda *_: True)
    for name, members in {
        "emo.composed": {"Composed": lambda _: graph},
        "emo.monitor": {"Monitor": lambda *_: graph},
        "emo_nodekit.running": {
            "URGENT": 0,
            "Spinner": lambda _: graph,
            "be_nice": lambda _: None,
            "stop_event": lambda: graph,
        },
    }.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**members))
    assert not _live.run_graph([], GraphOptions(port=port), processes=True)


def waits_to_browse() -> bool:
    return any(thread.name == "browser" for thread in threading.enumerate())


@pytest.fixture
def page() -> Any:
    """A port that refuses until somebody listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        yield server


def test_the_browser_opens_once_the_page_is_served(
    monkeypatch: pytest.MonkeyPatch, browsed: list[str], page: socket.socket
) -> None:
    port = page.getsockname()[1]

    def view_starts() -> None:
        assert browsed == [], "it would be refused"
        page.listen()
        until(lambda: browsed)

    run_graph(monkeypatch, port, view_starts)
    until(lambda: not waits_to_browse())
    assert browsed == [f"http://127.0.0.1:{port}/"]


def test_no_browser_opens_after_the_end(
    monkeypatch: pytest.MonkeyPatch, browsed: list[str], page: socket.socket
) -> None:
    run_graph(monkeypatch, page.getsockname()[1], lambda: None)
    page.listen()
    until(lambda: not waits_to_browse())
    run_graph(monkeypatch, 0, lambda: None)
    assert not waits_to_browse(), "no page"
    assert browsed == []


@pytest.mark.parametrize("broken", [False, True])
def test_a_browser_that_hangs_or_fails_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch, page: socket.socket, broken: bool
) -> None:
    asked, closed = threading.Event(), threading.Event()
    untold: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", untold.append)

    def browse(_: str) -> None:
        asked.set()
        if broken:
            raise FileNotFoundError(os.strerror(2))
        closed.wait(10)

    monkeypatch.setattr("webbrowser.open", browse)
    page.listen()
    run_graph(monkeypatch, page.getsockname()[1], lambda: until(asked.is_set))
    assert broken or waits_to_browse(), "the run did not wait for it"
    closed.set()
    until(lambda: not waits_to_browse())
    assert untold == []
