"""Get a working ROS 2 with emo's messages, whichever world the machine lives in. No rclpy here.

Two worlds (docs/ros.md):

* a ROS 2 is sourced: it is used, and `emo_interfaces` is built once unless the workspace has it;
* none is: ROS 2 Jazzy comes from the wheels of requirements/ros.txt, into emo's own environment.

Either way the messages are built by colcon into the environment itself. There they are found by
every Python of that environment, and by the loader, whose path the wheels' own start-up hook sets.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from emo.bootstrap import SPACE_MB, SetupError, check_space, locked, pip_install, say
from emo.middleware import profile_environment
from emo.ros_domain import domain_environment
from emo_core.errors import EmoError

#: The wheels' start-up hook (ros_wheels_bootstrapper) runs Python a second time unless this is set.
_HOOK_DONE = "_ROS_WHEELS_BOOTSTRAP_COMPLETE"
_STAMP = "emo-stamp-ros"


def sourced_distro(venv: Path) -> str | None:
    """Name of the ROS 2 this shell has sourced, such as 'jazzy'; None where emo brings its own."""
    if os.environ.get("EMO_OWN_ROS"):
        return None
    return os.environ.get("ROS_DISTRO") or None if _underlays(venv) else None


def ros_ready(root: Path, venv: Path) -> bool:
    """Whether `ensure_ros` has nothing left to install or build (a look at files only)."""
    distro = sourced_distro(venv)
    if distro is not None and _sourced_interfaces(venv) is not None:
        return True
    stamp = venv / _STAMP
    return stamp.is_file() and stamp.read_text().split() == _stamp(root, venv, distro)


def ensure_ros(root: Path | None, venv: Path, apart: bool = True) -> dict[str, str]:
    """Install or build what is missing; done once, then a matter of milliseconds.

    Args:
        root: the checkout (requirements/ros.txt, src/emo_interfaces); None where emo itself is
            installed in a ROS 2 workspace, which then must be sourced.
        venv: the environment this Python runs in (`sys.prefix`), where things go.
        apart: in a ROS domain of this instance's own, unless the operator chose one.

    Returns:
        The whole environment for a process that uses ROS. The loader reads its path only at the
        start of a process: see `enter_ros`.

    Raises:
        EmoError: no compiler, no network, no disk, no wheels for this machine: what, and what to
            do.
    """
    distro = sourced_distro(venv)
    if root is None:
        _check_installed(distro)
        return _kept_apart(dict(os.environ), distro, apart)
    if distro is None:
        _ensure_wheels(root, venv)
    else:
        _check_sourced(root, venv, distro)
        if _sourced_interfaces(venv) is None and not ros_ready(root, venv):
            _set_up(root, venv, distro)
    return ros_environment(venv, distro, apart)


def enter_ros(root: Path | None, venv: Path, apart: bool = True) -> None:
    """`ensure_ros` for this process: starts it again where the loader needs another path."""
    environment = ensure_ros(root, venv, apart)
    # In what order does not matter; the wheels' own start-up hook has one of its own each time.
    had = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    lacks = set(environment.get("LD_LIBRARY_PATH", "").split(os.pathsep)) - set(had)
    os.environ.clear()
    os.environ.update(environment)
    if lacks:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(sys.stderr.fileno(), 2)  # `emo.cli.quiet_native` may have turned it away
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def ros_environment(venv: Path, distro: str | None, apart: bool = True) -> dict[str, str]:
    """The environment of a ROS process; `distro` as from `sourced_distro`."""
    environment = dict(os.environ)
    libraries = [venv / "lib"]
    if distro is None:
        _forget_sourced(environment, venv)
        libraries += sorted(_site_packages(venv).glob("ros_*.libs"))
        environment[_HOOK_DONE] = "1"
        if environment.pop("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp") != "rmw_fastrtps_cpp":
            say("RMW_IMPLEMENTATION is ignored: the ROS wheels have FastDDS only")
    _prepend(environment, "LD_LIBRARY_PATH", [str(path) for path in libraries])
    _prepend(environment, "AMENT_PREFIX_PATH", [str(venv)])
    return _kept_apart(environment, distro, apart)


def _kept_apart(environment: dict[str, str], distro: str | None, apart: bool) -> dict[str, str]:
    """With a folder for logs and, unless the operator chose, a domain and queues of emo's own."""
    # rclpy refuses to start where it cannot keep its log.
    if not ({"ROS_LOG_DIR", "ROS_HOME"} & environment.keys()) and not _home_is_writable():
        environment["ROS_LOG_DIR"] = str(Path(tempfile.gettempdir(), f"emo-ros-log-{os.getuid()}"))
    environment.update(profile_environment(environment, distro))
    if apart:
        environment.update(domain_environment(environment, distro))
    return environment


# --- a sourced ROS 2


def _underlays(venv: Path) -> list[Path]:
    """The sourced prefixes (AMENT_PREFIX_PATH without our own environment)."""
    entries = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    return [Path(entry) for entry in entries if entry and Path(entry) != venv]


