"""Opening whatever PyAV decodes, with one clear line where it does not."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import av
from av.container import InputContainer

from emo_core.errors import EmoError

Opened = TypeVar("Opened", bound="MediaFile")


class MediaFile:
    """An open recording or video.

    Args:
        kind: what it should be, for messages: "recording", "video".
        advice: what to give instead.

    Raises:
        EmoError: no such file, or not of a format that can be read.
    """

    def __init__(self, path: str | Path, kind: str, advice: str) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise EmoError(f"no such {kind}: {self.path}")
        try:
            container = av.open(str(self.path), "r", metadata_errors="ignore")
        except (av.error.FFmpegError, OSError) as error:
            raise EmoError(
                f"cannot read {self.path} as a {kind} ({reason(error)}): give {advice}"
            ) from None
        self._container: InputContainer = container

    def __enter__(self: Opened) -> Opened:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file."""
        self._container.close()


def reason(error: Exception) -> str:
    """First line of what FFmpeg says."""
    text = str(getattr(error, "strerror", None) or error) or type(error).__name__
    return text.splitlines()[0]
