"""One process's right to a robot's servos, and what was sent last, which outlives a crash."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from emo_core.errors import EmoError
from emo_core.robot.description import RobotDescription
from emo_motor_drivers.claimed import (
    Owner,
    Record,
    lock_path,
    mark,
    place,
    unmark,
    why_stopped,
)


class Claim:
    """Held from construction until `release`. No ROS.

    Servos that exist in this process alone (simulated ones, or behind a fake port) are nobody
    else's, and topics are no device: their bus sees for itself who else commands.
    For others the positions sent last are in memory shared with the disk's cache: they cost nothing
    to write and are there after `kill -9`.

    Args:
        description: the robot.
        owner: who moves its servos; None for who only looks, and leaves torque as it is.

    Raises:
        EmoError: another process owns the port.

    Attributes:
        positions: (M,) sent last, by this process or the one before; NaN where nobody knows.
            Write into it.
        marked: why the e-stop is set, "" if it is not.
        limp: whether the process before left the servos without torque, if there was one.
    """

    def __init__(self, description: RobotDescription, owner: Owner | None = None) -> None:
        self._path = lock_path(description, owner or Owner())
        self._place = place(description, owner or Owner())
        self._in_process = description.bus.in_process
        self.positions: NDArray[np.float64] = np.full(len(description.motors), np.nan)
        device = description.bus.is_device
        self._file: BinaryIO | None = (
            self._locked(description, needed=device) if device or owner is not None else None
        )
        if device:
            self._remember(description)
        self._record: Record | None = None
        self.limp = True
        if owner is not None and self._file is not None:
            self._record = Record.of(description, owner, os.getpid())
            self.limp = not self._record.is_left
            self._record.write()
        self.marked = why_stopped(self._place)

    def _locked(self, description: RobotDescription, needed: bool) -> BinaryIO | None:
        try:
            file = self._path.open("a+b")
        except OSError as error:
            raise EmoError(f"cannot write {self._path} ({error.strerror}): remove it") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            if not needed:
                return None
            raise EmoError(
                f"{description.file}: bus.port {description.bus.port} is driven by another "
                "process: stop that one first"
            ) from None
        return file

    def _remember(self, description: RobotDescription) -> None:
        """Map the positions of the process before."""
        file = self._file
        assert file is not None
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

    def mark(self) -> None:
        """Let the e-stop outlive this process. Raises OSError."""
        if self._record is not None and not self.marked:
            self.marked = mark(self._place, "as it was told")

    def unmark(self) -> None:
        """The e-stop is released. Raises OSError."""
        unmark(self._place)
        self.marked = ""

    def release(self, limp: bool = True) -> None:
        """Let others have the servos.

        Args:
            limp: they have no torque. Else `./emo stop` looks after them.
        """
        if self._file is None:
            return
        self.positions = np.array(self.positions)
        if self._record is not None:
            with contextlib.suppress(OSError):  # another user's
                if limp or self._in_process:
                    self._record.remove()
                if self._in_process:  # the servos go with this process
                    unmark(self._place)
        fcntl.flock(self._file, fcntl.LOCK_UN)  # also that of the mapping, which lives on
        self._file.close()
        self._file = None
