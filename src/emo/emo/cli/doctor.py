"""What this machine has, what is missing, and what to do about it.

The exit status is 0 if the offline path (animate, track, demo) works.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from emo.cli import add_json, repository
from emo_core import __version__
from emo_core.errors import EmoError

OK, MISSING, ABSENT = "ok", "missing", "absent"

_PIN = re.compile(r'([A-Za-z0-9_.-]+)==(\S*?)\s*(?:; platform_machine (..) "(.+)")?\s*(#|$)')


@dataclass(frozen=True)
class Finding:
    """One line of the report. `missing` is a fault; `absent` matters only to what needs it."""

    name: str
    status: str
    found: str
    remedy: str = ""
    needed_for: str = ""
    offline: bool = False  # animate, track and demo need it


QUIET_NATIVE = True  # PortAudio and ALSA talk
_ANEW = "see packages above; to start afresh, remove the environment (.venv) and run ./emo again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Look at everything; changes nothing."""
    if not args.json:
        print(f"emo {__version__}")
    findings = []
    for check in CHECKS:
        for finding in _findings(check):
            findings.append(finding)
            if not args.json:  # at once: the next one may break down
                _print(finding)
    works = all(f.status == OK for f in findings if f.offline)
    if args.json:
        report = {
            "version": __version__,
            "offline_works": works,
            "findings": [asdict(finding) for finding in findings],
        }
        print(json.dumps(report, indent=2))
    else:
        print("The offline path works." if works else "The offline path does not work: see above.")
    return 0 if works else 1


