"""What a replay leaves out is found at one reading, and in constant memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Collection, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from emo import consumed
from emo_core.bag import Raw

COUNT, SAMPLES = 200, 32_000


class Long:
    """Recorded sound of which every chunk was heard, with the features of it."""

    log_ns = dict.fromkeys(("/audio", "/speech_features"), np.zeros(COUNT, np.int64))

    def __init__(self, dim: int = 160) -> None:
        self.dim = dim
        self.read = 0

    def messages(self, topics: Collection[str]) -> Iterator[Raw]:
        self.read += 1
        for i in range(COUNT):
            for topic in self.log_ns:
                if topic in topics:
                    yield Raw(topic, 0, 0, i + 1, bytes((0, 1, 0, 0)) + bytes((i, 0, 0, 0)) * 2)

    def decode(self, raw: Raw) -> Any:
        i = raw.sequence - 1
        header = SimpleNamespace(stamp=SimpleNamespace(sec=i, nanosec=0))
        if raw.topic == "/audio":
            return SimpleNamespace(
                header=header, first_sample=i * SAMPLES, end_of_stream=False,
                data=np.zeros(SAMPLES, np.float32),
            )  # fmt: skip
        return SimpleNamespace(
            header=header, first_frame=i * SAMPLES // 160, dim=self.dim,
            data=np.zeros(SAMPLES, np.float32),
        )  # fmt: skip


def test_sound_and_features_are_not_kept() -> None:
    bag: Any = Long()
    tracemalloc.start()
    try:
        lost = consumed.unread(bag, "/")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert lost["/audio"] == set()
    assert peak < 5 * 4 * SAMPLES, "a few messages, of the 400"
    assert bag.read == 1


def test_features_of_no_dimension_hold_no_frame() -> None:
    bag: Any = Long(dim=0)
    assert consumed.unread(bag, "/") == {"/audio": set(), "/speech_features": set()}
