"""What every servo bus can do. A bus moves bytes; limits are the safety layer's business."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo_core.robot.description import RobotDescription


class ServoBus(ABC):
    """The servos of one robot behind one port, used as a context manager.

    Positions are (M,) commands in [0, 1] in the description's order. After `open` the servos
    have no torque: switch it on with `torque(True)` once it is known where they stand.
    """

    def __init__(self, description: RobotDescription) -> None:
        self.description = description

    @abstractmethod
    def open(self) -> None:
        """Open the port; no servo moves. Raises EmoError if that fails."""

    @abstractmethod
    def close(self) -> None:
        """Close the port. Closing twice is harmless."""

    @abstractmethod
    def torque(self, on: bool) -> None:
        """Hold position (True) or go limp (False)."""

    @abstractmethod
    def write(self, positions: ArrayLike) -> NDArray[np.float64]:
        """Send goal positions (M,); returns what was really sent (clamped, quantized)."""

    @abstractmethod
    def read(self) -> NDArray[np.float64]:
        """Where the servos are now, (M,)."""

    def __enter__(self) -> ServoBus:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.torque(False)
        finally:
            self.close()


def make_bus(
    description: RobotDescription, clock: Callable[[], float] = time.monotonic
) -> ServoBus:
    """The bus that the robot's file asks for, not yet open.

    Args:
        description: the robot.
        clock: seconds; only simulated servos read it.
    """
    from emo_core.robot.sim.servos import SimBus  # buses import this module

    return SimBus(description, clock)
