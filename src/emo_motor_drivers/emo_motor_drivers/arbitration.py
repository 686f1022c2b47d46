"""Which source drives which motors, as twist_mux does for wheels. No clock, no ROS.

The mouth follows lipsync while there is speech, and mimic otherwise; eyes and brows follow mimic,
eyeballs follow gaze. Whoever is alone drives all that it names. Who commands by hand goes before
everybody. A change of source is cross-faded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from emo_core.mimic.own_image import LOOKING, OWN, OwnImage
from emo_core.pipelines import LIPSYNC, MIMIC
from emo_core.robot.description import RobotDescription, Watchdog

GAZE, MANUAL = "gaze", "manual"
#: Who is asked first, by group: with speech and without. Sources not named come last, in order.
_PREFERENCES = {
    "mouth": ((MANUAL, LIPSYNC, MIMIC), (MANUAL, MIMIC, LIPSYNC)),
    "eye": ((MANUAL, MIMIC, LIPSYNC), (MANUAL, MIMIC, LIPSYNC)),
    "gaze": ((MANUAL, GAZE), (MANUAL, GAZE)),
}
#: In the place of a source: nobody drives, and the drivers' watchdog brings the motors to neutral.
NOBODY = ""
#: Defaults, in seconds: see `Arbitration`.
FADE_S, HOLD_S, TIMEOUT_S = 0.12, 0.6, 0.25


def motor_groups(robot: RobotDescription) -> dict[str, list[str]]:
    """Group ("eye", "mouth", "gaze") -> its motors' names; groups without motors are left out."""
    groups: dict[str, list[str]] = {}
    for motor in robot.motors:
        groups.setdefault("gaze" if motor.gaze else motor.group, []).append(motor.name)
    return groups


@dataclass
class _Source:
    positions: dict[str, float] = field(default_factory=dict)  # the last that were given
    opinion: bool = False  # whether they hold
    active: bool = False
    heard_s: float = -float("inf")
    stamp_ns: int = 0
    speaks_until_ns: int = 0  # on the source's own time line


@dataclass
class _Group:
    motors: tuple[str, ...]
    source: str = NOBODY
    weights: dict[str, float] = field(default_factory=lambda: {NOBODY: 1.0})  # their sum is 1
    faded_s: float = 0.0  # when the weights were brought up to date
    output: dict[str, float] = field(default_factory=dict)  # the last, and when
    output_s: float = -float("inf")
    left: dict[str, float] = field(default_factory=dict)  # the last before nobody drove
    left_s: float = -float("inf")


