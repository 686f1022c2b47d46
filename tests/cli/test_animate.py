"""animate: good recordings of every kind, and bad ones, each with one clear line."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from sounds import speech_like

from emo_core.face.alignment import canonical_face
from emo_core.face.static_face import load_face, save_static_face
from emo_core.paths import share_dir
from emo_core.robot.description import RobotDescription
from emo_core.robot.sim.servos import simulate
from emo_core.robot.sim.stream import SimulatedRobot

MOUTH = (13, 14)


def opening(faces):
    return np.linalg.norm(faces[:, MOUTH[0], :2] - faces[:, MOUTH[1], :2], axis=-1)


def animate(emo, source, out, *more):
    result = emo("animate", source, "-o", out, "--json", *more)
    assert result.status == 0, result.err
    with np.load(out) as stored:
        return json.loads(result.out), {key: stored[key] for key in stored.files}


def test_result_has_what_the_page_says(emo, wav, tmp_path):
    report, result = animate(emo, wav(speech_like(2.01)), tmp_path / "out.npz")
    frames = 51  # ceil(2.01 s x 25)
    assert result["landmarks"].shape == (frames, 478, 3)
    assert result["landmarks"].dtype == result["motors"].dtype == np.float32
    robot = RobotDescription.load("sim")
    assert tuple(result["motor_names"]) == robot.names
    assert result["motors"].shape == (frames, len(robot.names))
    assert (result["motors"] >= 0).all()
    assert (result["motors"] <= 1).all()
    assert result["fps"] == 25
    assert report["frames"] == frames
    assert report["audio_s"] == pytest.approx(2.01, abs=1e-3)
    assert report["warnings"] == []


def test_an_input_is_never_replaced(emo, wav, tmp_path):
    speech = wav(speech_like(1.0), name="in.mp4")
    sound = speech.read_bytes()
    line = emo("animate", speech, "-o", speech).error_line
    assert f"{speech} would be replaced by the result: give another name with -o" in line
    assert speech.read_bytes() == sound
    face = save_static_face(tmp_path, "face", canonical_face())
    line = emo("animate", speech, "--face", face, "-o", face).error_line
    assert f"{face} would be replaced by the result" in line
    np.testing.assert_array_equal(load_face(face), canonical_face())


def test_same_result_in_small_blocks(emo, wav, tmp_path, monkeypatch):
    speech = wav(speech_like(4.0))
    _, whole = animate(emo, speech, tmp_path / "a.npz")
    monkeypatch.setattr("emo.cli.animate.BLOCK", 997)
    _, parts = animate(emo, speech, tmp_path / "b.npz")
    np.testing.assert_allclose(whole["landmarks"], parts["landmarks"], atol=1e-4)
    np.testing.assert_allclose(whole["motors"], parts["motors"], atol=1e-4)


@pytest.mark.parametrize("rate", [8_000, 44_100, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_and_channels(emo, wav, tmp_path, rate, channels):
    samples = speech_like(2.0, rate)
    if channels == 2:
        samples = np.stack([samples, samples], 1)
    _, result = animate(emo, wav(samples, rate), tmp_path / "out.npz")
    _, plain = animate(emo, wav(speech_like(2.0), name="plain.wav"), tmp_path / "plain.npz")
    assert len(result["landmarks"]) == 50
    assert np.corrcoef(opening(result["landmarks"]), opening(plain["landmarks"]))[0, 1] > 0.8


def test_float_samples(emo, wav, tmp_path):
    _, plain = animate(emo, wav(speech_like(2.0)), tmp_path / "a.npz")
    _, result = animate(emo, wav(speech_like(2.0), name="f.wav", float32=True), tmp_path / "b.npz")
    # 16 bits round the silences, which the log-mel hears: half a millimetre at most.
    np.testing.assert_allclose(result["landmarks"], plain["landmarks"], atol=0.5)


def test_nan_samples_are_silence_and_told(emo, wav, tmp_path):
    samples = speech_like(2.0)
    samples[8000:8100] = np.nan
    samples[9000] = np.inf
    report, result = animate(emo, wav(samples, float32=True), tmp_path / "out.npz")
    assert report["warnings"] == ["101 samples are not numbers (NaN or infinite): taken as silence"]
    assert np.isfinite(result["landmarks"]).all()
    assert np.isfinite(result["motors"]).all()


def test_clipped_is_told(emo, wav, tmp_path):
    report, _ = animate(emo, wav(20 * speech_like(2.0)), tmp_path / "out.npz")
    assert "the recording is clipped" in report["warnings"][0]


def test_silence_rests(emo, wav, tmp_path):
    report, result = animate(emo, wav(np.zeros(32_000)), tmp_path / "out.npz")
    assert report["warnings"] == ["the recording is silent: the face stays at rest"]
    assert np.ptp(opening(result["landmarks"])) < 1.0


def test_one_sample_is_one_frame(emo, wav, tmp_path):
    _, result = animate(emo, wav(np.array([0.5])), tmp_path / "out.npz")
    assert result["landmarks"].shape == (1, 478, 3)


def test_mouth_gain_and_lookahead(emo, wav, tmp_path):
    speech = wav(speech_like(3.0))
    _, plain = animate(emo, speech, tmp_path / "a.npz")
    _, more = animate(emo, speech, tmp_path / "b.npz", "--mouth-gain", "1.5")
    assert opening(more["landmarks"]).std() > 1.2 * opening(plain["landmarks"]).std()
    _, live = animate(emo, speech, tmp_path / "c.npz", "--lookahead", "live")
    assert not np.allclose(live["landmarks"], plain["landmarks"])


def test_face_of_somebody(emo, wav, tmp_path):
    wide = canonical_face() * np.array([1.2, 1, 1], np.float32)
    np.savez(tmp_path / "face.npz", landmarks=np.repeat(wide[None], 5, 0), fps=25.0)
    speech = wav(speech_like(1.0))
    _, result = animate(emo, speech, tmp_path / "a.npz", "--face", tmp_path / "face.npz")
    _, plain = animate(emo, speech, tmp_path / "b.npz")
    ratio = np.ptp(result["landmarks"][0, :, 0]) / np.ptp(plain["landmarks"][0, :, 0])
    assert ratio == pytest.approx(1.2, abs=0.05)


BAD = {
    "text.wav": (b"this is no sound at all, it is a text\n" * 20, "cannot read"),
    "empty.wav": (b"", "cannot read"),
    "header.wav": (None, "empty"),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_bad_recordings(emo, wav, tmp_path, name):
    content, says = BAD[name]
    path = tmp_path / name
    if content is None:
        path = wav(np.zeros(0), name=name)
    else:
        path.write_bytes(content)
    result = emo("animate", path, "-o", tmp_path / "out.npz")
    assert says in result.error_line
    assert str(path) in result.error_line
    assert result.status == 1
    assert not (tmp_path / "out.npz").exists()


def test_missing_recording(emo, tmp_path):
    line = emo("animate", tmp_path / "no.wav", "-o", tmp_path / "out.npz").error_line
    assert "no such recording" in line


def test_video_without_sound(emo, tmp_path):
    from emo_core.viz.video import VideoWriter

    with VideoWriter(tmp_path / "mute.mp4", (64, 48), 25) as writer:
        writer.add_frame(np.zeros((48, 64, 3), np.uint8))
    line = emo("animate", tmp_path / "mute.mp4", "-o", tmp_path / "out.npz").error_line
    assert "no sound track" in line


def test_output_that_cannot_be(emo, wav, tmp_path):
    speech = wav(speech_like(0.5))
    assert "mkdir -p" in emo("animate", speech, "-o", tmp_path / "no" / "x.npz").error_line
    assert ".npz or .mp4" in emo("animate", speech, "-o", tmp_path / "x.wav").error_line
    assert "cannot write" in emo("animate", speech, "-o", "/proc/x.npz").error_line
    assert "cannot write" in emo("animate", speech, "-o", "/proc/x.mp4").error_line


@pytest.mark.parametrize("gain", ["-1", "nan", "a lot"])
def test_bad_gain(emo, wav, tmp_path, gain):
    result = emo("animate", wav(speech_like(0.5)), "-o", tmp_path / "x.npz", "--mouth-gain", gain)
    assert result.status == 2
    assert "--mouth-gain" in result.error_line


def test_unknown_robot_and_bad_face(emo, wav, tmp_path):
    speech = wav(speech_like(0.5))
    line = emo("animate", speech, "-o", tmp_path / "x.npz", "--robot", "marvin").error_line
    assert "marvin" in line
    line = emo("animate", speech, "-o", tmp_path / "x.npz", "--face", "/no.npz").error_line
    assert "no such face file" in line
    (tmp_path / "face.npz").write_bytes(b"PK\x03\x04 half a file")
    line = emo(
        "animate", speech, "-o", tmp_path / "x.npz", "--face", tmp_path / "face.npz"
    ).error_line
    assert "face.npz" in line


@pytest.mark.parametrize("damage", ["missing", "truncated", "foreign"])
@pytest.mark.parametrize("model", ["apc", "audio2landmark_full", "inverse_sim"])
def test_damaged_models(emo, wav, tmp_path, monkeypatch, model, damage):
    share = tmp_path / "share"
    shutil.copytree(share_dir() / "models", share / "models")
    (share / "config").symlink_to(share_dir() / "config")
    monkeypatch.setenv("EMO_SHARE", str(share))
    file = share / "models" / model / "model.onnx"
    if damage == "missing":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:1000])
    else:
        config = json.loads((file.parent / "config.json").read_text())
        config["landmarks" if "landmarks" in config else "mel"] = "of something else"
        (file.parent / "config.json").write_text(json.dumps(config))
    line = emo("animate", wav(speech_like(0.5)), "-o", tmp_path / "out.npz").error_line
    assert model in line
    assert "./emo " in line or "Restore" in line  # what to do
    assert not (tmp_path / "out.npz").exists()


def test_film_has_picture_and_sound_of_the_same_length(emo, wav, tmp_path):
    out = tmp_path / "out.mp4"
    result = emo("animate", wav(speech_like(2.0)), "-o", out, "--json")
    assert result.status == 0, result.err
    with av.open(str(out)) as film:
        video, audio = film.streams.video[0], film.streams.audio[0]
        assert video.frames == 50
        assert float(video.duration * video.time_base) == pytest.approx(2.0, abs=1e-3)
        assert float(audio.duration * audio.time_base) == pytest.approx(2.0, abs=0.07)
        sound = np.concatenate([f.to_ndarray()[0] for f in film.decode(audio=0)])
    # The film's sound is the recording, in place: their envelopes correlate best at no shift.
    wanted = speech_like(2.0)
    n = min(len(sound), len(wanted))
    loud = [np.abs(x[:n]).reshape(-1, 80).mean(1) for x in (sound[: n // 80 * 80], wanted)]
    shifts = np.arange(-20, 21)
    score = [np.corrcoef(np.roll(loud[0], s)[20:-20], loud[1][20:-20])[0, 1] for s in shifts]
    assert abs(shifts[int(np.argmax(score))]) <= 1  # 5 ms


def test_offline_servos_are_the_simulator():
    robot = RobotDescription.load("sim")
    rng = np.random.default_rng(0)
    steps = np.cumsum(rng.normal(0, 0.06, (60, len(robot.names))), 0)
    commands = np.clip(steps + robot.neutral, 0, 1).astype(np.float32)
    stream = SimulatedRobot(robot)
    positions = [p for command in commands for p in stream.feed(command)] + stream.flush()
    wanted = simulate(robot, commands, lead_s=robot.servo_lag_s)
    np.testing.assert_allclose(positions, wanted, atol=1e-9)


def peak_mb(source: Path, out: Path) -> float:
    """Peak memory of a fresh process that animates `source`."""
    code = (
        f"import sys; sys.path[:0] = {[p for p in sys.path if '/src/' in p]!r}\n"
        "import resource\nfrom emo.cli import main\n"
        f"status = main(['animate', {str(source)!r}, '-o', {str(out)!r}])\n"
        "print('PEAK', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, status)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    peak, status = done.stdout.rsplit("PEAK", 1)[1].split()
    assert status == "0", done.stderr
    return int(peak) / 1024


@pytest.mark.skipif(not hasattr(resource, "getrusage"), reason="POSIX only")
def test_memory_does_not_grow_with_length(wav, tmp_path):
    """Two and six minutes. Three hours, by hand: 244 MB at most, 87 s of processor time."""
    minute = speech_like(60.0)
    short = wav(np.tile(minute, 2), name="short.wav")
    long = wav(np.tile(minute, 6), name="long.wav")
    first = peak_mb(short, tmp_path / "a.npz")
    second = peak_mb(long, tmp_path / "b.npz")
    assert second - first < 25, f"{first:.0f} MB for 2 minutes, {second:.0f} MB for 6"
