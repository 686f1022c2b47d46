"""Voice activity and the static face on recordings made here."""

from __future__ import annotations

import numpy as np
import pytest

from emo_core.evaluation.voice import speech_level, static_face, voiced_frames

RATE = 16_000


def recording(start: float, stop: float, length: float = 3.0, noise: float = 1e-3) -> np.ndarray:
    """A 400 Hz tone from `start` to `stop` s over noise."""
    t = np.arange(round(length * RATE)) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 400 * t) * ((t >= start) & (t < stop))
    return (tone + noise * np.random.default_rng(0).normal(size=len(t))).astype(np.float32)


def test_level_is_in_decibels_of_full_scale() -> None:
    tone = np.sqrt(2) * np.sin(2 * np.pi * 1000 * np.arange(16_000) / RATE)  # mean square 1: 0 dB
    level = speech_level(tone, 25)
    assert level[5:20] == pytest.approx(0, abs=0.1)
    assert speech_level(tone / 10, 25)[10] == pytest.approx(-20, abs=0.1)


def test_voiced_frames_find_the_tone() -> None:
    where = np.flatnonzero(voiced_frames(recording(1.0, 2.0), 75))
    assert abs(where[0] - 25) <= 1
    assert abs(where[-1] - 50) <= 1
    assert len(where) == where[-1] - where[0] + 1


def test_a_click_and_rumble_are_not_voice() -> None:
    audio = recording(1.0, 2.0)
    audio[4000:4080] += 0.3
    t = np.arange(len(audio)) / RATE
    audio += (0.1 * np.sin(2 * np.pi * 50 * t)).astype(np.float32)
    where = np.flatnonzero(voiced_frames(audio, 75))
    assert abs(where[0] - 25) <= 1
    assert abs(where[-1] - 50) <= 1


@pytest.mark.parametrize("audio", [np.zeros(48_000), np.zeros(0), np.zeros(1)])
def test_silence_has_no_voice(audio: np.ndarray) -> None:
    assert not voiced_frames(audio, 75).any()
    assert voiced_frames(audio, 0).shape == (0,)


def test_static_face_is_the_mean_before_speech() -> None:
    faces = np.arange(20, dtype=np.float32)[:, None, None] * np.ones((1, 478, 3), np.float32)
    voiced = np.zeros(20, dtype=bool)
    voiced[10:15] = True
    assert static_face(faces, voiced)[0, 0] == 3.0  # frames 0 .. 6: three before 10 left out
    valid = np.ones(20, dtype=bool)
    valid[:4] = False
    assert static_face(faces, voiced, valid)[0, 0] == 5.0  # frames 4, 5, 6


def test_static_face_falls_back_to_the_first_tracked_frames() -> None:
    faces = np.arange(20, dtype=np.float32)[:, None, None] * np.ones((1, 478, 3), np.float32)
    assert static_face(faces, np.ones(20, dtype=bool))[0, 0] == 1.0  # frames 0, 1, 2
    assert static_face(faces, np.zeros(20, dtype=bool))[0, 0] == 9.5  # no voice: all
    with pytest.raises(ValueError, match="tracked"):
        static_face(faces, np.ones(20), np.zeros(20, dtype=bool))
