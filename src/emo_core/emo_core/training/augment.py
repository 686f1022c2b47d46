"""Other voices, rooms and microphones on the same lips, worked on log-mel frames.

Everything here keeps the time axis: what a listener would hear changes, what a viewer would see
does not. Frames are (T, 80) in dB with the floor at -100.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emo_core.audio.mel import FLOOR_DB, FMAX, FMIN, HOP, N_MELS, mel_frequencies
from emo_core.rates import SAMPLE_RATE

Array = NDArray[np.float32]

_CENTRES = mel_frequencies(N_MELS + 2, FMIN, FMAX)[1:-1]
#: Bands wide enough that a voice's harmonics melt into its formants.
_SMOOTH_REACH = 3


def warp(mel: Array, factor: float) -> Array:
    """Scale the frequency axis: `factor` > 1 is a shorter vocal tract and a higher pitch."""
    source = np.interp(_CENTRES / factor, _CENTRES, np.arange(N_MELS, dtype=np.float64))
    low = np.floor(source).astype(int).clip(0, N_MELS - 2)
    share = (source - low).astype(np.float32)
    warped: Array = mel[:, low] * (1 - share) + mel[:, low + 1] * share
    return warped


def without_harmonics(mel: Array) -> Array:
    """Smooth along frequency: the formants stay, the pitch goes (a whisper, or another voice's)."""
    padded = np.pad(mel, ((0, 0), (_SMOOTH_REACH, _SMOOTH_REACH)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * _SMOOTH_REACH + 1, axis=1)
    smooth: Array = windows.mean(-1).astype(np.float32)
    return smooth


def microphone(mel: Array, rng: np.random.Generator, depth_db: float) -> Array:
    """A smooth random frequency response."""
    knots = rng.normal(0, depth_db, 6)
    curve = np.interp(np.arange(N_MELS), np.linspace(0, N_MELS - 1, 6), knots)
    coloured: Array = mel + curve.astype(np.float32)
    return coloured


def room(mel: Array, rt60_s: float, level_db: float) -> Array:
    """Late reverberation: each band's power decays by 60 dB in `rt60_s`, mixed at `level_db`."""
    from scipy.signal import lfilter

    power = 10 ** (mel / 10)
    decay = 10 ** (-6 * HOP / SAMPLE_RATE / rt60_s)
    tail = lfilter([0.0, decay], [1.0, -decay], power, axis=0)
    out = power + 10 ** (level_db / 10) * tail
    wet: Array = (10 * np.log10(np.maximum(out, 1e-10))).astype(np.float32)
    return wet


def noise(mel: Array, rng: np.random.Generator, snr_db: float) -> Array:
    """Steady noise of a random colour, `snr_db` under the recording's loud frames."""
    loud = np.percentile(mel.mean(1), 90)
    colour = rng.uniform(-25, 10) * np.linspace(0, 1, N_MELS) + rng.normal(0, 2, N_MELS)
    level = loud - snr_db + colour - colour.mean()
    fluctuation = rng.gamma(4.0, 0.25, mel.shape)  # a band of a few bins: chi-square power
    power = 10 ** (mel / 10) + 10 ** (level / 10) * fluctuation
    noisy: Array = (10 * np.log10(np.maximum(power, 1e-10))).astype(np.float32)
    return noisy


def codec(mel: Array, cut_hz: float) -> Array:
    """A telephone: nothing above `cut_hz`."""
    out = mel.copy()
    out[:, cut_hz < _CENTRES] = FLOOR_DB
    return out


def another_voice(mel: Array, rng: np.random.Generator) -> Array:
    """A random chain of all of the above."""
    factor = float(np.exp(rng.normal(0.0, 0.10)))
    out = warp(mel, float(np.clip(factor, 0.75, 1.35)))
    if rng.random() < 0.2:
        out = without_harmonics(out)
    out = microphone(out, rng, 3.0)
    if rng.random() < 0.4:
        out = room(out, rng.uniform(0.15, 0.6), rng.uniform(-15, -5))
    if rng.random() < 0.5:
        out = noise(out, rng, rng.uniform(8, 40))
    if rng.random() < 0.1:
        out = codec(out, rng.uniform(3200, 5500))
    gained: Array = np.maximum(out + np.float32(rng.uniform(-14, 8)), FLOOR_DB)
    return gained
