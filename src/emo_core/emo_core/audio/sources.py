"""Recordings as 16 kHz mono float32, whatever PyAV decodes: a block at a time or whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from emo_core.errors import EmoError
from emo_core.media import MediaFile, reason
from emo_core.rates import SAMPLE_RATE

AUDIO_SUFFIXES = {".flac", ".wav", ".mp3", ".m4a", ".ogg", ".opus", ".aac"}
#: A sound track may start this long before or after its picture; a file that says more is wrong.
_MAX_PADDING_S = 2.0


class AudioFile(MediaFile):
    """A recording (or a video's sound track) decoded as it is read, in constant memory.

    Sample 0 is the start of the file: a sound track that starts later than its video is padded
    with silence, one that starts earlier is trimmed, so that sample `16000 * t` belongs to video
    time `t`. Samples that are not finite become 0 and are counted in `non_finite`; samples
    beyond full scale are clipped to [-1, 1].

    Raises:
        EmoError: no such file, not a recording, no sound in it.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path, "recording", "a wav, flac, mp3, m4a or mp4, say")
        self.non_finite = 0
        self.damaged = 0
        if not self._container.streams.audio:
            self.close()
            raise EmoError(f"{self.path} has no sound track: give a recording with sound")
        self._stream = self._container.streams.audio[0]

    @property
    def duration_s(self) -> float | None:
        """Length in seconds as the header states it; None where it does not."""
        if self._stream.duration is not None and self._stream.time_base is not None:
            return float(self._stream.duration * self._stream.time_base)
        if self._container.duration is not None:
            return float(self._container.duration) / 1e6
        return None

    def blocks(self, size: int) -> Iterator[NDArray[np.float32]]:
        """Decode from the start: float32 (size,) blocks, the last one shorter.

        Raises:
            EmoError: nothing could be decoded, or the recording is empty.
        """
        pending: list[NDArray[np.float32]] = []
        held = 0
        total = 0
        for piece in self._decoded():
            pending.append(piece)
            held += len(piece)
            total += len(piece)
            if held < size:
                continue
            joined = np.concatenate(pending)
            whole = held - held % size
            for start in range(0, whole, size):
                yield joined[start : start + size]
            pending, held = [joined[whole:]], held - whole
        if total == 0:
            raise EmoError(f"{self.path} holds no audio samples: the recording is empty")
        if held:
            yield np.concatenate(pending)

    def _decoded(self) -> Iterator[NDArray[np.float32]]:
        try:
            frames = self._frames()
            first = next(frames, None)
            if first is None:
                return
            start = round(self._start_s(first) * SAMPLE_RATE)
            if start > 0:
                yield np.zeros(start, np.float32)
            skip = max(-start, 0)
            resampler = AudioResampler(format="fltp", rate=SAMPLE_RATE)
            for frame in chain(self._seconds(chain([first], frames)), [None]):
                for resampled in resampler.resample(frame):
                    # Channels count alike.
                    samples = resampled.to_ndarray().mean(axis=0, dtype=np.float32)
                    kept = samples[skip:]
                    skip = max(skip - len(samples), 0)
                    if len(kept):
                        yield np.clip(kept, -1.0, 1.0)
        except av.error.FFmpegError as error:
            raise EmoError(
                f"cannot decode {self.path} ({reason(error)}): the file is damaged"
            ) from None

    def _frames(self) -> Iterator[AudioFrame]:
        for packet in self._container.demux(self._stream):
            try:
                yield from cast("list[AudioFrame]", packet.decode())
            except av.error.InvalidDataError:
                self.damaged += 1

    def _seconds(self, frames: Iterable[AudioFrame]) -> Iterator[AudioFrame]:
        """The same samples in frames of one second, the last one shorter.

        PyAV 15 leaks 81 bytes each time that a resampler has given all it can: 5 to 14 MB in an
        hour if that were at every frame of the file.
        """
        fifo = AudioFifo()
        kind = None
        for frame in frames:
            # A fifo does not look at the layout: of too few channels it would read on.
            this = (frame.format.name, frame.layout.name, frame.sample_rate)
            kind = kind or this
            if this != kind:
                raise EmoError(
                    f"cannot decode {self.path}: its rate or channels change on the way. "
                    "Convert it to wav first"
                )
            frame = self._finite(frame)
            frame.pts = None
            fifo.write(frame)
            yield from fifo.read_many(frame.sample_rate)
        yield from fifo.read_many(kind[2] if kind else 0, partial=True)

    def _start_s(self, frame: AudioFrame) -> float:
        if not self._container.streams.video or frame.time is None:
            return 0.0
        video = self._container.streams.video[0]
        origin = 0.0
        if video.start_time is not None and video.time_base is not None:
            origin = float(video.start_time * video.time_base)
        return float(np.clip(frame.time - origin, -_MAX_PADDING_S, _MAX_PADDING_S))

    def _finite(self, frame: AudioFrame) -> AudioFrame:
        if not frame.format.name.startswith(("flt", "dbl")):
            return frame
        samples = frame.to_ndarray()
        bad = ~np.isfinite(samples)
        if not bad.any():
            return frame
        self.non_finite += int(bad.sum())
        samples[bad] = 0.0
        clean = AudioFrame.from_ndarray(samples, format=frame.format.name, layout=frame.layout.name)
        clean.sample_rate = frame.sample_rate
        return clean


def open_audio(path: str | Path) -> AudioFile:
    """Open a recording for reading in blocks (see `AudioFile`)."""
    return AudioFile(path)


def load_audio(path: str | Path) -> NDArray[np.float32]:
    """Whole recording as float32 (N,), 16 kHz mono (see `AudioFile`)."""
    with AudioFile(path) as recording:
        return np.concatenate(list(recording.blocks(SAMPLE_RATE)))


def recordings_in(folder: Path) -> list[Path]:
    """The recordings of a folder and its sub-folders, by path.

    Raises:
        EmoError: no such folder, or none in it.
    """
    if not folder.is_dir():
        raise EmoError(f"no such folder: {folder}. Give a folder of recordings")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)
    if not found:
        raise EmoError(f"no recordings in {folder}: give a folder of flac, wav, mp3, m4a, ogg")
    return found
