"""A simulated robot on the bench: its camera, and servos in time that passes only by sleeping."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emo_core.errors import EmoError
from emo_core.robot.bench import Bench, Picture, SimulatedClock
from emo_core.robot.description import RobotDescription
from emo_core.robot.sim.camera import Camera
from emo_core.robot.sim.servos import SimBus

#: As of a webcam; does not beat with the period of the writes.
FRAME_RATE_HZ = 30 / 1.001
#: Speeds, which blur the picture, are taken over so long.
_SPEED_S = 0.004

Array = NDArray[np.float64]


class SimulatedCamera:
    """`sim.camera.Camera` before the servos of a simulated bus.

    Args:
        bus: what it looks at.
        seed: of noise and sway.
    """

    latency_s = 0.0

    def __init__(self, bus: SimBus, seed: int = 0) -> None:
        self._bus = bus
        self._camera = Camera(bus.description, seed)
        self._next = 0
        self._last: tuple[float, Array] | None = None
        self._speeds = np.zeros(len(bus.description.motors))

    def next_s(self) -> float:
        return self._next / FRAME_RATE_HZ

    def poll(self, now_s: float) -> Picture | None:
        horns = self._bus.horns()
        if self._last is None or now_s - self._last[0] >= _SPEED_S:
            if self._last is not None:
                self._speeds = (horns - self._last[1]) / (now_s - self._last[0])
            self._last = now_s, horns
        if now_s < self.next_s():
            return None
        self._next = int(now_s * FRAME_RATE_HZ) + 1
        speeds, camera = self._speeds, self._camera
        return Picture(now_s, lambda: camera(horns, now_s, speeds)[..., ::-1])


def bench_of(robot: RobotDescription, seed: int = 0) -> Bench:
    """The bench of a simulated robot, which brings its camera along.

    Args:
        robot: with simulated servos.
        seed: of what the camera adds.

    Raises:
        EmoError: the robot is not simulated.
    """
    if robot.bus.kind != "sim":
        raise EmoError(
            f"{robot.file}: bus.kind is {robot.bus.kind}: no camera looks at this robot. "
            "Name one with --camera: only simulated robots (bus.kind sim) bring theirs along"
        )
    clock = SimulatedClock()
    bus = SimBus(robot, clock.now)
    return Bench(robot, bus, SimulatedCamera(bus, seed), clock)
