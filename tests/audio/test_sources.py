from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np
import pytest

from emo_core.audio.sources import load_audio, open_audio
from emo_core.errors import EmoError


def write_wav(path: Path, samples: np.ndarray, rate: int, layout: str = "mono") -> Path:
    """Float or int16 samples (channels, n) by PyAV."""
    codec = {"float32": "pcm_f32le", "int16": "pcm_s16le"}[samples.dtype.name]
    packed = {"float32": "flt", "int16": "s16"}[samples.dtype.name]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        data = np.ascontiguousarray(np.atleast_2d(samples).T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(data, format=packed, layout=layout)
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


def tone(rate: int, seconds: float = 1.0, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 96_000])
def test_any_rate_becomes_16_khz(tmp_path: Path, rate: int) -> None:
    samples = load_audio(write_wav(tmp_path / "a.wav", tone(rate), rate))
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(16_000, abs=40)
    np.testing.assert_allclose(samples[4000:12_000], tone(16_000)[4000:12_000], atol=0.01)


def test_stereo_is_mixed(tmp_path: Path) -> None:
    left = tone(16_000)
    samples = load_audio(
        write_wav(tmp_path / "a.wav", np.stack([left, np.zeros_like(left)]), 16_000, "stereo")
    )
    assert np.abs(samples).max() == pytest.approx(0.25, abs=0.01)


def test_nan_and_clipping(tmp_path: Path) -> None:
    samples = 4 * tone(16_000)
    samples[100:200] = np.nan
    samples[300] = np.inf
    with open_audio(write_wav(tmp_path / "a.wav", samples, 16_000)) as recording:
        read = np.concatenate(list(recording.blocks(1000)))
        assert recording.non_finite == 101
    assert len(read) == 16_000
    assert np.isfinite(read).all()
    assert np.abs(read).max() == 1.0
    assert (read[100:200] == 0).all()


def test_blocks_are_full_but_the_last(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(16_000), 16_000)
    with open_audio(path) as recording:
        sizes = [len(block) for block in recording.blocks(999)]
        assert recording.duration_s == pytest.approx(1.0)
    assert sizes == [999] * 16 + [16_000 - 999 * 16]


def test_one_sample(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", np.ones(1, np.float32) / 2, 16_000)
    assert load_audio(path).tolist() == [0.5]


def test_what_is_no_recording_says_so(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("this is not a recording\n" * 100)
    (tmp_path / "nothing.wav").write_bytes(b"")
    with wave.open(str(tmp_path / "empty.wav"), "wb") as empty:
        empty.setparams((1, 2, 16_000, 0, "NONE", ""))
    for name, words in [
        ("text.wav", "cannot read"),
        ("nothing.wav", "cannot read"),
        ("empty.wav", "empty"),
        ("missing.wav", "no such recording"),
    ]:
        with pytest.raises(EmoError, match=words) as caught:
            load_audio(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.data
def test_sound_and_picture_of_a_video_share_their_clock(data_dir: Path) -> None:
    samples = load_audio(data_dir / "grid_s1" / "bbaf2n.mp4")
    assert len(samples) == pytest.approx(3 * 16_000, abs=640)
