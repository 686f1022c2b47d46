"""Picture and sound of the films we write, as a player sees them."""

from __future__ import annotations

import av
import numpy as np
import pytest

from emo_core.errors import EmoError
from emo_core.viz.video import VideoWriter

RATE = 16_000


def frames_of(path):
    with av.open(str(path)) as container:
        return [(float(f.time), f.to_ndarray(format="bgr24")) for f in container.decode(video=0)]


def sound_of(path):
    """(time of the first sample, samples)."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    return float(frames[0].time), np.concatenate([f.to_ndarray()[0] for f in frames])


def flash(bright, size=(64, 48)):
    return np.full((size[1], size[0], 3), 255 if bright else 0, np.uint8)


def add(writer, count, bright):
    """Dark frames with silence, but for one."""
    for n in range(count):
        writer.add_frame(flash(n == bright))
        writer.add_audio(np.zeros(640, np.float32))


def test_flash_and_click_meet(tmp_path):
    """The click in the middle of a frame's sound is found there, to the sample."""
    path = tmp_path / "a.mp4"
    with VideoWriter(path, (64, 48), 25, RATE) as writer:
        for n in range(75):
            writer.add_frame(flash(n in (10, 50)))
            sound = np.zeros(640, np.float32)
            if n in (10, 50):
                sound[300:340] = np.hanning(40)
            writer.add_audio(sound)
    times = [t for t, image in frames_of(path) if image.mean() > 128]
    assert times == pytest.approx([0.4, 2.0], abs=1e-4)
    start, sound = sound_of(path)
    for time in times:
        around = round((time - start) * RATE)
        peak = around + int(np.argmax(np.abs(sound[around : around + 640]))) - around
        assert abs(peak - 320) <= 2


def test_given_times_are_kept_and_late_frames_left_out(tmp_path):
    path = tmp_path / "a.mp4"
    with VideoWriter(path, (64, 48), 25) as writer:
        assert writer.add_frame(flash(False), 0.0)
        assert writer.add_frame(flash(True), 0.123)
        assert not writer.add_frame(flash(True), 0.1)
        assert writer.add_frame(flash(False), 0.5)
    assert [t for t, _ in frames_of(path)] == pytest.approx([0.0, 0.123, 0.5], abs=1e-4)


def test_sound_given_a_time_waits_in_silence_and_never_overlaps(tmp_path):
    path = tmp_path / "a.mp4"
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(1600) / RATE).astype(np.float32)
    with VideoWriter(path, (64, 48), 25, RATE) as writer:
        writer.add_frame(flash(False))
        writer.add_audio(tone, 0.5)
        writer.add_audio(tone, 0.55)  # its first half would overlap
        assert writer.audio_s == pytest.approx(0.65)
    start, sound = sound_of(path)
    loud = np.flatnonzero(np.abs(sound) > 0.1) / RATE + start
    assert loud[0] == pytest.approx(0.5, abs=0.005)
    assert loud[-1] == pytest.approx(0.65, abs=0.005)


def test_a_film_whose_file_went_away_ends_in_one_line(tmp_path):
    path = tmp_path / "a.mp4"
    writer = VideoWriter(path, (64, 48), 25)
    for _ in range(100):  # the first ones are on the disk
        writer.add_frame(flash(True))
    path.unlink()
    with pytest.raises(EmoError, match=r"writing video stopped: .*a.mp4: No such file"):
        writer.close()
    writer.close()


@pytest.mark.parametrize("fps", [25, 30, 29.97, 50])
def test_constant_rate_does_not_drift(tmp_path, fps):
    path = tmp_path / "a.mp4"
    with VideoWriter(path, (64, 48), fps) as writer:
        for n in range(100):
            writer.add_frame(flash(n % 2))
        assert writer.duration_s == pytest.approx(100 / fps, abs=1e-3)
    times = [t for t, _ in frames_of(path)]
    np.testing.assert_allclose(times, np.arange(100) / fps, atol=1.1e-5)


def test_colours_survive(tmp_path):
    path = tmp_path / "a.mp4"
    colour = (40, 160, 220)
    with VideoWriter(path, (64, 48), 25, crf=10) as writer:
        writer.add_frame(np.full((48, 64, 3), colour, np.uint8))
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    assert frame.colorspace == 1  # tagged BT.709 ...
    blue, green, red = colour
    light = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    planes = frame.to_ndarray()  # ... and coded by it, limited range
    wanted = (
        16 + 219 / 255 * light,
        128 + 224 / 255 * (blue - light) / 1.8556,
        128 + 224 / 255 * (red - light) / 1.5748,
    )
    seen = (planes[:48].mean(), planes[48:60].mean(), planes[60:].mean())
    assert seen == pytest.approx(wanted, abs=1.5)


def test_what_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(EmoError, match="cannot write video"):
        VideoWriter(tmp_path / "no" / "a.mp4", (64, 48), 25)
    with pytest.raises(ValueError, match="even"):
        VideoWriter(tmp_path / "a.mp4", (63, 48), 25)


def test_closing_twice_and_without_frames(tmp_path):
    writer = VideoWriter(tmp_path / "a.mp4", (64, 48), 25, RATE)
    writer.close()
    writer.close()


def test_a_film_whose_writer_is_killed_plays_to_its_last_seconds(tmp_path):
    path, left = tmp_path / "a.mp4", tmp_path / "left.mp4"
    with VideoWriter(path, (64, 48), 25, RATE) as writer:
        add(writer, 250, bright=130)
        left.write_bytes(path.read_bytes())
    for film, shortest in ((path, 10.0), (left, 6.9)):
        pictures = frames_of(film)
        assert shortest <= len(pictures) / 25 <= 10.0
        assert [t for t, image in pictures if image.mean() > 128] == pytest.approx([5.2], abs=1e-4)
        assert sound_of(film)[1].size / RATE >= shortest


def test_a_disk_too_full_for_one_index_leaves_a_film_that_plays(tmp_path):
    path, part = tmp_path / "a.mp4", tmp_path / "a.mp4.plain"
    with VideoWriter(path, (64, 48), 25, RATE) as writer:
        add(writer, 100, bright=60)
        part.symlink_to("/dev/full")
    assert not part.is_symlink()
    pictures = frames_of(path)
    assert len(pictures) == 100
    assert [t for t, image in pictures if image.mean() > 128] == pytest.approx([2.4], abs=1e-4)
    assert sound_of(path)[1].size == pytest.approx(64_000, abs=1024)
