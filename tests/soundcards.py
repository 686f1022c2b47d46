"""Stands for sounddevice: a microphone and a loudspeaker that come and go. No ROS."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

_TIMES = SimpleNamespace(inputBufferAdcTime=0.0, outputBufferDacTime=0.0, currentTime=0.0)


class PortAudioError(Exception):
    """As sounddevice's, which is no OSError."""


class SoundCards:
    """In place of the module."""

    PortAudioError = PortAudioError

    def __init__(self) -> None:
        self.plugged = True
        self.down = 0  # how often PortAudio will refuse to be initialised
        self.ready = threading.Event()  # cleared: that takes its time
        self.ready.set()
        self.opening = threading.Event()
        self.streams: list[Stream] = []
        self.InputStream = self.OutputStream = self._open
        self._up = True

    def _terminate(self) -> None:
        if not self._up:
            raise PortAudioError("PortAudio not initialized")
        self._up = False

    def _initialize(self) -> None:
        self.opening.set()
        self.ready.wait(60.0)
        if self.down:
            self.down -= 1
            raise PortAudioError("Error initializing PortAudio")
        self._up = True

    def _open(self, callback: Callable[..., None], **options: Any) -> Stream:
        if not (self._up and self.plugged):
            raise PortAudioError("Error querying device -1")
        self.streams.append(Stream(callback))
        return self.streams[-1]


class Stream:
    """Wants a block of sound, or has one, as it starts and whenever somebody looks at it.

    Attributes:
        state: "plays"; "ends": it is not active; "fails": nor can that be asked; "hangs": it says
            that it is active, and does nothing.
        looks: how often it was looked at.
        heard: the last block.
    """

    def __init__(self, callback: Callable[..., None]) -> None:
        self.state, self.looks, self.closed = "plays", 0, False
        self.heard = np.zeros((320, 1), np.float32)
        self._callback = callback

    def start(self) -> None:
        """As of sounddevice."""
        self._callback(self.heard, len(self.heard), _TIMES, None)

    @property
    def active(self) -> bool:
        """As of sounddevice."""
        self.looks += 1
        if self.state == "fails":
            raise PortAudioError("Unanticipated host error")
        if self.state == "plays":
            self.start()
        return self.state != "ends"

    def close(self, ignore_errors: bool = True) -> None:
        """As of sounddevice."""
        self.closed = True
