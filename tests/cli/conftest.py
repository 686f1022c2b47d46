"""Recordings made on the spot, good and bad."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sounds import write_float_wav

WriteWav = Callable[..., Path]


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
