"""track: files it writes, and videos it cannot use."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from emo_core.face.alignment import to_screen
from emo_core.face.static_face import load_face
from emo_core.face.topology import ROBOT_LANDMARKS
from emo_core.robot.description import RobotDescription
from emo_core.robot.sim.render import Renderer
from emo_core.viz.video import VideoWriter


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> dict[str, Path]:
    """Videos of the simulated robot, which FaceMesh takes for a person: one face, two, part of."""
    folder = tmp_path_factory.mktemp("faces")
    robot = RobotDescription.load("sim")
    picture = Renderer(robot)(robot.neutral)
    small = np.ascontiguousarray(picture[::2, ::2])
    pair = np.concatenate([picture, picture], axis=1)
    blank = np.full_like(picture, 90)
    for name, images in {
        "one.mp4": [picture] * 6,
        "two.mp4": [pair] * 6,
        "none.mp4": [blank] * 6,
        "gone.mp4": [picture] * 4 + [blank] * 4,
        "small.mp4": [small] * 3,
    }.items():
        size = images[0].shape[1], images[0].shape[0]
        with VideoWriter(folder / name, size, 25) as writer:
            for image in images:
                writer.add_frame(image)
    return {path.stem: path for path in folder.iterdir()}


def test_landmarks_of_one_face(emo, faces, tmp_path):
    out = tmp_path / "out.npz"
    result = emo("track", faces["one"], "-o", out, "--json")
    assert result.status == 0, result.err
    report = json.loads(result.out)
    assert (report["frames"], report["with_face"], report["several_faces"]) == (6, 6, False)
    with np.load(out) as track:
        assert track["landmarks"].shape == track["screen"].shape == (6, 478, 3)
        assert track["pose"].shape == (6, 4, 4)
        assert track["valid"].all()
        assert track["fps"] == 25
        again = to_screen(track["landmarks"], track["pose"])
        np.testing.assert_allclose(again, track["screen"], atol=0.05)


def test_a_frame_without_a_face_is_not_valid(emo, faces, tmp_path):
    out = tmp_path / "out.npz"
    result = emo("track", faces["gone"], "-o", out)
    assert result.status == 0
    assert "no face in" in result.err
    with np.load(out) as track:
        assert track["valid"][:4].all()
        assert not track["valid"][-1]
        assert np.isnan(track["landmarks"][~track["valid"]]).all()


def test_of_two_faces_one_is_followed_and_it_is_said(emo, faces, tmp_path):
    result = emo("track", faces["two"], "-o", tmp_path / "out.npz", "--json")
    assert result.status == 0
    assert json.loads(result.out)["several_faces"]
    assert "several faces in view" in result.err


def test_the_video_is_never_replaced(emo, faces):
    film = faces["one"].read_bytes()
    line = emo("track", faces["one"], "-o", faces["one"]).error_line
    assert f"{faces['one']} would be replaced by the result: give another name with -o" in line
    assert faces["one"].read_bytes() == film


@pytest.mark.parametrize("suffix", ["npz", "mp4"])
def test_no_face_is_one_line(emo, faces, tmp_path, suffix):
    out = tmp_path / f"out.{suffix}"
    line = emo("track", faces["none"], "-o", out).error_line
    assert "no face found" in line
    assert not out.exists()


def test_overlay_of_a_video_without_sound(emo, faces, tmp_path):
    out = tmp_path / "out.mp4"
    assert emo("track", faces["one"], "-o", out).status == 0
    with av.open(str(out)) as film:
        assert not film.streams.audio
        assert film.streams.video[0].frames == 6
        image = next(film.decode(video=0)).to_ndarray(format="bgr24").astype(int)
    blue = (image[..., 0] > 200) & (image[..., 0] - image[..., 2] > 60)
    assert blue.sum() > 300  # the mesh


def test_not_a_video(emo, wav, tmp_path):
    text = tmp_path / "a.mp4"
    text.write_text("no video")
    assert "as a video" in emo("track", text, "-o", tmp_path / "x.npz").error_line
    assert "no such video" in emo("track", tmp_path / "b.mp4", "-o", tmp_path / "x.npz").error_line
    sound = wav(np.zeros(1600))
    assert "no picture" in emo("track", sound, "-o", tmp_path / "x.npz").error_line


@pytest.mark.data
def test_a_real_video_and_its_sound(emo, data_dir, tmp_path):
    clip = sorted((data_dir / "grid_s1").glob("*.mp4"))[0]
    out = tmp_path / "out.mp4"
    assert emo("track", clip, "-o", out).status == 0
    with av.open(str(out)) as film:
        assert film.streams.video[0].frames == 75
        audio = film.streams.audio[0]
        assert float(audio.duration * audio.time_base) == pytest.approx(3.0, abs=0.1)


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> Path:
    """Three seconds of a face that trembles, with three frames blurred by a camera that moves."""
    path = tmp_path_factory.mktemp("calm") / "calm.mp4"
    robot = RobotDescription.load("sim")
    picture = Renderer(robot)(robot.neutral)
    rng = np.random.default_rng(0)
    height, width = picture.shape[:2]
    with VideoWriter(path, (width, height), 25, crf=10) as writer:
        for i in range(75):
            image = np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)
            if i in (30, 31, 40):
                image = cv2.blur(image, (max(3, width // 16), 1))
            writer.add_frame(image)
    return path


def test_smoothed_unless_raw(emo, calm, tmp_path):
    way = {}
    for flags in ((), ("--raw",)):
        out = tmp_path / "out.npz"
        assert emo("track", calm, "-o", out, *flags).status == 0
        with np.load(out) as track:
            seen = track["landmarks"][10:30, ROBOT_LANDMARKS]
            np.testing.assert_allclose(
                to_screen(track["landmarks"], track["pose"])[:30], track["screen"][:30], atol=0.05
            )
        way[flags] = float(np.linalg.norm(np.diff(seen, axis=0), axis=-1).mean())
    assert way[()] < 0.4 * way["--raw",]


def test_blurred_frames_are_left_out_or_filled(emo, calm, tmp_path):
    out = tmp_path / "out.npz"
    result = emo("track", calm, "-o", out, "--json")
    assert json.loads(result.out)["blurred"] == 3
    assert "too blurred to trust in 3 of 75" in result.err
    with np.load(out) as track:
        np.testing.assert_array_equal(np.flatnonzero(~track["valid"]), [30, 31, 40])
        assert np.isnan(track["landmarks"][~track["valid"]]).all()
    assert emo("track", calm, "-o", out, "--fill").status == 0
    with np.load(out) as track:
        assert not track["valid"][30]
        np.testing.assert_allclose(track["landmarks"][30], track["landmarks"][29], atol=1e-4)
        steps = np.linalg.norm(np.diff(track["landmarks"][10:], axis=0), axis=-1)
        assert steps.mean(1).max() < 1.5  # FaceMesh looks where the blurred face was
        assert steps[-3:].mean(1).max() < 0.15


def test_a_face_at_rest_is_kept_by_name(emo, calm, faces, tmp_path):
    folder = tmp_path / "people"
    result = emo("track", calm, "--static", "robot", "--faces", folder, "--json")
    assert result.status == 0, result.err
    report = json.loads(result.out)
    assert report["calm"]
    assert report["out"] is None
    assert load_face(report["static"]).shape == (478, 3)
    assert "nothing to write" in emo("track", calm).error_line
    assert "no name" in emo("track", calm, "--static", "a/b", "--faces", folder).error_line
    short = emo("track", faces["one"], "--static", "short", "--faces", folder).error_line
    assert "longer one" in short
    assert [path.name for path in folder.iterdir()] == ["robot.npz"]
