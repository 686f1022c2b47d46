"""Writing H.264 + AAC video, frame by frame, in constant memory."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import numpy.typing as npt

from emo_core.errors import EmoError

#: Ticks per second of the video stream: every usual frame rate divides it.
VIDEO_CLOCK = 90_000
#: Samples that the encoder of sound gets at a time: whole AAC frames, about a second. (PyAV 15
#: leaks 81 bytes each time, its resampler's "no more": 5 MB an hour if that were at every frame.)
_BLOCK = 16 * 1024

_BT709 = 1  # AVCOL_SPC_BT709, AVCOL_PRI_BT709 and AVCOL_TRC_BT709 are all 1
_LIMITED_RANGE = 1  # AVCOL_RANGE_MPEG

# A fragment from each key frame to the next, on the disk at once.
_FRAGMENTED = {"movflags": "+frag_keyframe+delay_moov+default_base_moof", "flush_packets": "1"}
_PLAIN = {"movflags": "+faststart"}


class VideoWriter:
    """An MP4 that plays in every browser: H.264 (yuv420p, BT.709) and, if asked, AAC mono.

    Both streams share one clock that starts at 0 s, so a frame at `t_s` is seen while the sample
    number `t_s * audio_rate` is heard (the encoder's priming is declared to the player). Nothing
    is kept but the last two or three seconds: what came before can be played even if the program is
    killed, and `close` makes a plain MP4 of it. One owner: not thread-safe.

    Args:
        path: the file; its folder must exist. Written as MP4 whatever its suffix.
        size: (width, height) in pixels, both even.
        fps: nominal frame rate, and the rate of frames added without `t_s`.
        audio_rate: samples per second of the sound, or None for a silent film.
        threads: encoder threads; 0 lets the encoder choose.
        preset, crf: of x264; speed against size, and constant quality.

    Raises:
        EmoError: the file cannot be written.
        ValueError: an odd size.
    """

    def __init__(
        self,
        path: str | Path,
        size: tuple[int, int],
        fps: float,
        audio_rate: int | None = None,
        *,
        threads: int = 0,
        preset: str = "veryfast",
        crf: int = 20,
    ) -> None:
        width, height = size
        if width % 2 or height % 2 or min(size) < 16:
            raise ValueError(f"video size must be even and at least 16x16, not {width}x{height}")
        self.path, self.size, self.fps = Path(path), size, fps
        self.audio_rate = audio_rate
        try:
            open(path, "wb").close()  # FFmpeg itself would say so only at the first packet
            self._container = av.open(str(path), "w", format="mp4", options=_FRAGMENTED)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise EmoError(
                f"cannot write video: {path}: {reason}. Choose a folder you can write to"
            ) from error
        rate = Fraction(fps).limit_denominator(1001)
        video = self._container.add_stream("libx264", rate=rate)
        video.width, video.height = width, height
        video.pix_fmt = "yuv420p"
        video.time_base = Fraction(1, VIDEO_CLOCK)
        context = video.codec_context
        context.time_base = Fraction(1, VIDEO_CLOCK)
        context.thread_count = threads
        context.gop_size = max(1, round(2 * fps))
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        # No B-frames: presentation order is coding order, so no edit list shifts the picture.
        video.options = {"preset": preset, "crf": str(crf), "bf": "0"}
        self._video = video
        self._last_pts = -1
        self._frames = 0
        self._audio = None
        if audio_rate is not None:
            audio = self._container.add_stream("aac", rate=audio_rate)
            audio.layout = "mono"
            audio.format = "fltp"
            audio.bit_rate = 96_000 if audio_rate >= 32_000 else 64_000
            self._audio = audio
        self._pending = np.zeros(0, np.float32)
        self._samples = 0  # given to the encoder
        self._open = True

    @property
    def duration_s(self) -> float:
        """Where the picture ends: one frame after the last one."""
        return self._last_pts / VIDEO_CLOCK + 1 / self.fps if self._frames else 0.0

    @property
    def audio_s(self) -> float:
        """Length of the sound so far."""
        return (self._samples + len(self._pending)) / self.audio_rate if self.audio_rate else 0.0

    def comment(self, text: str) -> None:
        """A remark in the file's metadata; before the first frame or sample."""
        self._container.metadata["comment"] = text

    def add_frame(self, bgr: npt.NDArray[np.uint8], t_s: float | None = None) -> bool:
        """Show `bgr` (H, W, 3) from `t_s` on (default: one frame period after the last one).

        Returns:
            False where the frame was left out because it is not later than the one before.
        """
        if bgr.shape != (self.size[1], self.size[0], 3) or bgr.dtype != np.uint8:
            raise ValueError(f"frame is {bgr.dtype} {bgr.shape}, not uint8 {self.size[::-1]} x 3")
        step = VIDEO_CLOCK / self.fps
        if t_s is None:
            pts = round(self._last_pts + step) if self._frames else 0
            if self._last_pts == round((self._frames - 1) * step):
                pts = round(self._frames * step)  # no drift where the rate divides badly
        else:
            pts = round(t_s * VIDEO_CLOCK)
        if pts <= self._last_pts:
            return False
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(bgr), format="bgr24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
        frame.pts, frame.time_base = pts, Fraction(1, VIDEO_CLOCK)
        self._mux(self._video.encode(frame))
        self._last_pts = pts
        self._frames += 1
        return True

    def add_audio(self, samples: npt.NDArray[np.float32], t_s: float | None = None) -> None:
        """Append mono `samples` (n,) in [-1, 1]; with `t_s`, put them there.

        A gap before `t_s` is filled with silence; what would overlap earlier sound is cut off.
        """
        if self._audio is None or self.audio_rate is None:
            raise ValueError("this video was opened without sound: give audio_rate")
        samples = np.asarray(samples, np.float32).ravel()
        if t_s is not None:
            gap = round(t_s * self.audio_rate) - self._samples - len(self._pending)
            while gap > 0:
                block = min(gap, self.audio_rate)
                self._encode_audio(np.zeros(block, np.float32))
                gap -= block
            if gap < 0:
                samples = samples[-gap:]
        for start in range(0, len(samples), self.audio_rate):
            self._encode_audio(samples[start : start + self.audio_rate])

    def _encode_audio(self, samples: npt.NDArray[np.float32], last: bool = False) -> None:
        pending = np.concatenate([self._pending, samples])
        whole = len(pending) if last else len(pending) - len(pending) % _BLOCK
        for start in range(0, whole, _BLOCK):
            block = np.clip(pending[start : start + _BLOCK], -1.0, 1.0)
            frame = av.AudioFrame.from_ndarray(block[None], format="fltp", layout="mono")
            frame.sample_rate = self.audio_rate or 1
            frame.pts, frame.time_base = self._samples, Fraction(1, self.audio_rate or 1)
            assert self._audio is not None
            self._mux(self._audio.encode(frame))
            self._samples += len(block)
        self._pending = pending[whole:]

    def _mux(self, packets: list[av.Packet]) -> None:
        try:
            for packet in packets:
                self._container.mux(packet)
        except OSError as error:  # disk full, folder gone
            raise self._stopped(error) from error

    def _stopped(self, error: OSError) -> EmoError:
        reason = error.strerror or type(error).__name__
        return EmoError(
            f"writing video stopped: {self.path}: {reason}. Free some space and run again"
        )

    def close(self) -> None:
        """Flush both encoders and write the index. Safe to call twice.

        Raises:
            EmoError: the disk is full, or the file gone.
        """
        if not self._open:
            return
        self._open = False
        try:
            try:
                if self._audio is not None:
                    self._encode_audio(np.zeros(0, np.float32), last=True)
                    self._mux(self._audio.encode(None))
                if self._frames:
                    self._mux(self._video.encode(None))
            finally:
                self._container.close()
            if self._frames:
                _make_plain(self.path, self.fps)
        except OSError as error:
            raise self._stopped(error) from error

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _make_plain(path: Path, fps: float) -> None:
    """One index for the whole film, as every player and tool knows it, instead of fragments.

    While a film is written its index would be held in memory (12 MB an hour). Where the disk is
    too full for a second copy, the film stays as it is: it plays all the same.

    Raises:
        OSError: the film is gone.
    """
    part = path.with_name(path.name + ".plain")
    with av.open(str(path)) as film:
        try:
            with av.open(str(part), "w", format="mp4", options=_PLAIN) as plain:
                plain.metadata.update(film.metadata)
                both: Any = film.streams  # of two types, which mypy takes one at a time only
                streams = [plain.add_stream_from_template(stream) for stream in both]
                for packet in film.demux():
                    if packet.dts is None or packet.time_base is None:
                        continue
                    if packet.stream.type == "video" and not packet.duration:
                        packet.duration = round(1 / (fps * packet.time_base))  # of the last one
                    packet.stream = streams[packet.stream_index]
                    plain.mux(packet)
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
