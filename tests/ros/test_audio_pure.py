"""Sound's way in and out, without ROS: streams, recordings, a microphone that is lost, playout."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from soundcards import SoundCards
from waiting import until

from emo_core.audio.sources import load_audio
from emo_core.errors import EmoError
from emo_microphone.capture import Block, Capture
from emo_microphone.loudspeaker import Loudspeaker
from emo_microphone.playout import Playout
from emo_microphone.recording import Recording
from emo_speech_features.continuity import Continuity

RATE = 16_000
MS = 1_000_000
HELLO = Path(__file__).resolve().parents[2] / "src" / "emo" / "emo" / "data" / "hello.flac"


# -- a stream of chunks ----------------------------------------------------------------------


def numbered(first: int, count: int) -> np.ndarray:
    """Samples whose values are their indices."""
    return np.arange(first, first + count, dtype=np.float32)


def test_any_chunking_of_an_unbroken_stream_passes_unchanged() -> None:
    rng = np.random.default_rng(0)
    stream, first, out = Continuity(8000), 0, []
    for count in rng.integers(0, 1000, 50):
        piece = stream.feed(first, numbered(first, count))
        assert not piece.fault
        out.append(piece.samples)
        first += count
    np.testing.assert_array_equal(np.concatenate(out), numbered(0, first))


def test_a_small_gap_is_filled_with_silence() -> None:
    stream = Continuity(8000)
    stream.feed(0, numbered(0, 320))
    piece = stream.feed(320 + 8000, numbered(8320, 320))
    assert (piece.fault, piece.count, piece.restart) == ("gap", 8000, None)
    assert len(piece.samples) == 8320
    assert not piece.samples[:8000].any()


def test_a_large_gap_starts_anew_on_a_frame_boundary() -> None:
    stream = Continuity(8000)
    stream.feed(0, numbered(0, 320))
    piece = stream.feed(9000, numbered(9000, 1000))
    assert piece.restart == 9600
    np.testing.assert_array_equal(piece.samples, numbered(9600, 400))
    assert stream.feed(10000, numbered(10000, 320)).fault == ""


def test_what_comes_twice_is_heard_once() -> None:
    stream = Continuity(8000)
    stream.feed(0, numbered(0, 640))
    piece = stream.feed(320, numbered(320, 640))
    assert piece.fault == "repeated"
    np.testing.assert_array_equal(piece.samples, numbered(640, 320))


def test_sample_zero_begins_a_new_stream() -> None:
    stream = Continuity(8000)
    stream.feed(0, numbered(0, 3200))
    piece = stream.feed(0, numbered(0, 320))
    assert piece.restart == 0
    assert len(piece.samples) == 320


# -- a recording as a stream -----------------------------------------------------------------


def test_a_recording_keeps_its_samples_and_is_followed_by_silence() -> None:
    recording = Recording(str(HELLO), 320)
    chunks = list(recording.chunks(0.6))
    samples = load_audio(HELLO)
    assert recording.total == len(samples)
    heard = np.concatenate([chunk for chunk, _ in chunks])
    np.testing.assert_array_equal(heard[: len(samples)], samples)
    assert not heard[len(samples) :].any()
    assert len(heard) - len(samples) >= 0.6 * RATE
    assert {total for _, total in chunks} == {0, len(samples)}


def test_a_recording_that_is_none_shows_at_once(tmp_path: Path) -> None:
    text = tmp_path / "speech.wav"
    text.write_text("not a recording")
    with pytest.raises(EmoError, match="cannot read"):
        Recording(str(text), 320)


# -- a microphone that is unplugged -----------------------------------------------------------


class FakePace:
    """Time that passes with each block and each pause."""

    def __init__(self) -> None:
        self.now = 0
        self.stopped = False

    def elapsed(self) -> int:
        return self.now

    def pause(self, seconds: float) -> bool:
        self.now += int(seconds * 1e9)
        return not self.stopped


class FakeReports:
    def __init__(self) -> None:
        self.error = ""
        self.kinds: list[str] = []

    def fault(self, kind: str, text: str, count: int = 1) -> None:
        self.kinds.append(kind)


FAKE_TIMES = SimpleNamespace(inputBufferAdcTime=0.0, currentTime=0.0)


class FakeStream:
    def close(self, ignore_errors: bool = True) -> None:
        pass


def test_an_unplugged_microphone_comes_back_with_its_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emo_microphone.capture.SILENT_DEVICE_S", 0.01)
    pace, reports = FakePace(), FakeReports()
    attempts: list[bool] = []

    def open_stream(device: object, rate: int, size: int, callback: Any, again: bool) -> Any:
        attempts.append(again)
        if len(attempts) in (2, 3):
            raise OSError("no such device")
        for _ in range(3):  # three blocks, then silence: unplugged
            pace.now += 20 * MS
            callback(np.full((320, 1), 0.1, np.float32), 320, FAKE_TIMES, None)
        return FakeStream()

    capture = Capture("", RATE, 320, pace, open_stream)
    blocks: list[Block] = []
    for block in capture.blocks(reports):
        blocks.append(block)
        if len(blocks) == 6:
            pace.stopped = True
    assert attempts[:4] == [False, True, True, True]
    assert "lost_device" in reports.kinds
    assert reports.kinds.count("no_device") == 2
    assert reports.error == ""
    firsts = [block.first_sample for block in blocks]
    assert firsts[:3] == [0, 320, 640]
    # 0.5 s and 1 s of back-off are missing in the numbers, so that the stages see the gap.
    assert firsts[3] - 960 == pytest.approx(1.5 * RATE, abs=RATE * 0.06)
    assert np.diff(firsts[3:]).tolist() == [320, 320]


def placed(ends_ns: Iterable[float], size: int) -> list[int]:
    """First samples of the blocks that come at these times."""
    pace, sound = FakePace(), np.zeros((size, 1), np.float32)
    callbacks: list[Any] = []

    def open_stream(device: object, rate: int, size: int, callback: Any, again: bool) -> Any:
        callbacks.append(callback)
        callback(sound, size, FAKE_TIMES, None)  # the first block
        return FakeStream()

    blocks, firsts = Capture("", RATE, size, pace, open_stream).blocks(FakeReports()), []
    for end_ns in ends_ns:
        pace.now = int(end_ns)
        if callbacks:
            callbacks[0](sound, size, FAKE_TIMES, None)
        block = next(blocks)
        assert block.end_ns == pace.now, "stamps are of the clock, drift or not"
        firsts.append(block.first_sample)
    return firsts


@pytest.mark.parametrize("drift", [1e-4, -1e-4], ids=["slow", "fast"])
def test_a_drifting_clock_loses_nothing_and_hides_no_loss(drift: float) -> None:
    size, loss, lost_s = 1600, 40_000, 0.2
    ends_s = np.arange(1, 72_001) * (size / RATE) * (1.0 + drift)  # two hours
    ends_s[loss:] += lost_s
    ends_s += np.random.default_rng(0).uniform(0.0, 0.005, len(ends_s))
    ends_s[::100] += 0.05  # and some blocks come late
    steps = np.diff(placed(1e9 * ends_s, size)) - size
    assert np.flatnonzero(steps).tolist() in ([loss - 1], [loss])
    assert steps.sum() == pytest.approx(lost_s * RATE, abs=0.06 * RATE)


def test_blocks_that_come_late_are_not_taken_for_drift() -> None:
    ends_s = np.arange(1, 201) * 0.02
    ends_s[100:150] += 0.06  # busy for a second
    ends_s[160:] += 0.11
    steps = np.diff(placed(1e9 * ends_s, 320)) - 320
    assert np.flatnonzero(steps).tolist() == [159]
    assert steps[159] == pytest.approx(0.11 * RATE, abs=0.005 * RATE)


def test_a_microphone_is_tried_again_also_where_portaudio_is_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("emo_microphone.capture.SILENT_DEVICE_S", 0.01)
    cards, reports = SoundCards(), FakeReports()
    monkeypatch.setitem(sys.modules, "sounddevice", cards)
    blocks = Capture("", RATE, 320, FakePace()).blocks(reports)
    assert next(blocks).first_sample == 0
    cards.down = 2
    assert next(blocks).first_sample > 0
    assert reports.kinds == ["lost_device", "no_device", "no_device"]
    assert reports.error == ""
    blocks.close()
    assert all(stream.closed for stream in cards.streams)


# -- a loudspeaker that is unplugged -----------------------------------------------------------


@pytest.mark.parametrize("state", ["fails", "ends", "hangs"])
def test_an_unplugged_loudspeaker_comes_back(state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SILENT_DEVICE_S", "FIRST_DELAY_S"):
        monkeypatch.setattr(f"emo_microphone.loudspeaker.{name}", 0.001)
    cards, reports = SoundCards(), FakeReports()
    monkeypatch.setitem(sys.modules, "sounddevice", cards)
    loudspeaker = Loudspeaker("", RATE, lambda out, *_: out.fill(0.5), reports)
    loudspeaker.open()
    thread = threading.Thread(target=loudspeaker.watch, daemon=True)
    thread.start()
    first = cards.streams[0]
    until(lambda: first.looks > 3)
    assert (reports.kinds, reports.error) == ([], "")
    cards.plugged, cards.down = False, 1
    first.state = state
    until(lambda: reports.kinds.count("no_device") >= 3)
    assert reports.kinds[:2] == ["lost_device", "no_device"]
    assert first.closed
    assert "Plug it in" in reports.error
    cards.plugged = True
    until(lambda: not reports.error)
    assert len(cards.streams) == 2
    assert np.all(cards.streams[1].heard == 0.5)
    loudspeaker.close()
    thread.join(10.0)
    assert cards.streams[1].closed
    assert reports.kinds.count("lost_device") == 1


# -- when sound is heard ---------------------------------------------------------------------


def test_sound_waits_for_the_first_command_and_then_meets_the_lips() -> None:
    playout = Playout(RATE, lag_ns=30 * MS)
    sound = np.full(320, 0.1, np.float32)
    for k in range(12):
        assert playout.push(320 * k, sound, (k + 1) * 20 * MS) == []
    # Frame 0 (captured from 0 on) is commanded at 246 ms: look-ahead 240, pipeline 6.
    playout.measure(0, 246 * MS)
    chunks = playout.push(320 * 12, sound, 13 * 20 * MS)
    assert len(chunks) == 13
    assert [chunk.start_ns for chunk in chunks] == [276 * MS + k * 20 * MS for k in range(13)]


def test_the_delay_is_mended_in_silence_only() -> None:
    playout = Playout(RATE, lag_ns=0)
    loud, silent = np.full(320, 0.1, np.float32), np.zeros(320, np.float32)
    playout.measure(0, 260 * MS)
    assert playout.push(0, loud, 20 * MS)[0].start_ns == 260 * MS
    for _ in range(25):
        playout.measure(0, 246 * MS)
    assert playout.push(320, loud, 40 * MS)[0].start_ns == 280 * MS
    assert playout.push(640, silent, 60 * MS)[0].start_ns == 286 * MS


def test_a_sound_card_gets_every_sample_at_its_time() -> None:
    playout = Playout(RATE, lag_ns=0)
    playout.measure(0, 100 * MS)
    for k in range(10):
        samples = np.arange(320 * k + 1, 320 * k + 321, dtype=np.float32) / RATE
        playout.push(320 * k, samples, (k + 1) * 20 * MS)
    # Blocks of 11 ms, on a card whose clock says 80 ms at the start: 20 ms of silence first.
    heard = np.concatenate([playout.pull(80 * MS + 11 * k * MS, 176) for k in range(22)])
    first = int(np.flatnonzero(heard)[0])
    assert abs(first - 320) <= 48  # within the 3 ms that are tolerated
    np.testing.assert_allclose(heard[first : first + 3200] * RATE, np.arange(1, 3201), rtol=1e-5)
    assert not heard[first + 3200 :].any()
