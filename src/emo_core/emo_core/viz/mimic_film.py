"""mimic.mp4: a person and the robot that mimics, side by side, each at its time.

Made from the files of a run, after it: the video, and the film of the robot. What is heard is the
robot's film; where that is silent, the video.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray

from emo_core.audio.sources import open_audio
from emo_core.camera.video import Video
from emo_core.errors import EmoError
from emo_core.face.stream import FaceStream, Seen
from emo_core.face.tracking import FaceTracker, VideoFile
from emo_core.media import reason
from emo_core.rates import SAMPLE_RATE
from emo_core.viz import draw
from emo_core.viz.draw import Image
from emo_core.viz.video import VideoWriter

#: The comment of a film that says when it began, in s of the clock of the run's stamps.
BEGUN = "begun at {:.6f} s"
_BEGUN = re.compile(r"begun at (\d+\.\d+) s")

_MARGIN, _TOP, _HEAD = 16, 56, 44
_HEIGHT = 480  # of both pictures
_WIDEST = 854


def begun_at(film: Path) -> float:
    """When a film began, in s.

    Raises:
        EmoError: it does not say so, or it is no whole film.
    """
    try:
        with av.open(str(film)) as container:
            found = _BEGUN.search(container.metadata.get("comment", ""))
    except (av.error.FFmpegError, OSError) as error:
        raise EmoError(f"cannot read {film} ({reason(error)}): it is damaged") from None
    if found is None:
        raise EmoError(f"{film} does not say when it began: give the robot.mp4 of a run")
    return float(found[1])


def side_by_side(video: Path, robot: Path, start_s: float, out: Path) -> int:
    """Write the film; returns its number of frames, which are those of `video`.

    Args:
        video: the person. robot: the robot's film, as `emo_sim` leaves it.
        start_s: when the first image of `video` was shown to the robot, in the clock of its film.

    Raises:
        EmoError: one of the files cannot be read, or `out` not be written.
    """
    late_s = start_s - begun_at(robot)
    writer: VideoWriter | None = None
    frames = 0
    person = Video(video)
    with (
        contextlib.closing(person),
        VideoFile(robot) as film,
        FaceTracker(max_faces=2) as tracker,
    ):
        stream = FaceStream(tracker)
        sound = _sound(robot, late_s, video, max(1, round(SAMPLE_RATE * person.period_s)))
        pictures = _Pictures(film.timed_frames())
        try:
            for at_s, rgb in person.pictures():
                seen = stream.feed(rgb, at_s)
                robot_rgb = pictures.at(at_s + late_s)
                if writer is None:
                    layout = _Layout(rgb, robot_rgb)
                    rate = None if sound is None else SAMPLE_RATE
                    writer = VideoWriter(out, layout.size, 1.0 / person.period_s, rate)
                frames += writer.add_frame(layout.picture(rgb, seen, robot_rgb, at_s), at_s)
                if sound is not None and (block := next(sound, None)) is not None:
                    writer.add_audio(block)
        finally:
            if writer is not None:
                writer.close()
    return frames


class _Pictures:
    """The picture that a film shows at a time; times must not fall.

    Raises:
        EmoError: it has none.
    """

    def __init__(self, timed: Iterator[tuple[float, Image]]) -> None:
        self._timed = timed
        first = next(timed, None)
        if first is None:
            raise EmoError("the robot's film shows nothing: run again")
        self._shown = first[1]
        self._next = next(timed, None)

    def at(self, time_s: float) -> Image:
        """The last one that began by `time_s`; the first before all."""
        while self._next is not None and self._next[0] <= time_s:
            self._shown = self._next[1]
            self._next = next(self._timed, None)
        return self._shown


class _Layout:
    """Two panels of one height, as wide as the first picture of each asks for."""

    def __init__(self, person: Image, robot: Image) -> None:
        self._person, self._robot = _panel(person), _panel(robot)
        width = self._person[0] + self._robot[0] + 3 * _MARGIN
        self.size = (width, _TOP + _HEAD + _HEIGHT + _MARGIN)
        self._base = draw.canvas(self.size, draw.BACKGROUND)
        draw.put_text(self._base, "emo", (_MARGIN + 2, 14), 22, draw.SOUND, bold=True)
        x = _MARGIN
        heads = ((self._person, "Person", draw.HUMAN), (self._robot, "Robot", draw.ROBOT))
        for panel, text, colour in heads:
            draw.card(self._base, (x, _TOP, panel[0], _HEAD + _HEIGHT))
            cv2.circle(self._base, (x + 21, _TOP + 22), 5, colour, -1, cv2.LINE_AA)
            draw.put_text(self._base, text, (x + 36, _TOP + 11), 17, draw.TEXT, bold=True)
            x += panel[0] + _MARGIN

    def picture(self, rgb: Image, seen: Seen, robot_rgb: Image, at_s: float) -> Image:
        """One frame of the film, BGR: the person with the mesh where a face is trusted."""
        bgr = np.ascontiguousarray(rgb[..., ::-1])
        scale = max(1.0, _HEIGHT / bgr.shape[0])  # lines as thin as the film shows them
        if scale > 1.0:
            enlarged = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
            bgr = np.asarray(enlarged, np.uint8)
        if seen.valid:
            draw.draw_landmarks(bgr, (seen.screen + 0.5) * scale - 0.5)
        image = self._base.copy()
        _put(image, draw.cover(bgr, self._person), _MARGIN)
        robot = draw.cover(np.ascontiguousarray(robot_rgb[..., ::-1]), self._robot)
        _put(image, robot, self.size[0] - _MARGIN - self._robot[0])
        clock = f"{int(at_s // 60)}:{at_s % 60:05.2f}"
        draw.put_text(image, clock, (self.size[0] - _MARGIN - 4, 16), 19, draw.TEXT, align="right")
        return image


def _panel(picture: Image) -> tuple[int, int]:
    """(width, height) of a picture's panel; a wide picture loses its sides."""
    height, width = picture.shape[:2]
    return min(round(width * _HEIGHT / height / 2) * 2, _WIDEST), _HEIGHT


def _put(image: Image, picture: Image, x: int) -> None:
    y = _TOP + _HEAD
    image[y : y + picture.shape[0], x : x + picture.shape[1]] = picture


def _sound(
    film: Path, late_s: float, video: Path, size: int
) -> Iterator[NDArray[np.float32]] | None:
    """Blocks of `size`: the film's sound from `late_s` on, or else the video's; None: none."""
    for path, start in ((film, round(late_s * SAMPLE_RATE)), (video, 0)):
        try:
            blocks = open_audio(path).blocks(size)
            first = next(blocks)
        except EmoError:  # no sound track, or nothing in it
            continue
        return _from(start, itertools.chain([first], blocks), size)
    return None


def _from(
    start: int, blocks: Iterator[NDArray[np.float32]], size: int
) -> Iterator[NDArray[np.float32]]:
    """The samples from number `start` on (silence before 0) in blocks of `size`, the last less."""
    held = np.zeros(max(-start, 0), np.float32)
    skip = max(start, 0)
    for block in blocks:
        held = np.concatenate([held, block[skip:]])
        skip = max(skip - len(block), 0)
        while len(held) >= size:
            yield held[:size]
            held = held[size:]
    if len(held):
        yield held
