"""What a robot is really sent, and why it differs from what was commanded."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Reason(enum.IntFlag):
    """Why a position differs from the command."""

    NONE = 0
    NOT_FINITE = 1
    LIMITS = 2
    SPEED = 4
    ACCELERATION = 8
    INTERLOCK = 16
    DWELL = 32
    WATCHDOG = 64
    ESTOP = 128
    SHAPE = 256
    SOFT_START = 512
    RESTED = 1024


@dataclass(frozen=True)
class Sent:
    """What is really to be sent.

    Attributes:
        positions: (M,) float64, in the motors' limits.
        reasons: (M,) of `Reason` bits; 0 where the motor follows its command.
        torque: False once an e-stop has brought everything to rest.
    """

    positions: Array
    reasons: NDArray[np.int64]
    torque: bool

    def describe(self, names: tuple[str, ...]) -> dict[str, str]:
        """Motor name -> reasons in words, for the motors that differ."""
        return {
            name: ", ".join(flag.name.lower() for flag in Reason if flag & int(bits) and flag.name)
            for name, bits in zip(names, self.reasons, strict=True)
            if bits
        }
