"""Which source drives which motors, as twist_mux does for wheels. No clock, no ROS.

The mouth follows lipsync while there is speech, and mimic otherwise; eyes and brows follow mimic.
Whoever is alone drives everything. A change of source is cross-faded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

#: Who is asked first, by group: with speech and without. Sources not named come last, in order.
_PREFERENCES = {
    "mouth": (("lipsync", "mimic"), ("mimic", "lipsync")),
    "eye": (("mimic", "lipsync"), ("mimic", "lipsync")),
}
SPEECH = "lipsync"
#: Defaults, in seconds: see `Arbitration`.
FADE_S, HOLD_S, TIMEOUT_S = 0.12, 0.6, 0.25


@dataclass
class _Source:
    positions: dict[str, float] = field(default_factory=dict)
    heard_s: float = -float("inf")
    speaks_until_ns: int = 0  # on the source's own time line
    speaks: bool = False


@dataclass
class _Group:
    motors: tuple[str, ...]
    source: str = ""
    changed_s: float = 0.0
    blend: float = 1.0
    faded_from: dict[str, float] = field(default_factory=dict)
    output: dict[str, float] = field(default_factory=dict)


class Arbitration:
    """Selects and cross-fades.

    Args:
        groups: group ("mouth", "eye") -> its motors' names.
        sources: names of all sources.
        fade_s: length of a cross-fade.
        hold_s: the mouth stays with lipsync this long after the last speech, so that a pause
            between words does not flicker.
        timeout_s: a source that was not heard for so long is gone.
    """

    def __init__(
        self,
        groups: Mapping[str, Sequence[str]],
        sources: Sequence[str],
        fade_s: float = FADE_S,
        hold_s: float = HOLD_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._groups = {name: _Group(tuple(motors)) for name, motors in groups.items()}
        self._sources = {name: _Source() for name in sources}
        self._fade_s, self._hold_s, self._timeout_s = fade_s, hold_s, timeout_s

    @property
    def drivers(self) -> dict[str, tuple[str, float]]:
        """Group -> (source that drives it or "", how far the cross-fade to it has come)."""
        return {name: (group.source, group.blend) for name, group in self._groups.items()}

    def feed(
        self,
        source: str,
        positions: Mapping[str, float],
        active: bool,
        stamp_ns: int,
        target_ns: int,
        now_s: float,
    ) -> dict[str, float]:
        """A command of one source; returns what to send on: the motors that it drives.

        Args:
            source: who asks.
            positions: motor -> position in [0, 1]; empty where it holds no opinion now.
            active: there is speech (lipsync) or a face (mimic) at `stamp_ns`.
            stamp_ns: capture time of the newest input behind the command.
            target_ns: when the face should look so.
            now_s: monotonic seconds.
        """
        state = self._sources[source]
        state.positions = dict(positions)
        state.heard_s = now_s
        if active:
            state.speaks_until_ns = stamp_ns + int(self._hold_s * 1e9)
        state.speaks = active or target_ns <= state.speaks_until_ns
        out: dict[str, float] = {}
        for name, group in self._groups.items():
            chosen = self._choose(name, now_s)
            if chosen != group.source:
                group.faded_from = dict(group.output)
                group.source, group.changed_s = chosen, now_s
            if chosen == source:
                out.update(self._blended(group, state.positions, now_s))
        return out

    def end(self, source: str) -> None:
        """The source's stream is over: whoever else is there takes its motors."""
        self._sources[source].heard_s = -float("inf")
        self._sources[source].speaks = False

    def expire(self, now_s: float) -> None:
        """Groups whose source is gone and that nobody else drives are at rest."""
        for name, group in self._groups.items():
            if not self._choose(name, now_s):
                group.source, group.blend, group.output = "", 1.0, {}

    def _choose(self, group: str, now_s: float) -> str:
        speech = self._sources.get(SPEECH)
        quiet = speech is None or not speech.speaks or not self._alive(SPEECH, now_s)
        named = _PREFERENCES.get(group, ((), ()))[1 if quiet else 0]
        order = [*named, *(name for name in self._sources if name not in named)]
        return next((name for name in order if self._alive(name, now_s)), "")

    def _alive(self, name: str, now_s: float) -> bool:
        state = self._sources.get(name)
        return (
            state is not None
            and bool(state.positions)
            and (now_s - state.heard_s <= self._timeout_s)
        )

    def _blended(
        self, group: _Group, positions: Mapping[str, float], now_s: float
    ) -> dict[str, float]:
        wanted = {name: positions[name] for name in group.motors if name in positions}
        share = (now_s - group.changed_s) / self._fade_s if self._fade_s > 0 else 1.0
        group.blend = min(max(share, 0.0), 1.0) if group.faded_from else 1.0
        if group.blend < 1.0:
            for name, value in wanted.items():
                old = group.faded_from.get(name, value)
                wanted[name] = old + group.blend * (value - old)
        else:
            group.faded_from = {}
        group.output.update(wanted)
        return wanted
