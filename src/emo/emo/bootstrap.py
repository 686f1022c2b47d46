"""Make and complete the private Python environment of a checkout. Standard library only.

`./emo` runs this file with the system's Python on first use; the running CLI calls
`ensure_requirements` when a command needs more (torch for `train`, pytest for `test`).
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path

#: Free space asked for before installing, MB: what the packages measure when installed, and pip's
#: own copy of the downloads.
SPACE_MB = {"base": 900, "train": 2500, "dev": 500, "ros": 500, "docs": 100}

_NO_NETWORK = ("NewConnectionError", "Max retries exceeded", "ConnectTimeout", "ReadTimeout",
               "Temporary failure in name resolution", "ProxyError", "ConnectionResetError",
               "ProtocolError")  # fmt: skip


class SetupError(Exception):
    """One line for the user: what is wrong, where, and what to do."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the environment's lock: of two set-ups at once the second waits for the first."""
    path = folder.with_name(folder.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = open(path, "w")
    except OSError as error:
        raise SetupError(
            f"cannot write {path}: {error.strerror}. Put the checkout where you may write, "
            "or set EMO_VENV to such a folder"
        ) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up is running here: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield  # released with the file, also when this process is killed


def say(text: str) -> None:
    """Progress goes to standard error: standard output belongs to the command's result."""
    print(f"emo: {text}", file=sys.stderr, flush=True)


def check_space(folder: Path, needed_mb: int) -> None:
    """Raise SetupError where `folder`'s file system has less than `needed_mb` free."""
    free_mb = shutil.disk_usage(folder).free // 1_000_000
    if free_mb < needed_mb:
        raise SetupError(
            f"not enough disk space: {free_mb} MB free in {folder}, {needed_mb} MB needed. "
            "Free some, or set EMO_VENV to a folder on a larger disk"
        )


def explain(log: str, what: str, log_path: Path) -> str:
    """pip's failure in one line."""
    if "No space left on device" in log or "Errno 28" in log:
        return f"disk full while installing {what}: free some space and run again (log: {log_path})"
    if "DOES NOT MATCH THE HASHES" in log:
        return f"a download of {what} was damaged: run again (log: {log_path})"
    if any(sign in log for sign in _NO_NETWORK):
        return (
            f"no network: the package index cannot be reached to install {what}. Connect (or set "
            f"HTTPS_PROXY or PIP_INDEX_URL) and run again (log: {log_path})"
        )
    if "No matching distribution" in log:
        line = next(text for text in log.splitlines() if "No matching distribution" in text)
        wanted = line.rsplit(" for ", 1)[-1].strip()
        return (
            f"no ready-made package of {wanted} for this machine ({sys.platform}, "
            f"{os.uname().machine}, Python {sys.version_info[0]}.{sys.version_info[1]}): "
            f"use x86-64 or aarch64 with Python 3.10 to 3.12 (log: {log_path})"
        )
    errors = [text for text in log.splitlines() if text.startswith("ERROR")]
    return f"installing {what} failed: {errors[-1] if errors else 'see the log'} (log: {log_path})"


def pip_install(python: Path, arguments: list[str], what: str, log_path: Path) -> None:
    """Run pip quietly, its output in `log_path`; a terminal shows which package it is at."""
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input",
               "--retries", "2", "--prefer-binary", *arguments]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    live = sys.stderr.isatty()
    with open(log_path, "w") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            if live and line.startswith(("Collecting", "Downloading", "Installing")):
                print(f"\r\033[K  {line.strip()[:76]}", end="", file=sys.stderr, flush=True)
        if live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        if process.wait() != 0:
            log.flush()
            raise SetupError(explain(log_path.read_text(errors="replace"), what, log_path))


def create(folder: Path, system_site_packages: bool) -> Path:
    """The environment's Python; makes the environment anew unless a whole one is there."""
    python = folder / "bin" / "python"
    works = (
        python.exists()
        and not subprocess.run([str(python), "-c", "import pip"], capture_output=True).returncode
    )
    if not works:
        check_space(folder.parent, SPACE_MB["base"])
        builder = venv.EnvBuilder(
            clear=True, symlinks=True, with_pip=True, system_site_packages=system_site_packages
        )
        try:
            builder.create(folder)
        except subprocess.CalledProcessError as error:
            raise SetupError(
                f"cannot make a Python environment with {sys.executable}: pip could not be put "
                "into it. Install the venv package of this Python, or set EMO_PYTHON"
            ) from error
    return python


