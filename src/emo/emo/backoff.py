"""When a process that ended is started again: one rule for the supervisor and the launch files."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from emo_nodekit import CRASHES

#: A process that ran this long was well: the next restart begins with the shortest delay again.
HEALTHY_S = 10.0
FIRST_DELAY_S, LONGEST_DELAY_S = 0.2, 8.0


def ending(status: int) -> str:
    """A process's exit status in words: below 0, or beyond 128, is the signal that ended it."""
    number = -status if status < 0 else status - 128
    if number <= 0:
        return f"status {status}"
    try:
        return f"signal {signal.Signals(number).name}"
    except ValueError:  # a real-time signal has no name
        return f"signal {number}"


@dataclass
class Backoff:
    """What is known of one process.

    Attributes:
        first_s: the first restart's delay; doubled by every further failure in a row, up to
            LONGEST_DELAY_S.
        failures: ends in a row, none of them after a healthy run.
        ends: all of them.
    """

    first_s: float = FIRST_DELAY_S
    failures: int = 0
    ends: int = 0
    _how: str = ""
    _delay_s: float = 0.0

    def ended(self, status: int, ran_s: float) -> float:
        """Note an end; returns how long to wait before the next start, in s."""
        self.failures = 1 if ran_s >= HEALTHY_S else self.failures + 1
        self.ends += 1
        self._how = ending(status)
        self._delay_s = self.first_s if self.failures == 1 else 2.0 * self._delay_s
        self._delay_s = min(self._delay_s, LONGEST_DELAY_S)
        return self._delay_s

    def environment(self) -> dict[str, str]:
        """Tells the next process of it, whose nodes say so in their diagnostics."""
        return {CRASHES: f"{self.ends}:{self._how}"} if self.ends else {}
