from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emo_core.face.presence import EASE_S, HOLD_S, RETURN_S, Presence

DT = 0.04
LOST = np.full((478, 3), np.nan, np.float32)


def smile(amount: float) -> np.ndarray:
    return np.full((478, 3), amount, np.float32)


def test_held_then_eased_to_rest_then_taken_up_again() -> None:
    presence = Presence()
    for _ in range(20):
        shown, valid = presence.feed(smile(6), DT)
    assert valid
    np.testing.assert_array_equal(shown, smile(6))
    values = []
    for _ in range(round((HOLD_S + EASE_S) / DT) + 2):
        shown, valid = presence.feed(LOST, DT)
        assert not valid
        values.append(float(shown[0, 0]))
    assert values[int(HOLD_S / DT) - 1] == 6.0
    assert values[-1] == 0.0
    assert (np.diff(values) <= 1e-6).all()
    back = [float(presence.feed(smile(6), DT)[0][0, 0]) for _ in range(12)]
    assert back[-1] == 6.0
    assert back[0] < 1.0


def test_a_single_lost_frame_is_hardly_seen() -> None:
    presence = Presence()
    shown = []
    for i in range(40):
        seen = smile(5 + 2 * np.sin(0.5 * i))
        shown.append(presence.feed(LOST if i == 25 else seen, DT)[0][0, 0])
    true = 5 + 2 * np.sin(0.5 * np.arange(40))
    assert np.abs(np.array(shown) - true)[10:].max() < 2.0  # two frames' own motion
    assert np.abs(np.array(shown) - true)[28:].max() < 1e-5


def test_nobody_yet_is_rest() -> None:
    shown, valid = Presence().feed(LOST, DT)
    assert not valid
    assert not shown.any()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 45), st.booleans(), st.floats(-10, 10)), max_size=8),
    st.sampled_from([1 / 60, 1 / 30, 1 / 25]),
)
def test_it_never_jumps(parts: list[tuple[int, bool, float]], dt_s: float) -> None:
    """Faces that come, go, and come back with another expression: minimum jerk bounds the speed."""
    presence = Presence()
    before, lost, pace = 0.0, 0, RETURN_S
    for frames, there, amount in parts:
        for i in range(frames):
            # While it is seen it moves by itself, slowly; what changes meanwhile changed unseen.
            shown, _ = presence.feed(smile(amount) if there else LOST, dt_s)
            value = float(shown[0, 0])
            if not there:
                lost += 1
            elif lost:
                lost, pace = 0, min(RETURN_S, 3 * lost * dt_s)
            if i > 0 or not there:
                assert abs(value - before) <= 1.875 * 20 * dt_s / pace + 1e-4
            before = value


def test_a_reset_is_a_new_beginning() -> None:
    presence = Presence()
    presence.feed(smile(5), DT)
    presence.reset()
    shown, valid = presence.feed(LOST, DT)
    assert not valid
    assert shown.max() == pytest.approx(0.0)
