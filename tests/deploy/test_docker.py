"""Install script, image, compose file and service: linted, and tried with stand-ins for apt."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
SCRIPTS = [
    *sorted(DOCKER.glob("*.sh")),
    ROOT / "emo",
    ROOT / ".ci" / "run",
    ROOT / ".ci" / "matrix",
]


def shell(script: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(script), *arguments],
        capture_output=True, text=True, timeout=120, env=environment,
    )  # fmt: skip


@pytest.fixture
def stand_ins(tmp_path: Path) -> Path:
    """Programs that only write down how they were called, in `calls`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("apt-get", "apt-cache", "curl", "sudo"):
        text = f'#!/bin/sh\necho {name} "$@" >>{tmp_path}/calls\n'
        if name == "apt-cache":
            text += "exit 1\n"  # no such package: ROS's source is not there yet
        if name == "sudo":
            text += 'exec "$@"\n'
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_sound(script):
    assert os.access(script, os.X_OK) or script.name == "run"
    assert subprocess.run(["sh", "-n", str(script)], capture_output=True).returncode == 0
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", str(script)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("ros", ["humble", "jazzy"])
def test_install_asks_for_what_the_manifests_name(stand_ins, tmp_path, ros):
    done = shell(
        DOCKER / "install.sh", "system",
        PATH=f"{stand_ins}:/usr/bin:/bin", HOME=str(tmp_path), EMO_ROS=ros,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert any("ros2-apt-source" in call for call in calls if call.startswith("curl"))
    wanted = set(calls[-1].split())
    manifests = "".join(path.read_text() for path in ROOT.glob("src/*/package.xml"))
    for key in set(re.findall(r"_depend>([\w-]+)<", manifests)):
        name = f"ros-{ros}-{key}".replace("_", "-")
        ours = (ROOT / "src" / key).is_dir()
        if key == "portaudio19-dev":
            assert "libportaudio2" in wanted
        elif not key.startswith("python3-"):
            assert (name in wanted) != ours, key
    assert {f"ros-{ros}-ros-base", "g++", "python3-venv", "python3-dev"} <= wanted


def test_install_says_what_it_cannot_do(stand_ins, tmp_path):
    install = DOCKER / "install.sh"
    path = f"{stand_ins}:/usr/bin:/bin"
    done = shell(install, "everything", PATH=path, HOME=str(tmp_path), EMO_ROS="jazzy")
    assert done.returncode == 1
    assert "no step 'everything'" in done.stderr
    done = shell(DOCKER / "entrypoint.sh", "true", PATH=path, HOME=str(tmp_path), EMO_WS="/none")
    assert done.returncode == 1
    assert done.stderr.startswith("emo: error: /none is not built")


def test_entrypoint_runs_in_the_workspace(tmp_path):
    """With the workspace's variables, its environment's Python first, outside the checkout."""
    (tmp_path / "install").mkdir()
    (tmp_path / "install" / "setup.sh").write_text("export EMO_TRIED=$COLCON_CURRENT_PREFIX\n")
    done = shell(
        DOCKER / "entrypoint.sh", "sh", "-c", 'echo "$EMO_TRIED|${PATH%%:*}|$PWD"',
        PATH="/usr/bin:/bin", HOME=str(tmp_path), EMO_WS=str(tmp_path),
    )  # fmt: skip
    assert done.stdout.strip() == f"{tmp_path}/install|{tmp_path}/.venv/bin|{tmp_path}"


def test_service_is_filled_in_and_kept_settings_stay(tmp_path):
    variables = {
        "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "EMO_ROS": "jazzy",
        "EMO_WS": str(tmp_path), "DESTDIR": str(tmp_path / "root"), "EMO_USER": "robot",
    }  # fmt: skip
    if os.getuid() != 0:
        pytest.skip("sudo would ask for a password")
    assert shell(DOCKER / "install.sh", "service", **variables).returncode == 0
    unit = tmp_path / "root/etc/systemd/system/emo.service"
    settings = tmp_path / "root/etc/default/emo"
    text = unit.read_text()
    assert not re.search(r"@[A-Z]+@", "\n".join(x for x in text.splitlines() if x[:1] != "#"))
    assert "User=robot" in text
    assert f"EMO_WS={tmp_path} " in text
    if shutil.which("systemd-analyze"):
        done = subprocess.run(
            ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True
        )
        known = [line for line in done.stderr.splitlines() if "emo.service" in line]
        assert not known, known
    settings.write_text("EMO_LAUNCH=both\n")
    assert shell(DOCKER / "install.sh", "service", **variables).returncode == 0
    assert settings.read_text() == "EMO_LAUNCH=both\n"


def test_compose_file_says_what_a_robot_needs():
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    robot: dict[str, Any] = compose["services"]["robot"]
    assert robot["restart"] == "unless-stopped"
    assert robot["stop_signal"] == "SIGINT"
    assert "SYS_NICE" in robot["cap_add"]
    assert not robot.get("privileged")
    assert {"/dev/snd"} < set(robot["devices"])
    assert robot["command"].split()[:3] == ["ros2", "launch", "emo"]
    assert "devices" not in compose["services"]["sim"]
    # Every setting is told of.
    page = (ROOT / "docs" / "deploy.md").read_text()
    for variable in re.findall(r"\$\{([A-Z_0-9]+)", (DOCKER / "compose.yaml").read_text()):
        assert f"`{variable}`" in page or variable in page, variable


def test_image_takes_what_the_checkout_has():
    """What COPY names is there, and what is large or private is left out."""
    text = (DOCKER / "Dockerfile").read_text()
    for source in re.findall(r"^COPY (?!--from)(\S+) ", text, re.MULTILINE):
        assert (ROOT / source).exists(), source
    left_out = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv*", "out", "data", "runs"} <= set(left_out)
