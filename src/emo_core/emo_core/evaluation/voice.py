"""Where a recording has speech, frame by frame, and the face it starts from. Offline, numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo_core.rates import FRAME, SAMPLE_RATE

#: Speech lies in this band; rumble and hiss outside it are not voice (Hz).
BAND_HZ = (200.0, 6000.0)
#: Frames before the first voiced one that already may be a mouth getting ready (120 ms).
ANTICIPATION = 3
#: Fewest frames that a static face is averaged over.
FEWEST_STATIC = 3


def speech_level(audio: ArrayLike, frames: int) -> NDArray[np.float64]:
    """Band-limited level in dB for each landmark frame: (N,) at 16 kHz -> (frames,).

    Power within `BAND_HZ` of a 40 ms Hann window centred on the frame's time n / 25 s; zeros
    beyond the recording's ends. Floor -100 dB.
    """
    samples = np.asarray(audio, dtype=np.float32)
    padded = np.zeros(FRAME * (frames + 1), dtype=np.float32)
    kept = samples[: FRAME * frames + FRAME // 2]
    padded[FRAME // 2 : FRAME // 2 + len(kept)] = kept
    windows = padded.reshape(-1)[: FRAME * frames].reshape(frames, FRAME) * np.hanning(FRAME)
    power = np.abs(np.fft.rfft(windows, axis=1)) ** 2
    hz = np.fft.rfftfreq(FRAME, 1 / SAMPLE_RATE)
    band = power[:, (hz >= BAND_HZ[0]) & (hz <= BAND_HZ[1])].sum(axis=1) * 2 / FRAME
    mean_square = band / np.sum(np.hanning(FRAME) ** 2)
    return np.asarray(10 * np.log10(mean_square + 1e-10))


def voiced_frames(audio: ArrayLike, frames: int) -> NDArray[np.bool_]:
    """Which landmark frames have voice: (N,) at 16 kHz -> (frames,) bool.

    A frame is voiced when its `speech_level` is above a threshold between the recording's floor
    (10th percentile) and peak (95th): floor + 10 dB, but no more than 30 dB and no less than 15 dB
    under the peak. A single such frame alone (a click, a lip smack) is not voice. A recording
    whose peak is under -60 dB has none.
    """
    if frames <= 0:
        return np.zeros(0, dtype=bool)
    level = speech_level(audio, frames)
    floor, peak = np.percentile(level, [10, 95])
    if peak < -60:
        return np.zeros(frames, dtype=bool)
    voiced = level > max(min(floor + 10, peak - 15), peak - 30)
    beside = np.zeros(frames, dtype=bool)
    beside[1:] |= voiced[:-1]
    beside[:-1] |= voiced[1:]
    return np.asarray(voiced & beside)


def static_face(
    landmarks: ArrayLike, voiced: ArrayLike, valid: ArrayLike | None = None
) -> NDArray[np.float32]:
    """Mean of the frames before speech, (T, P, 3) -> (P, 3): the model's input and the baseline.

    Before speech: up to `ANTICIPATION` frames ahead of the first voiced frame, tracked ones only.
    Where those are fewer than `FEWEST_STATIC` (speech starts at once, or never), the first
    `FEWEST_STATIC` tracked frames; a recording without voice is silence as a whole, and its static
    face the mean of all. Raises ValueError where no frame was tracked.
    """
    face = np.asarray(landmarks, dtype=np.float32)
    keep = np.ones(len(face), dtype=bool) if valid is None else np.asarray(valid, dtype=bool)
    tracked = np.flatnonzero(keep)
    if not len(tracked):
        raise ValueError("no frame was tracked, so there is no static face")
    where = np.flatnonzero(np.asarray(voiced, dtype=bool))
    start = where[0] - ANTICIPATION if len(where) else len(face)
    before = tracked[tracked < start]
    chosen = before if len(before) >= FEWEST_STATIC else tracked[:FEWEST_STATIC]
    return np.asarray(face[chosen].mean(axis=0, dtype=np.float64), dtype=np.float32)
