"""A robot's model of its own face: what its camera would see in poses it has never tried.

A few hundred babbled frames are too few to learn the way from landmarks to motors, but enough for
the way from motors to landmarks, which is smooth and has a handful of inputs: a linear trend plus
a Gaussian process with one length scale for each motor (kernel ridge regression). How far each
babbled frame is from what the others foretell (cross-validation in closed form: Rasmussen and
Williams, Gaussian Processes for Machine Learning, 2006, eq. 5.12, with whole stretches left out,
because neighbouring frames of smooth babbling err alike) sets the scales and tells how FaceMesh
errs. With both, training pairs can be imagined without end.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from emo_core.robot.pairs import Half

Array = NDArray[np.float64]

_COMPONENTS = 6
_STEPS, _RATE = 60, 0.06
#: Where the search begins: length scale in strokes, noise.
_SCALE, _NOISE = 0.75, 0.3
_TREND_RIDGE = 0.03
#: Consecutive frames that are left out together.
_STRETCH = 40
#: Share of the residuals' covariance that is taken as independent from point to point.
_SHRINK = 0.1
_AT_ONCE = 2000


class SelfModel:
    """Commands of one group -> its points as FaceMesh sees them.

    Args:
        half: babbled frames of the group.

    Attributes:
        error_mm: root mean square of the cross-validation's residuals.
        scales: (m,) length scales of the motors, in strokes.
    """

    def __init__(self, half: Half) -> None:
        self._known = torch.from_numpy(half.commands)
        faces = torch.from_numpy(half.faces)
        trend = self._with_one(self._known)
        ridge = _TREND_RIDGE * torch.eye(trend.shape[1], dtype=torch.double)
        self._trend = torch.linalg.solve(trend.T @ trend + ridge, trend.T @ faces)
        rest = faces - trend @ self._trend
        self._scales, noise = _fit(self._known, rest)
        kernel = _kernel(self._known, self._known, self._scales)
        inverse = torch.linalg.inv(kernel + noise * torch.eye(len(kernel), dtype=torch.double))
        self._weights = inverse @ rest
        residuals = _left_out(inverse, self._weights).numpy()
        self.error_mm = float(np.sqrt((residuals**2).mean()))
        self.scales: Array = self._scales.numpy()
        covariance = residuals.T @ residuals / len(residuals)
        alone = np.diag(np.diag(covariance)) + 1e-9 * np.eye(len(covariance))
        self._error = np.linalg.cholesky((1 - _SHRINK) * covariance + _SHRINK * alone)

    def __call__(self, commands: Array) -> Array:
        """(N, m) -> (N, 2 P) mm, free of noise."""
        out = []
        for first in range(0, len(commands), _AT_ONCE):
            asked = torch.from_numpy(commands[first : first + _AT_ONCE])
            curve = _kernel(asked, self._known, self._scales) @ self._weights
            out.append((self._with_one(asked) @ self._trend + curve).numpy())
        return np.concatenate(out)

    def reader(self, readings: Array) -> Callable[[torch.Tensor], torch.Tensor]:
        """The same for linear readings of the face, with a gradient, in single precision.

        Args:
            readings: (2 P, K): the face times this is what is read.

        Returns:
            (N, m) commands -> (N, K).
        """
        read = torch.from_numpy(readings)
        known, scales = self._known.float(), self._scales.float()
        trend, weights = (self._trend @ read).float(), (self._weights @ read).float()

        def look(commands: torch.Tensor) -> torch.Tensor:
            squares = torch.cdist(commands / scales, known / scales) ** 2
            curve = torch.exp(-0.5 * squares) @ weights
            return torch.addmm(trend[0], commands, trend[1:]) + curve

        return look

    def errors(self, rng: np.random.Generator, count: int) -> Array:
        """(count, 2 P) mm to add, correlated from point to point as FaceMesh's errors are."""
        return np.asarray(rng.standard_normal((count, len(self._error))) @ self._error.T)

    @staticmethod
    def _with_one(commands: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.ones(len(commands), 1, dtype=torch.double), commands], dim=1)


def _kernel(a: torch.Tensor, b: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """(N, m), (K, m) -> (N, K)."""
    return torch.exp(-0.5 * torch.cdist(a / scales, b / scales) ** 2)


def _left_out(inverse: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(T, K): each frame less what the frames outside its stretch foretell.

    Args:
        inverse: (T, T) of the kernel matrix with noise. weights: (T, K) inverse times the frames.
    """
    rows = torch.arange(len(inverse)).split(_STRETCH)
    return torch.cat([torch.linalg.solve(inverse[row][:, row], weights[row]) for row in rows])


def _fit(commands: torch.Tensor, rest: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Length scales and noise (relative to the kernel) of the least error of cross-validation.

    It is taken over the principal components of what the trend leaves: (T, m), (T, 2 P).
    """
    left, size, _ = torch.linalg.svd(rest, full_matrices=False)
    count = min(_COMPONENTS, len(size))
    parts = left[:, :count] * math.sqrt(len(left))
    share = size[:count] ** 2 / (size[:count] ** 2).sum()
    scales = torch.full((commands.shape[1],), math.log(_SCALE), dtype=torch.double)
    noise = torch.full((), math.log(_NOISE), dtype=torch.double)
    optimizer = torch.optim.Adam([scales.requires_grad_(), noise.requires_grad_()], lr=_RATE)
    diagonal = torch.eye(len(commands), dtype=torch.double)
    for _ in range(_STEPS):
        # cdist has no gradient at distance 0: the squares are written out.
        scaled = commands / torch.exp(scales)
        squares = ((scaled[:, None] - scaled[None]) ** 2).sum(-1)
        kernel = torch.exp(-0.5 * squares) + torch.exp(noise) * diagonal
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(kernel))
        residuals = _left_out(inverse, inverse @ parts)
        loss = (share * (residuals**2).mean(dim=0)).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        return torch.exp(scales).detach(), float(torch.exp(noise))
