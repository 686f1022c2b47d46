"""Where somebody looks -> the motors that turn the robot's eyeballs."""

from __future__ import annotations

import numpy as np

from emo_core.robot.description import RobotDescription

#: Ways in the picture for which an angle falls as the command rises.
_FALLING = ("left", "down")


def gaze_positions(robot: RobotDescription, yaw: float, pitch: float) -> dict[str, float]:
    """Commands of the gaze motors; those of a robot without any are empty.

    Args:
        robot: its motors with `gaze` say by `range_rad` which angle they have at command 0 and 1,
            and by `moves` which way a rising command turns them in a picture of the robot: right
            or up where it says none.
        yaw: rad from straight ahead, as `emo_interfaces/Gaze`: positive is to the right in a
            picture of the person, and so, for a robot that looks to the same side of the room, to
            the left in a picture of the robot.
        pitch: rad from straight ahead, positive upwards.

    Returns:
        Motor name -> command, as far as its limits let it turn.
    """
    angles = {"yaw": -yaw, "pitch": pitch}
    positions = {}
    for motor in robot.motors:
        if motor.gaze:
            falling = motor.moves is not None and motor.moves.way in _FALLING
            angle = -angles[motor.gaze] if falling else angles[motor.gaze]
            low, high = motor.range_rad
            command = (angle - low) / (high - low)
            positions[motor.name] = float(np.clip(command, *motor.limits))
    return positions
