"""The `emo` script and its set-up, in checkouts of our own making; no network is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from emo import bootstrap

ROOT = Path(__file__).resolve().parents[2]
#: The Python behind this environment: it has no packages of ours.
PYTHON = getattr(sys, "_base_executable", sys.executable)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that needs no packages, in a folder with a space in its name."""
    root = tmp_path / "my robots" / "emo checkout"
    (root / "requirements").mkdir(parents=True)
    (root / "requirements" / "base.txt").write_text("# nothing\n")
    shutil.copy(ROOT / "emo", root / "emo")
    for package in ("emo", "emo_core"):
        target = root / "src" / package / package
        shutil.copytree(
            ROOT / "src" / package / package, target,
            ignore=shutil.ignore_patterns("__pycache__", "*.npy", "*.npz", "*.onnx"),
        )  # fmt: skip
    return root


def call(root: Path, *arguments: str, script: Path | None = None, **environment: str):
    clean = {k: v for k, v in os.environ.items()
             if not k.startswith(("EMO_", "PYTHON", "ROS_", "AMENT_"))}  # fmt: skip
    return subprocess.run(
        [str(script or root / "emo"), *arguments],
        capture_output=True, text=True, timeout=120, env={**clean, **environment},
        cwd="/", stdin=subprocess.DEVNULL,
    )  # fmt: skip


def fake_python(folder: Path, name: str, body: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def only_error(done) -> str:
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if not line.startswith("emo: setting up")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("emo: error: ")
    return lines[0]


def test_two_first_runs_at_once_through_a_link(checkout, tmp_path):
    """Spaces in the path, a symbolic link, another folder, and a race: one sets up, both run."""
    link = tmp_path / "face"
    link.symlink_to(checkout / "emo")
    clean = {k: v for k, v in os.environ.items()
             if not k.startswith(("EMO_", "PYTHON", "ROS_", "AMENT_"))}  # fmt: skip
    both = [
        subprocess.Popen(
            [str(link), "--version"],
            cwd="/",
            env=clean,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    results = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], results
    assert all(out.startswith("emo ") for out, _ in results)
    assert sum("set up in" in err for _, err in results) == 1
    # Ever after it is quick and silent, and a module in the current folder is not taken for ours.
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "argparse.py").write_text("raise SystemExit('the wrong argparse')\n")
    again = subprocess.run([str(link), "--version"], cwd=trap, env=clean, text=True,
                           capture_output=True, timeout=20)  # fmt: skip
    assert (again.returncode, again.stderr) == (0, "")
    # A moved checkout sets itself up again.
    moved = checkout.with_name("moved")
    checkout.rename(moved)
    done = call(moved, "--version")
    assert done.returncode == 0, done.stderr


def test_wrong_python(checkout, tmp_path):
    old = fake_python(
        tmp_path, "py", 'case "$*" in *python_version*) echo 3.8.10;; *) exit 1;; esac'
    )
    message = only_error(call(checkout, "--version", EMO_PYTHON=str(old)))
    assert "no Python 3.10, 3.11 or 3.12 found (found: 3.8.10; " in message


def test_python_without_venv(checkout, tmp_path):
    bare = fake_python(
        tmp_path, "py", f'case "$*" in *ensurepip*) exit 1;; esac\nexec "{PYTHON}" "$@"'
    )
    message = only_error(call(checkout, "--version", EMO_PYTHON=str(bare)))
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    assert f"sudo apt install {version}-venv" in message


def test_sourced_ros_that_this_python_cannot_use(checkout):
    done = call(checkout, "--version", EMO_PYTHON=PYTHON, ROS_DISTRO="jazzy",
                AMENT_PREFIX_PATH="/opt/ros/jazzy")  # fmt: skip
    if done.returncode == 0:
        pytest.skip("this Python has a rclpy of its own")
    assert "ROS 2 jazzy is sourced" in only_error(done)
    done = call(checkout, "nonsense", EMO_PYTHON=PYTHON, ROS_DISTRO="jazzy",
                AMENT_PREFIX_PATH="/opt/ros/jazzy", EMO_OWN_ROS="1")  # fmt: skip
    assert done.returncode == 2  # set up without it, and the command line answered


def test_sourced_ros_is_used(checkout, tmp_path):
    """Its packages are on PYTHONPATH, as a sourced set-up has them; its Python is ours then."""
    (tmp_path / "ros").mkdir()
    (tmp_path / "ros" / "rclpy.py").write_text("")
    done = call(checkout, "--version", EMO_PYTHON=PYTHON, ROS_DISTRO="jazzy",
                AMENT_PREFIX_PATH="/opt/ros/jazzy", PYTHONPATH=str(tmp_path / "ros"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "beside ROS 2 jazzy" in done.stderr
    config = (checkout / ".venv-jazzy" / "pyvenv.cfg").read_text()
    assert "include-system-site-packages = true" in config


def test_no_network(checkout):
    (checkout / "requirements" / "base.txt").write_text("numpy==1.26.4\n")
    done = call(checkout, "--version", EMO_PYTHON=PYTHON, PIP_CONFIG_FILE=os.devnull,
                PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="0", PIP_NO_CACHE_DIR="1",
                PIP_FIND_LINKS="", PIP_EXTRA_INDEX_URL="")  # fmt: skip
    message = only_error(done)
    assert "no network" in message
    assert "setup.log" in message


def test_no_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(
        bootstrap.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 0)
    )
    with pytest.raises(bootstrap.SetupError, match="not enough disk space: 0 MB free"):
        bootstrap.check_space(tmp_path, 900)


@pytest.mark.parametrize(
    ("log", "says"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
         "disk full"),
        ("WARNING: Retrying ... NewConnectionError ...\nERROR: No matching distribution for x",
         "no network"),
        ("ERROR: No matching distribution found for mediapipe==0.10.21",
         "no ready-made package of mediapipe==0.10.21"),
        ("ERROR: something new", "ERROR: something new"),
    ],
)  # fmt: skip
def test_pip_failures_in_one_line(tmp_path, log, says):
    line = bootstrap.explain(log, "emo's packages", tmp_path / "setup.log")
    assert says in line
    assert "\n" not in line
    assert "setup.log" in line


def test_requirements_are_installed_once(tmp_path, monkeypatch):
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "dev.txt").write_text("pytest\n")
    monkeypatch.setattr(bootstrap.sys, "prefix", str(tmp_path))
    calls = []
    monkeypatch.setattr(bootstrap, "pip_install", lambda *arguments: calls.append(arguments))
    bootstrap.ensure_requirements(tmp_path, "dev", "the test")
    assert not calls  # not an environment of emo's: left alone
    (tmp_path / "emo-stamp").write_text("")
    for _ in range(2):
        bootstrap.ensure_requirements(tmp_path, "dev", "the test")
    assert len(calls) == 1
    (tmp_path / "requirements" / "dev.txt").write_text("pytest\nruff\n")
    bootstrap.ensure_requirements(tmp_path, "dev", "the test")
    assert len(calls) == 2
