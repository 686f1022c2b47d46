"""Setting ROS up in both worlds, without network and without building anything."""

from __future__ import annotations

import fcntl
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from emo import attach, ros_domain, ros_setup
from emo.bootstrap import SetupError
from emo_core.errors import EmoError
from emo_core.robot.description import RobotDescription
from emo_motor_drivers.claim import Claim
from emo_motor_drivers.claimed import Owner

ROOT = Path(__file__).parents[2]
ROS_VARIABLES = (
    "AMENT_PREFIX_PATH", "ROS_DISTRO", "EMO_OWN_ROS", "ROS_DOMAIN_ID", "ROS_LOCALHOST_ONLY",
    "ROS_AUTOMATIC_DISCOVERY_RANGE", "LD_LIBRARY_PATH", "PYTHONPATH", "RMW_IMPLEMENTATION",
    "ROS_LOG_DIR", "ROS_HOME", "CXX", "RMW_FASTRTPS_USE_QOS_FROM_XML",
    "RMW_FASTRTPS_PUBLICATION_MODE", "FASTRTPS_DEFAULT_PROFILES_FILE",
    "FASTDDS_DEFAULT_PROFILES_FILE",
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_ros(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A shell without ROS, and domains of its own."""
    for name in ROS_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(ros_domain, "_held", {})
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    (root / "requirements").mkdir(parents=True)
    (root / "requirements" / "ros.txt").write_text("ros-rclpy==7.1.6\n")
    (root / "src" / "emo_interfaces" / "msg").mkdir(parents=True)
    (root / "src" / "emo_interfaces" / "msg" / "A.msg").write_text("bool a\n")
    return root


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    folder = tmp_path / "venv"
    (folder / "lib").mkdir(parents=True)
    (folder / "emo-stamp").write_text("made by ./emo\n")
    return folder


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What set-up did, with pip and colcon replaced."""
    done: list[str] = []

    def pip(python: Path, arguments: list[str], what: str, log_path: Path) -> None:
        done.append("pip")

    def build(root: Path, venv: Path, distro: str | None) -> None:
        time.sleep(0.05)
        done.append(f"build {distro}")

    monkeypatch.setattr(ros_setup, "pip_install", pip)
    monkeypatch.setattr(ros_setup, "_build_interfaces", build)
    monkeypatch.setattr(ros_setup, "_check_compiler", lambda: None)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(sys, "platform", "linux")
    return done


def source(monkeypatch: pytest.MonkeyPatch, prefix: Path, distro: str = "jazzy") -> None:
    prefix.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(prefix))
    monkeypatch.setenv("ROS_DISTRO", distro)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())


def install_messages(prefix: Path, text: str) -> None:
    marker = prefix / "share/ament_index/resource_index/packages/emo_interfaces"
    marker.parent.mkdir(parents=True)
    marker.touch()
    message = prefix / "share/emo_interfaces/msg/A.msg"
    message.parent.mkdir(parents=True)
    message.write_text(text)


def test_wheels_are_installed_and_messages_built_once(
    checkout: Path, venv: Path, steps: list[str]
) -> None:
    assert not ros_setup.ros_ready(checkout, venv)
    environment = ros_setup.ensure_ros(checkout, venv)
    ros_setup.ensure_ros(checkout, venv)
    assert steps == ["pip", "build None"]
    assert ros_setup.ros_ready(checkout, venv)
    assert environment["AMENT_PREFIX_PATH"] == str(venv)
    assert environment["LD_LIBRARY_PATH"].split(os.pathsep)[0] == str(venv / "lib")


def test_a_changed_message_is_built_again_without_installing(
    checkout: Path, venv: Path, steps: list[str]
) -> None:
    ros_setup.ensure_ros(checkout, venv)
    (checkout / "src/emo_interfaces/msg/A.msg").write_text("bool b\n")
    assert not ros_setup.ros_ready(checkout, venv)
    ros_setup.ensure_ros(checkout, venv)
    assert steps == ["pip", "build None", "build None"]