def write_paths(python: Path, root: Path) -> None:
    """Put every package under src/ on the environment's path, as an editable install would."""
    purelib = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    packages = sorted(p for p in (root / "src").iterdir() if (p / p.name).is_dir())
    Path(purelib, "emo-checkout.pth").write_text("".join(f"{p}\n" for p in packages))


def set_up(root: Path, folder: Path, stamp: str, ros: str) -> None:
    """Everything `./emo` needs. Does nothing where another process has just done it.

    Raises:
        SetupError: it cannot be done on this machine.
    """
    stamp_path = folder / "emo-stamp"
    with locked(folder):
        if stamp_path.is_file() and stamp_path.read_text() == stamp + "\n":
            return
        start = time.monotonic()
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        beside = f", beside ROS 2 {ros}" if ros else ""
        if stamp_path.is_file():
            say(f"bringing {folder} up to date with this checkout")
        else:
            say(f"setting up once in {folder} (Python {version}{beside}; 180 MB to download)")
        try:
            python = create(folder, system_site_packages=bool(ros))
            pip_install(
                python,
                ["--no-deps", "--only-binary", ":all:", "-r", str(root / "requirements/base.txt")],
                "emo's packages",
                folder / "setup.log",
            )
            write_paths(python, root)
            stamp_path.write_text(stamp + "\n")
        except OSError as error:
            raise SetupError(
                f"cannot write {error.filename or folder}: {error.strerror}. Make room or "
                "give yourself the right to write there, and run again"
            ) from error
        say(f"set up in {time.monotonic() - start:.0f} s")


def requirements_digest(path: Path) -> str:
    """What a finished installation of `path` is stamped with."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def ensure_requirements(root: Path, name: str, why: str) -> None:
    """Install requirements/<name>.txt into the running environment, once for each version of it.

    An environment that is not emo's own (no stamp: ROS's, a distribution's, a container's) is
    left alone: whoever made it chose what is in it.

    Raises:
        SetupError: it cannot be installed.
    """
    folder, path = Path(sys.prefix), root / "requirements" / f"{name}.txt"
    if not (folder / "emo-stamp").is_file() or not path.is_file():
        return
    stamp_path = folder / f"emo-stamp-{name}"
    digest = requirements_digest(path)
    if stamp_path.is_file() and stamp_path.read_text() == digest:
        return
    with locked(folder):
        if stamp_path.is_file() and stamp_path.read_text() == digest:
            return
        check_space(folder, SPACE_MB.get(name, 500))
        say(f"installing what {why} needs (requirements/{name}.txt), once")
        python, log_path = folder / "bin" / "python", folder / f"setup-{name}.log"
        pins = root / "requirements" / "base.txt"
        if name == "train":
            _install_torch(python, path, log_path)
        pip_install(
            python,
            ["-r", str(path), "-c", str(pins)],
            f"requirements/{name}.txt",
            log_path,
        )
        stamp_path.write_text(digest)


def _install_torch(python: Path, path: Path, log_path: Path) -> None:
    """Prefer torch's CPU build, where pip knows a place that has it and no NVIDIA GPU is here."""
    if sys.platform != "linux" or shutil.which("nvidia-smi"):
        return
    lines = path.read_text().splitlines()
    torch = next((line.split()[0] for line in lines if line.startswith("torch==")), None)
    if torch is None:
        return
    try:
        pip_install(python, [f"{torch}+cpu"], "torch", log_path)
    except SetupError:
        say(
            "torch comes with CUDA from the default index (gigabytes). For the small CPU build, "
            "stop (Ctrl-C), install the CPU build as docs/troubleshooting.md says, and run again"
        )


def main() -> int:
    """Called by the `emo` script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("venv", type=Path)
    parser.add_argument("stamp")
    parser.add_argument("--ros", default="", help="the sourced ROS 2's name")
    args = parser.parse_args()
    try:
        set_up(args.root, args.venv, args.stamp, args.ros)
    except SetupError as error:
        print(f"emo: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("emo: set-up interrupted: run again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
