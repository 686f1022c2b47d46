"""Is the face before the camera the robot's own, in a mirror or on a screen?

A robot that mimics its own image is a loop: whatever it shows is followed, and grows until the
motors are at their limits (simulated robot before a mirror: 2 s). What a robot sees of its own
motion comes back as it was sent, a fixed time later, and so can be told from another's (von Holst
and Mittelstaedt 1950: the efference copy). While it mimics, though, all that it sends is what it
saw: nothing can be learned from that. So it first does something by itself. It greets a new face
with a raise of its brows and keeps still otherwise; a face whose brows do likewise at once is
greeted again, and one that has done so three times is its own.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from emo_core.face.topology import EYEBROWS
from emo_core.robot.description import RobotDescription

#: The greeting: as long, and as far (share of the stroke), after a moment of keeping still; s.
STILL_S, GREETING_S, RAISE = 0.1, 0.3, 0.25
#: From a command to the command that shows it, by way of servos, camera and tracker; s.
LAGS_S = np.arange(0.03, 0.36, 0.01)
LOOK_S = STILL_S + GREETING_S + float(LAGS_S[-1])
#: An image of the greeting comes within this time, s, has this share of its size at least (and at
#: most), and explains this share of what the brows did meanwhile. docs/mimic.md tells how well that
#: divides the robot's own image, before a camera that shakes, from people who pull faces.
SOON_S, SIZE, EXPLAINED = 0.305, (0.35, 2.0), 0.06
#: So many looks before a face is taken for the robot's own; one may do for another's.
LOOKS = 3
#: With fewer frames than these in a look, or none for so long (s), nothing can be told: it is begun
#: again, so many times at most.
ENOUGH, GAP_S, TRIES = 8, 0.15, 3
#: From the greeting to what the face shows meanwhile, s.
EASE_S = 0.3
#: Who was away for so long is greeted again; the robot's own image, as soon as it is lost; s.
AWAY_S, LOST_S = 3.0, 0.3
#: The own image, at rest, is looked at again when it moves by itself (share of the stroke, for so
#: long); a face that is followed, when it pulls a face (on average over the motors) for so long.
MOVES, PULLS, FOR_S = 0.2, 0.3, 2.0
#: But not before so long, and after twice as long each time it is the same again; s.
AGAIN_S, SELDOM_S = 5.0, 80.0

NOBODY, LOOKING, OTHER, OWN = "nobody", "looking", "somebody", "own image"

Array = NDArray[np.float64]


class OwnImage:
    """A stage between the mimic pipeline and the motors: `feed` each of its commands.

    Deterministic: time is passed in, monotonic seconds.

    Args:
        robot: it greets with the eye motors that move a brow up or down in the picture; with all
            eye motors, if its file does not say which do; one with neither takes all for others.

    Attributes:
        state: `NOBODY`, `LOOKING`, `OTHER` or `OWN`.
    """

    def __init__(self, robot: RobotDescription) -> None:
        motors = [robot.motors[i] for i in robot.expressive if robot.motors[i].group == "eye"]
        brows = [m for m in motors if m.moves is not None and m.moves.point in EYEBROWS]
        self._motors = {
            m.name: -1.0 if m.moves is not None and m.moves.way == "down" else 1.0
            for m in brows or motors
        }
        self._limits = {m.name: m.limits for m in robot.motors}
        self._neutral = {m.name: m.neutral for m in robot.motors}
        self._looks: list[list[tuple[float, Array]]] = []  # of each, what was seen when
        self._tries = 0
        self._unlooked = False  # somebody is followed without a look
        self._raise: dict[str, float] = {}
        self._recent: deque[tuple[float, Array]] = deque()
        self.reset()

    def reset(self) -> None:
        """Nobody has been seen."""
        self.state = self._last = NOBODY
        self._wait_s = AGAIN_S
        self._seen_s = self._began_s = -math.inf
        self._shown: dict[str, float] = {}
        self._held: dict[str, float] = {}
        self._begin()

    def feed(
        self, positions: Mapping[str, float], active: bool, now_s: float, brows: bool = True
    ) -> tuple[dict[str, float], bool]:
        """What mimic wants -> what it may have, and whether it is active.

        Args:
            positions: motor -> command; empty: no opinion.
            active: a face is seen.
            now_s: when the command came, and will be sent.
            brows: the greeting would be shown; while somebody else moves the brows, a face is
                followed without a look, and looked at afterwards.
        """
        if active:
            if self.state != LOOKING:  # there, `_judge` sees to images that are missing
                self.expire(now_s)
            self._seen_s = now_s
        elif now_s - self._seen_s > (AWAY_S if self.state == OTHER else LOST_S):
            self.state = NOBODY
        if active and self._motors:
            self._meet(now_s, brows)
        if self.state == LOOKING:
            if active:
                self._looks[-1].append((now_s - self._began_s, self._values(positions)))
            if now_s - self._began_s > LOOK_S:
                self._judge(now_s)
        elif active and self.state in (OTHER, OWN) and brows:
            self._suspect(positions, now_s)
        if self.state == LOOKING:
            return self._greeting(now_s), True
        # A face that was lost while it was looked at is held by the tracker, and was never shown.
        if self.state == OWN or (self.state == NOBODY and self._motors):
            return {}, False
        self._shown = self._taken_up(positions, now_s)
        return self._shown, active

    def expire(self, now_s: float) -> None:
        """Time goes on, also where no command comes: its camera may be unplugged."""
        if now_s - self._seen_s > AWAY_S:
            self.state = NOBODY

    def _meet(self, now_s: float, brows: bool) -> None:
        """A face is seen: look at it, if that was not done and can be."""
        if brows and self.state == NOBODY:
            self._begin()
            self._look({}, now_s)
        elif brows and self.state == OTHER and self._unlooked:
            self._look(self._shown, now_s)
        elif not brows and self.state in (NOBODY, LOOKING):
            if self.state == NOBODY:
                self._held = {}
            self._begin()
            self.state, self._judged_s = OTHER, now_s
            self._unlooked = True

    def _values(self, positions: Mapping[str, float]) -> Array:
        return np.array([positions.get(name, np.nan) for name in self._motors])

    # -- looking -----------------------------------------------------------------------------

    def _look(self, held: dict[str, float], now_s: float) -> None:
        """Keep still, with `held` as it is, and greet."""
        if self.state != LOOKING:
            self._looks, self._tries = [], 0
            self._unlooked = False
        self.state, self._began_s, self._held = LOOKING, now_s, held
        self._looks.append([])
        self._raise = {}
        for name, way in self._motors.items():
            here = held.get(name, self._neutral[name])
            low, high = self._limits[name]
            up, down = min(RAISE, high - here), -min(RAISE, here - low)
            first, second = (up, down) if way > 0 else (down, up)
            self._raise[name] = first if abs(first) >= 0.5 * abs(second) else second

    def _greeting(self, now_s: float) -> dict[str, float]:
        share = float(_pulse(np.array(now_s - self._began_s)))
        out = dict(self._held)
        for name, height in self._raise.items():
            out[name] = self._held.get(name, self._neutral[name]) + share * height
        return out

    def _taken_up(self, positions: Mapping[str, float], now_s: float) -> dict[str, float]:
        """The face is followed from where the greeting has left the motors."""
        share = min((now_s - self._judged_s) / EASE_S, 1.0)
        if share >= 1.0 or self.state != OTHER:
            return dict(positions)
        way = share * share * (3.0 - 2.0 * share)
        out = {}
        for name, position in positions.items():
            start = self._held.get(name, self._neutral[name])
            out[name] = start + way * (position - start)
        return out

    def _judge(self, now_s: float) -> None:
        if self._disturbed() and self._tries < TRIES:
            self._tries += 1
            self._looks.pop()
            self._look(self._held, now_s)
            return
        own = self._came_back()
        if own and len(self._looks) < LOOKS:
            self._look(self._held, now_s)
            return
        again = OWN if own else OTHER
        self._wait_s = min(2.0 * self._wait_s, SELDOM_S) if again == self._last else AGAIN_S
        self.state = self._last = again
        self._judged_s, self._since_s = now_s, math.inf
        self._recent.clear()

    def _disturbed(self) -> bool:
        """Whether too little was seen in the last look."""
        times = [0.0, *(time for time, values in self._looks[-1] if np.isfinite(values).all())]
        return len(times) <= ENOUGH or float(np.diff(times).max()) > GAP_S

    def _came_back(self) -> bool:
        """Whether in all looks the face did, so much later, what the robot had done."""
        heights = np.array(list(self._raise.values()))
        looks = []
        for frames in self._looks:
            good = [(time_s, values) for time_s, values in frames if np.isfinite(values).all()]
            if not good:
                return False
            times = np.array([time_s for time_s, _ in good])
            looks.append((times, _without_drift(times, np.stack([values for _, values in good]))))
        did = sum(float((seen * seen).sum()) for _, seen in looks)
        best, best_size, best_lag_s = 0.0, 0.0, 0.0
        for lag_s in LAGS_S:
            alike = power = 0.0
            for times, seen in looks:
                sent = _without_drift(times, _pulse(times - lag_s)[:, None]) * heights
                alike += float((sent * seen).sum())
                power += float((sent * sent).sum())
            if alike > 0.0 and alike * alike > best * power * did:
                best, best_size, best_lag_s = alike * alike / (power * did), alike / power, lag_s
        return best >= EXPLAINED and SIZE[0] <= best_size <= SIZE[1] and best_lag_s <= SOON_S

    # -- looking again -----------------------------------------------------------------------

    def _begin(self) -> None:
        self._last, self._wait_s = NOBODY, AGAIN_S
        self._unlooked = False
        self._since_s = math.inf  # what is seen is strange
        self._judged_s = -math.inf
        self._recent.clear()

    def _suspect(self, positions: Mapping[str, float], now_s: float) -> None:
        """Look again if it does not look like what it was taken for."""
        if self.state == OTHER:
            away = [abs(position - self._neutral[name]) for name, position in positions.items()]
            strange = bool(away) and float(np.mean(away)) > PULLS
        else:
            self._recent.append((now_s, self._values(positions)))
            while self._recent[0][0] < now_s - FOR_S:
                self._recent.popleft()
            values = np.stack([values for _, values in self._recent])
            half = len(values) // 2
            moved = values[half:].mean(axis=0) - values[:half].mean(axis=0) if half else np.zeros(1)
            strange = float(np.abs(moved).max()) > MOVES
        self._since_s = min(self._since_s, now_s) if strange else math.inf
        enough_s = FOR_S if self.state == OTHER else 0.0
        if now_s - self._since_s >= enough_s and now_s - self._judged_s >= self._wait_s:
            self._look(self._shown if self.state == OTHER else {}, now_s)


def _pulse(time_s: Array) -> Array:
    """The greeting, 0 to 1, `time_s` after the beginning of a look."""
    share = np.clip((time_s - STILL_S) / GREETING_S, 0.0, 1.0)
    return np.asarray(np.sin(np.pi * share) ** 2)


def _without_drift(times: Array, values: Array) -> Array:
    """(T, K) less each column's best straight line over (T,)."""
    lines = np.stack([np.ones_like(times), times], axis=1)
    fit = np.linalg.lstsq(lines, values, rcond=None)[0]
    return np.asarray(values - lines @ fit)
