"""Two runs on the same input as a film: who is mimicked, and both robots, side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emo_core.evaluation.track import Track
from emo_core.files import whole_file
from emo_core.rates import FPS, SAMPLE_RATE
from emo_core.robot.sim.render import Renderer
from emo_core.viz import draw
from emo_core.viz.draw import Colour, Image
from emo_core.viz.video import VideoWriter

_HEAD, _HEIGHT = 40, 480
#: BGR, as in compare.png.
_COLOURS: tuple[Colour, Colour] = ((184, 163, 148), (113, 113, 248))


@dataclass(frozen=True)
class Input:
    """What both runs were given.

    Attributes:
        sound: (n,) what was heard, 16 kHz, from the beginning; may be empty.
        pictures: (time, s; RGB) of who was seen, in their order; may be none.
    """

    sound: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    pictures: Iterable[tuple[float, Image]] = ()


def film(first: Track, second: Track, given: Input, path: Path) -> None:
    """The robots as commanded (without the servos' lag), at the times of the input.

    Raises:
        EmoError: it cannot be written.
    """
    both = zip((first, second), _COLOURS, strict=True)
    panels: list[_Seen | _Robot] = [
        _Seen(given.pictures),
        *(_Robot(track, colour) for track, colour in both),
    ]
    size = (sum(panel.width for panel in panels), _HEAD + _HEIGHT)
    end = max(first.times_s[-1], second.times_s[-1])
    rate = SAMPLE_RATE if len(given.sound) else None
    with whole_file(path) as part, VideoWriter(part, size, FPS, rate) as writer:
        if len(given.sound):
            writer.add_audio(given.sound[: round((end + 1 / FPS) * SAMPLE_RATE)])
        for frame in range(int(end * FPS) + 1):
            image = draw.canvas(size)
            x = 0
            for panel in panels:
                if panel.width:
                    panel.draw(image[:, x : x + panel.width], frame / FPS)
                x += panel.width
            writer.add_frame(image, frame / FPS)


class _Robot:
    """A robot's panel."""

    def __init__(self, track: Track, colour: Colour) -> None:
        self._track, self._colour = track, colour
        self._render = Renderer(track.robot)
        width, height = self._render.size
        self.width = round(width * _HEIGHT / height / 2) * 2

    def draw(self, image: Image, time_s: float) -> None:
        image[_HEAD:] = draw.cover(self._render(self._track.pose(time_s)), (self.width, _HEIGHT))
        draw.put_text(image, self._track.name, (16, 8), 18, self._colour, bold=True)


class _Seen:
    """The panel of the person in view; of no width where nobody was."""

    def __init__(self, pictures: Iterable[tuple[float, Image]]) -> None:
        self._pictures = iter(pictures)
        self._next = next(self._pictures, None)
        self._shown: Image | None = None
        self.width = 0
        if self._next is not None:
            height, width = self._next[1].shape[:2]
            self.width = round(width * _HEIGHT / height / 2) * 2

    def draw(self, image: Image, time_s: float) -> None:
        while self._next is not None and self._next[0] <= time_s:
            bgr = np.ascontiguousarray(self._next[1][..., ::-1])
            self._shown = draw.cover(bgr, (self.width, _HEIGHT))
            self._next = next(self._pictures, None)
        if self._shown is not None:
            image[_HEAD:] = self._shown
        draw.put_text(image, "person", (16, 8), 18, draw.TEXT, bold=True)
