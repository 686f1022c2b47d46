"""Streaming log-mel spectrogram, equal to librosa's.

`librosa.power_to_db(librosa.feature.melspectrogram(y, sr=16000, n_fft=640, hop_length=320,
n_mels=80, fmin=90, fmax=7600, center=False), ref=1, amin=1e-10, top_db=None)`.
Frames are not centred: frame k covers samples [320 k, 320 k + 640).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emo_core.rates import SAMPLE_RATE

N_MELS = 80
HOP = 320
WINDOW = 640
FMIN, FMAX = 90.0, 7600.0
#: Power below this is silence; in dB the floor of every band.
AMIN = 1e-10
FLOOR_DB = -100.0


def mel_frequencies(n: int, fmin: float, fmax: float) -> NDArray[np.float64]:
    """`n` frequencies in Hz, evenly spaced on Slaney's mel scale (Auditory Toolbox, 1998)."""
    linear_step, break_hz = 200.0 / 3, 1000.0
    break_mel, log_step = break_hz / linear_step, np.log(6.4) / 27.0

    def to_mel(hz: float) -> float:
        if hz < break_hz:
            return hz / linear_step
        return float(break_mel + np.log(hz / break_hz) / log_step)

    mels = np.linspace(to_mel(fmin), to_mel(fmax), n)
    above = break_hz * np.exp(log_step * (mels - break_mel))
    hz: NDArray[np.float64] = np.where(mels < break_mel, mels * linear_step, above)
    return hz


def mel_filters() -> NDArray[np.float32]:
    """Triangular filters of unit area, (80, 321): power spectrum -> mel bands."""
    edges = mel_frequencies(N_MELS + 2, FMIN, FMAX)
    bins = np.linspace(0, SAMPLE_RATE / 2, WINDOW // 2 + 1)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    area = 2.0 / (edges[2:] - edges[:-2])
    filters: NDArray[np.float32] = (triangles * area[:, None]).astype(np.float32)
    return filters


class LogMel:
    """Samples in, log-mel frames out, each as soon as its last sample is there."""

    def __init__(self) -> None:
        self._filters = mel_filters().T.copy()
        # Periodic Hann, as scipy.signal.get_window("hann") and so librosa.
        phase = 2 * np.pi * np.arange(WINDOW) / WINDOW
        self._window = (0.5 - 0.5 * np.cos(phase)).astype(np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget the samples held: the next one fed is sample 0."""
        self._held = np.zeros(0, np.float32)

    def feed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Next samples, float32 (n,) -> the frames they complete, float32 (k, 80) in dB."""
        held = np.concatenate([self._held, samples]) if len(self._held) else samples
        count = max(0, (len(held) - WINDOW) // HOP + 1)
        if count == 0:
            self._held = held
            return np.zeros((0, N_MELS), np.float32)
        self._held = held[count * HOP :].copy()
        frames = np.lib.stride_tricks.sliding_window_view(held, WINDOW)[: count * HOP : HOP]
        spectrum = np.fft.rfft(frames * self._window, axis=-1)
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
        decibels: NDArray[np.float32] = 10.0 * np.log10(
            np.maximum(power @ self._filters, np.float32(AMIN))
        )
        return decibels
