"""A robot whose servos are a process of their own, as behind a wire."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from emo_core.robot.description import RobotDescription


@contextmanager
def served(kind: str, folder: Path, niceness: int = 0) -> Iterator[str]:
    """The robot file of `{kind}_fake`, whose servos run until the block ends."""
    file, port = folder / "robot.yaml", folder / "port"
    shipped = RobotDescription.load(f"{kind}_fake").file
    file.write_text(f"extends: {shipped}\nbus: {{port: {port}}}\n")
    device = subprocess.Popen(
        [sys.executable, "-m", "emo_core.robot.buses.serve", str(file), str(port)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    with suppress(PermissionError):  # a servo is never busy with other work
        os.setpriority(os.PRIO_PROCESS, device.pid, niceness)
    try:
        assert device.stdout is not None
        assert device.stdout.readline().strip() == str(port)
        yield str(file)
    finally:
        device.communicate()
