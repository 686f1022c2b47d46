"""One process's right to a robot's servos, and what was sent last, which outlives a crash."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from emo_core.errors import EmoError
from emo_core.robot.description import RobotDescription


class Claim:
    """Held from construction until `release`. No ROS.

    Servos that exist in this process alone (simulated ones, or behind a fake port) need no lock,
    and topics are no device: their bus sees for itself who else commands.
    For others a locked file in the system's temporary folder keeps the positions sent last, in
    memory shared with the disk's cache: they cost nothing to write and are there after `kill -9`.

    Raises:
        EmoError: another process owns the port.

    Attributes:
        positions: (M,) sent last, by this process or the one before; NaN where nobody knows.
            Write into it.
    """

    def __init__(self, description: RobotDescription) -> None:
        self._file: BinaryIO | None = None
        self.positions: NDArray[np.float64] = np.full(len(description.motors), np.nan)
        bus = description.bus
        if not bus.is_device:
            return
        port = os.path.realpath(bus.port).strip("/").replace("/", "-")
        path = Path(tempfile.gettempdir()) / f"emo-{os.getuid()}-{port}.lock"
        try:
            file = path.open("a+b")
        except OSError as error:
            raise EmoError(f"cannot write {path} ({error.strerror}): remove it") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise EmoError(
                f"{description.file}: bus.port {bus.port} is driven by another process: stop that "
                "one first"
            ) from None
        self._file = file
        owner = description.signature().encode()
        file.seek(0)
        old = file.read()
        if len(old) != len(owner) + self.positions.nbytes or not old.startswith(owner):
            file.truncate(0)  # of another robot
            file.write(owner + self.positions.tobytes())
            file.flush()
        self.positions = np.memmap(
            file, np.float64, "r+", offset=len(owner), shape=self.positions.shape
        )

    def release(self) -> None:
        """Let others have the servos."""
        if self._file is not None:
            self.positions = np.array(self.positions)
            fcntl.flock(self._file, fcntl.LOCK_UN)  # also that of the mapping, which lives on
            self._file.close()
            self._file = None
