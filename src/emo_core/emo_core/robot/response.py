"""What one motor does in the picture: which way, how far, and how late.

All faces of a motion are projected to one number y each, along the way that the motor moves them.
With s the position sent, the model is

    y(t) = f(s(t - latency)) + slow(t)

f is piecewise linear over the motor's stroke. `slow` is whatever changes below `SLOW_HZ`: head and
camera sway, soft skin creeps. For each latency f and slow are linear; the latency is searched from
coarse to fine for the least squares. The play of gears and skin delays a motion, too, and is part
of the latency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Latencies that are considered.
LATENCIES_S = (-0.03, 0.3)
#: Changes slower than this are none of a motor that steps several times a second.
SLOW_HZ = 1.1
#: Knots of f over the range that was sent.
KNOTS = 13
_GRID_S = 0.001
#: Rounds of learning the way, and with it the latency, which the way depends on.
_ROUNDS = 2
_FIRST_GUESS_S = 0.03
_FLOOR = 0.003

Array = NDArray[np.float64]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class Response:
    """One motor as seen.

    Attributes:
        latency_s: from a write to the motion.
        latency_sd_s: standard error of it: two halves of the pictures, each with the way learnt
            from the other, have it to themselves.
        r2: share of y's quick variance that the model explains (adjusted for its freedom), in
            pictures that the way was not learnt from: about 0 where nothing is seen to move.
        knots: (K,) commands.
        slopes: (K - 1,) of f between knots. slopes_cov: (K - 1, K - 1) their covariance.
        push: (478, 2) mm in the metric frame for each stroke.
        push_sd: (478, 2) standard errors.
    """

    latency_s: float
    latency_sd_s: float
    r2: float
    knots: Array
    slopes: Array
    slopes_cov: Array
    push: Array
    push_sd: Array

    @property
    def seen(self) -> bool:
        """Whether the camera sees what this motor does."""
        surest = float(np.max(np.abs(self.push) / np.maximum(self.push_sd, 1e-9)))
        return self.r2 > 0.5 and surest > 5.0

    def usable(self, dead: float = 0.1, doubt: float = 0.25) -> tuple[float, float]:
        """The part of the stroke in which the face changes.

        Only what is surely dead is left out: from each end the longest stretch whose mean slope
        is below the share `dead` of the median, and below `doubt` of it even two standard errors
        higher, and in which no part is surely steeper than `dead`.
        """
        typical = float(np.median(np.abs(self.slopes)))
        errors = np.sqrt(np.diag(self.slopes_cov))
        steep = np.abs(self.slopes) > dead * typical + 2.0 * errors

        def still(part: slice) -> bool:
            mean = abs(float(self.slopes[part].mean()))
            error = float(np.sqrt(self.slopes_cov[part, part].mean()))
            surely = mean < dead * typical and mean + 2.0 * error < doubt * typical
            return surely and not steep[part].any()

        count = len(self.slopes)
        low = max((n for n in range(count) if n and still(slice(0, n))), default=0)
        high = min((n for n in range(low + 1, count) if still(slice(n, None))), default=count)
        return float(self.knots[low]), float(self.knots[high])


@dataclass(frozen=True)
class _Fit:
    latency_s: float
    slopes: Array
    slopes_cov: Array
    r2: float


@dataclass(frozen=True)
class Motion:
    """One motor steps several times a second, all over its range, and is looked at.

    Attributes:
        times: (F,) s, of the pictures. faces: (F, 478, 2) metric mm.
        sent_s, sent: (N,) what the motor was sent: straight lines between these points.
    """

    times: Array
    faces: Array
    sent_s: Array
    sent: Array


def respond(motions: Sequence[Motion]) -> list[Response]:
    """Fit the model above to each motion.

    What the motions of all other motors leave unexplained tells how the faces shake, and so which
    way of looking at a motion shakes least: small motions show among many others. What a motion
    leaves itself would be no guide: it has to do with its own latency.
    """
    fitters = [_Fitter(motion) for motion in motions]
    alone = [fitter.response(_Shake(fitter.left(_FIRST_GUESS_S), 1.0)) for fitter in fitters]
    if len(fitters) == 1:
        return alone
    left = [
        fitter.left(response.latency_s) for fitter, response in zip(fitters, alone, strict=True)
    ]
    total = np.sum(left, axis=0)
    return [
        fitter.response(_Shake(total - own, _FLOOR))
        for fitter, own in zip(fitters, left, strict=True)
    ]


def told_latency(sent_s: Array, sent: Array, told_s: Array, told: Array) -> float:
    """From a write to the position that the servo tells, in s: least squares of
    `told(t) = a + b sent(t - latency)`.

    Args:
        sent_s, sent: (N,) what the motor was sent: straight lines between these points.
        told_s, told: (K,) what its servo said; NaN: nothing. Some must be finite.
    """
    there = np.isfinite(told)
    when, here = told_s[there], told[there] - told[there].mean()
    latencies = np.arange(0.0, LATENCIES_S[1], _GRID_S)
    then = np.interp(when - latencies[:, None], sent_s, sent)  # (latencies, K)
    then -= then.mean(axis=1, keepdims=True)
    gain = then @ here / np.maximum(np.sum(then**2, axis=1), 1e-12)
    error = np.sum((here - gain[:, None] * then) ** 2, axis=1)
    return float(latencies[np.argmin(error)])


class _Shake:
    """How faces shake.

    Args:
        scatter: (D, D) sums of products of what is left unexplained.
        floor: share of the mean variance that every coordinate is taken to have of its own.
    """

    def __init__(self, scatter: Array, floor: float) -> None:
        even = floor * max(float(np.trace(scatter)) / len(scatter), 1e-12)
        self._inverse = np.linalg.inv(scatter + even * np.eye(len(scatter)))

    def way(self, push: Array) -> Array:
        """(D,) weights that turn faces into strokes: the best linear unbiased ones."""
        way = self._inverse @ push
        return np.asarray(way / max(float(way @ push), 1e-12))


class _Fitter:
    """The quick part of one motion's faces, and its motor's."""

    def __init__(self, motion: Motion) -> None:
        self._times, sent = motion.times, motion.sent
        first = min(motion.sent_s[0], self._times[0]) - LATENCIES_S[1]
        last = max(motion.sent_s[-1], self._times[-1]) - LATENCIES_S[0]
        self._grid = np.arange(first, last + _GRID_S, _GRID_S)
        self._sent = np.interp(self._grid, motion.sent_s, sent)
        low, high = float(sent.min()), float(sent.max())
        self._knots = np.linspace(low, max(high, low + 1e-6), KNOTS)
        self._slow = _slow_basis(self._times)
        self._faces = self._quick(motion.faces.reshape(len(motion.faces), -1))
        self.rows = np.arange(len(self._times))

    def push(self, latency_s: float, rows: Index) -> tuple[Array, Array]:
        """(D,) what a stroke does to each coordinate in these pictures, and (rows, D) the rest."""
        motion = self._motion(latency_s)[rows]
        push = motion @ self._faces[rows] / max(float(motion @ motion), 1e-12)
        return push, self._faces[rows] - motion[:, None] * push

    def left(self, latency_s: float) -> Array:
        """(D, D) sums of products of what this motion leaves unexplained."""
        _, left = self.push(latency_s, self.rows)
        return np.asarray(left.T @ left)

    def response(self, shake: _Shake) -> Response:
        fits = self._crossed(shake)
        latency = float(np.mean([fit.latency_s for fit in fits]))
        push, left = self.push(latency, self.rows)
        error = left.std(axis=0) / max(float(np.linalg.norm(self._motion(latency))), 1e-12)
        return Response(
            latency_s=latency,
            latency_sd_s=abs(fits[0].latency_s - fits[1].latency_s) / 2,
            r2=min(fit.r2 for fit in fits),
            knots=self._knots,
            slopes=np.mean([fit.slopes for fit in fits], axis=0),
            slopes_cov=np.sum([fit.slopes_cov for fit in fits], axis=0) / 4,
            push=push.reshape(-1, 2),
            push_sd=error.reshape(-1, 2),
        )

    def _crossed(self, shake: _Shake) -> list[_Fit]:
        """Fits of two halves of the pictures, each with the way learnt from the other.

        Of four stretches every other one makes a half.
        """
        half = self.rows * 4 // len(self.rows) % 2
        fits = []
        for learn, use in ((half == 0, half == 1), (half == 1, half == 0)):
            latency = _FIRST_GUESS_S
            for _ in range(_ROUNDS):
                push, _ = self.push(latency, self.rows[learn])
                fit = self._fit((self._faces @ shake.way(push))[use], self.rows[use])
                latency = fit.latency_s
            fits.append(fit)
        return fits

    def _quick(self, values: Array) -> Array:
        """(F, ...) `values` without what is slow."""
        return np.asarray(values - self._slow @ (self._slow.T @ values))

    def _motion(self, latency_s: float) -> Array:
        """(F,) quick part of the positions that the pictures show, if this is the latency."""
        return self._quick(self._at(latency_s))

    def _fit(self, y: Array, rows: Index) -> _Fit:
        def error(latency_s: float) -> float:
            design = self._design(latency_s)[rows]
            return float(np.sum((y - design @ _solve(design, y)) ** 2))

        low, high = LATENCIES_S
        latencies = np.arange(low, high, 0.01)
        for step in (0.002, 0.0004):
            latency = min(latencies, key=error)
            latencies = np.clip(latency + step * np.arange(-5, 6), low, high)
        latency = float(min(latencies, key=error))
        design = self._design(latency)[rows]
        curve = _solve(design, y)
        squares = float(np.sum((y - design @ curve) ** 2))
        # What is slow takes its share of the freedom, the knots and the latency theirs.
        free = len(y) * (1.0 - self._slow.shape[1] / len(self._times))
        variance = squares / max(free - KNOTS - 1, 1)
        covariance = variance * np.linalg.inv(design.T @ design + _smooth(len(y)))
        rise = np.diff(np.eye(KNOTS), axis=0) / (self._knots[1] - self._knots[0])
        return _Fit(
            latency_s=latency,
            slopes=rise @ curve,
            slopes_cov=rise @ covariance @ rise.T,
            r2=1.0 - variance / max(float(np.sum(y**2)) / free, 1e-12),
        )

    def _at(self, latency_s: float) -> Array:
        return np.interp(self._times - latency_s, self._grid, self._sent)

    def _design(self, latency_s: float) -> Array:
        """(F, K): functions that are 1 at one knot and 0 at the others, the quick part."""
        width = self._knots[1] - self._knots[0]
        place = np.clip((self._at(latency_s) - self._knots[0]) / width, 0.0, KNOTS - 1.0)
        return self._quick(np.maximum(1.0 - np.abs(place[:, None] - np.arange(KNOTS)), 0.0))


def _slow_basis(times: Array) -> Array:
    """(F, S) orthonormal: a constant, and cosines up to `SLOW_HZ` over the whole time."""
    length = max(float(np.ptp(times)), 1e-6)
    count = min(int(2.0 * SLOW_HZ * length) + 1, len(times) // 2)
    phase = np.pi * (times - times[0]) / length
    basis, _ = np.linalg.qr(np.cos(phase[:, None] * np.arange(count)))
    return np.asarray(basis)


def _smooth(count: int) -> Array:
    """A touch of it: knots that no picture shows lie on a line with their neighbours."""
    bend = np.diff(np.eye(KNOTS), 2, axis=0)
    return np.asarray(1e-4 * count * bend.T @ bend + 1e-9 * count * np.eye(KNOTS))


def _solve(design: Array, y: Array) -> Array:
    return np.asarray(np.linalg.solve(design.T @ design + _smooth(len(y)), design.T @ y))
