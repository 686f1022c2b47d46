from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import pytest

from emo_core.robot.bus import fake_class
from emo_core.robot.buses.dynamixel import DynamixelBus
from emo_core.robot.buses.fake import FakeLine, FakeServos
from emo_core.robot.buses.fake_registers import FakeRegisters
from emo_core.robot.buses.feetech import FeetechBus
from emo_core.robot.buses.registers import RegisterBus
from emo_core.robot.description import RobotDescription

#: Longer than in earnest: other work on this machine is no fault here.
PATIENCE_S = 0.3


@dataclass
class RegisterRig:
    """A bus whose servos have registers, and the fake behind it."""

    robot: RobotDescription
    line: FakeLine
    device: FakeRegisters
    bus: RegisterBus

    @property
    def servos(self) -> FakeServos:
        return self.device.servos

    def hurry(self, patience_s: float) -> None:
        """Open the bus anew with another patience."""
        self.bus.close()
        self.bus = type(self.bus)(self.bus.description, patience_s)
        self.bus.open()

    def where(self) -> np.ndarray:
        """Where the servos truly are."""
        with self.line.lock:
            return self.servos.positions(time.monotonic())

    def settle(self, goal: np.ndarray, seconds: float = 0.5) -> np.ndarray:
        """Where they are after `goal` was sent for a while."""
        for _ in range(math.ceil(seconds / 0.02)):
            self.bus.write(goal)
            time.sleep(0.02)
        return self.where()


@pytest.fixture
def register_rig() -> Iterator[Callable[..., RegisterRig]]:
    """Connects the bus of a kind to its fake; `max_speed` makes slow servos (strokes/s)."""
    with ExitStack() as stack:

        def connect(kind: str, opened: bool = True, max_speed: float = 0.0) -> RegisterRig:
            robot = RobotDescription.load(f"{kind}_fake")
            if max_speed:
                assert robot.simulator is not None
                servos = replace(robot.simulator.servos, max_speed=max_speed)
                robot = replace(robot, simulator=replace(robot.simulator, servos=servos))
            device = fake_class(kind)(FakeServos(robot))
            line = stack.enter_context(FakeLine(device))
            made = {"dynamixel": DynamixelBus, "feetech": FeetechBus}[kind]
            rig = RegisterRig(robot, line, device, made(line.on(robot), PATIENCE_S))
            stack.callback(lambda: rig.bus.close())
            if opened:
                rig.bus.open()
            return rig

        yield connect
