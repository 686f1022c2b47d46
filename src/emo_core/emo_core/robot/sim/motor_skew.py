"""Do a robot's motors move together? Measured where only a simulation can look: at its horns.

Every motor is sent the same curve, as lively as speech. How late each one is shows against that
curve, in windows; the skew of two motors is the difference of their lags in one window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emo_core.rates import FPS
from emo_core.robot.description import RobotDescription
from emo_core.robot.sim.servos import simulate
from emo_core.robot.speech_like import SpeechLikeCurve

#: Lags that are considered; the horns are looked at this often.
_LAGS_S = (-0.05, 0.4)
_RATE_HZ = 500.0
_WINDOW_S, _HOP_S, _START_S = 2.0, 1.0, 1.0

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MotorSkew:
    """Lags (W, M) in s of each motor in each window, behind the curve that was commanded."""

    lags_s: Array

    def between(self) -> Array:
        """(W, M (M - 1) / 2) s by which any two motors are apart."""
        first, second = np.triu_indices(self.lags_s.shape[1], 1)
        return np.abs(self.lags_s[:, first] - self.lags_s[:, second])

    def as_json(self) -> dict[str, float]:
        """Over all windows and pairs, in ms; `lag_ms` is the motors' mean."""
        skew = 1000.0 * self.between()
        if not skew.size:
            skew = np.zeros((1, 1))
        return {
            "p50_ms": round(float(np.percentile(skew, 50)), 2),
            "p95_ms": round(float(np.percentile(skew, 95)), 2),
            "max_ms": round(float(skew.max()), 2),
            "lag_ms": round(1000.0 * float(self.lags_s.mean()), 2),
        }


def motor_skew(robot: RobotDescription, seconds: float = 30.0, seed: int = 5) -> MotorSkew:
    """Play the curve to a simulated robot, safety layer and all.

    Args:
        robot: with a `simulator` section.
        seconds: how long.
        seed: of the curve.
    """
    curve = SpeechLikeCurve(seed)
    frames = np.arange(round(seconds * FPS)) / FPS
    horns = simulate(robot, curve.commands(robot, frames), FPS, _RATE_HZ)
    times = np.arange(len(horns)) / _RATE_HZ
    lags = []
    for start in np.arange(_START_S, seconds - _WINDOW_S, _HOP_S):
        rows = slice(round(start * _RATE_HZ), round((start + _WINDOW_S) * _RATE_HZ))
        lags.append(_lags(curve, times[rows], horns[rows]))
    return MotorSkew(np.array(lags))


def _lags(curve: SpeechLikeCurve, times: Array, horns: Array) -> Array:
    """(M,) lags of best correlation, to a fraction of the grid by a parabola."""
    step = 1.0 / _RATE_HZ
    grid = np.arange(*_LAGS_S, step)
    wanted = curve(times[:, None] - grid)
    wanted = wanted - wanted.mean(axis=0)
    moved = horns - horns.mean(axis=0)
    alike = wanted.T @ moved / np.linalg.norm(wanted, axis=0)[:, None]
    best = np.clip(alike.argmax(axis=0), 1, len(grid) - 2)
    motor = np.arange(moved.shape[1])
    left, middle, right = (alike[best + k, motor] for k in (-1, 0, 1))
    bend = np.minimum(left - 2.0 * middle + right, -1e-12)
    return np.asarray(grid[best] + 0.5 * step * (left - right) / bend)
