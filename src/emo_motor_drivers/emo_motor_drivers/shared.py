"""What the drivers of one process share: the servos' owner, its journal, and its e-stop."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rclpy.node import Node

from emo_core.errors import EmoError
from emo_core.robot.bus import ServoBus, make_bus
from emo_core.robot.description import RobotDescription
from emo_motor_drivers.claimed import Owner
from emo_motor_drivers.door import Answer, Door
from emo_motor_drivers.head import TROUBLE, Head
from emo_motor_drivers.journal import Journal
from emo_nodekit.kit import Kit

#: From an e-stop to torque off, when the head's thread is well: the motors brake within this time.
BRAKE_S = 0.7
POLL_S = 0.005
CUT = "cut the robot's power, or mend that: then they get no torque"


@dataclass
class _Made:
    robot: str
    head: Head
    journal: Journal
    door: Door | None


class Shared:
    """Made by the first driver that asks, closed by the last that gives it back.

    Args:
        bus: the robot's, if not that of its description.
    """

    def __init__(self, bus: ServoBus | None = None) -> None:
        self._bus = bus
        self._made: _Made | None = None
        self._groups: set[str] = set()

    def get(self, group: str, node: Node, kit: Kit) -> tuple[Head, Journal]:
        """The head of a driver's robot, and its journal.

        Raises:
            EmoError: no such robot, or another one than the other driver's.
        """
        robot = kit.text("robot")
        if self._made is None:
            description = RobotDescription.load(robot)
            journal = Journal(kit.trace_dir, description.names, kit.now)
            domain, namespace = node.context.get_domain_id(), node.get_namespace().rstrip("/")
            bus = self._bus or make_bus(description, namespace=namespace)

            def act(stop: bool) -> Answer:
                answer = self._obey(stop)
                return Answer(description.name, domain, namespace, *answer, lost=head.lost)

            try:
                door = Door(act)
            except OSError as error:
                door = None
                node.get_logger().warning(f"./emo stop finds this on the graph only: {error}")
            owner = Owner(domain, namespace, "" if door is None else str(door.path))
            head = Head(description, bus, owner)
            head.listeners.append(journal.step)
            self._made = _Made(robot, head, journal, door)
        if self._made.robot != robot:
            raise EmoError(f"both drivers must have one robot, not {self._made.robot} and {robot}")
        self._groups.add(group)
        return self._made.head, self._made.journal

    def give_back(self, group: str) -> None:
        """A driver ends: records on disk, and nobody listens once all have ended."""
        if self._made is not None:
            self._made.journal.flush()
            self._groups.discard(group)
            if not self._groups:
                if self._made.door is not None:
                    self._made.door.close()
                self._made = None

    def _obey(self, stop: bool) -> tuple[bool, str]:
        """As `estop`, once the torque is off: who asks ends this process if it is not."""
        done, said = self.estop(stop)
        give_up_s = time.monotonic() + BRAKE_S
        while done and stop and self._made is not None and not self._made.head.limp:
            if time.monotonic() > give_up_s:
                return False, f"torque is still on {BRAKE_S:g} s after the e-stop"
            time.sleep(POLL_S)
        return done, said

    def estop(self, stop: bool) -> tuple[bool, str]:
        """Stop all motors, or release them; whether that worked, and what to say of it."""
        if self._made is None:
            return False, "no driver"
        head = self._made.head
        try:
            if stop:
                head.estop()
            else:
                head.release()
        except TROUBLE as error:
            return False, str(error)
        if stop and head.lost and not head.limp:
            return False, f"e-stop is set, but the servos do not hear of it: {head.fault}; {CUT}"
        return True, "all motors stopped" if stop else "released"
