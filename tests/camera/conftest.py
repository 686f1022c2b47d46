"""Videos made for a test."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

MakeVideo = Callable[..., Path]


@pytest.fixture
def make_video(tmp_path: Path) -> MakeVideo:
    """`make_video(times_s, size)`: picture k is one grey level, 20 k, brighter at the left top."""

    def make(
        times_s: list[float],
        size: tuple[int, int] = (64, 48),
        pix_fmt: str = "yuv420p",
        name: str = "made.mp4",
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"crf": "4"})
            stream.width, stream.height = size
            stream.pix_fmt = pix_fmt
            stream.codec_context.time_base = Fraction(1, 1000)
            for k, time_s in enumerate(times_s):
                picture = np.full((size[1], size[0], 3), 20 * (k + 1) % 200, np.uint8)
                picture[: size[1] // 4, : size[0] // 4] = 255
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = round(1000 * time_s), Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return make
