"""The robot's pictures, drawn in a thread of their own: shown as it moves, and filmed. No ROS."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from emo_core.errors import EmoError
from emo_sim.film import PERIOD_NS, Film
from emo_sim.motion import GONE_NS, Motion


class Drawing:
    """Draws each picture as soon as its time is known; in the film none is left out.

    The film begins with the first sound or the first image, whichever it hears of first.

    Args:
        motion: where the motors are, and when.
        render: (M,) commands -> picture.
        film: of the robot; None: it is only shown.
        show: called with each picture and its time (ns).
        lost: called with the error that ends the film, or spoils its end; the pictures go on.
    """

    def __init__(
        self,
        motion: Motion,
        render: Callable[[NDArray[np.float64]], NDArray[np.uint8]],
        film: Film | None,
        show: Callable[[NDArray[np.uint8], int], None],
        lost: Callable[[EmoError], None],
    ) -> None:
        self._motion, self._render, self._film = motion, render, film
        self._show, self._lost = show, lost
        self._sound: queue.SimpleQueue[tuple[NDArray[np.float32], int]] = queue.SimpleQueue()
        self._image_ns: int | None = None  # when the first image was taken
        self._ended, self._until_s = threading.Event(), math.inf
        self._thread = threading.Thread(target=self._work, name="drawing", daemon=True)
        self._thread.start()

    def sound(self, samples: NDArray[np.float32], end_ns: int) -> None:
        """What is heard, as in `Film.sound`."""
        if self._film is not None:  # else nobody takes it out
            self._sound.put((samples, end_ns))

    def image(self, time_ns: int) -> None:
        """The camera takes an image: with the first the film begins, sound or not."""
        if self._image_ns is None:
            self._image_ns = time_ns

    def finish(self, within_s: float) -> None:
        """Draw what is left, as far as there is time, and finish the film."""
        self._until_s = time.monotonic() + within_s
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        shown_ns = 0
        while True:
            last = self._ended.is_set()
            if last and time.monotonic() > self._until_s:  # the film ends early, but whole
                break
            try:
                drawn = self._next(shown_ns)
            except EmoError as error:
                self._lost(error)
                self._film, drawn = None, None
            if drawn is not None:
                picture, shown_ns = drawn
                self._show(picture, shown_ns)
            elif last:
                break
            else:
                self._ended.wait(0.005)
        if self._film is not None:
            try:
                self._film.close()
            except EmoError as error:
                self._lost(error)

    def _next(self, shown_ns: int) -> tuple[NDArray[np.uint8], int] | None:
        """The next picture that can be drawn, and its time."""
        known = self._motion.known_until()
        if self._film is not None:
            while not self._sound.empty():
                self._film.sound(*self._sound.get())
            if self._image_ns is not None:
                self._film.begin(self._image_ns)
            if self._film.next_ns is not None:
                return self._film.advance(known) if known is not None else None
        if known is None or shown_ns - GONE_NS < known < shown_ns + PERIOD_NS:
            return None
        return self._render(self._motion.at(known)), known
