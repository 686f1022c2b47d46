"""The simulated robot, offline: commands in, where its servos pull the skin out, frame by frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emo_core.errors import EmoError
from emo_core.robot.description import RobotDescription
from emo_core.robot.safety import SafetyLayer
from emo_core.robot.sim.servos import SimulatedServos

#: Period of the driver's timer, and commands come on every fourth of its ticks.
TICK_S = 0.01
TICKS_PER_FRAME = 4

Array = NDArray[np.float64]


class SimulatedRobot:
    """`emo_core.robot.sim.servos.simulate` as a stream, for recordings of any length.

    Commands are sent ahead by the servos' lag, as the live graph's speaker delays sound by it:
    the position of frame n is known once the command of some later frame has been fed.
    """

    def __init__(self, description: RobotDescription) -> None:
        simulator = description.simulator
        if simulator is None:
            raise EmoError(
                f"robot '{description.name}' has no simulator section: a film needs one. "
                "Use --robot sim, or write an .npz"
            )
        self._safety = SafetyLayer(description)
        self._servos = SimulatedServos(simulator.servos, description.neutral)
        self._lag_s = description.servo_lag_s
        self._tick = 0  # of the driver's timer so far
        self._fed = 0
        self._out = 0

    def feed(self, command: NDArray[np.float32]) -> list[Array]:
        """The next frame's command (M,) -> positions (M,) of the frames that are now certain."""
        self._fed += 1
        return self._run(command)

    def flush(self) -> list[Array]:
        """The positions of all frames still owed, while the timer goes on without commands."""
        reached: list[Array] = []
        while self._out < self._fed:
            reached += self._run(None)
        return reached[: len(reached) - max(0, self._out - self._fed)]

    def _run(self, command: NDArray[np.float32] | None) -> list[Array]:
        reached = []
        for k in range(TICKS_PER_FRAME):
            now = 1.0 + self._tick * TICK_S
            seen = 1.0 + self._out * TICKS_PER_FRAME * TICK_S + self._lag_s
            if seen < now:
                reached.append(self._servos.horns(seen))
                self._out += 1
            self._servos.positions(now)
            sent = self._safety.step(command if k == 0 else None, now)
            self._servos.command(sent.positions, now)
            self._tick += 1
        return reached