class Arbitration:
    """Selects and cross-fades.

    While a group changes from one source to another its command is the weighted mean of what both
    said last, and each command of either makes a new one.

    Args:
        groups: group ("mouth", "eye", "gaze") -> its motors' names.
        sources: names of all sources.
        neutral: motor -> where it rests.
        watchdog: how the drivers bring motors to rest to which nobody speaks.
        fade_s: length of a cross-fade.
        hold_s: the mouth stays with lipsync this long after the last speech, so that a pause
            between words does not flicker.
        timeout_s: a source that was not heard for so long is gone.
        own_image: whose face it is that mimic sees: the robot's own is not followed.
    """

    def __init__(
        self,
        groups: Mapping[str, Sequence[str]],
        sources: Sequence[str],
        neutral: Mapping[str, float],
        watchdog: Watchdog,
        fade_s: float = FADE_S,
        hold_s: float = HOLD_S,
        timeout_s: float = TIMEOUT_S,
        own_image: OwnImage | None = None,
    ) -> None:
        self._own_image = own_image
        self._groups = {name: _Group(tuple(motors)) for name, motors in groups.items()}
        self._sources = {name: _Source() for name in sources}
        self._neutral, self._watchdog = dict(neutral), watchdog
        self._fade_s, self._hold_s, self._timeout_s = fade_s, hold_s, timeout_s

    @classmethod
    def of(
        cls,
        robot: RobotDescription,
        sources: Sequence[str],
        fade_s: float = FADE_S,
        hold_s: float = HOLD_S,
        timeout_s: float = TIMEOUT_S,
        own_image: OwnImage | None = None,
    ) -> Arbitration:
        """Of a robot's motors."""
        neutral = dict(zip(robot.names, robot.neutral.tolist(), strict=True))
        groups, watchdog = motor_groups(robot), robot.watchdog
        return cls(groups, sources, neutral, watchdog, fade_s, hold_s, timeout_s, own_image)

    @property
    def drivers(self) -> dict[str, tuple[str, float]]:
        """Group -> (source that drives it or "", how far the cross-fade to it has come)."""
        return {
            name: (group.source, group.weights.get(group.source, 0.0))
            for name, group in self._groups.items()
        }

    @property
    def face(self) -> str:
        """Whose face it is, in words: a state of `OwnImage`; empty where that is not looked at."""
        return "" if self._own_image is None else self._own_image.state

    def feed(
        self,
        source: str,
        positions: Mapping[str, float],
        active: bool,
        stamp_ns: int,
        target_ns: int,
        now_s: float,
    ) -> dict[str, float]:
        """A command of one source; returns what to send on: the motors that it has a part in.

        A source that is not active (a quiet voice, a face that is held or eased to rest) keeps the
        motors that it drives as long as it has an opinion, but is not given others that anybody
        else drives.

        Args:
            source: who asks.
            positions: motor -> position in [0, 1]; empty where it holds no opinion now.
            active: there is speech (lipsync) or a face (mimic) at `stamp_ns`.
            stamp_ns: capture time of the newest input behind the command.
            target_ns: when the face should look so.
            now_s: monotonic seconds.
        """
        if self._own_image is not None:
            positions, active = self._allowed(self._own_image, source, positions, active, now_s)
        state = self._sources[source]
        state.opinion = bool(positions)
        if positions:
            state.positions = dict(positions)
        state.heard_s = now_s
        if stamp_ns < state.stamp_ns:  # its clock was set back: a recording begins again
            state.speaks_until_ns = 0
        state.stamp_ns = stamp_ns
        if source == LIPSYNC:
            if active:
                state.speaks_until_ns = stamp_ns + int(self._hold_s * 1e9)
            active = active or target_ns <= state.speaks_until_ns
        state.active = active or source == MANUAL
        out: dict[str, float] = {}
        for name, group in self._groups.items():
            self._select(name, group, now_s)
            if source == group.source or source in group.weights:
                out.update(self._mixed(group, now_s))
        return out

    def end(self, source: str) -> None:
        """The source's stream is over: whoever else is there takes its motors."""
        self._sources[source].opinion = self._sources[source].active = False

    def expire(self, now_s: float) -> None:
        """Groups whose source is gone and that nobody else drives are at rest."""
        if self._own_image is not None:
            self._own_image.expire(now_s)
        for name, group in self._groups.items():
            self._select(name, group, now_s)

    def _allowed(
        self,
        own: OwnImage,
        source: str,
        positions: Mapping[str, float],
        active: bool,
        now_s: float,
    ) -> tuple[Mapping[str, float], bool]:
        """What a source that looks at a face may have, and whether it is active."""
        if source == GAZE and own.state in (LOOKING, OWN):
            return {}, False
        if source != MIMIC:
            return positions, active
        eye = self._groups.get("eye")
        by_hand = eye is not None and self._there(MANUAL, eye, now_s)
        return own.feed(positions, active, now_s, brows=not by_hand)

    # -- who ---------------------------------------------------------------------------------

    def _select(self, name: str, group: _Group, now_s: float) -> None:
        """Bring the cross-fade up to `now_s`, then see who is to drive from here on."""
        self._fade(group, now_s)
        before, group.source = group.source, self._choose(name, group, now_s)
        if group.source and not before:
            group.left, group.left_s = dict(group.output), group.output_s
        if self._fade_s <= 0.0 or not group.source:
            group.weights = {group.source: 1.0}

    def _choose(self, name: str, group: _Group, now_s: float) -> str:
        speech = self._sources.get(LIPSYNC)
        quiet = speech is None or not speech.active or not self._there(LIPSYNC, group, now_s)
        named = _PREFERENCES.get(name, ((), ()))[1 if quiet else 0]
        order = [*named, *(other for other in self._sources if other not in named)]
        there = [other for other in order if self._there(other, group, now_s)]
        for other in there:
            if self._sources[other].active or other == group.source:
                return other
        return there[0] if there else NOBODY

    def _there(self, name: str, group: _Group, now_s: float) -> bool:
        state = self._sources.get(name)
        return (
            state is not None
            and state.opinion
            and now_s - state.heard_s <= self._timeout_s
            and any(motor in state.positions for motor in group.motors)
        )

    # -- how much ----------------------------------------------------------------------------

    def _fade(self, group: _Group, now_s: float) -> None:
        """Weights move to the source that drives; among the others their proportions stay."""
        gone_s, group.faded_s = now_s - group.faded_s, now_s
        before = group.weights.get(group.source, 0.0)
        if before == 1.0:
            return
        after = min(before + max(gone_s, 0.0) / self._fade_s, 1.0)
        left = (1.0 - after) / (1.0 - before)
        group.weights = {
            name: weight * left
            for name, weight in group.weights.items()
            if name != group.source and weight * left > 0.0
        }
        group.weights[group.source] = after

    def _mixed(self, group: _Group, now_s: float) -> dict[str, float]:
        """The group's command now: only of motors that somebody names."""
        rest = self._at_rest(group, now_s) if NOBODY in group.weights else {}
        said = [
            (weight, self._sources[name].positions if name else rest)
            for name, weight in group.weights.items()
        ]
        out = {}
        for motor in group.motors:
            parts = [(weight, positions[motor]) for weight, positions in said if motor in positions]
            total = sum(weight for weight, _ in parts)
            if total > 0.0:
                out[motor] = sum(weight * position for weight, position in parts) / total
        group.output.update(out)
        group.output_s = now_s
        return out

    def _at_rest(self, group: _Group, now_s: float) -> dict[str, float]:
        """Where the drivers' watchdog has brought motors to which nobody speaks."""
        share = (now_s - group.left_s - self._watchdog.timeout_s) / self._watchdog.ease_s
        share = min(max(share, 0.0), 1.0)
        home = share * share * (3.0 - 2.0 * share)
        rest = {motor: self._neutral[motor] for motor in group.motors}
        for motor, position in group.left.items():
            rest[motor] = position + home * (rest[motor] - position)
        return rest
