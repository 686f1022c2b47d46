"""The film of a sentence: what is drawn is what is heard at that time."""

from __future__ import annotations

import numpy as np
import pytest

from emo_core.face.alignment import canonical_face
from emo_core.face.topology import NUM_LANDMARKS
from emo_core.viz import draw, film
from emo_core.viz.film import SpeechFilm

MOTORS = ("brow", "jaw")


def make(path, frames, sound, on_frame, block=640):
    face = canonical_face()
    robot = np.full((480, 640, 3), 99, np.uint8)
    neutral = np.array([0.5, 0.0], np.float32)
    with SpeechFilm(path, "title", face, MOTORS, neutral, on_frame) as out:
        heard = 0
        for n in range(frames):
            while heard < min((n + 1) * 640, len(sound)):
                out.add_audio(sound[heard : heard + block])
                heard += block
            moved = face.copy()
            moved[14, 1] -= n % 10
            out.add_frame(moved, np.array([0.5, n / frames], np.float32), robot, moved)
        return out


def test_every_frame_comes_once_and_in_order(tmp_path):
    seen = []
    make(tmp_path / "a.mp4", 60, np.zeros(60 * 640, np.float32), lambda n, _: seen.append(n))
    assert seen == list(range(60))


@pytest.mark.parametrize("block", [640, 1000, 16_000])
def test_the_playhead_is_where_the_sound_is(tmp_path, monkeypatch, block):
    """A click in frame 70's sound is at the playhead in frame 70, and 5 columns per frame off it
    before and after."""
    monkeypatch.setattr(film, "VideoWriter", NoWriter)
    click, pictures = 70, {}
    sound = np.zeros(140 * 640, np.float32)
    sound[click * 640 + 100] = 1.0
    make(tmp_path / "a.mp4", 125, sound, lambda n, image: pictures.update({n: image}), block)
    middle = film._MARGIN + film._PAD + film._HALF * film._COLUMNS_PER_FRAME
    row = film._SOUND_Y + film._SOUND_H // 4  # only loud sound reaches this
    for n in (60, 68, 72, 80):
        line = pictures[n][row].astype(int)
        strip = line[film._MARGIN + film._PAD : film._MARGIN + film._PAD + film._STRIP_W]
        lit = np.flatnonzero(strip[:, 1] - strip[:, 2] > 40) + film._MARGIN + film._PAD
        column = middle + (click - n) * film._COLUMNS_PER_FRAME + 100 // film.COLUMN
        assert list(lit) == [column]


class NoWriter:
    """Takes pictures and sound, writes nothing: for tests of what is drawn."""

    def __init__(self, *_):
        pass

    def add_frame(self, image):
        pass

    add_audio = add_frame

    def close(self):
        pass


def test_what_is_kept_does_not_grow(tmp_path, monkeypatch):
    monkeypatch.setattr(film, "VideoWriter", NoWriter)
    monkeypatch.setattr(film, "_TIDY", 256)
    monkeypatch.setattr(draw, "draw_face", lambda *_: None)
    counts = []
    out = None

    def look(n, image):
        if out is not None:
            counts.append((len(out._frames), len(out._openings), len(out._columns)))

    face, robot = canonical_face(), np.zeros((480, 640, 3), np.uint8)
    out = SpeechFilm(tmp_path / "a.mp4", "", face, MOTORS, np.zeros(2, np.float32), look)
    with out:
        for _ in range(400):
            out.add_audio(np.zeros(640, np.float32))
            out.add_frame(face, np.zeros(2, np.float32), robot, face)
    frames, openings, columns = np.array(counts).T
    assert frames.max() <= film._HALF + 1
    assert openings.max() <= 2 * film._HALF + 3
    assert columns.max() <= 256 + 2 * film._STRIP_W


def test_a_film_that_fails_still_closes_its_file(tmp_path):
    face = canonical_face()
    with (
        pytest.raises(RuntimeError),
        SpeechFilm(tmp_path / "a.mp4", "", face, MOTORS, np.zeros(2, np.float32)),
    ):
        raise RuntimeError


def test_a_face_fits_its_panel():
    face = canonical_face()
    for size in ((458, 484), (200, 100), (100, 300)):
        placed = draw.place_face(face, draw.fit_face(face, size))
        assert placed.shape == (NUM_LANDMARKS, 2)
        assert (placed > 0).all()
        assert (placed < size).all()
        # y is down in pictures: the forehead (10) is above the chin (152)
        assert placed[10, 1] < placed[152, 1]


def test_cover_fills_and_keeps_the_middle():
    image = np.zeros((480, 640, 3), np.uint8)
    image[230:250, 310:330] = 255
    for size in ((442, 476), (640, 480), (100, 400)):
        seen = draw.cover(image, size)
        assert seen.shape == (size[1], size[0], 3)
        assert seen[size[1] // 2, size[0] // 2].min() > 200


def test_text_is_aligned_and_clipped():
    image = draw.canvas((200, 40), (0, 0, 0))
    draw.put_text(image, "right", (190, 10), align="right")
    columns = np.flatnonzero(image.any(axis=(0, 2)))
    assert columns.max() <= 190
    assert columns.min() >= 190 - draw._text_alpha("right", 15, False).shape[1] - 1
    draw.put_text(image, "off the edge of it", (150, 30))  # must not raise
    draw.put_text(image, "gone", (500, 500))


def test_colours_have_contrast():
    """WCAG AAA: text at least 7:1 on its panel; curves at least 4.5:1."""

    def luminance(bgr):
        c = np.array(bgr[::-1]) / 255
        c = np.where(c <= 0.03928, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        return float(c @ [0.2126, 0.7152, 0.0722])

    panel = luminance(draw.PANEL)
    for colour, least in (
        (draw.TEXT, 7),
        (draw.TEXT_DIM, 7),
        (draw.SOUND, 4.5),
        (draw.HUMAN, 4.5),
        (draw.ROBOT, 4.5),
    ):
        assert (luminance(colour) + 0.05) / (panel + 0.05) >= least
