from __future__ import annotations

import numpy as np
import pytest

from emo_core.audio.activity import SpeechActivity
from emo_core.audio.mel import FLOOR_DB, HOP, LogMel

RNG = np.random.default_rng(0)
NOISE = (0.1 * RNG.standard_normal(16_000)).astype(np.float32)
CHIRP = np.sin(2 * np.pi * np.cumsum(np.linspace(80, 7900, 16_000)) / 16_000).astype(np.float32)


@pytest.mark.parametrize("signal", [NOISE, CHIRP, 1e-4 * NOISE], ids=["noise", "chirp", "faint"])
def test_equals_librosa(signal: np.ndarray) -> None:
    librosa = pytest.importorskip("librosa")
    power = librosa.feature.melspectrogram(
        y=signal, sr=16_000, n_fft=640, hop_length=320, n_mels=80, fmin=90, fmax=7600, center=False
    )
    expected = librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None).T
    np.testing.assert_allclose(LogMel().feed(signal), expected, atol=0.05)  # float32, at -80 dB


def test_silence_is_the_floor() -> None:
    np.testing.assert_allclose(LogMel().feed(np.zeros(6400, np.float32)), FLOOR_DB, atol=1e-4)


@pytest.mark.parametrize("size", [1, 7, 320, 333, 641, 5000])
def test_any_chunking_gives_the_same_frames(size: int) -> None:
    whole = LogMel().feed(NOISE)
    mel = LogMel()
    pieces = [mel.feed(NOISE[i : i + size]) for i in range(0, len(NOISE), size)]
    assert whole.shape == ((16_000 - 640) // 320 + 1, 80)
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-4)


def test_frame_k_ends_at_its_last_sample() -> None:
    mel = LogMel()
    assert len(mel.feed(NOISE[:639])) == 0
    assert len(mel.feed(NOISE[639:640])) == 1
    assert len(mel.feed(NOISE[640:959])) == 0
    assert len(mel.feed(NOISE[959:960])) == 1


def test_reset_starts_again() -> None:
    mel = LogMel()
    mel.feed(NOISE[:1000])
    mel.reset()
    np.testing.assert_array_equal(mel.feed(NOISE), LogMel().feed(NOISE))


def test_speech_activity_follows_bursts_over_a_noise_floor() -> None:
    second = 16_000
    signal = 1e-3 * RNG.standard_normal(4 * second).astype(np.float32)
    signal[second : 2 * second] += NOISE
    flags = SpeechActivity().feed(signal)
    assert len(flags) == 200
    assert not any(flags[10:50])
    assert all(flags[50:100])
    assert not any(flags[115:])  # 240 ms of hang-over, then silence


def test_speech_activity_lasts_twelve_frames_longer_than_speech() -> None:
    signal = np.zeros(50 * HOP, np.float32)
    signal[10 * HOP : 15 * HOP] = NOISE[: 5 * HOP]
    signal[20 * HOP : 21 * HOP] = NOISE[:HOP]  # a pause that is bridged
    flags = SpeechActivity().feed(signal)
    assert flags == [False] * 10 + [True] * (11 + 12) + [False] * 17
    assert all(type(flag) is bool for flag in flags)  # as messages take them


def test_speech_activity_of_silence_is_never_on() -> None:
    assert not any(SpeechActivity().feed(np.zeros(32_000, np.float32)))
