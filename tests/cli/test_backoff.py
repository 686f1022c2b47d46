"""When a process that ended is started again."""

from __future__ import annotations

from emo.backoff import LONGEST_DELAY_S, Backoff, ending


def test_a_process_that_never_recovers_is_tried_for_ever() -> None:
    """launch does not give up: hours of a camera's driver that crashes at once."""
    backoff = Backoff()
    delays = [backoff.ended(-11, 0.1) for _ in range(3000)]
    assert delays[:5] == [0.2, 0.4, 0.8, 1.6, 3.2]
    assert set(delays[6:]) == {LONGEST_DELAY_S}
    assert backoff.ended(1, 60.0) == 0.2, "a healthy run begins anew"
    assert backoff.environment() == {"EMO_CRASHES": "3001:status 1"}


def test_every_end_has_a_name() -> None:
    assert [ending(status) for status in (0, 3, -9, -40, 128, 143)] == [
        "status 0", "status 3", "signal SIGKILL", "signal 40", "status 128", "signal SIGTERM"
    ]  # fmt: skip
