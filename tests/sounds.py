"""Recordings made on the spot."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np


def speech_like(seconds: float, rate: int = 16_000) -> np.ndarray:
    """Syllables of a buzzing vowel, float64 (n,) in [-0.5, 0.5]: sound with a rhythm."""
    t = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 20))
    return 0.25 * buzz * np.clip(np.sin(2 * np.pi * 2.5 * t), 0, None)


def write_float_wav(path: Path, samples: np.ndarray, rate: int) -> None:
    """IEEE-float WAV (n,) or (n, channels), which the wave module cannot write."""
    samples = np.asarray(samples, "<f4")
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    data = samples.tobytes()
    layout = struct.pack("<HHIIHH", 3, channels, rate, rate * 4 * channels, 4 * channels, 32)
    body = b"WAVEfmt " + struct.pack("<I", len(layout)) + layout
    body += b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
