"""Videos to prepared clips: whole files, and frames at their own times."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from emo_core.data.faces import names_of
from emo_core.data.prepare import Clip, prepare_clip, prepare_folder, resample, save_clip
from emo_core.errors import EmoError
from emo_core.face import tracking
from emo_core.face.alignment import canonical_face
from emo_core.face.tracking import Track


@pytest.mark.data
def test_good_and_bad_clips_and_resuming(data_dir: Path, tmp_path: Path) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    shutil.copy(data_dir / "grid_s1" / "bbal9a.mp4", videos)
    (videos / "text.mp4").write_text("no video")
    results = dict(prepare_folder(videos, out, jobs=1))
    assert results["bbal9a"] is None
    assert "text.mp4" in str(results["text"])
    assert "text" in (out / "bad_clips.json").read_text()
    clip = Clip.load(out / "bbal9a.npz")
    assert clip.landmarks.shape == (75, 478, 3)
    assert len(clip.audio) == 48_000 or abs(len(clip.audio) - 48_000) < 640
    assert clip.mel.shape == ((len(clip.audio) - 640) // 320 + 1, 80)
    written = (out / "bbal9a.npz").stat().st_mtime_ns
    assert dict(prepare_folder(videos, out, jobs=1))["bbal9a"] is None
    assert (out / "bbal9a.npz").stat().st_mtime_ns == written


def test_a_clip_cut_short_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(EmoError, match=r"a\.npz"):
        Clip.load(tmp_path / "a.npz")


def test_other_frame_rates_are_resampled_in_time() -> None:
    times = np.arange(60) / 30
    landmarks = np.broadcast_to(times[:, None, None], (60, 478, 3)).astype(np.float32)
    pose = np.zeros((60, 4, 4), np.float32)
    valid = np.ones(60, bool)
    at_25, _, _ = resample(Track(landmarks, landmarks, pose, valid, 30.0), 25.0)
    assert at_25.shape == (50, 478, 3)
    np.testing.assert_allclose(at_25[:49, 0, 0], np.arange(49) / 25, atol=1e-5)


def moving(fps: float, times_s: np.ndarray | None = None, frames: int = 60) -> Track:
    landmarks = np.random.default_rng(1).normal(size=(frames, 478, 3)).astype(np.float32)
    landmarks[7] = np.nan
    pose = np.broadcast_to(landmarks[:, :4, :1], (frames, 4, 4))
    valid = np.isfinite(landmarks).all(axis=(1, 2))
    track = Track(landmarks, landmarks, pose, valid, fps)
    return track if times_s is None else replace(track, times_s=times_s)


@pytest.mark.parametrize("fps", [25.0, 30.0, 24.0, 50.0])
def test_a_constant_rate_is_counted_to_the_bit(fps: float) -> None:
    stated = (np.arange(60) / fps).round(3)  # as mkv states them
    for one, other in zip(
        resample(moving(fps, stated), 25.0), resample(moving(fps), 25.0), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    if fps == 25.0:
        track = moving(fps, stated)
        assert resample(track, 25.0)[0] is track.metric


@pytest.mark.parametrize(("fps", "lost"), [(50.0, 7), (50.0, 6), (75.0, 7), (75.0, 6)])
def test_a_face_lost_between_the_counted_frames_costs_none(fps: float, lost: int) -> None:
    track = moving(fps)
    metric = track.metric.copy()
    metric[7] = metric[8]
    metric[lost] = np.nan
    track = replace(track, metric=metric, pose=metric[:, :4, :1], valid=np.arange(60) != lost)
    landmarks, pose, valid = resample(track, 25.0)
    step = round(fps / 25)
    np.testing.assert_array_equal(landmarks, track.metric[::step])
    np.testing.assert_array_equal(pose, track.pose[::step])
    np.testing.assert_array_equal(valid, track.valid[::step])
    assert valid.all() == bool(lost % step)


def test_times_that_are_of_no_use_are_not_used() -> None:
    stated = np.arange(60) / 25
    back, leap, lost = (stated.copy() for _ in range(3))
    back[30:] -= 1.0
    leap[30:] += 3600.0
    lost[30] = np.nan
    for times in (back, leap, lost, np.zeros(60), stated + 3600.0):
        track = moving(25.0, times)
        assert resample(track, 25.0)[0] is track.metric


def test_a_face_not_found_is_lost_at_its_own_time_only() -> None:
    times = np.arange(60) / 25
    times[20:] += 0.04
    landmarks, _, valid = resample(moving(25.0, times - 1e-9), 25.0)
    assert len(landmarks) == 61
    np.testing.assert_array_equal(np.flatnonzero(~valid), [7])
    np.testing.assert_array_equal(np.isfinite(landmarks).all(axis=(1, 2)), valid)


#: The mouth of the face that `filmed` is tracked as opens by so much.
MM_PER_S = 10.0


def filmed(
    path: Path,
    times_ms: Sequence[int],
    monkeypatch: pytest.MonkeyPatch,
    damaged: Collection[int] = (),
) -> Clip:
    """A film of frames at these times, some damaged, prepared: the opening tells the time."""
    with av.open(str(path), "w") as film:
        stream = film.add_stream("mjpeg", rate=25)  # every frame stands alone
        stream.width = stream.height = 64
        stream.pix_fmt = "yuvj420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for n, time_ms in enumerate(times_ms):
            frame = av.VideoFrame(64, 64, "yuvj420p")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            for packet in stream.encode(frame):
                sent = packet
                if n in damaged:
                    sent = av.Packet(b"no picture")
                    sent.stream, sent.time_base = stream, packet.time_base
                    sent.pts = sent.dts = packet.pts
                film.mux(sent)
    seen = iter([time for n, time in enumerate(times_ms) if n not in damaged])

    class Tracker:
        def __init__(self, max_faces: int) -> None:
            pass

        def __enter__(self) -> Tracker:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def track(self, rgb: np.ndarray) -> np.ndarray:
            face = canonical_face() * np.array([1, -1, -1], np.float32)  # as on a screen
            face[14, 1] += MM_PER_S * next(seen) / 1000
            return face

    monkeypatch.setattr(tracking, "FaceTracker", Tracker)
    return prepare_clip(path, sound=False)


def told_s(clip: Clip) -> np.ndarray:
    """When each frame of the clip was filmed, as its opening tells."""
    return (canonical_face()[14, 1] - clip.landmarks[:, 14, 1]) / MM_PER_S


@pytest.mark.parametrize("suffix", ["mkv", "mov"])
def test_an_uneven_film_keeps_its_time(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A phone that slows down as it gets dark: 30 frames in the first second, 12 in the next."""
    times = [*range(0, 1000, 33), *range(1023, 2000, 83)]
    clip = filmed(tmp_path / f"phone.{suffix}", times, monkeypatch)
    assert abs(len(clip.landmarks) - 50) <= 1 and clip.valid.all()
    during = np.arange(len(clip.landmarks)) / 25
    np.testing.assert_allclose(told_s(clip), np.minimum(during, times[-1] / 1000), atol=0.001)


