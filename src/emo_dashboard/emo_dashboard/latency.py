"""The course of the latency over the last minute."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import viser
from numpy.typing import NDArray

from emo_dashboard.board import Board

#: The curves: a point every so often, over the last minute.
STEP_S, SPAN_S = 0.5, 60.0
_PIPELINES = {"lipsync": "#4a90e2", "mimic": "#f0a040"}


class LatencyCurves:
    """Fills the panel that is current when it is made."""

    def __init__(self, server: viser.ViserServer) -> None:
        gui: Any = server.gui
        self._curves = Curves(tuple(_PIPELINES))
        lines = ({"label": name, "stroke": c, "width": 1.5} for name, c in _PIPELINES.items())
        grey = {"stroke": "#999", "grid": {"stroke": "#8883"}}
        self._plot = gui.add_uplot(
            self._curves.data(),
            ({"label": "s"}, *lines),
            title="latency, ms",
            scales={"x": {"time": False, "min": -SPAN_S, "max": 0.0}},
            axes=(grey, grey),
            height=150,
        )

    def update(self, board: Board, now_s: float) -> None:
        """Add the slowest frame since the last point, half a second ago or a little more."""
        since_s = max(now_s - self._curves.added_s, STEP_S)
        slowest = {name: board.slowest_ms(name, now_s, since_s) for name in _PIPELINES}
        if self._curves.add(slowest, now_s):
            self._plot.data = self._curves.data()


class Curves:
    """One number for each name every `STEP_S`, for `SPAN_S`.

    Attributes:
        added_s: monotonic time of the last one.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        count = round(SPAN_S / STEP_S)
        nothing = (0.0,) * len(names)
        self._rows: deque[tuple[float, ...]] = deque([nothing] * count, maxlen=count)
        self.added_s = -float("inf")

    def add(self, values: dict[str, float], now_s: float) -> bool:
        """Another point, if it is time for one."""
        if now_s - self.added_s < 0.9 * STEP_S:
            return False
        self.added_s = now_s
        self._rows.append(tuple(values[name] for name in self._names))
        return True

    def data(self) -> tuple[NDArray[np.float64], ...]:
        """Seconds (negative: ago), and a curve for each name, 0 where there was nothing."""
        values = np.array(self._rows)
        ago = STEP_S * np.arange(1.0 - len(values), 1.0)
        return (ago, *values.T.copy())
