"""Between the subscriptions and the disk: a queue, and the thread that writes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from emo_core.bag import BagWriter, Limits, Topic
from emo_core.errors import EmoError
from emo_nodekit.running import PATIENT, be_nice

#: A crash loses no more than this.
FLUSH_S = 1.0
#: The writing thread looks so often whether there is work.
_LOOK_S = 0.05


class Sink:
    """Takes messages without ever waiting for the disk.

    Args:
        folder: of the recording.
        info, files: kept in it (`emo_core.bag.BagWriter`).
        limits: on the disk.
        most_bytes: held while the disk is busy; what comes beyond it is lost, and counted.
        on_error: told, from the writing thread, why recording stopped.

    Raises:
        EmoError: the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        info: dict[str, str],
        limits: Limits,
        on_error: Callable[[str], None],
        most_bytes: int = 256_000_000,
        files: dict[str, bytes] | None = None,
    ) -> None:
        self._writer = BagWriter(folder, info, limits, files)
        self._on_error = on_error
        self._most_bytes = most_bytes
        self._queue: deque[tuple[Topic, int, int, int, bytes]] = deque()
        self._held = 0  # bytes put, by the subscriptions' thread only
        self._taken = 0  # bytes taken, by the writing thread only
        self._ended = threading.Event()
        self.stopped = False
        self.written = 0
        self.overrun = 0
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    @property
    def folder(self) -> Path:
        """Of the recording."""
        return self._writer.folder

    @property
    def dropped_files(self) -> int:
        """Oldest files deleted to keep within the limits."""
        return self._writer.dropped_files

    def put(self, topic: Topic, log_ns: int, publish_ns: int, sequence: int, data: bytes) -> bool:
        """Hand a message over; False if it is lost, since the disk cannot follow."""
        if self.stopped:
            return True  # said once, by `on_error`
        if self._held - self._taken > self._most_bytes:
            self.overrun += 1
            return False
        self._held += len(data)
        self._queue.append((topic, log_ns, publish_ns, sequence, data))
        return True

    def close(self) -> None:
        """Write what is left, and the index."""
        self._ended.set()
        self._thread.join(timeout=30.0)

    def _work(self) -> None:
        be_nice(PATIENT)  # packing and disk may wait; what is received is safe in the queue
        flush_at = time.monotonic() + FLUSH_S
        why = "recording stopped: the thread that writes broke down; restart it, and report this"
        try:
            while True:
                ended = self._ended.wait(_LOOK_S)
                while self._queue:
                    message = self._queue.popleft()
                    self._taken += len(message[-1])
                    self._writer.write(*message)
                    self.written += 1
                if ended:
                    self._writer.close()
                    why = ""
                    return
                if time.monotonic() >= flush_at:
                    self._writer.flush()
                    flush_at = time.monotonic() + FLUSH_S
        except EmoError as error:
            why = str(error)
        finally:
            if why:
                self.stopped = True
                self._queue.clear()
                self._on_error(why)