def _sourced_interfaces(venv: Path) -> Path | None:
    """The prefix of a sourced workspace that has emo_interfaces."""
    marker = Path("share", "ament_index", "resource_index", "packages", "emo_interfaces")
    return next((prefix for prefix in _underlays(venv) if (prefix / marker).exists()), None)


def _check_sourced(root: Path, venv: Path, distro: str) -> None:
    if importlib.util.find_spec("rclpy") is None:
        raise EmoError(
            f"ROS 2 {distro} is sourced, but {sys.executable} (Python {_python_version()}) cannot "
            "import its rclpy: set EMO_PYTHON to the Python that this ROS was made for, or "
            "EMO_OWN_ROS=1 to use emo's own ROS"
        )
    prefix = _sourced_interfaces(venv)
    if prefix is None:
        return
    for ours in sorted((root / "src" / "emo_interfaces" / "msg").glob("*.msg")):
        theirs = prefix / "share" / "emo_interfaces" / "msg" / ours.name
        if not theirs.is_file() or theirs.read_bytes() != ours.read_bytes():
            raise EmoError(
                f"the sourced workspace {prefix} has another version of emo_interfaces than this "
                f"checkout ({ours.name} differs): rebuild it (colcon build --packages-select "
                "emo_interfaces) and source it again"
            )


def _check_installed(distro: str | None) -> None:
    if distro is None or not all(map(importlib.util.find_spec, ("rclpy", "emo_interfaces"))):
        raise EmoError(
            "this emo is installed in a ROS 2 workspace that is not sourced: source its "
            "setup.bash (and leave EMO_OWN_ROS unset), and run again"
        )


def _forget_sourced(environment: dict[str, str], venv: Path) -> None:
    """Take a sourced ROS 2 that is not wanted (EMO_OWN_ROS) out of the paths."""
    unwanted = [str(prefix) for prefix in _underlays(venv)]
    environment.pop("AMENT_PREFIX_PATH", None)
    for name in ("LD_LIBRARY_PATH", "PYTHONPATH", "CMAKE_PREFIX_PATH"):
        entries = environment.get(name, "").split(os.pathsep)
        kept = [e for e in entries if e and not any(e.startswith(u) for u in unwanted)]
        environment.pop(name, None)
        if kept:
            environment[name] = os.pathsep.join(kept)


# --- the wheels


def _ensure_wheels(root: Path, venv: Path) -> None:
    if ros_ready(root, venv):
        return
    if not (venv / "emo-stamp").is_file():
        # Not an environment of emo's: nothing is installed into it unasked.
        if importlib.util.find_spec("rclpy") and importlib.util.find_spec("emo_interfaces"):
            return
        raise EmoError(
            f"no ROS 2 with emo's messages in {venv}: source a ROS 2 workspace that has "
            "emo_interfaces, or start emo by the ./emo script of a checkout"
        )
    libc, version = platform.libc_ver()
    reason = None
    if sys.platform != "linux" or platform.machine() != "x86_64":
        reason = f"this is {platform.system()} on {platform.machine()}"
    elif libc != "glibc" or tuple(map(int, version.split("."))) < (2, 28):
        reason = f"the C library here is {libc or 'not glibc'} {version}".rstrip()
    elif not (3, 10) <= sys.version_info[:2] <= (3, 12):
        reason = f"this is Python {_python_version()}"
    if reason:
        raise EmoError(
            "ROS 2 wheels exist for Linux on x86-64 with glibc 2.28 or newer and Python 3.10 to "
            f"3.12, but {reason}: install ROS 2 (Humble, Jazzy or Kilted), source its setup.bash, "
            "and run again. `animate`, `track` and `eval` need no ROS"
        )
    _set_up(root, venv, None)


def _set_up(root: Path, venv: Path, distro: str | None) -> None:
    """Install and build under the environment's lock."""
    _check_compiler()
    try:
        with locked(venv):
            if ros_ready(root, venv):  # another emo has just done it
                return
            start = time.monotonic()
            stamp_path, stamp = venv / _STAMP, _stamp(root, venv, distro)
            done = stamp_path.read_text().split() if stamp_path.is_file() else []
            stamp_path.unlink(missing_ok=True)
            if distro is None and done[:1] != stamp[:1]:
                check_space(venv, SPACE_MB["ros"])
                say("first use of ROS: installing ROS 2 Jazzy (about 75 MB to download)")
                pip_install(
                    venv / "bin" / "python",
                    ["--no-deps", "-r", str(root / "requirements" / "ros.txt")],
                    "ROS 2 Jazzy",
                    venv / "setup-ros.log",
                )
                stamp_path.write_text(stamp[0] + "\n")  # a failing build does not repeat this
            say("building emo's ROS messages")
            _build_interfaces(root, venv, distro)
            stamp_path.write_text("\n".join(stamp) + "\n")
            say(f"ROS is ready after {time.monotonic() - start:.0f} s")
    except SetupError as error:
        raise EmoError(str(error)) from error
    except OSError as error:
        raise EmoError(
            f"cannot write {error.filename or venv}: {error.strerror}. Make room or give yourself "
            "the right to write there, and run again"
        ) from error


