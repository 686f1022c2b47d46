"""A serial port as packets see it: bytes out, answers before a deadline, errors in one line."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import select
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import serial

from emo_core.robot.bus import BusError
from emo_core.robot.description import RobotDescription

#: Start bit, eight data bits, stop bit.
BITS_PER_BYTE = 10
#: A port that does not take bytes for so long is broken.
WRITE_TIMEOUT_S = 0.2
#: Taken from the system at once.
MOST_BYTES = 4096

Answer = TypeVar("Answer")


@contextlib.contextmanager
def port_errors(description: RobotDescription) -> Iterator[None]:
    """What goes wrong with a serial port inside, as one `BusError` that names file and remedy.

    Also for the makers' SDKs, which open pyserial's ports themselves.
    """
    try:
        yield
    except (OSError, termios.error) as error:  # SerialException is an OSError
        raise BusError(_explain(description, error)) from error


def _explain(description: RobotDescription, error: Exception) -> str:
    port = description.bus.port
    where = f"{description.file}: bus.port '{port}'"
    numbers = set(_numbers(error))
    if numbers & {errno.EBUSY, errno.EAGAIN}:  # EAGAIN: the lock of another pyserial
        return f"{where} is in use by another program: close that one"
    if not Path(port).exists():
        return f"{where} is not there: plug the adapter in, or name another (ls /dev/serial/by-id)"
    if numbers & {errno.EACCES, errno.EPERM}:
        return (
            f"{where} may not be opened by you: sudo usermod -aG {_group(port)} $USER, "
            "then log in again"
        )
    if errno.ENOTTY in numbers:
        return f"{where} is no serial port: name another (ls /dev/serial/by-id)"
    return f"{where} failed ({str(error).splitlines()[0]}): check the plug and the adapter"


def _numbers(error: BaseException) -> Iterator[int]:
    """The errno of an error and of those that it came from: pyserial wraps some."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            yield cause.errno
        elif isinstance(cause, termios.error):
            yield cause.args[0]
        cause = cause.__context__


def _group(port: str) -> str:
    """The group that may open `port`."""
    try:
        return grp.getgrgid(os.stat(port).st_gid).gr_name
    except (OSError, KeyError):
        return "dialout"


def silent(description: RobotDescription, what: str) -> BusError:
    """The error for a line on which nobody answers."""
    return BusError(
        f"{description.file}: {what} on bus.port '{description.bus.port}': "
        "check supply, wiring, ids and baud rate"
    )


class SerialLine:
    """One serial port, owned alone, 8N1. Bytes are queued by the system: `write` does not wait.

    Every method but `close` raises `BusError`; afterwards the line is closed until `open`.

    Args:
        description: its `bus` names the port, and the baud rate if that is not the usual one.
        usual_baud: bits per second where the file gives none.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        description: RobotDescription,
        usual_baud: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.description = description
        self.baud = description.bus.baud or usual_baud
        self._clock = clock
        self._port: serial.Serial | None = None
        self._sent_s = 0.0  # when the last byte written will have left

    def seconds(self, count: int) -> float:
        """Time on the wire of `count` bytes."""
        return count * BITS_PER_BYTE / self.baud

    def open(self) -> None:
        """Open the port, for this process alone; an old one is closed first."""
        self.close()
        with port_errors(self.description):
            port = serial.Serial(
                self.description.bus.port,
                self.baud,
                timeout=0,
                exclusive=True,
            )
        # USB adapters hold bytes back for up to 16 ms unless told not to; others refuse.
        with contextlib.suppress(ValueError, OSError, NotImplementedError):
            port.set_low_latency_mode(True)
        self._port = port
        self._sent_s = self._clock()

    def close(self) -> None:
        """Close the port. Harmless when it is closed or gone."""
        port, self._port = self._port, None
        if port is not None:
            with contextlib.suppress(OSError, termios.error):
                port.close()

    def write(self, data: bytes) -> None:
        """Queue bytes."""
        with self._working() as port:
            # Not port.write: its time-out also counts while this process waits for its turn.
            give_up, left = self._clock() + WRITE_TIMEOUT_S, data
            while left:
                _, ready, _ = select.select([], [port], [], max(give_up - self._clock(), 0.0))
                if not ready:
                    raise serial.SerialTimeoutException("it takes no bytes")
                left = left[os.write(port.fileno(), left) :]
        self._sent_s = max(self._sent_s, self._clock()) + self.seconds(len(data))

    def ask(
        self,
        request: bytes,
        size: int,
        patience_s: float,
        find: Callable[[bytes], Answer | None],
    ) -> Answer | None:
        """Send a request and wait for its answer; what had arrived before is forgotten.

        Args:
            request: bytes to send.
            size: bytes of the answer.
            patience_s: how long the other side may take; the time on the wire of everything
                written and of the answer comes on top.
            find: the answer in all bytes so far, whatever noise is round it; None if it is not
                yet there.

        Returns:
            What `find` found; None if that was nothing in time.
        """
        self.forget()
        self.write(request)
        late = self.deadline(size, patience_s)
        data = b""
        while True:
            over = self._clock() >= late
            data += self.receive(late)
            answer = find(data)
            if answer is not None or over:
                return answer

    def forget(self) -> None:
        """Throw away what has arrived."""
        with self._working() as port:
            port.reset_input_buffer()

    def deadline(self, size: int, patience_s: float) -> float:
        """When an answer of `size` bytes to what was written must be here, on the line's clock."""
        return self._sent_s + self.seconds(size) + patience_s

    def receive(self, late: float) -> bytes:
        """Whatever has arrived, as soon as that is anything; b"" if it is nothing by `late`."""
        with self._working() as port:
            select.select([port], [], [], max(late - self._clock(), 0.0))
            return bytes(port.read(MOST_BYTES))

    @contextlib.contextmanager
    def _working(self) -> Iterator[serial.Serial]:
        if self._port is None:
            raise BusError(
                f"{self.description.file}: bus.port '{self.description.bus.port}' is closed: "
                "open it first"
            )
        try:
            with port_errors(self.description):
                yield self._port
        except BusError:
            self.close()
            raise
