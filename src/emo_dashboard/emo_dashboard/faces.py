"""The faces in 3-D: each pipeline's human face, and the robot face made of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import viser
from emo_interfaces.msg import FaceLandmarks
from numpy.typing import NDArray

from emo_core.face import topology
from emo_core.paths import config_dir
from emo_core.pipelines import LANDMARKS
from emo_core.robot.sim.skin import load_mesh
from emo_dashboard.glimpse import Glimpse

#: A face is some 150 mm wide: this wide in the scene's own unit.
_SCALE = 0.01
_HUMAN, _HUMAN_LINES, _ROBOT = (236, 182, 138), (255, 246, 238), (96, 176, 250)
#: Pipelines from above; where their rows are, and the two faces in them.
_ROWS = {"mimic": 1.0, "lipsync": -1.0}
_COLUMNS = {"human": -0.95, "robot": 0.95}
_NAMES = {"mimic": "person", "lipsync": "speech"}

#: Closed outlines, and the open line of the jaw, as FaceMesh points.
_OUTLINES = (
    topology.RIGHT_EYE,
    topology.LEFT_EYE,
    topology.LIPS_OUTER,
    topology.LIPS_INNER,
    *topology.BROW_OUTLINES,
)


def contours() -> NDArray[np.intp]:
    """Pairs of FaceMesh points, all of them among the robot landmarks: the lines of a face."""
    pairs: list[NDArray[np.intp]]
    pairs = [np.stack([line, np.roll(line, -1)], axis=1) for line in _OUTLINES]
    pairs.append(np.stack([topology.LOWER_OVAL[:-1], topology.LOWER_OVAL[1:]], axis=1))
    return np.concatenate(pairs).astype(np.intp)


def rows_of(pairs: NDArray[np.intp]) -> NDArray[np.intp]:
    """FaceMesh points -> their places among the 113 robot landmarks."""
    place = np.full(topology.NUM_LANDMARKS, -1, np.intp)
    place[topology.ROBOT_LANDMARKS] = np.arange(len(topology.ROBOT_LANDMARKS))
    return place[pairs]


class Faces:
    """Two faces for each pipeline, seen as soon as there is something to see."""

    def __init__(self, server: viser.ViserServer) -> None:
        self._server = server
        scene: Any = server.scene
        scene.set_up_direction("+y")
        scene.add_light_ambient("/light", intensity=1.2)
        server.initial_camera.position = (0.0, 0.0, 4.6)
        server.initial_camera.look_at = (0.0, 0.0, 0.0)
        server.initial_camera.up = (0.0, 1.0, 0.0)
        _, triangles = load_mesh(config_dir() / "robots" / "sim_face.npz")
        self._triangles = triangles.astype(np.uint32)
        self._human_lines = contours()
        self._robot_lines = rows_of(self._human_lines)
        self._handles: dict[str, Any] = {}

    def update(self, glimpse: Glimpse) -> None:
        """Show the newest landmarks of each pipeline."""
        for pipeline, topic in LANDMARKS.items():
            human = points_of(glimpse.newest(topic))
            if human is not None:
                self._show_human(pipeline, human)
            robot = points_of(glimpse.newest(f"{pipeline}/robot_landmarks"))
            if robot is not None:
                self._show_lines(pipeline, "robot", robot[self._robot_lines], _ROBOT)

    def _show_human(self, pipeline: str, points: NDArray[np.float32]) -> None:
        scene: Any = self._server.scene
        name = f"/{pipeline}/human/mesh"
        if name not in self._handles:
            self._place(pipeline, "human")
            self._handles[name] = scene.add_mesh_simple(
                name, points * _SCALE, self._triangles, color=_HUMAN, opacity=0.9,
                flat_shading=True, side="double", cast_shadow=False, receive_shadow=False,
            )  # fmt: skip
        self._handles[name].vertices = points * _SCALE
        lines = points[self._human_lines] + np.array([0.0, 0.0, 1.0], np.float32)  # before the skin
        self._show_lines(pipeline, "human", lines, _HUMAN_LINES)

    def _show_lines(
        self,
        pipeline: str,
        kind: str,
        lines: NDArray[np.float32],
        colour: tuple[int, int, int],
    ) -> None:
        name = f"/{pipeline}/{kind}/lines"
        if name not in self._handles:
            self._place(pipeline, kind)
            scene: Any = self._server.scene
            self._handles[name] = scene.add_line_segments(
                name, lines * _SCALE, colour, thickness=2.5, thickness_units="screen"
            )
        self._handles[name].points = lines * _SCALE

    def _place(self, pipeline: str, kind: str) -> None:
        """A pipeline's place in the scene, with its name."""
        if f"/{pipeline}/{kind}" in self._handles:
            return
        scene: Any = self._server.scene
        where = (_COLUMNS[kind], _ROWS[pipeline], 0.0)
        self._handles[f"/{pipeline}/{kind}"] = scene.add_frame(
            f"/{pipeline}/{kind}", show_axes=False, position=where
        )
        text = _NAMES[pipeline] if kind == "human" else f"robot, as {pipeline} wants it"
        scene.add_label(
            f"/{pipeline}/{kind}/name", text, position=(0.0, 0.86, 0.0), anchor="bottom-center"
        )


def points_of(message: FaceLandmarks | None) -> NDArray[np.float32] | None:
    """A frame's points as (n, 3) mm, in whichever form; None where there are none to show."""
    if message is None or message.dim not in (2, 3) or len(message.points) % message.dim:
        return None
    points = np.asarray(message.points, np.float32).reshape(-1, message.dim)
    wanted = topology.NUM_LANDMARKS if message.dim == 3 else len(topology.ROBOT_LANDMARKS)
    if len(points) != wanted or not np.isfinite(points).all():
        return None
    return points if message.dim == 3 else np.pad(points, ((0, 0), (0, 1)))
