"""What every servo bus can do. A bus moves bytes; limits are the safety layer's business."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo_core.errors import EmoError
from emo_core.robot.description import FAKE_PORT, RobotDescription

Array = NDArray[np.float64]


class BusError(EmoError):
    """The line does not work: unplugged, no permission, nobody answers. Open it again."""


_BUSES = {
    "lx": "emo_core.robot.buses.lx:LxBus",
    "maestro": "emo_core.robot.buses.maestro:MaestroBus",
    "dynamixel": "emo_core.robot.buses.dynamixel:DynamixelBus",
    "feetech": "emo_core.robot.buses.feetech:FeetechBus",
    "pca9685": "emo_core.robot.buses.pca9685:Pca9685Bus",
    # The one that needs ROS, and lives where ROS is.
    "ros": "emo_motor_drivers.ros_bus:RosBus",
}
_FAKES = {
    "lx": "emo_core.robot.buses.fake_lx:FakeLx",
    "maestro": "emo_core.robot.buses.fake_maestro:FakeMaestro",
    "dynamixel": "emo_core.robot.buses.fake_dynamixel:FakeDynamixel",
    "feetech": "emo_core.robot.buses.fake_feetech:FakeFeetech",
    "pca9685": "emo_core.robot.buses.fake_pca9685:FakePca9685",
    "ros": "emo_sim.sim_robot:FakeRos",
}


@dataclass(frozen=True)
class Telemetry:
    """What one servo says of itself; NaN where it cannot tell.

    Attributes:
        temperature_c: of the motor or its case.
        voltage_v: of its supply.
        fault: the servo's own error flags in words, "" for none.
    """

    temperature_c: float = float("nan")
    voltage_v: float = float("nan")
    fault: str = ""


class ServoBus(ABC):
    """The servos of one robot behind one port, used as a context manager.

    Positions are (M,) commands in [0, 1] in the description's order. `open` leaves torque as it
    is: switch it on with `torque(True)` once it is known where they stand. Motors without torque
    are sent nothing by `write`, and NaN is what was really sent. Not thread-safe: `Head` is the
    one owner.

    Every method but `close` raises `BusError` when the line itself fails. One servo that does
    not answer is no failure of the line: it reads as NaN.

    Attributes:
        write_s: time on the wire of one `write` of all motors: no use writing more often.
        read_s: time of reading one motor, its answer included; 0 if it costs nothing.
        tells_position: whether `read` gives where the servos are. If not, it gives where their
            controller is sending them, or NaN.
        guarantee: what the servos do on their own when the host falls silent, in one line.
    """

    write_s = 0.0
    read_s = 0.0
    tells_position = True
    guarantee = "nothing"

    def __init__(self, description: RobotDescription) -> None:
        self.description = description

    @abstractmethod
    def open(self) -> None:
        """Open the port; no servo moves. Also after a failure: the old port is closed first."""

    @abstractmethod
    def close(self) -> None:
        """Close the port. Closing twice is harmless, and so is closing an unplugged one."""

    @abstractmethod
    def torque(self, on: bool, motors: Sequence[int] | None = None) -> None:
        """Hold position (True) or go limp (False): all motors, or those with these indices.

        Where a bus cannot switch one motor alone, it switches none and says so in its docs.
        """

    @abstractmethod
    def write(self, positions: ArrayLike) -> Array:
        """Send goal positions (M,); returns what was really sent (clamped, quantized)."""

    @abstractmethod
    def read(self, motors: Sequence[int] | None = None) -> Array:
        """(M,) where the servos are now; NaN for motors not asked for and those that are silent.

        Args:
            motors: indices; all if not given.
        """

    def telemetry(self, motor: int) -> Telemetry:
        """What one servo says of itself."""
        return Telemetry()

    def holds(self) -> Array:
        """(M,) 1 for motors with torque, 0 for those without, NaN where nobody can tell."""
        return np.full(len(self.description.motors), np.nan)

    def arm_watchdog(self, timeout_s: float) -> bool:
        """Ask servos or controller to stop by themselves when nothing is written for so long.

        Returns whether they can. Called after `open`, before torque; `close` disarms, unless it
        leaves torque on.
        """
        return False

    def __enter__(self) -> ServoBus:
        self.open()
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self.torque(False)
        finally:
            self.close()


def make_bus(
    description: RobotDescription,
    clock: Callable[[], float] = time.monotonic,
    namespace: str = "",
) -> ServoBus:
    """The bus that the robot's file asks for, not yet open.

    Args:
        description: the robot.
        clock: seconds; only simulated servos read it.
        namespace: of the robot's ROS topics, where its bus is made of them.
    """
    kind = description.bus.kind
    if kind == "sim":
        from emo_core.robot.sim.servos import SimBus  # buses import this module

        return SimBus(description, clock)
    bus: Callable[..., ServoBus] = _load(_BUSES[kind])
    if kind == "ros":
        bus = partial(bus, namespace=namespace)
    if description.bus.port == FAKE_PORT:
        return fake_class(kind).attach(bus, description)
    return bus(description)


class Fake(Protocol):
    """What stands in for servos, at the far side of their protocol."""

    @classmethod
    def attach(
        cls, bus: Callable[[RobotDescription], ServoBus], description: RobotDescription
    ) -> ServoBus:
        """A bus of this class with the fake behind it."""
        ...


def fake_class(kind: str) -> type[Fake]:
    """The fake of one kind of bus."""
    fake: type[Fake] = _load(_FAKES[kind])
    return fake


def _load(name: str) -> Any:
    """`module:attribute`, imported when it is needed: nobody has all the makers' libraries."""
    module, attribute = name.split(":")
    try:
        return getattr(import_module(module), attribute)
    except ImportError as error:
        core = module.startswith("emo_core")
        remedy = "pip install -r requirements/base.txt" if core else "set ROS up: ./emo doctor"
        raise EmoError(f"{module.rsplit('.', 1)[-1]}: {error}: {remedy}") from error
