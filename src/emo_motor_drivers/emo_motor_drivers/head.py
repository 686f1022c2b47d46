"""The one owner of a robot's servo bus and of its safety layer, shared by the drivers. No ROS.

Safety lives in real time (monotonic), also where the graph runs on simulated time.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
import time
from collections import OrderedDict
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

#: Period of the steps between two commands.
STEP_S = 0.01
#: The way to neutral before torque goes off may take so long.
HOMING_LIMIT_S = 3.0
#: One driver may be so many commands ahead of the other: more than their queues hold.
RECENT = 32


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

    A command is written when it arrives; from then on a thread goes on every 10 ms towards it, or
    to neutral when it is too old. Steps that follow the commands do not get in the way of the
    next one, where the pipeline shares this process.

    Args:
        description: the robot.
        bus: its bus; made from the description if not given.

    Attributes:
        listeners: called after each step of the thread with what was written, None if nothing.
        fault: what the bus said last, if it does not work.
    """

    def __init__(self, description: RobotDescription, bus: ServoBus | None = None) -> None:
        self.description = description
        self._bus = make_bus(description) if bus is None else bus
        self._safety = SafetyLayer(description)
        self._lock = threading.RLock()
        self._port: TextIO | None = None
        self._users: set[str] = set()  # groups whose driver has opened the bus
        self._groups: set[str] = set()  # groups that may move
        self._torque = False
        self.fault = ""
        self.listeners: list[Callable[[Written | None], None]] = []
        self._due = 0.0
        self._stepping: threading.Thread | None = None
        self._recent: OrderedDict[object, Written | None] = OrderedDict()

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

    def open(self, group: str) -> None:
        """Open the bus for a group's driver, once for all; nothing moves.

        Raises:
            EmoError: the port cannot be opened, or another process owns this robot.
        """
        with self._lock:
            if self._port is None:
                port = _own(self.description)
                try:
                    self._bus.open()
                except (EmoError, OSError):
                    port.close()
                    raise
                self._port = port
            self._users.add(group)

    def activate(self, group: str) -> None:
        """Let a group of motors move; with the first one torque comes on, from where they are.

        Raises:
            EmoError, OSError: the bus does not work; nothing has changed.
        """
        with self._lock:
            if not self._groups:
                self._safety.reset(self._bus.read(), gentle=True)
                if not self._safety.estopped:
                    self._bus.torque(True)
                    self._torque = True
            self._groups.add(group)
            if self._stepping is None:
                self._stepping = threading.Thread(target=self._step, name="head", daemon=True)
                self._stepping.start()

    def deactivate(self, group: str) -> None:
        """The last group to leave brings the face to neutral, and then torque off."""
        with self._lock:
            if group not in self._groups:
                return
            self._groups.discard(group)
            if self._groups:
                return
            thread, self._stepping = self._stepping, None
        if thread is not None:
            thread.join()
        try:
            with self._lock:
                self._safety.home()
            give_up = time.monotonic() + HOMING_LIMIT_S
            while self._torque and not self._safety.at_neutral and time.monotonic() < give_up:
                with self._lock:
                    written = self._write(None)
                self._tell(written)
                time.sleep(STEP_S)
        finally:
            with self._lock:
                self._torque = False
                try:
                    self._bus.torque(False)
                except (EmoError, OSError) as error:  # unplugged: nothing more can be done
                    self.fault = str(error)

    def close(self, group: str) -> None:
        """A driver leaves; the last one gives the port back."""
        self.deactivate(group)
        with self._lock:
            self._users.discard(group)
            if self._port is not None and not self._users:
                self._bus.close()
                self._port.close()
                self._port = None

    def command(self, positions: Mapping[str, float], key: object = None) -> Written | None:
        """Write a command at once, within what is safe. None while nothing may move.

        Motors of groups that are not active are left out. A command with the `key` of a recent one
        is the same one, come to another driver: it was written already.
        """
        with self._lock:
            if not self._groups:
                return None
            if key is not None and key in self._recent:
                return self._recent[key]
            mine = {
                motor.name: positions[motor.name]
                for motor in self.description.motors
                if motor.group in self._groups and motor.name in positions
            }
            written = self._write(mine)
            self._due = time.monotonic() + STEP_S
            if key is not None:
                self._recent[key] = written
                if len(self._recent) > RECENT:
                    self._recent.popitem(last=False)
            return written

    def measured(self) -> NDArray[np.float64] | None:
        """(M,) where the servos are; None if they do not answer."""
        with self._lock:
            try:
                return self._bus.read() if self._users else None
            except (EmoError, OSError) as error:
                self.fault = str(error)
                return None

    def estop(self) -> None:
        """Brake everything, then torque off; stays so until `release`."""
        with self._lock:
            self._safety.estop()

    def release(self) -> None:
        """Leave the e-stop: torque on again, gently, from where the servos are.

        Raises:
            EmoError, OSError: the bus does not work; the e-stop stays set.
        """
        with self._lock:
            if not self._safety.estopped:
                return
            self._safety.reset(self._bus.read(), gentle=True)
            if self._groups:
                self._bus.torque(True)
                self._torque = True
            self._safety.release()

    def _step(self) -> None:
        """The thread's work."""
        while True:
            time.sleep(max(self._due - time.monotonic(), 0.0))
            with self._lock:
                if self._stepping is not threading.current_thread():
                    return
                if time.monotonic() < self._due:  # a command came meanwhile
                    continue
                self._due = time.monotonic() + STEP_S
                written = self._write(None)
            self._tell(written)

    def _tell(self, written: Written | None) -> None:
        for listener in self.listeners:
            listener(written)

    def _write(self, command: Mapping[str, float] | None) -> Written | None:
        sent = self._safety.step(command, time.monotonic())
        try:
            if not sent.torque:
                if self._torque:
                    self._bus.torque(False)
                    self._torque = False
                return None
            positions = self._bus.write(sent.positions)
        except (EmoError, OSError) as error:  # the next step tries again
            self.fault = str(error)
            return None
        self.fault = ""
        return Written(time.monotonic(), positions, sent.reasons)


def _own(description: RobotDescription) -> TextIO:
    """An open lock file that keeps other processes from the same port.

    Simulated servos live in this process alone and need none.

    Raises:
        EmoError: somebody else has it.
    """
    path = Path(os.devnull)
    if description.bus.kind != "sim":
        path = Path(tempfile.gettempdir()) / f"emo-{os.getuid()}-{description.name}.lock"
    file = path.open("a")
    try:
        if description.bus.kind != "sim":
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise EmoError(
            f"robot '{description.name}' is driven by another process: stop that one first"
        ) from None
    return file
