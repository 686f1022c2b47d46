"""The mimic pipeline without ROS: images -> the person -> what is coming -> motors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo_core.face.alignment import canonical_face
from emo_core.face.follower import Faces
from emo_core.face.gaze import Gaze
from emo_core.face.person import PersonFrame, PersonStream
from emo_core.face.tracking import FaceTracker
from emo_core.mimic.predictive import Foresight, PredictiveModel
from emo_core.robot.description import RobotDescription
from emo_core.robot.inverse_model import InverseModel
from emo_core.robot.normalization import DEFAULT_ALPHA, Normalizer

Array = NDArray[np.float32]
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class MimicFrame:
    """One image's answer. None: nobody is there, and nothing is left to show."""

    time_s: float
    face: PersonFrame
    predicted: Array | None  # (478, 3) mm: where the robot should go
    seconds: float  # until the person is there, as foreseen; 0: plain mimicry
    trust: float  # share of the way ahead that is gone, 0: plain mimicry
    robot_landmarks: Array | None  # (226,) mm
    motors: Array | None  # (M,) commands; those of gaze at neutral

    @property
    def valid(self) -> bool:
        """The person is seen, and known at rest."""
        return self.face.valid

    @property
    def gaze(self) -> Gaze:
        """Where the eyes should look."""
        return self.face.gaze


class Mimic:
    """Images in, motor commands out, at the camera's rate; the stages that the nodes run.

    Attributes:
        motor_names: in the order of the commands.
    """

    def __init__(
        self,
        person: PersonStream,
        foresight: Foresight,
        robot: RobotDescription,
        inverse: InverseModel,
        alpha: float = DEFAULT_ALPHA,
    ) -> None:
        self._person = person
        self._foresight = foresight
        self._normalizer = Normalizer(canonical_face(), inverse.profile, alpha)
        self._inverse = inverse
        self._neutral = robot.neutral.astype(np.float32)
        self._driven = robot.expressive
        self._tracker: FaceTracker | None = None
        self.motor_names = robot.names

    @classmethod
    def load(
        cls,
        robot: RobotDescription | str,
        predict: bool = True,
        static_face: ArrayLike | None = None,
        alpha: float = DEFAULT_ALPHA,
        finder: Faces | None = None,
    ) -> Mimic:
        """Open the models.

        Args:
            robot: or its name.
            predict: go ahead of the person; False: plain mimicry.
            static_face: the person at rest, (478, 3) metric mm; None: captured on the way.
            finder: finds faces; None: FaceMesh, which `close` releases.

        Raises:
            EmoError: no such robot, or a model is missing, damaged, or made for something else.
        """
        if not isinstance(robot, RobotDescription):
            robot = RobotDescription.load(robot)
        inverse = InverseModel.load(robot)
        foresight = Foresight(PredictiveModel.load(), predict)
        tracker = FaceTracker(max_faces=2) if finder is None else None
        finder = tracker or finder
        assert finder is not None  # one of the two
        mimic = cls(PersonStream(finder, static_face), foresight, robot, inverse, alpha)
        mimic._tracker = tracker
        return mimic

    def __enter__(self) -> Mimic:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release FaceMesh, if it is ours."""
        if self._tracker is not None:
            self._tracker.close()
            self._tracker = None

    @property
    def predict(self) -> bool:
        """Go ahead of the person; may change at any time, without a step."""
        return self._foresight.enabled

    @predict.setter
    def predict(self, predict: bool) -> None:
        self._foresight.enabled = predict

    def reset(self) -> None:
        """A new stream: forget everybody but a person who was given.

        A finder that was given is its owner's to reset.
        """
        if self._tracker is not None:
            self._tracker.reset()
        self._person.reset()
        self._foresight.reset()

    def feed(self, image: Image, time_s: float) -> MimicFrame:
        """RGB or grey uint8 (H, W[, 3]) of any size, captured at `time_s`, which must advance.

        Raises:
            ValueError: time stands still or goes back.
        """
        return self.feed_face(self._person.feed(image, time_s), time_s)

    def feed_face(self, face: PersonFrame, time_s: float) -> MimicFrame:
        """As `feed`, for a face that was tracked before."""
        foreseen = self._foresight.feed(face.points, face.static, face.valid, time_s)
        if foreseen is None:
            return MimicFrame(time_s, face, None, 0.0, 0.0, None, None)
        if face.static is not None:
            self._normalizer.set_static(face.static)
        landmarks = self._normalizer(foreseen.landmarks)
        motors = self._neutral.copy()
        motors[self._driven] = self._inverse(landmarks)
        return MimicFrame(
            time_s,
            face,
            foreseen.landmarks,
            foreseen.seconds,
            foreseen.trust,
            landmarks,
            motors,
        )

    def run(self, images: Iterable[Image], fps: float) -> list[MimicFrame]:
        """A whole video, from a new beginning."""
        self.reset()
        return [self.feed(image, i / fps) for i, image in enumerate(images)]