def _findings(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Those of a check; one of a package that it needs and that is not there, or does not load."""
    try:
        yield from check()
    except ImportError as error:
        name = check.__name__.removeprefix("check_").replace("_", " ")
        text = " ".join(str(error).split()) or f"{type(error).__name__} without a word"
        yield Finding(name, MISSING, text, _ANEW, offline=True)


def _print(finding: Finding) -> None:
    colours = {OK: "\033[32m", MISSING: "\033[31m", ABSENT: "\033[33m"}
    mark = finding.status
    if sys.stdout.isatty():
        mark = f"{colours[mark]}{mark}\033[0m" + " " * (8 - len(mark))
    purpose = f" (for {finding.needed_for})" if finding.status != OK and finding.needed_for else ""
    print(f"  {mark:<8} {finding.name:<12} {finding.found}{purpose}")
    if finding.remedy and finding.status != OK:
        print(f"           {'':<12} -> {finding.remedy}")


def check_python() -> Iterator[Finding]:
    """Version, place, machine."""
    good = (3, 10) <= sys.version_info[:2] <= (3, 12)
    where = f"{platform.python_version()} in {sys.prefix}, {platform.machine()} {sys.platform}"
    remedy = "" if good else "use Python 3.10 to 3.12: set EMO_PYTHON and run ./emo again"
    yield Finding("python", OK if good else MISSING, where, remedy, offline=True)


def check_packages() -> Iterator[Finding]:
    """Installed versions against requirements/base.txt."""
    try:
        lines = (repository() / "requirements" / "base.txt").read_text().splitlines()
    except EmoError:
        lines = [f"{name}==" for name in ("numpy", "onnxruntime", "av", "mediapipe", "PyYAML")]
    shown, wrong = [], []
    for line in lines:
        match = _PIN.match(line)
        if match is None:
            continue
        name, pinned, relation, machine, _ = match.groups()
        if relation and (platform.machine() == machine) != (relation == "=="):
            continue
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{name} is not installed")
            continue
        if pinned and version != pinned:
            wrong.append(f"{name} is {version}, tested with {pinned}")
        if not line.split("#")[-1].startswith("   "):
            shown.append(f"{name} {version}")
    missing = any("not installed" in text for text in wrong)
    yield Finding(
        "packages",
        MISSING if missing else OK,
        "; ".join(wrong) if wrong else ", ".join(shown),
        f"remove {Path(sys.prefix, 'emo-stamp')} and run ./emo again" if missing else "",
        offline=True,
    )
    for name, packages, command in (
        ("training", ("torch", "onnx"), "./emo train"),
        ("tests", ("pytest", "ruff", "mypy"), "./emo test"),
    ):
        versions = [_version(package) for package in packages]
        if all(versions):
            text = ", ".join(f"{p} {v}" for p, v in zip(packages, versions, strict=True))
            yield Finding(name, OK, text)
        else:
            yield Finding(name, ABSENT, "not installed yet", f"{command} installs it", command)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def check_ffmpeg() -> Iterator[Finding]:
    """FFmpeg inside PyAV, and the two encoders that films need."""
    try:
        import av
    except ImportError as error:
        yield Finding("ffmpeg", MISSING, f"PyAV does not load: {error}",
                      "see packages above", offline=True)  # fmt: skip
        return
    version = ".".join(map(str, av.library_versions["libavcodec"]))
    lacking = [codec for codec in ("libx264", "aac") if codec not in av.codecs_available]
    yield Finding(
        "ffmpeg",
        MISSING if lacking else OK,
        f"libavcodec {version} in PyAV {av.__version__}" + "".join(f", no {c}" for c in lacking),
        "install PyAV's own wheel (requirements/base.txt), not one without libx264",
        "video output",
        offline=True,
    )


def check_models() -> Iterator[Finding]:
    """Load every model that speaking needs, as the commands do: schema, checksum, shapes."""
    from emo_core.face.alignment import canonical_face
    from emo_core.lipsync.pipeline import Lipsync
    from emo_core.paths import models_dir
    from emo_core.robot.mapping import LandmarksToMotors

    try:
        place = models_dir()
    except EmoError as error:
        yield Finding("models", MISSING, str(error), offline=True)
        return
    loaders: dict[str, Callable[[], object]] = {
        "speech, full": lambda: Lipsync.load("full"),
        "speech, live": lambda: Lipsync.load("live"),
        "robot sim": lambda: LandmarksToMotors.load("sim", canonical_face()),
    }
    good = True
    for name, load in loaders.items():
        try:
            load()
        except EmoError as error:
            good = False
            yield Finding("models", MISSING, f"{name}: {error}", offline=True)
    if good:
        folders = [path for path in sorted(place.iterdir()) if path.is_dir()]
        size = sum(f.stat().st_size for path in folders for f in path.rglob("*") if f.is_file())
        names = ", ".join(path.name for path in folders)
        yield Finding("models", OK, f"{names} ({size / 1e6:.1f} MB), loaded", offline=True)


def check_networks() -> Iterator[Finding]:
    """Where the networks run, as EMO_INFERENCE chooses."""
    from emo_core import inference

    built = "has TensorRT" if inference.has_tensorrt() else "has no TensorRT"
    here = f"ONNX Runtime {built}; {inference.VARIABLE} chooses"
    try:
        yield Finding("networks", OK, f"on {inference.chosen()} ({here})")
    except EmoError as error:
        remedy = f"unset {inference.VARIABLE}, or set it to {inference.CPU}"
        yield Finding("networks", MISSING, str(error), remedy, offline=True)


def check_face_tracker() -> Iterator[Finding]:
    """MediaPipe with FaceMesh inside."""
    import importlib.util

    spec = importlib.util.find_spec("mediapipe")
    found = spec is not None and spec.origin is not None
    inside = found and Path(str(spec and spec.origin)).parent / "modules/face_landmark"
    whole = bool(inside) and (Path(str(inside)) / "face_landmark_with_attention.tflite").is_file()
    yield Finding(
        "face tracker",
        OK if whole else MISSING,
        f"FaceMesh in mediapipe {_version('mediapipe')}" if whole else "no FaceMesh here",
        "install mediapipe 0.10.21 (aarch64: 0.10.18): later ones have no FaceMesh",
        "track",
        offline=True,
    )


def check_ros() -> Iterator[Finding]:
    """The ROS 2 of the live graph, its middleware, and our messages."""
    from emo.ros_setup import ros_ready, sourced_distro

    venv = Path(sys.prefix)
    distro = sourced_distro(venv)
    try:
        ready = ros_ready(repository(), venv)
    except EmoError:  # an installed package: the workspace has the messages
        ready = distro is not None
    first = "./emo lipsync sets it up at its first run"
    if distro is not None:
        rmw = os.environ.get("RMW_IMPLEMENTATION") or "the distribution's default"
        yield Finding("ros", OK, f"ROS 2 {distro} (sourced), RMW {rmw}")
    elif version := _version("ros-rclpy"):
        yield Finding("ros", OK, f"ROS 2 Jazzy from wheels (rclpy {version}), RMW rmw_fastrtps_cpp")
    else:
        yield Finding("ros", ABSENT, "no ROS 2 sourced, no wheels installed", first, "lipsync")
    status = OK if ready else ABSENT
    built = "emo_interfaces built" if ready else "emo_interfaces not built"
    yield Finding("messages", status, built, first, "lipsync")


def check_compiler() -> Iterator[Finding]:
    """A C++ compiler and Python's headers, for building the messages once."""
    compiler = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")
    headers = Path(sysconfig.get_path("include"), "Python.h").is_file()
    python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    found = [compiler or "no C++ compiler", "" if headers else f"no headers of {python} (Python.h)"]
    packages = ["" if compiler else "g++", "" if headers else f"{python}-dev"]
    yield Finding(
        "compiler",
        OK if compiler and headers else ABSENT,
        ", ".join(filter(None, found)),
        f"Debian and Ubuntu: sudo apt install {' '.join(filter(None, packages))}",
        "the first lipsync",
    )


def check_audio() -> Iterator[Finding]:
    """PortAudio, its inputs and outputs."""
    try:
        import sounddevice
    except OSError:
        yield Finding("audio", ABSENT, "PortAudio is not installed",
                      "Debian and Ubuntu: sudo apt install libportaudio2",
                      "microphone and speaker")  # fmt: skip
        return
    except ImportError as error:
        yield Finding("audio", ABSENT, str(error), "see packages above", "microphone and speaker")
        return
    try:
        devices = list(sounddevice.query_devices())
    except sounddevice.PortAudioError as error:
        yield Finding("audio", ABSENT, f"PortAudio fails: {error}", "check the sound server",
                      "microphone and speaker")  # fmt: skip
        return
    for name, key, remedy in (
        ("microphone", "max_input_channels", "plug one in, or give lipsync a recording"),
        ("speaker", "max_output_channels", "plug one in; lipsync runs silently without"),
    ):
        names = [device["name"] for device in devices if device[key] > 0]
        status = OK if names else ABSENT
        text = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        yield Finding(name, status, text or "none", remedy, "live sound")


def check_devices() -> Iterator[Finding]:
    """Cameras and serial ports, and whether they may be opened."""
    for name, patterns, group, purpose in (
        (
            "cameras",
            ("video[0-9]*",),
            "video",
            "mimicry, and a real robot's babbling and calibration",
        ),
        ("serial", ("ttyUSB*", "ttyACM*", "cu.usb*"), "dialout", "a robot with real servos"),
    ):
        ports = sorted(str(p) for pattern in patterns for p in Path("/dev").glob(pattern))
        locked = [port for port in ports if not os.access(port, os.R_OK | os.W_OK)]
        if locked:
            yield Finding(name, ABSENT, f"no right to open {', '.join(locked)}",
                          f"sudo usermod -aG {group} $USER, log in again", purpose)  # fmt: skip
        else:
            yield Finding(name, OK if ports else ABSENT, ", ".join(ports) or "none",
                          "plug it in", purpose)  # fmt: skip


def check_disk() -> Iterator[Finding]:
    """Free space where the environment lives."""
    free = shutil.disk_usage(sys.prefix).free / 1e9
    low = free < 1.0
    yield Finding("disk", MISSING if low else OK, f"{free:.1f} GB free at {sys.prefix}",
                  "free some: set-up steps and films need a gigabyte")  # fmt: skip


def check_display() -> Iterator[Finding]:
    """Whether a window or browser can be opened."""
    display = os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY")
    here = bool(display) or sys.platform == "darwin"
    yield Finding("display", OK if here else ABSENT, display or ("yes" if here else "none"),
                  "results are files all the same", "windows")  # fmt: skip


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    check_python,
    check_packages,
    check_ffmpeg,
    check_face_tracker,
    check_networks,
    check_models,
    check_ros,
    check_compiler,
    check_audio,
    check_devices,
    check_disk,
    check_display,
)
