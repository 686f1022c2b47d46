"""Lint, types and tests: what CI runs.

ruff over everything, mypy --strict over all packages, then pytest: two tests at a time, and those
that keep time with live nodes, servos or cameras one by one. Of these, those that fail are tried
once more, since a machine that stalls for a second fails them, too; they are named all the same.
Tools are installed at first use. Tests that need recordings or ROS say why they are skipped where
those are missing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from emo.cli import ensure, repository
from emo_core.errors import EmoError

#: The step whose tests keep time.
REAL_TIME = "pytest in real time"
#: pytest's exit status when it ran, and tests failed.
TESTS_FAILED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--all", action="store_true", help="the slow tests, too")
    parser.add_argument("--train", action="store_true", help="training's, too: installs torch")
    parser.add_argument("--no-ros", action="store_true", help="leave out what needs ROS")
    parser.add_argument("tests", nargs="*", help="files or pytest node ids (default: all)")


def run(args: argparse.Namespace) -> int:
    """Run all three; the exit status is 0 if all passed."""
    root = repository()
    ensure("dev", "./emo test")
    ensure("docs", "./emo test")
    ensure("dashboard", "./emo test")
    if args.train:
        ensure("train", "./emo test --train")
    if not args.no_ros:
        from emo.ros_setup import enter_ros

        try:
            enter_ros(root, Path(sys.prefix))
        except EmoError as error:
            print(f"emo: the tests that need ROS are left out: {error}", file=sys.stderr)
            args.no_ros = True
    python = sys.executable
    pytest = [python, "-m", "pytest"]
    marks = [] if args.all else ["not slow"]
    if args.no_ros:
        marks.append("not ros")
    if args.tests:
        steps = {"pytest": [*pytest, *_marked(*marks), *args.tests]}
    else:
        steps = {
            "ruff": [python, "-m", "ruff", "check", "--quiet", "."],
            "mypy": [python, "-m", "mypy"],  # pyproject.toml names all packages
            # A module's tests share what they made: one process has them all.
            "pytest": [*pytest, *_marked(*marks, "not timely"), "-n", "2", "--dist", "loadfile"],
            REAL_TIME: [*pytest, *_marked(*marks, "timely")],
        }
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    failed = []
    for name, command in steps.items():
        start = time.monotonic()
        print(f"== {name}", flush=True)
        status = subprocess.run(command, cwd=root, env=environment, check=False).returncode
        if name == REAL_TIME and status == TESTS_FAILED:
            print(f"== {name}: those that failed, once more", flush=True)
            again = [*command, "--last-failed"]
            status = subprocess.run(again, cwd=root, env=environment, check=False).returncode
            if not status:
                print("emo: warning: passed only at the second try, see above", file=sys.stderr)
        if status:
            failed.append(name)
        if not name.startswith("pytest"):  # whose own closing line is the last word
            verdict = "failed" if status else "ok"
            print(f"== {name}: {verdict} ({time.monotonic() - start:.0f} s)", flush=True)
    if failed and failed != [name]:  # the last step has just said so
        print(f"emo: error: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _marked(*marks: str) -> list[str]:
    """pytest's option for the tests that have all of the marks."""
    return ["-m", " and ".join(marks)] if marks else []
