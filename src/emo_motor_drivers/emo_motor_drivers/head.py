"""The one owner of a robot's servo bus and of its safety layer, shared by the drivers. No ROS.

Safety lives in real time (monotonic), also where the graph runs on simulated time.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from emo_core.errors import EmoError
from emo_core.robot.bus import ServoBus, make_bus
from emo_core.robot.description import RobotDescription
from emo_core.robot.safety import SafetyLayer

#: The way to neutral before torque goes off: period of its steps, and when to give up.
HOMING_STEP_S, HOMING_LIMIT_S = 0.01, 3.0


@dataclass(frozen=True)
class Written:
    """One write to the bus.

    Attributes:
        time_s: monotonic seconds, after the write.
        positions: (M,) what was sent.
        reasons: (M,) bits of `emo_core.robot.safety.Reason`: why it is not the command.
    """

    time_s: float
    positions: NDArray[np.float64]
    reasons: NDArray[np.int64]


class Head:
    """A robot's servos. Every call is safe from any thread.

    Args:
        description: the robot.
        bus: its bus; made from the description if not given.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        description: RobotDescription,
        bus: ServoBus | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.description = description
        self._clock = clock
        self._bus = make_bus(description, clock) if bus is None else bus
        self._safety = SafetyLayer(description)
        self._lock = threading.RLock()
        self._port: TextIO | None = None
        self._users: set[str] = set()
        self._torque = False

    @property
    def torque_on(self) -> bool:
        """Whether the servos hold their positions."""
        return self._torque

    @property
    def estopped(self) -> bool:
        """Whether the e-stop is set."""
        return self._safety.estopped

    @property
    def at_neutral(self) -> bool:
        """Whether the last positions sent are the neutral pose, at rest."""
        return self._safety.at_neutral

    def open(self) -> None:
        """Open the bus, once for all drivers; nothing moves.

        Raises:
            EmoError: the port cannot be opened, or another process owns this robot.
        """
        with self._lock:
            if self._port is not None:
                return
            port = _own(self.description)
            try:
                self._bus.open()
            except (EmoError, OSError):
                port.close()
                raise
            self._port = port

    def activate(self, user: str) -> None:
        """Torque on with the first user, from where the servos are."""
        with self._lock:
            if not self._users:
                self._safety.reset(self._bus.read(), gentle=True)
                if not self._safety.estopped:
                    self._bus.torque(True)
                    self._torque = True
            self._users.add(user)

    def deactivate(self, user: str) -> None:
        """The last user to leave brings the face to neutral, and then torque off."""
        with self._lock:
            if user not in self._users:
                return
            self._users.discard(user)
            if self._users:
                return
            try:
                self._safety.home()
                give_up = self._clock() + HOMING_LIMIT_S
                while self._torque and not self._safety.at_neutral and self._clock() < give_up:
                    self._write(None)
                    time.sleep(HOMING_STEP_S)
            finally:
                self._bus.torque(False)
                self._torque = False

    def close(self) -> None:
        """Torque off whoever still uses it, and give the port back."""
        with self._lock:
            for user in list(self._users):
                self.deactivate(user)
            if self._port is not None:
                self._bus.close()
                self._port.close()
                self._port = None

    def command(self, positions: Mapping[str, float]) -> Written | None:
        """Write a command at once, within what is safe. None while nobody may move."""
        with self._lock:
            return self._write(positions) if self._users else None

    def tick(self) -> Written | None:
        """Go on towards the last command, or to neutral if it is too old."""
        with self._lock:
            return self._write(None) if self._users else None

    def measured(self) -> NDArray[np.float64]:
        """(M,) where the servos are."""
        with self._lock:
            return self._bus.read()

    def estop(self) -> None:
        """Brake everything, then torque off; stays so until `release`."""
        with self._lock:
            self._safety.estop()

    def release(self) -> None:
        """Leave the e-stop: torque on again, gently, from where the servos are."""
        with self._lock:
            if not self._safety.estopped:
                return
            self._safety.reset(self._bus.read(), gentle=True)
            self._safety.release()
            if self._users:
                self._bus.torque(True)
                self._torque = True

    def _write(self, command: Mapping[str, float] | None) -> Written | None:
        sent = self._safety.step(command, self._clock())
        if not sent.torque:
            if self._torque:
                self._bus.torque(False)
                self._torque = False
            return None
        positions = self._bus.write(sent.positions)
        return Written(self._clock(), positions, sent.reasons)


def _own(description: RobotDescription) -> TextIO:
    """An open lock file that keeps other processes from the same port.

    Simulated servos live in this process alone and need none.

    Raises:
        EmoError: somebody else has it.
    """
    path = Path(os.devnull)
    if description.bus != "sim":
        path = Path(tempfile.gettempdir()) / f"emo-{os.getuid()}-{description.name}.lock"
    file = path.open("a")
    try:
        if description.bus != "sim":
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise EmoError(
            f"robot '{description.name}' is driven by another process: stop that one first"
        ) from None
    return file
