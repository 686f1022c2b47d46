"""Recordings made on the spot, good and bad."""

from __future__ import annotations

import struct
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

WriteWav = Callable[..., Path]


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


@pytest.fixture
def wav(tmp_path: Path) -> WriteWav:
    """`wav(samples, rate=16000, name=..., float32=False)` -> path of a WAV file."""

    def write(
        samples: np.ndarray, rate: int = 16_000, name: str = "speech.wav", float32: bool = False
    ) -> Path:
        path = tmp_path / name
        if float32:
            write_float_wav(path, samples, rate)
            return path
        samples = np.asarray(samples)
        with wave.open(str(path), "wb") as out:
            out.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
            out.setsampwidth(2)
            out.setframerate(rate)
            out.writeframes(np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
        return path

    return write
