"""The e-stop's short way: a local socket of each process that owns servos. No ROS.

`./emo stop` must not depend on discovery, which takes seconds on a machine that is overloaded.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

#: Each side waits so long for the other.
PATIENCE_S = 1.0
#: But no less: who has answered was heard.
LEAST_S = 0.01
STOP, RELEASE = b"stop\n", b"release\n"

_count = itertools.count()


@dataclass(frozen=True)
class Answer:
    """What a robot's owner did.

    Attributes:
        robot: its name.
        domain: ROS domain of its drivers.
        namespace: of its drivers; "" is the root.
        done: whether it did what it was asked.
        message: what it says.
        door: path of the socket that it answered at.
        lost: it has lost its servos' line, and does what it was told as soon as that is back.
    """

    robot: str
    domain: int
    namespace: str
    done: bool
    message: str
    door: str = ""
    lost: bool = False


class Door:
    """Listens, on a thread of its own, until `close`.

    Args:
        act: called with True to stop, False to release; says what came of it.

    Attributes:
        path: of the socket.
    """

    def __init__(self, act: Callable[[bool], Answer]) -> None:
        self._act = act
        self.path = _folder() / f"emo-{os.getuid()}-estop-{os.getpid()}-{next(_count)}.sock"
        self._socket = socket.socket(socket.AF_UNIX)
        self.path.unlink(missing_ok=True)
        self._socket.bind(str(self.path))
        self.path.chmod(0o600)
        self._socket.listen()
        self._read, self._write = os.pipe()
        self._thread = threading.Thread(target=self._run, name="e-stop", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        os.close(self._write)
        self._thread.join()
        os.close(self._read)
        self._socket.close()
        self.path.unlink(missing_ok=True)

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._socket, self._read], [], [])
            if self._read in ready:
                return
            with contextlib.suppress(OSError):  # who asked is gone
                self._serve()

    def _serve(self) -> None:
        caller, _ = self._socket.accept()
        with caller:
            caller.settimeout(PATIENCE_S)
            order = caller.recv(16)
            if order in (STOP, RELEASE):
                answer = self._act(order == STOP)
                caller.sendall(json.dumps(asdict(answer)).encode() + b"\n")


def knock(stop: bool) -> Iterator[Answer | Path]:
    """Stop (or release) every robot whose owner listens; a path is one that does not answer.

    All are asked at once: one that hangs holds nobody up.
    """
    with contextlib.ExitStack() as stack:
        asked = []
        for path in sorted(_folder().glob("emo-*-estop-*.sock")):
            caller = stack.enter_context(socket.socket(socket.AF_UNIX))
            caller.settimeout(PATIENCE_S)
            try:
                caller.connect(str(path))
                caller.sendall(STOP if stop else RELEASE)
                asked.append((path, caller))
            except (ConnectionRefusedError, FileNotFoundError):  # its process was killed, or ended
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            except PermissionError:  # another user's: the graph may reach it
                continue
            except OSError:
                yield path
        give_up_s = time.monotonic() + PATIENCE_S
        for path, caller in asked:
            caller.settimeout(max(give_up_s - time.monotonic(), LEAST_S))
            try:
                with caller.makefile() as lines:
                    yield Answer(**{**json.loads(lines.readline()), "door": str(path)})
            except (OSError, ValueError, TypeError):
                yield path


def _folder() -> Path:
    return Path(tempfile.gettempdir())
