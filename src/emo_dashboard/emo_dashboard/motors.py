"""Motors: where they are sent and where they are; and moved by hand, with sliders."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import viser
from emo_interfaces.msg import MotorCommand
from numpy.typing import NDArray
from sensor_msgs.msg import JointState
from std_msgs.msg import Header

from emo_core.robot.description import RobotDescription
from emo_dashboard import tables
from emo_dashboard.board import NodeState
from emo_dashboard.glimpse import Glimpse
from emo_nodekit.messages import floats, stamp

#: The arbiter's name for commands by hand; it forgets them after 0.25 s.
SOURCE = "manual"


class Motors:
    """Fills the panel that is current when it is made."""

    def __init__(self, server: viser.ViserServer, robot: RobotDescription) -> None:
        self._robot = robot
        self._index = {name: i for i, name in enumerate(robot.names)}
        self._commanded = np.full(len(robot.motors), np.nan)
        self._measured = np.full(len(robot.motors), np.nan)
        self._frame = 0
        self._lock = threading.Lock()
        gui: Any = server.gui
        self._table = gui.add_html("")
        self._switch = gui.add_checkbox(
            "Move by hand",
            False,
            hint="sliders instead of the pipelines, through the safety layer; ends with the page",
        )
        self._folder = gui.add_folder("Sliders", expand_by_default=True, visible=False)
        with self._folder:
            self._sliders = [
                gui.add_slider(motor.name, *motor.limits, step=0.005, initial_value=motor.neutral)
                for motor in robot.motors
            ]
            self._neutral = gui.add_button("Neutral")
        self._switch.on_update(lambda _: self._show_sliders())
        self._neutral.on_click(lambda _: self._set_sliders(robot.neutral))

    @property
    def manual(self) -> bool:
        """Whether the motors are moved by hand."""
        return bool(self._switch.value)

    def leave(self) -> None:
        """Nobody looks any more: the pipelines have the motors again."""
        self._switch.value = False
        self._folder.visible = False

    def command(self, now_ns: int) -> MotorCommand:
        """What the sliders want, as a message."""
        with self._lock:
            positions = [float(slider.value) for slider in self._sliders]
        self._frame += 1
        return MotorCommand(
            header=Header(stamp=stamp(now_ns)),
            frame=self._frame,
            target_time=stamp(now_ns),
            source=SOURCE,
            names=list(self._robot.names),
            positions=floats(positions),
            valid=True,
            active=True,
        )

    def update(self, glimpse: Glimpse, nodes: list[NodeState]) -> None:
        """Show what is new."""
        for message in glimpse.all("motor_command"):
            self._note_command(message)
        for message in glimpse.all("joint_states"):
            self._note_state(message)
        drivers = ", ".join(
            f"{node.name.rpartition('/')[2]}: torque {node.facts.get('torque', '?')}, "
            f"limited by {node.facts.get('limited_by', 'nothing')}"
            for node in nodes
            if node.name.endswith("_driver")
        )
        self._table.content = tables.motors(
            self._robot.names, self._commanded.tolist(), self._measured.tolist(), drivers
        )

    def _note_command(self, message: MotorCommand) -> None:
        for name, position in zip(message.names, message.positions, strict=False):
            if name in self._index:
                self._commanded[self._index[name]] = position

    def _note_state(self, message: JointState) -> None:
        radians = np.full(len(self._index), np.nan)
        for name, angle in zip(message.name, message.position, strict=False):
            if name in self._index:
                radians[self._index[name]] = angle
        positions = self._robot.to_commands(radians)
        known = np.isfinite(positions)
        self._measured[known] = positions[known]

    def _show_sliders(self) -> None:
        """The sliders begin where the motors are."""
        if self._switch.value:
            known = np.isfinite(self._measured)
            self._set_sliders(np.where(known, self._measured, self._robot.neutral))
        self._folder.visible = bool(self._switch.value)

    def _set_sliders(self, positions: NDArray[np.float64]) -> None:
        with self._lock:
            for slider, motor, position in zip(
                self._sliders, self._robot.motors, positions.tolist(), strict=True
            ):
                slider.value = float(np.clip(position, *motor.limits))
