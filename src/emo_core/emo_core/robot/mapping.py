"""A human face in, a robot's motor commands out; and the loop that checks it by looking.

* metric landmarks -> Normalizer -> InverseModel -> commands
* commands -> safety, servos -> skin -> picture -> FaceMesh -> metric landmarks again
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo_core.face.alignment import to_metric
from emo_core.face.topology import NUM_LANDMARKS
from emo_core.robot.description import RobotDescription
from emo_core.robot.inverse_model import InverseModel
from emo_core.robot.normalization import DEFAULT_ALPHA, Normalizer


class LandmarksToMotors:
    """Normalization and inverse model in one call: what `animate` and `eval` use.

    Motors that the model does not drive (those of gaze) stay at neutral.
    """

    def __init__(
        self, robot: RobotDescription, normalizer: Normalizer, model: InverseModel
    ) -> None:
        self.normalizer = normalizer
        self.model = model
        self._neutral = robot.neutral.astype(np.float32)
        self._driven = robot.expressive

    @classmethod
    def load(
        cls,
        robot: RobotDescription | str,
        human_static: ArrayLike,
        alpha: float = DEFAULT_ALPHA,
    ) -> LandmarksToMotors:
        """For a robot (or its name) and a person's static face, (478, 3) metric mm.

        Raises:
            EmoError: no such robot, or no inverse model that fits it.
        """
        if not isinstance(robot, RobotDescription):
            robot = RobotDescription.load(robot)
        model = InverseModel.load(robot)
        return cls(robot, Normalizer(human_static, model.profile, alpha), model)

    def __call__(self, landmarks: ArrayLike) -> NDArray[np.float32]:
        """(478, 3) or (T, 478, 3) metric mm -> (M,) or (T, M) commands."""
        driven = self.model(self.normalizer(landmarks))
        commands = np.broadcast_to(self._neutral, (*driven.shape[:-1], len(self._neutral))).copy()
        commands[..., self._driven] = driven
        return commands


def closed_loop(
    robot: RobotDescription,
    commands: ArrayLike,
    fps: float = 25.0,
    lead_s: float | None = None,
) -> NDArray[np.float32]:
    """What FaceMesh sees of the simulated robot that is sent `commands`, through its real camera.

    Args:
        robot: with a `simulator` section.
        commands: (T, M), one for each frame's time n / fps.
        fps: of commands and camera.
        lead_s: how far ahead of their time commands are sent; the robot's `servo_lag_s` if not
            given, which is what the speaker delays sound by.

    Returns:
        (T, 478, 3) metric mm; NaN where FaceMesh sees no face.
    """
    # OpenCV and MediaPipe: only who looks pays for them.
    from emo_core.face.tracking import FaceTracker
    from emo_core.robot.sim.camera import Camera
    from emo_core.robot.sim.servos import simulate

    lead = robot.servo_lag_s if lead_s is None else lead_s
    positions = simulate(robot, commands, fps, fps, lead)
    speeds = np.diff(positions, axis=0, prepend=positions[:1]) * fps
    faces = np.full((len(positions), NUM_LANDMARKS, 3), np.nan, dtype=np.float32)
    camera = Camera(robot)
    with FaceTracker() as tracker:
        for n, (horns, speed) in enumerate(zip(positions, speeds, strict=True)):
            screen = tracker.track(camera(horns, n / fps, speed)[..., ::-1])  # BGR -> RGB
            if screen is not None:
                faces[n] = to_metric(screen)[0]
    return faces