def test_a_failed_build_does_not_repeat_the_installation(
    checkout: Path, venv: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise EmoError("building failed")

    with monkeypatch.context() as patch:
        patch.setattr(ros_setup, "_build_interfaces", fail)
        with pytest.raises(EmoError, match="building failed"):
            ros_setup.ensure_ros(checkout, venv)
    assert not ros_setup.ros_ready(checkout, venv)
    ros_setup.ensure_ros(checkout, venv)
    assert steps == ["pip", "build None"]


def test_two_at_once_build_once(checkout: Path, venv: Path, steps: list[str]) -> None:
    threads = [
        threading.Thread(target=ros_setup.ensure_ros, args=(checkout, venv)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert steps == ["pip", "build None"]


@pytest.mark.parametrize(
    ("target", "value", "said"),
    [
        ("platform.machine", "aarch64", "Linux on aarch64"),
        ("platform.libc_ver", ("", ""), "C library here is not glibc"),
        ("platform.libc_ver", ("glibc", "2.27"), "C library here is glibc 2.27"),
    ],
)
def test_a_machine_without_wheels_is_told_to_source_a_ros(
    checkout: Path,
    venv: Path,
    steps: list[str],
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    value: object,
    said: str,
) -> None:
    monkeypatch.setattr(target, lambda: value)
    with pytest.raises(EmoError, match=said) as caught:
        ros_setup.ensure_ros(checkout, venv)
    assert "install ROS 2" in str(caught.value) and "\n" not in str(caught.value)
    assert steps == []


def test_setup_errors_become_one_line(
    checkout: Path, venv: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pip(*_: object) -> None:
        raise SetupError("no network: the package index cannot be reached")

    monkeypatch.setattr(ros_setup, "pip_install", pip)
    with pytest.raises(EmoError, match="no network"):
        ros_setup.ensure_ros(checkout, venv)


def test_a_read_only_environment_is_said(
    checkout: Path, venv: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(venv / "lib"))

    monkeypatch.setattr(ros_setup, "_build_interfaces", build)
    with pytest.raises(EmoError, match=r"cannot write .*lib: Permission denied"):
        ros_setup.ensure_ros(checkout, venv)


def test_a_foreign_environment_is_left_alone(
    checkout: Path, venv: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (venv / "emo-stamp").unlink()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EmoError, match=r"start emo by the \./emo script"):
        ros_setup.ensure_ros(checkout, venv)
    assert steps == []


def test_a_sourced_ros_is_used_and_gets_the_messages(
    checkout: Path, venv: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source(monkeypatch, tmp_path / "opt-ros")
    environment = ros_setup.ensure_ros(checkout, venv)
    assert steps == ["build jazzy"]
    assert environment["AMENT_PREFIX_PATH"] == f"{venv}{os.pathsep}{tmp_path / 'opt-ros'}"
    assert "_ROS_WHEELS_BOOTSTRAP_COMPLETE" not in environment.keys() - os.environ.keys()


def test_messages_of_a_sourced_workspace_are_used(
    checkout: Path, venv: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source(monkeypatch, tmp_path / "workspace")
    install_messages(tmp_path / "workspace", "bool a\n")
    assert ros_setup.ros_ready(checkout, venv)
    ros_setup.ensure_ros(checkout, venv)
    assert steps == []


def test_stale_messages_of_a_sourced_workspace_are_an_error(
    checkout: Path, venv: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source(monkeypatch, tmp_path / "workspace")
    install_messages(tmp_path / "workspace", "bool old\n")
    with pytest.raises(EmoError, match=r"A\.msg differs\): rebuild it"):
        ros_setup.ensure_ros(checkout, venv)


def test_a_sourced_ros_for_another_python_is_an_error(
    checkout: Path, venv: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source(monkeypatch, tmp_path / "opt-ros")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EmoError, match="cannot import its rclpy: set EMO_PYTHON"):
        ros_setup.ensure_ros(checkout, venv)


def test_an_installed_emo_takes_the_sourced_workspace_as_it_is(
    venv: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(EmoError, match="not sourced: source its"):
        ros_setup.ensure_ros(None, venv)
    source(monkeypatch, tmp_path / "workspace")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    before = dict(os.environ)
    environment = ros_setup.ensure_ros(None, venv)
    assert {name: environment[name] for name in before} == before
    assert steps == []
    assert environment["ROS_DOMAIN_ID"] == "60"


def test_an_unwanted_ros_leaves_every_path(
    venv: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source(monkeypatch, tmp_path / "opt-ros")
    monkeypatch.setenv("EMO_OWN_ROS", "1")
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{tmp_path}/opt-ros/lib{os.pathsep}/usr/local/lib")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}/opt-ros/lib/python3/site-packages")
    assert ros_setup.sourced_distro(venv) is None
    environment = ros_setup.ros_environment(venv, None)
    assert environment["LD_LIBRARY_PATH"] == f"{venv}/lib{os.pathsep}/usr/local/lib"
    assert "PYTHONPATH" not in environment
    assert environment["AMENT_PREFIX_PATH"] == str(venv)


def test_the_environment_is_a_fixed_point(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child of a child gets the same paths, so that nothing is restarted twice."""
    first = ros_setup.ros_environment(venv, None)
    for name, value in first.items():
        monkeypatch.setenv(name, value)
    assert ros_setup.sourced_distro(venv) is None
    assert ros_setup.ros_environment(venv, None) == first


def test_a_middleware_the_wheels_lack_is_dropped(
    venv: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")
    assert "RMW_IMPLEMENTATION" not in ros_setup.ros_environment(venv, None)
    assert "FastDDS only" in capsys.readouterr().err


def test_without_a_home_the_log_has_a_place(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    assert "emo-ros-log" in ros_setup.ros_environment(venv, None)["ROS_LOG_DIR"]


def test_no_compiler_and_no_headers_are_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(EmoError, match=r"no C\+\+ compiler .*apt install g\+\+"):
        ros_setup._check_compiler()
    monkeypatch.setattr("shutil.which", lambda *_, **__: "/usr/bin/c++")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(EmoError, match=r"Python\.h.*-dev"):
        ros_setup._check_compiler()


def test_a_failing_build_names_its_cause(
    checkout: Path, venv: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "colcon").write_text("#!/bin/sh\necho 'CMake Error at x:1:'\necho no rosidl\nexit 1\n")
    (tools / "colcon").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}/usr/bin:/bin")
    with pytest.raises(EmoError, match=r"failed: CMake Error at x:1: no rosidl \(log: "):
        ros_setup._build_interfaces(checkout, venv, "jazzy")
    (tools / "colcon").unlink()
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(EmoError, match="colcon is missing"):
        ros_setup._build_interfaces(checkout, venv, "jazzy")


def test_cmake_exports_name_this_machines_headers(venv: Path) -> None:
    (venv / "bin").mkdir()
    python = venv / "bin" / "python"  # no link: it would leave this environment, and NumPy
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    export = venv / "share/std_msgs/cmake/export_std_msgs__rosidl_generator_pyExport.cmake"
    export.parent.mkdir(parents=True)
    export.write_text('  INTERFACE_INCLUDE_DIRECTORIES "/opt/build/python3.11;/opt/build/numpy"\n')
    ros_setup._repair_cmake_exports(venv)
    named = re.findall(r"[^\";]+", export.read_text().split('"')[1])
    assert [Path(folder).is_dir() for folder in named] == [True, True]
    assert (Path(named[1]) / "numpy" / "arrayobject.h").is_file()


# --- domains


def test_two_instances_have_a_domain_each() -> None:
    script = (
        "import sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
        "from emo.ros_domain import domain_environment as take\n"
        "print(take({}, None)['ROS_DOMAIN_ID'], flush=True); sys.stdin.read()\n"
    )

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", script, tempfile.gettempdir()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    first = start()
    assert first.stdout is not None and first.stdout.readline() == "60\n"
    second = start()
    assert second.stdout is not None and second.stdout.readline() == "61\n"
    first.communicate("")
    third = start()  # the first one's domain is free again
    assert third.stdout is not None and third.stdout.readline() == "60\n"
    second.communicate("")
    third.communicate("")


def test_one_process_keeps_its_domain() -> None:
    assert ros_domain.domain_environment({}, None) == ros_domain.domain_environment({}, None)


def test_a_graph_is_joined_whoever_started_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ros_setup, "enter_ros", lambda *_: None)
    robot = RobotDescription.load("sim")

    def join(namespace: str = "", **shell: str) -> tuple[int, bool]:
        """The domain, and whether it is looked for on this machine only."""
        with monkeypatch.context() as patched:
            patched.setattr(os, "environ", {**os.environ, **shell})
            number = attach.join_graph(namespace)
            assert os.environ["ROS_DOMAIN_ID"] == str(number)
            return number, "ROS_AUTOMATIC_DISCOVERY_RANGE" in os.environ

    with pytest.raises(EmoError, match="no emo runs"):
        join()
    launched = Claim(robot, Owner(0, "/left"))  # all that is there of `ros2 launch`
    assert join() == join("left") == join("right") == (0, False)
    own = Claim(robot, Owner(60, "/right"))
    with ros_domain.graph_lock("60", "right").open("a") as file:  # as `./emo` has it
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(EmoError, match="in ROS domains 0, 60: say which"):
            join()
        assert (join("left"), join("right")) == ((0, False), (60, True))
        assert join("left", ROS_DOMAIN_ID="7") == (7, False)
        launched.release()
        assert join() == (60, True)
    own.release()
    offline = Claim(robot, Owner(-1))  # who drives a robot without ROS
    with pytest.raises(EmoError, match="no emo runs"):
        join()
    offline.release()
    with pytest.raises(EmoError, match="ROS_DOMAIN_ID is 'abc'"):
        join(ROS_DOMAIN_ID="abc")


@pytest.mark.parametrize("text", ["abc", "-1", "233", "60.5"])
def test_what_is_no_domain_is_named(text: str) -> None:
    said = f"ROS_DOMAIN_ID is '{text}': give a whole number from 0 to 232"
    for look in (
        ros_domain.chosen_domain,
        lambda shell: ros_domain.domain_environment(shell, None),
    ):
        with pytest.raises(EmoError, match=re.escape(said)):
            look({"ROS_DOMAIN_ID": text})
    assert ros_domain.chosen_domain({"ROS_DOMAIN_ID": "232"}) == 232
    assert ros_domain.chosen_domain({"ROS_DOMAIN_ID": ""}) is None


@pytest.mark.parametrize(
    "chosen", ["ROS_DOMAIN_ID", "ROS_LOCALHOST_ONLY", "ROS_AUTOMATIC_DISCOVERY_RANGE"]
)
def test_the_operators_choice_wins(chosen: str) -> None:
    assert ros_domain.domain_environment({chosen: "1"}, None) == {}


def test_humble_knows_the_older_variable_only() -> None:
    assert ros_domain.domain_environment({}, "humble").keys() == {
        "ROS_DOMAIN_ID", "ROS_LOCALHOST_ONLY"
    }  # fmt: skip
    assert "ROS_AUTOMATIC_DISCOVERY_RANGE" in ros_domain.domain_environment({}, "kilted")


# --- the list of wheels


def test_every_wheel_is_pinned_and_none_fights_with_the_base() -> None:
    def pins(name: str) -> dict[str, str]:
        lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
        stripped = [line.split("#")[0].split(";")[0].strip() for line in lines]
        listed = [line.split("==") for line in stripped if line]
        assert all(len(pin) == 2 for pin in listed), f"{name}: not pinned: {listed}"
        return {package.lower(): version for package, version in listed}

    ros, base = pins("ros"), pins("base")
    assert ros["ros-rclpy"] == "7.1.6"
    assert not ros.keys() & base.keys()


STARTED_AGAIN = """
import os, sys
from pathlib import Path
from emo import ros_setup
from emo.cli import quiet_native

ros_setup.ensure_ros = lambda *given: {**os.environ, "LD_LIBRARY_PATH": "/ros/lib"}
quiet_native()
ros_setup.enter_ros(None, Path(sys.prefix))
print(f"with {os.environ['LD_LIBRARY_PATH']}", file=sys.stderr)
"""


def test_errors_are_seen_after_the_process_was_started_again() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", STARTED_AGAIN], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "with /ros/lib\n")
