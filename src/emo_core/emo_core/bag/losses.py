"""Which messages did not arrive, by their publishers' own numbers."""

from __future__ import annotations


class Losses:
    """Counts the gaps in the numbers of one topic's messages.

    Each publisher counts its messages from 1, and who sent a message is not told: the number that
    is nearest below is taken to be its sender's last. With several publishers a loss can so hide
    behind another's message, but none is invented.
    """

    def __init__(self) -> None:
        self._last: list[int] = []  # of each publisher
        self.lost = 0

    def feed(self, number: int, publishers: int) -> int:
        """Message `number` arrived, on a topic with so many publishers now; how many are missing.

        A number of 0 is none (a ROS that does not tell).
        """
        if number <= 0:
            return 0
        below = [last for last in self._last if last < number]
        nearest = max(below, default=None)
        if nearest is None or (nearest != number - 1 and len(self._last) < publishers):
            # A publisher not met before, or one that began anew.
            self._last = [*self._last, number][-max(publishers, 1) :]
            return 0
        self._last[self._last.index(nearest)] = number
        missing = number - nearest - 1
        self.lost += missing
        return missing