@pytest.mark.parametrize("damaged", [(), (20,), (0,), range(20, 30), range(10)])
def test_a_frame_left_out_does_not_move_the_others(
    damaged: Collection[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = filmed(tmp_path / "film.mkv", range(0, 2000, 40), monkeypatch, damaged)
    assert len(clip.landmarks) == 50
    lost = np.isin(np.arange(50), damaged) & (len(damaged) > 1)  # nobody knows of so long
    np.testing.assert_array_equal(clip.valid, ~lost)
    np.testing.assert_array_equal(np.isfinite(clip.landmarks).all(axis=(1, 2)), ~lost)
    first = 0.04 if 0 in damaged else 0.0  # there is none before to tell it by
    expected = np.where(lost, np.nan, np.maximum(np.arange(50) / 25, first))
    np.testing.assert_allclose(told_s(clip), expected, atol=0.001)


def test_a_clip_half_written_is_no_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = []

    def killed(file: Any, **arrays: object) -> None:
        Path(file if isinstance(file, Path) else file.name).write_bytes(b"half a clip")
        clips.append(names_of(tmp_path))
        raise KeyboardInterrupt

    track = moving(25.0)
    sound, mel = np.zeros(0, np.float32), np.zeros((0, 80), np.float32)
    clip = Clip("a", track.metric, track.pose, track.valid, sound, mel)
    monkeypatch.setattr(np, "savez", killed)
    with pytest.raises(KeyboardInterrupt):
        save_clip(clip, tmp_path / "a.npz")
    assert clips == [[]] and not list(tmp_path.iterdir())
    monkeypatch.undo()
    save_clip(clip, tmp_path / "a.npz")
    assert names_of(tmp_path) == ["a"] and Clip.load(tmp_path / "a.npz").mel.shape == (0, 80)


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(EmoError, match="no videos"):
        list(prepare_folder(tmp_path, tmp_path / "out"))
