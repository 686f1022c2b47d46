"""Videos made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from emo_core.rates import FPS
from emo_core.robot.description import RobotDescription
from emo_core.robot.sim.render import Renderer
from emo_core.viz.video import VideoWriter


def film_a_face(path: Path, frames: int = 75) -> Path:
    """A video of a rendered face, 25 images/s, calm for a second; then mouth and a brow move.

    FaceMesh takes it for a person.
    """
    robot = RobotDescription.load("emo22")
    render = Renderer(robot)
    goals = {robot.names.index("jaw"): 0.6, robot.names.index("brow_inner_right"): 0.9}
    first = render(robot.neutral)
    with VideoWriter(path, (first.shape[1], first.shape[0]), FPS) as film:
        for n in range(frames):
            share = 0.5 - 0.5 * np.cos(2 * np.pi * max(n - FPS, 0) / FPS)
            pose = robot.neutral.copy()
            for motor, goal in goals.items():
                pose[motor] += share * (goal - pose[motor])
            film.add_frame(render(pose))
    return path
