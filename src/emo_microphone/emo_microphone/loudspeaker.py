"""A loudspeaker through sounddevice that may be unplugged at any time and comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_microphone.sound_card import (
    FIRST_DELAY_S,
    LONGEST_DELAY_S,
    SILENT_DEVICE_S,
    Reports,
    started,
)


class Loudspeaker:
    """One loudspeaker.

    Args:
        device: name or number, empty for the system's default.
        rate: samples per second.
        fill: fills a block for the sound card, in the sound card's thread; arguments as of a
            callback of `sounddevice.OutputStream`.
        reports: is told of what goes wrong.
    """

    def __init__(self, device: str, rate: int, fill: Callable[..., None], reports: Reports) -> None:
        self._device: str | int | None = int(device) if device.isdigit() else device or None
        self._rate, self._fill, self._reports = rate, fill, reports
        self._stream: Any = None
        self._asked = False  # for sound, since the last look
        self._ended = threading.Event()

    def open(self, again: bool = False) -> None:
        """Start to play. Raises OSError (no PortAudio, no device), ValueError (no such name)."""
        self._stream = started(
            "OutputStream",
            again,
            samplerate=self._rate,
            device=self._device,
            callback=self._on_device,
        )

    def watch(self) -> None:
        """Look at the stream now and then, and open another where it ended; until `close`.

        For a thread of its own, as opening takes its time.
        """
        delay = FIRST_DELAY_S
        while not self._ended.wait(delay if self._stream is None else SILENT_DEVICE_S):
            if self._stream is None:
                delay = min(2 * delay, LONGEST_DELAY_S)
                try:
                    self.open(again=True)
                except (OSError, ValueError) as error:
                    text = f"speaker: {error}"
                    self._reports.error = f"{text}. Plug it in, or name another device"
                    self._reports.fault("no_device", f"{text}; next attempt in {delay:g} s")
            elif self._plays():
                self._reports.error, delay = "", FIRST_DELAY_S
            else:
                text = "speaker: the device takes no sound any more"
                self._reports.error = f"{text}. Is it plugged in?"
                self._reports.fault("lost_device", f"{text}; next attempt in {delay:g} s")
                self._drop()
        self._drop()

    def close(self) -> None:
        """Silence: `watch` closes the device, and ends."""
        self._ended.set()

    def _on_device(self, out: NDArray[np.float32], *arguments: Any) -> None:
        self._asked = True
        self._fill(out, *arguments)

    def _plays(self) -> bool:
        """Whether sound is taken: on ALSA a stream stays active when its device is unplugged."""
        import sounddevice

        asked, self._asked = self._asked, False
        try:
            return asked and bool(self._stream.active)
        except sounddevice.PortAudioError:
            return False

    def _drop(self) -> None:
        if self._stream is not None:
            self._stream.close(ignore_errors=True)
            self._stream = None
