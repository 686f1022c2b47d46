"""The film of a spoken sentence: sound, human landmarks and robot face side by side.

Streaming: sound and frames go in, each film frame comes out as soon as the stretch of time that
its scrolling strips show is there. What is kept is that stretch, a few seconds, however long the
recording.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from emo_core.face.topology import LOWER_LIP_INNER, UPPER_LIP_INNER
from emo_core.rates import FPS, SAMPLE_RATE
from emo_core.viz import draw
from emo_core.viz.draw import Image, Points
from emo_core.viz.video import VideoWriter

#: Samples in one column of the strips: a film frame scrolls by a whole number of columns.
COLUMN = 128
_COLUMNS_PER_FRAME = SAMPLE_RATE // FPS // COLUMN

SIZE = (1440, 600)
_MARGIN = 16
_TOP = 56
_CARD_W = (SIZE[0] - 4 * _MARGIN) // 3
_CARD_H = SIZE[1] - _TOP - _MARGIN
_PAD = 16
_SOUND_Y, _SOUND_H = _TOP + 46, 120
_OPENING_Y, _OPENING_H = _SOUND_Y + _SOUND_H + 58, 84
_MOTORS_Y = _OPENING_Y + _OPENING_H + 40
_LABEL_W = 130
_STRIP_W = _CARD_W - 2 * _PAD
_HALF = _STRIP_W // 2 // _COLUMNS_PER_FRAME  # frames to each side of the playhead
_TIDY = 4096  # columns gone by before they are dropped, all at once
#: What a picture may fill below its card's title.
PICTURE = (_CARD_W, _CARD_H - 44)
_ROBOT = (PICTURE[0] - _PAD, PICTURE[1] - _PAD // 2)


def mouth_opening(face: Points | NDArray[np.float64]) -> float:
    """Distance of the inner lips (points 13 and 14) of (478, 3), in its unit."""
    return float(np.linalg.norm(face[UPPER_LIP_INNER, :2] - face[LOWER_LIP_INNER, :2]))


@dataclass(frozen=True)
class _Frame:
    face: Points
    motors: NDArray[np.float32]
    robot: Image


class SpeechFilm:
    """Writes the film; a context manager.

    Args:
        path: MP4 file to write.
        title: one line above the panels.
        static_face: (478, 3) mm, sets the scale of the human panel.
        motor_names: names of the M motors, for the bars.
        neutral: (M,) motor positions at rest, marked on the bars.
        on_frame: called with the number of each frame and its picture.

    Raises:
        EmoError: the file cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        title: str,
        static_face: Points,
        motor_names: Sequence[str],
        neutral: NDArray[np.float32],
        on_frame: Callable[[int, Image], object] | None = None,
    ) -> None:
        self._on_frame = on_frame
        self._writer = VideoWriter(path, SIZE, FPS, SAMPLE_RATE)
        self._names, self._neutral = list(motor_names), neutral
        self._fit = draw.fit_face(static_face, PICTURE)
        self._base = self._make_base(title)
        self._frames: deque[_Frame] = deque()  # not written yet
        self._openings: deque[tuple[float, float]] = deque()  # all that the strip shows
        self._first = 0  # number of the oldest opening
        self._next = 0  # number of the next film frame
        self._added = 0
        self._columns = np.zeros((0, 2), np.float32)  # low and high of each column kept
        self._first_column = 0
        self._rest = np.zeros(0, np.float32)
        self._loudest = 0.1
        self._widest = 12.0

    def add_audio(self, samples: NDArray[np.float32]) -> None:
        """The recording's next samples (n,), 16 kHz mono."""
        self._writer.add_audio(samples)
        joined = np.concatenate([self._rest, samples])
        whole = len(joined) - len(joined) % COLUMN
        blocks = joined[:whole].reshape(-1, COLUMN)
        self._rest = joined[whole:]
        if len(blocks):
            new = np.stack([blocks.min(1), blocks.max(1)], 1)
            self._loudest = max(self._loudest, float(np.abs(new).max()))
            self._columns = np.concatenate([self._columns, new])

    def add_frame(
        self,
        face: Points,
        motors: NDArray[np.float32],
        robot: Image,
        robot_face: NDArray[np.float64],
    ) -> None:
        """The next frame, 25 per second.

        Args:
            face: human landmarks (478, 3) mm. motors: (M,) in [0, 1]. robot: BGR picture of it.
            robot_face: the robot's landmarks (478, 3) mm, for its mouth opening.
        """
        robot = draw.cover(robot, _ROBOT)
        openings = (mouth_opening(face), mouth_opening(robot_face))
        self._widest = max(self._widest, *openings)
        self._openings.append(openings)
        self._frames.append(_Frame(face, motors, robot))
        self._added += 1
        while self._next + _HALF < self._added:
            self._write()

    def _write(self) -> None:
        image = self._base.copy()
        n = self._next
        frame = self._frames.popleft()
        self._draw_clock(image, n)
        self._draw_sound(image, n)
        self._draw_openings(image, n)
        self._draw_motors(image, frame.motors)
        for column, picture in enumerate((None, frame.robot), start=1):
            x, y = _MARGIN + column * (_CARD_W + _MARGIN), _TOP + 44
            if picture is None:
                area = image[y : y + PICTURE[1], x : x + PICTURE[0]]
                draw.draw_face(area, draw.place_face(frame.face, self._fit))
            else:
                x += _PAD // 2
                image[y : y + _ROBOT[1], x : x + _ROBOT[0]] = picture
        self._writer.add_frame(image)
        if self._on_frame is not None:
            self._on_frame(n, image)
        self._next += 1
        keep = self._next - _HALF - 1
        while self._first < keep:
            self._openings.popleft()
            self._first += 1
        stale = (keep * _COLUMNS_PER_FRAME) - self._first_column
        if stale > _TIDY:
            self._columns = self._columns[stale:]
            self._first_column += stale

    def _make_base(self, title: str) -> Image:
        image = draw.canvas(SIZE, draw.BACKGROUND)
        draw.put_text(image, "emo", (_MARGIN + 2, 14), 22, draw.SOUND, bold=True)
        draw.put_text(image, title, (_MARGIN + 70, 17), 18, draw.TEXT)
        heads = (("Sound", draw.SOUND), ("Human landmarks", draw.HUMAN), ("Robot", draw.ROBOT))
        for column, (text, colour) in enumerate(heads):
            x = _MARGIN + column * (_CARD_W + _MARGIN)
            draw.card(image, (x, _TOP, _CARD_W, _CARD_H))
            cv2.circle(image, (x + _PAD + 5, _TOP + 24), 5, colour, -1, cv2.LINE_AA)
            draw.put_text(image, text, (x + _PAD + 20, _TOP + 13), 17, draw.TEXT, bold=True)
        x = _MARGIN + _PAD
        draw.put_text(image, "Mouth opening", (x, _OPENING_Y - 28), 15, draw.TEXT, bold=True)
        draw.put_text(image, "Motors", (x, _MOTORS_Y - 28), 15, draw.TEXT, bold=True)
        return image

    def _draw_clock(self, image: Image, n: int) -> None:
        minutes, rest = divmod(n, 60 * FPS)
        seconds, frames = divmod(rest, FPS)
        text = f"{minutes}:{seconds:02d}.{frames * 100 // FPS:02d}"
        draw.put_text(image, text, (SIZE[0] - _MARGIN - 4, 16), 19, draw.TEXT, align="right")

    def _strip(self, image: Image, y: int, height: int) -> Image:
        """The view of one time strip, 0 s of the film at its playhead."""
        x = _MARGIN + _PAD
        return image[y : y + height, x : x + _STRIP_W]

    def _playhead(self, strip: Image) -> None:
        middle = _HALF * _COLUMNS_PER_FRAME
        strip[:, middle : middle + 2] = draw.PLAYHEAD

    def _draw_sound(self, image: Image, n: int) -> None:
        strip = self._strip(image, _SOUND_Y, _SOUND_H)
        middle = _HALF * _COLUMNS_PER_FRAME
        first = n * _COLUMNS_PER_FRAME - middle - self._first_column
        index = np.arange(first, first + _STRIP_W)
        inside = (index >= 0) & (index < len(self._columns))
        shape = np.zeros((_STRIP_W, 2), np.float32)
        shape[inside] = self._columns[index[inside]]
        centre = _SOUND_H / 2
        scale = (centre - 4) / self._loudest
        rows = np.arange(_SOUND_H, dtype=np.float32)[:, None]
        top = centre - np.maximum(shape[:, 1] * scale, 0.8)
        bottom = centre - np.minimum(shape[:, 0] * scale, -0.8)
        cover = np.clip(np.minimum(rows + 1 - top, bottom - rows), 0, 1)[..., None]
        cover *= np.where(index < 0, 0.0, 1.0)[None, :, None]
        played = np.arange(_STRIP_W) <= middle
        colour = np.where(played[:, None], draw.SOUND, _ahead(draw.SOUND)).astype(np.float32)
        strip[:] = (strip + cover * (colour - strip)).astype(np.uint8)
        self._draw_seconds(image, n)
        self._playhead(strip)

    def _draw_seconds(self, image: Image, n: int) -> None:
        x0 = _MARGIN + _PAD + _HALF * _COLUMNS_PER_FRAME
        for second in range(max(0, (n - _HALF) // FPS), (n + _HALF) // FPS + 1):
            x = x0 + (second * FPS - n) * _COLUMNS_PER_FRAME
            if not _MARGIN + _PAD + 14 < x < _MARGIN + _CARD_W - _PAD - 14:
                continue
            cv2.line(image, (x, _SOUND_Y + _SOUND_H), (x, _SOUND_Y + _SOUND_H + 5), draw.LINE, 1)
            label = f"{second // 60}:{second % 60:02d}"
            at = (x, _SOUND_Y + _SOUND_H + 6)
            draw.put_text(image, label, at, 12, draw.TEXT_DIM, align="centre")

    def _draw_openings(self, image: Image, n: int) -> None:
        strip = self._strip(image, _OPENING_Y, _OPENING_H)
        cv2.line(strip, (0, _OPENING_H - 2), (_STRIP_W, _OPENING_H - 2), draw.LINE, 1)
        numbers = np.arange(self._first, self._first + len(self._openings))
        x = (numbers - n + _HALF) * _COLUMNS_PER_FRAME
        values = np.array(self._openings, np.float32)
        scale = (_OPENING_H - 6) / self._widest
        now = self._openings[n - self._first]
        right = _MARGIN + _CARD_W - _PAD
        for which, (name, colour) in enumerate((("human", draw.HUMAN), ("robot", draw.ROBOT))):
            y = _OPENING_H - 3 - values[:, which] * scale
            points = np.round(np.stack([x, y], 1) * 16).astype(np.int32)
            split = int(np.searchsorted(numbers, n))
            cv2.polylines(strip, [points[split:]], False, _ahead(colour), 2, cv2.LINE_AA, 4)
            cv2.polylines(strip, [points[: split + 1]], False, colour, 2, cv2.LINE_AA, 4)
            text = f"{name} {now[which]:.1f} mm"
            at = (right - 122 * (1 - which), _OPENING_Y - 26)
            draw.put_text(image, text, at, 13, colour, align="right")
        self._playhead(strip)

    def _draw_motors(self, image: Image, motors: NDArray[np.float32]) -> None:
        count = len(motors)
        pitch = min(18.0, (_TOP + _CARD_H - 12 - _MOTORS_Y) / max(count, 1))
        labels = pitch >= 13
        x0 = _MARGIN + _PAD + (_LABEL_W if labels else 0)
        x1 = _MARGIN + _CARD_W - _PAD
        for k in range(count):
            y = _MOTORS_Y + round(k * pitch)
            height = max(2, round(pitch) - 6)
            if labels:
                name = self._names[k].replace("_", " ")
                draw.put_text(image, name, (_MARGIN + _PAD, y - 3), 12, draw.TEXT_DIM)
            cv2.rectangle(image, (x0, y), (x1 - 1, y + height), draw.LINE, -1)
            rest = x0 + round(float(self._neutral[k]) * (x1 - x0 - 1))
            at = x0 + round(float(np.clip(motors[k], 0, 1)) * (x1 - x0 - 1))
            cv2.rectangle(image, (min(rest, at), y), (max(rest, at), y + height), draw.ROBOT, -1)
            cv2.line(image, (rest, y - 2), (rest, y + height + 2), draw.TEXT_DIM, 1)

    def close(self) -> None:
        """Write what is still waiting, and the file's index."""
        while self._next < self._added:
            self._write()
        self._writer.close()

    def __enter__(self) -> SpeechFilm:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self._writer.close()


def face_pictures(image: Image) -> tuple[Image, Image]:
    """The human and the robot panel of a film frame, without their titles."""
    y, height, width = _TOP + 44, PICTURE[1] - _PAD // 2, PICTURE[0]
    human, robot = (_MARGIN + column * (_CARD_W + _MARGIN) for column in (1, 2))
    rows = image[y : y + height]
    return rows[:, human : human + width], rows[:, robot : robot + width]


def _ahead(colour: draw.Colour) -> draw.Colour:
    """The shade of what is still to come."""
    mixed = [round(p + 0.42 * (c - p)) for c, p in zip(colour, draw.PANEL, strict=True)]
    return (mixed[0], mixed[1], mixed[2])