def _stamp(root: Path, venv: Path, distro: str | None) -> list[str]:
    """What a finished set-up leaves: a hash of the wheels, and one of the messages on them."""
    wheels, messages = hashlib.sha256(), hashlib.sha256()
    requirements = root / "requirements" / "ros.txt"
    wheels.update(requirements.read_bytes() if distro is None else distro.encode())
    wheels.update(f"{venv} {sys.version}".encode())
    interfaces = root / "src" / "emo_interfaces"
    for path in sorted(p for p in interfaces.rglob("*") if p.is_file()):
        messages.update(str(path.relative_to(interfaces)).encode() + path.read_bytes())
    return [wheels.hexdigest(), messages.hexdigest()]


# --- building the messages


def _check_compiler() -> None:
    compiler = os.environ.get("CXX", "").split()[:1] or ["c++", "g++", "clang++"]
    if not any(shutil.which(name) for name in compiler):
        raise EmoError(
            f"no C++ compiler ({', '.join(compiler)}) to build emo's ROS messages: install one "
            "(Debian and Ubuntu: sudo apt install g++) and run again. `animate`, `track` and "
            "`eval` need none"
        )
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        raise EmoError(
            f"the headers of Python {_python_version()} are missing (Python.h), which emo's ROS "
            f"messages are built with: install them (Debian and Ubuntu: sudo apt install "
            f"python{_python_version()}-dev) and run again"
        )


def _build_interfaces(root: Path, venv: Path, distro: str | None) -> None:
    environment = ros_environment(venv, distro)
    _prepend(environment, "PATH", [str(venv / "bin")])
    # The generators run by this Python: with the wheels the environment's, which has them; with a
    # sourced ROS 2 the system's, which has what they import (empy, lark, numpy).
    python = sys.executable
    cmake_args = ["-DBUILD_TESTING=OFF", "-DCMAKE_BUILD_TYPE=Release"]
    if distro is None:
        _prepend(environment, "CMAKE_PREFIX_PATH", [str(venv)])
        _repair_cmake_exports(venv)
        cmake_args += ["-GNinja"]
    else:
        python = getattr(sys, "_base_executable", sys.executable)
    colcon = shutil.which("colcon", path=environment["PATH"])
    if colcon is None:
        raise EmoError(
            "colcon is missing, which builds emo's ROS messages: install it (Debian and Ubuntu: "
            "sudo apt install python3-colcon-common-extensions) and run again"
        )
    log_path = venv / "setup-ros-build.log"
    with tempfile.TemporaryDirectory(prefix="emo-build-") as build, open(log_path, "w") as log:
        command = [colcon, "--log-base", f"{build}/log", "build",
                   "--base-paths", str(root / "src" / "emo_interfaces"),
                   "--build-base", f"{build}/build",
                   "--merge-install", "--install-base", str(venv),
                   "--event-handlers", "console_direct+",
                   "--cmake-args", f"-DPython3_EXECUTABLE={python}", *cmake_args]  # fmt: skip
        result = subprocess.run(
            command, cwd=build, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False
        )
    if result.returncode:
        text = log_path.read_text(errors="replace")
        if "No space left on device" in text:
            raise EmoError("disk full while building emo's ROS messages: free some and run again")
        found = re.search(r"^.*(?:CMake Error|error:|Error:).*(?:\n.+)?", text, re.MULTILINE)
        cause = (
            " ".join(found.group().split()) if found else f"colcon ended with {result.returncode}"
        )
        raise EmoError(f"building emo's ROS messages failed: {cause[:200]} (log: {log_path})")


def _repair_cmake_exports(venv: Path) -> None:
    """The wheels name their build machine's folders of Python's and NumPy's headers: name ours."""
    script = (
        "import numpy, sysconfig; "
        "print(sysconfig.get_path('include'), numpy.get_include(), sep=';')"
    )
    headers = subprocess.run(
        [str(venv / "bin" / "python"), "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()
    line = f'INTERFACE_INCLUDE_DIRECTORIES "{headers}"'
    for path in venv.glob("share/*/cmake/export_*__rosidl_generator_pyExport.cmake"):
        text = path.read_text()
        repaired = re.sub(r'INTERFACE_INCLUDE_DIRECTORIES "[^"]*"', lambda _: line, text)
        if repaired != text:
            path.write_text(repaired)


# --- small things


def _prepend(environment: dict[str, str], name: str, entries: list[str]) -> None:
    """Put `entries` in front of a search path, each entry once."""
    old = [entry for entry in environment.get(name, "").split(os.pathsep) if entry]
    environment[name] = os.pathsep.join(dict.fromkeys([*entries, *old]))


def _site_packages(venv: Path) -> Path:
    return venv / "lib" / f"python{_python_version()}" / "site-packages"


def _python_version() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def _home_is_writable() -> bool:
    home = os.environ.get("HOME", "")
    return bool(home) and os.access(home, os.W_OK)
