"""What microphone and loudspeaker have in common: sounddevice, and devices that come and go."""

from __future__ import annotations

import contextlib
from typing import Any, Protocol

#: No sound for so long: the device is gone.
SILENT_DEVICE_S = 1.0
#: Pauses between attempts to open it again.
FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 8.0


class Reports(Protocol):
    """What is needed of a `Health`."""

    error: str

    def fault(self, kind: str, text: str, count: int = 1) -> None: ...


def started(kind: str, again: bool, **options: Any) -> Any:
    """A started stream of sounddevice, mono.

    Args:
        kind: `InputStream` or `OutputStream`.
        again: look for devices anew. No other stream of this process may be open: it would end.
        options: what else the stream is made with.

    Raises:
        OSError: no PortAudio, or no device that can be opened.
        ValueError: no device of that name.
    """
    import sounddevice

    try:
        if again:  # PortAudio lists the devices once: one that came back needs a new look
            with contextlib.suppress(sounddevice.PortAudioError):  # down: the last look failed
                sounddevice._terminate()
            sounddevice._initialize()
        stream = getattr(sounddevice, kind)(channels=1, dtype="float32", latency="low", **options)
        stream.start()
    except sounddevice.PortAudioError as error:
        raise OSError(str(error)) from None
    return stream
