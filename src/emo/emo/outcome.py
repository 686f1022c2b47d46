"""Whether a replay made the same motor commands as the recorded run, bit for bit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Outcome:
    """One pipeline's commands, recorded and replayed.

    Attributes:
        equal: commands that are equal bit for bit.
        different: that are not; the first of them in words.
        missing: recorded, and not made again.
        added: made now, where the recorded run had lost a message on the way.
    """

    equal: int = 0
    different: int = 0
    missing: int = 0
    added: int = 0
    first: str = field(default="")

    @property
    def same(self) -> bool:
        """Whether each recorded command was made again."""
        return self.equal > 0 and not self.different and not self.missing


#: What of a command must be the same; `stage_ms` tells when it was made, which is another time now.
_FIELDS = ("target_time", "source", "names", "positions", "valid", "active", "end_of_stream")


def outcome(recorded: Iterable[Any], replayed: Iterable[Any]) -> Outcome:
    """Compare MotorCommands (any object with their fields), matched by their stamps."""
    again: dict[tuple[int, int], list[Any]] = {}
    for command in replayed:
        again.setdefault(_time(command.header.stamp), []).append(command)
    result = Outcome()
    for command in recorded:
        stamp = _time(command.header.stamp)
        if not again.get(stamp):
            result.missing += 1
            result.first = result.first or f"{_seconds(stamp)} s was not made again"
            continue
        twin = again[stamp].pop(0)
        unequal = [name for name in _FIELDS if _plain(command, name) != _plain(twin, name)]
        if unequal:
            result.different += 1
            result.first = result.first or f"{_seconds(stamp)} s differs in {', '.join(unequal)}"
        else:
            result.equal += 1
    result.added = sum(len(rest) for rest in again.values())
    return result


def _time(stamp: Any) -> tuple[int, int]:
    return stamp.sec, stamp.nanosec


def _seconds(stamp: tuple[int, int]) -> str:
    return f"{stamp[0]}.{stamp[1]:09d}"


def _plain(command: Any, name: str) -> Any:
    value = getattr(command, name)
    if name == "target_time":
        return _time(value)
    return list(value) if name in ("names", "positions") else value
