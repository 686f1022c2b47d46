"""Servos that exist in memory, behind the real protocol on a pseudo-terminal.

A `FakeLine` carries bytes between a pseudo-terminal and a `Device` at the pace of the wire; the
device understands one protocol and moves `FakeServos`. Everything that can go wrong on a line or
with a servo can be made to happen.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import select
import tempfile
import threading
import time
import tty
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo_core.errors import EmoError
from emo_core.robot.bus import ServoBus
from emo_core.robot.buses.serial_line import BITS_PER_BYTE
from emo_core.robot.description import RobotDescription
from emo_core.robot.sim.servos import SimulatedServos

#: A device looks at its own watchdog at least so often.
TICK_S = 0.005

Array = NDArray[np.float64]


class FakeServos:
    """The simulated servos of a robot, each with its own torque, and with their troubles.

    Motors are indices in the description's order, positions commands in [0, 1]. Times are seconds
    of one clock and may not run backwards. Without torque a servo stays where it is, as geared
    servos do.

    Args:
        description: a robot with a `simulator` section.
        start: (M,) where they are when the supply comes on; neutral if not given.

    Attributes:
        stuck: motors that something holds where they are.
        silent: motors that do not answer (where servos answer for themselves).
        powered: whether the supply is on. Without it there is no torque and no answer.
        temperature_c: (M,) of each motor.
        voltage_v: of the supply.
    """

    def __init__(self, description: RobotDescription, start: ArrayLike | None = None) -> None:
        if description.simulator is None:
            raise EmoError(f"{description.file}: simulator is missing: port 'fake' needs it")
        self.description = description
        first = description.neutral if start is None else np.asarray(start, dtype=np.float64)
        self._servos = SimulatedServos(description.simulator.servos, first)
        self._goal = np.array(first)
        self.on = np.zeros(len(first), dtype=bool)
        self.stuck: set[int] = set()
        self.silent: set[int] = set()
        self.powered = True
        self.temperature_c = np.full(len(first), 35.0)
        self.voltage_v = 7.4

    def index(self, servo_id: int) -> int | None:
        """The motor with this id or channel; None for a stranger, and for one that is silent."""
        for n, motor in enumerate(self.description.motors):
            if motor.id == servo_id:
                return n if self.powered and n not in self.silent else None
        return None

    def positions(self, now_s: float) -> Array:
        """(M,) where they are."""
        return self._servos.positions(now_s)

    def command(self, goals: Mapping[int, float], now_s: float) -> None:
        """New goals for some motors; those that are stuck or have no torque stay."""
        here = self._servos.positions(now_s)
        for motor, goal in goals.items():
            self._goal[motor] = goal
        held = ~self.on
        held[list(self.stuck)] = True
        self._goal[~self.on] = here[~self.on]
        self._servos.command(np.where(held, here, self._goal), now_s)

    def torque(self, motor: int, on: bool, now_s: float) -> None:
        """One motor holds where it is, or goes limp."""
        here = self._servos.positions(now_s)[motor]
        self.on[motor] = on and self.powered
        self.command({motor: here}, now_s)

    def power(self, on: bool, now_s: float) -> None:
        """The supply fails, or returns with all servos limp."""
        self.powered = on
        for motor in range(len(self.on)):
            self.torque(motor, False, now_s)


class Device(ABC):
    """What stands at the far end of the line and understands one protocol.

    Attributes:
        baud: bits per second if the robot's file gives none.
        half_duplex: whether both directions share one wire.
        turnaround_s: from the last byte of a request to the first one of an answer.
    """

    baud = 115200
    half_duplex = False
    turnaround_s = 0.0

    def __init__(self, servos: FakeServos) -> None:
        self.servos = servos

    @classmethod
    def attach(
        cls, bus: Callable[[RobotDescription], ServoBus], description: RobotDescription
    ) -> ServoBus:
        """A bus with such a device behind a pseudo-terminal, which goes when the bus does."""
        line = FakeLine(cls(FakeServos(description)))
        made = bus(line.on(description))
        weakref.finalize(made, line.close)
        return made

    @abstractmethod
    def receive(self, byte: int, now_s: float) -> list[bytes]:
        """One byte, arrived at `now_s`; answers (each after a turnaround) if it ends a request."""

    def tick(self, now_s: float) -> None:
        """Time passes: called at least every `TICK_S`, for watchdogs."""
        return None


class FakeLine:
    """A pseudo-terminal with a device behind it, paced as the wire is. Used as a context manager.

    The port's name is a link that outlives unplugging, as those in /dev/serial/by-id do.

    Args:
        device: at the far end.
        link: name of the port; one in the temporary folder if not given.

    Attributes:
        requests: what the wire makes of the bytes on their way to the device.
        answers: what it makes of each answer: `half`, `silence`, `damaged`, or your own.
    """

    def __init__(self, device: Device, link: Path | None = None) -> None:
        self.device = device
        self.port = link or Path(tempfile.mkdtemp(prefix="emo-fake-")) / "port"
        self._own_folder = link is None
        baud = device.servos.description.bus.baud or device.baud
        self._byte_s = BITS_PER_BYTE / baud
        self.requests: Callable[[bytes], bytes] = bytes
        self.answers: Callable[[bytes], bytes] = bytes
        self.lock = threading.RLock()  # hold it to look at, or hurt, the device
        self._changed = threading.Condition(self.lock)
        self._pulled = False
        self._master = self._slave = -1
        self._wake_read, self._wake_write = os.pipe()
        self._outgoing: list[tuple[float, int, bytes]] = []  # heap: when, number, byte
        self._number = 0
        self._in_free_s = self._out_free_s = 0.0
        self._stopping = False
        self.plug()
        self._thread = threading.Thread(target=self._run, name="fake line", daemon=True)
        self._thread.start()

    def on(self, description: RobotDescription) -> RobotDescription:
        """`description` with this line as its port."""
        return replace(description, bus=replace(description.bus, port=str(self.port)))

    def plug(self) -> None:
        """The adapter is plugged in (again)."""
        with self.lock:
            self._master, self._slave = os.openpty()
            tty.setraw(self._slave)
            os.set_blocking(self._master, False)
            fresh = self.port.with_suffix(".new")
            fresh.symlink_to(os.ttyname(self._slave))
            fresh.replace(self.port)
            self._wake()

    def unplug(self) -> None:
        """The adapter is pulled out: the servos stay as they are, and hear nothing."""
        with self._changed:
            self._pulled = True
            self._wake()
            # The thread closes it: a descriptor that it waits for would stay alive.
            self._changed.wait_for(lambda: self._master < 0)

    def noise(self, data: bytes) -> None:
        """Bytes that nobody sent arrive at the host's side."""
        with self.lock:
            self._send(data, time.monotonic())
            self._wake()

    def close(self) -> None:
        """Stop the device and remove the port."""
        with self.lock:
            if not self._stopping:
                self._stopping = True
                self._wake()
        if self._thread is not threading.current_thread():  # as when a garbage collection asks
            self._thread.join()

    def __enter__(self) -> FakeLine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- the thread --------------------------------------------------------------------------

    def _wake(self) -> None:
        os.write(self._wake_write, b"w")

    def _run(self) -> None:
        try:
            self._carry()
        finally:
            with self.lock:
                self._disconnect()
                os.close(self._wake_read)
                os.close(self._wake_write)
            if self._own_folder:
                with contextlib.suppress(OSError):
                    self.port.parent.rmdir()

    def _carry(self) -> None:
        while not self._stopping:
            with self.lock:
                master = self._master
                wait = TICK_S
                if self._outgoing:
                    wait = min(max(self._outgoing[0][0] - time.monotonic(), 0.0), TICK_S)
            watched = [self._wake_read] + [master] * (master >= 0)
            ready, _, _ = select.select(watched, [], [], wait)
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
            with self.lock:
                if self._pulled:
                    self._disconnect()
                self._serve(master in ready and master == self._master)

    def _disconnect(self) -> None:
        for descriptor in (self._master, self._slave):
            if descriptor >= 0:
                os.close(descriptor)
        self._master = self._slave = -1
        self._pulled = False
        self._outgoing.clear()
        self.port.unlink(missing_ok=True)
        self._changed.notify_all()

    def _serve(self, heard: bool) -> None:
        now = time.monotonic()
        data = b""
        if heard:
            with contextlib.suppress(OSError):  # nothing there after all
                data = self.requests(os.read(self._master, 65536))
        for byte in data:
            self._in_free_s = arrival = max(self._in_free_s, now) + self._byte_s
            for answer in self.device.receive(byte, arrival):
                self._send(self.answers(answer), arrival + self.device.turnaround_s)
        self.device.tick(now)
        due = b""
        while self._outgoing and self._outgoing[0][0] <= time.monotonic():
            due += heapq.heappop(self._outgoing)[2]
        if due and self._master >= 0:
            with contextlib.suppress(OSError):  # nobody reads, and the buffer is full: lost
                os.write(self._master, due)

    def _send(self, data: bytes, start_s: float) -> None:
        """Queue an answer, byte for byte."""
        free = max(self._out_free_s, start_s)
        for byte in data:
            free += self._byte_s
            self._number += 1
            heapq.heappush(self._outgoing, (free, self._number, bytes([byte])))
        self._out_free_s = free
        if self.device.half_duplex:
            self._in_free_s = max(self._in_free_s, free)


# -- what a wire can do to an answer ---------------------------------------------------------


def half(data: bytes) -> bytes:
    """Only the first half arrives."""
    return data[: len(data) // 2]


def silence(data: bytes) -> bytes:
    """Nothing arrives."""
    return b""


def damaged(data: bytes) -> bytes:
    """The last byte, where checksums are, arrives with a bit turned round."""
    return data[:-1] + bytes([data[-1] ^ 0x10])


def noisy(share: float, seed: int) -> Callable[[bytes], bytes]:
    """A wire that turns one bit of this share of all bytes."""
    rng = np.random.default_rng(seed)

    def spoil(data: bytes) -> bytes:
        hit = rng.random(len(data)) < share
        bits = 1 << rng.integers(0, 8, len(data))
        return bytes((np.frombuffer(data, np.uint8) ^ np.where(hit, bits, 0)).astype(np.uint8))

    return spoil
