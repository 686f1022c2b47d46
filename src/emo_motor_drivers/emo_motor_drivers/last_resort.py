"""The e-stop where a robot's process does not do as it is told: it is ended, and others let go.

One meaning with the e-stop of the drivers: servos stop where they are, and then have no torque.
Servos that nobody commands any more stand at their last goal, which was one step away.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import numpy as np

from emo_core.errors import EmoError
from emo_core.robot.bus import ServoBus, make_bus
from emo_core.robot.description import RobotDescription
from emo_motor_drivers.care import SILENCE
from emo_motor_drivers.claim import Claim
from emo_motor_drivers.claimed import Record

#: A process that was killed has this long to end.
END_S = 2.0
#: Torque is switched off so often, until every servo has said that it is off.
ATTEMPTS = 5
#: Servos without torque stand still when two looks, LOOK_S apart, differ by less than STILL of
#: their stroke; they have SETTLE_S for that.
STILL, LOOK_S, SETTLE_S = 0.01, 0.05, 1.5

CUT = "cut the robot's power"


def end(record: Record) -> str:
    """Kill the process that holds a claim; "" if nobody holds it, else what was done.

    Raises:
        EmoError: it holds the claim, and goes on.
    """
    if not record.held:
        return ""
    process = -1
    # Opened before it is looked at: it stays the same process. Pythons that were built on an old
    # Linux, or elsewhere, cannot; a process that is seen to hold the claim is not another's soon.
    with contextlib.suppress(OSError, AttributeError):
        process = os.pidfd_open(record.pid)
    try:
        pid = record.holder()
        if pid is None and not record.held:  # it has just ended
            return ""  # type: ignore[unreachable]  # `held` asks the system anew
        if pid is None:
            raise EmoError(
                "its process is not to be seen from here (another user's, or in a container): run "
                f"this there, or {CUT}"
            )
        name = called(pid)
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            if process >= 0:
                signal.pidfd_send_signal(process, signal.SIGKILL)
            else:
                os.kill(pid, signal.SIGKILL)
        give_up_s = time.monotonic() + END_S
        # Not by `holder`: its open files are gone before its last thread lets go of the lock.
        while record.held and _runs(pid):
            if time.monotonic() > give_up_s:
                raise EmoError(f"{name} cannot be killed, the system holds it: {CUT}")
            time.sleep(LOOK_S)
    except PermissionError:
        raise EmoError(
            f"{name} is another user's: run this as that user, or with sudo, or {CUT}"
        ) from None
    finally:
        if process >= 0:
            os.close(process)
    return f"{name} killed, with all that ran in it"


def _runs(pid: int) -> bool:
    """Whether a thread of the process is left that has not ended; a zombie has."""
    with contextlib.suppress(OSError):
        for stat in Path("/proc", str(pid), "task").glob("*/stat"):
            with contextlib.suppress(OSError):  # it has just ended
                if stat.read_text().rpartition(")")[2].split()[0] not in "ZX":
                    return True
    return False


def let_go(record: Record) -> str:
    """Switch the torque of a robot off that nobody drives; returns how the servos are.

    The record stays until the e-stop is released, so that it can be done again.

    Raises:
        EmoError: they may still have torque, or move.
    """
    robot = RobotDescription.load(record.file)
    if not record.at_port_of(robot):
        raise EmoError(f"{robot.file}: names another port than it was driven at: {CUT}")
    if record.simulated:
        record.remove()
        return "its simulated servos have ended with its process"
    claim = Claim(robot)
    try:
        with contextlib.closing(make_bus(robot, namespace=record.owner.namespace)) as bus:
            bus.open()
            how = limp(bus)
    finally:
        claim.release()
    return how


def limp(bus: ServoBus) -> str:
    """Switch all torque off, and look whether it is; returns what was seen.

    Raises:
        EmoError: a servo still has torque, moves, or does not answer.
    """
    names = np.array(bus.description.names)
    holds = np.full(len(names), np.nan)
    for _ in range(ATTEMPTS):
        bus.torque(False)
        said = bus.holds()
        holds = np.where(np.isfinite(said), said, holds)
        if np.all(holds == 0):
            break
    if np.any(holds > 0):
        raise EmoError(f"torque of {', '.join(names[holds > 0])} stays on: {CUT}")
    told, still = np.isfinite(holds), _still(bus)
    if told.any() and not told.all():
        raise EmoError(
            f"torque off, but {', '.join(names[~told])} did not answer: see that they are limp, or "
            f"{CUT}"
        )
    word = f"confirmed for {told.sum()} motors" if told.any() else "this bus cannot confirm it"
    return f"torque off ({word}){still}"


def _still(bus: ServoBus) -> str:
    """Whether the servos stand still, in words. Raises EmoError if they do not."""
    if not bus.tells_position:
        return ""
    give_up_s = time.monotonic() + SETTLE_S
    before = bus.read()
    if not np.isfinite(before).any():
        raise EmoError(f"{SILENCE}, or {CUT}")
    while True:
        time.sleep(LOOK_S)
        now = bus.read()
        moved = np.abs(now - before) > STILL
        if not moved.any():
            return ", all stand still"
        if time.monotonic() > give_up_s:
            raise EmoError(f"{', '.join(np.array(bus.description.names)[moved])} still move: {CUT}")
        before = now


def called(pid: int) -> str:
    """A process, for people."""
    try:
        words = Path("/proc", str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (OSError, UnicodeDecodeError):
        words = ""  # in another container, or not on Linux
    command = " ".join(words.split())[:60]
    return f"process {pid}{command and f' ({command})'}"
