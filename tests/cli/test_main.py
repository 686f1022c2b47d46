"""The table of commands, and how errors look."""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys

import pytest

import emo.cli
from emo.cli import COMMANDS, Parser, namespace
from emo_core.errors import EmoError


def test_help_names_every_command(emo):
    result = emo("--help")
    assert result.status == 0
    for command in COMMANDS:
        assert f"  {command}" in result.out


def test_no_command_shows_help(emo):
    assert emo().status == 0
    assert "commands:" in emo().out


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help_without_heavy_imports(command):
    """A fresh process: help must not wait for MediaPipe, ONNX Runtime, FFmpeg, torch or rclpy."""
    code = (
        f"import sys; sys.path[:0] = {[p for p in sys.path if '/src/' in p]!r}\n"
        "from emo.cli import main\n"
        f"try:\n    main([{command!r}, '--help'])\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "heavy = 'mediapipe onnxruntime av cv2 torch rclpy matplotlib scipy'.split()\n"
        "print('HEAVY', sorted(set(heavy) & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: emo {command}")
    assert "--debug" in done.stdout
    assert done.stdout.strip().endswith("HEAVY []")


@pytest.mark.parametrize("command", ["lipsync", "mimic", "run", "replay", "dashboard", "top"])
def test_the_graph_has_one_blas_thread(command):
    """Else its sums are rounded otherwise than in a replay, and idle threads spin."""
    code = (
        f"import sys; sys.path[:0] = {[p for p in sys.path if '/src/' in p]!r}\n"
        "from emo.cli import make_parser\n"
        f"make_parser({command!r})\n"
        "loaded = [name for name in sys.modules if name in ('numpy', 'emo_nodekit')]\n"
        "print(not loaded or loaded[0] == 'emo_nodekit')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True\n", done.stderr


def test_unknown_command_suggests(emo):
    result = emo("anmate")
    assert result.status == 2
    assert result.error_line == "emo: error: no command 'anmate': did you mean 'animate'?"


def test_usage_error_is_one_line(emo):
    result = emo("animate")
    assert result.status == 2
    assert result.error_line.startswith("emo animate: error: ")
    assert "emo animate --help" in result.error_line


@pytest.mark.parametrize("name", ["1 bad", "left face", "a//b", "gesicht-1"])
def test_a_namespace_that_ros_would_refuse_is_one_line(emo, name):
    result = emo("lipsync", "a.wav", "--namespace", name)
    assert result.status == 2
    assert "is no name of letters, digits and _" in result.error_line
    assert namespace("/left/face_2/") == "left/face_2"


def _command_that(monkeypatch, action):
    """Make `emo doctor` do `action`."""
    module = importlib.import_module("emo.cli.doctor")
    monkeypatch.setattr(module, "run", action)


def test_user_error_is_one_line_and_status_1(emo, monkeypatch):
    def action(args):
        raise EmoError("the plug is out: mains. Put it in")

    _command_that(monkeypatch, action)
    result = emo("doctor")
    assert (result.status, result.error_line) == (
        1,
        "emo: error: the plug is out: mains. Put it in",
    )


def test_debug_shows_the_traceback(emo, monkeypatch):
    def action(args):
        raise EmoError("the plug is out")

    _command_that(monkeypatch, action)
    with pytest.raises(EmoError, match="the plug is out"):
        emo("doctor", "--debug")


def test_interrupt_is_status_130(emo, monkeypatch):
    def action(args):
        raise KeyboardInterrupt

    _command_that(monkeypatch, action)
    assert emo("doctor").status == 130


def test_an_interrupted_import_is_no_import_error(emo, monkeypatch):
    """As NumPy's C code makes of it."""

    def action(args):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("numpy._core.multiarray failed to import") from None

    _command_that(monkeypatch, action)
    # A shell starts what runs in the background with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = emo("doctor")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (result.status, result.error_line) == (130, "emo: interrupted")


def test_an_import_that_fails_by_itself_is_told(emo, monkeypatch):
    def action(args):
        raise ImportError("libGL.so.1 is missing")

    _command_that(monkeypatch, action)
    with pytest.raises(ImportError, match=r"libGL\.so\.1"):
        emo("doctor")


def test_unforeseen_error_is_one_line(capsys):
    try:
        {}["nothing"]
    except KeyError as error:
        emo.cli._one_line(type(error), error, error.__traceback__)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "KeyError" in lines[0]
    assert "test_main.py" in lines[0]
    assert "--debug" in lines[0]


def test_parser_never_abbreviates_into_a_surprise():
    parser = Parser(prog="emo x", allow_abbrev=False)
    parser.add_argument("--headless", action="store_true")
    with pytest.raises(SystemExit):
        parser.parse_args(["--head"])
