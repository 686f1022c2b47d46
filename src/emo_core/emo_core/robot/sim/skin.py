"""The face of the simulated robot: motors pull at a mesh with FaceMesh's topology.

Each region of the robot's file anchors one motor at some landmarks. How much of the pull reaches
the other points is the smooth field w that minimizes, over the mesh's graph Laplacian L (unit
edges of mean length h, pull radius r),

    (r / h)^4 |L w|^2 + |w|^2 + stiff * sum over anchors (w_a - given_a)^2

a thin plate on springs: it runs along the skin, so the lips pull at each other only round the
corners of the mouth. Pulls add up, the sum saturates at `reach_mm`, and lips that meet stop.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo_core.errors import EmoError
from emo_core.face.topology import LEFT_IRIS, LIPS_INNER, NUM_LANDMARKS, RIGHT_IRIS
from emo_core.npz import open_npz
from emo_core.robot.description import RobotDescription
from emo_core.robot.sim.description import Region

_STIFF = 1e4
#: Opposite points of the inner lips, corners left out: (9,) upper and (9,) lower.
INNER_UPPER = LIPS_INNER[1:10]
INNER_LOWER = LIPS_INNER[:10:-1]

Array = NDArray[np.float64]


def load_mesh(path: Path) -> tuple[Array, NDArray[np.intp]]:
    """(478, 3) points in mm (x to the image's right, y up, z to the camera) and (K, 3) triangles.

    Raises:
        EmoError: not an .npz with `points` and `triangles` of these shapes.
    """
    with open_npz(path, "a face mesh", "Restore it from the repository") as data:
        points = np.asarray(data["points"], dtype=np.float64)
        triangles = np.asarray(data["triangles"], dtype=np.intp)
    if (
        points.shape != (NUM_LANDMARKS, 3)
        or triangles.ndim != 2
        or triangles.shape[1] != 3
        or not len(triangles)
        or not np.isfinite(points).all()
        or triangles.min() < 0
        or triangles.max() >= NUM_LANDMARKS
    ):
        raise EmoError(
            f"{path}: needs points ({NUM_LANDMARKS}, 3) and triangles (K, 3). "
            "Restore it from the repository"
        )
    return points, triangles


class Skin:
    """Motor positions -> mesh. Stateless.

    Args:
        description: a robot with a `simulator` section.
    """

    def __init__(self, description: RobotDescription) -> None:
        if description.simulator is None:
            raise EmoError(f"{description.file}: simulator is missing: this robot has no skin")
        model = description.simulator.skin
        self.points, self.triangles = load_mesh(model.mesh)
        self._reach = model.reach_mm
        self._neutral = description.neutral
        self._motor = np.array([region.motor for region in model.regions], dtype=np.intp)
        fields = _fields(self.points, self.triangles, model.regions)
        low, high = (
            np.array([getattr(region, side) for region in model.regions]).reshape(-1, 3)
            for side in ("low_mm", "high_mm")
        )
        # (R, 478 * 3): what a full pull of each region does
        self._low = (fields[:, :, None] * low[:, None]).reshape(len(fields), -1)
        self._high = (fields[:, :, None] * high[:, None]).reshape(len(fields), -1)
        self._bend = np.array([max(region.saturation, 1e-6) for region in model.regions])

    def __call__(self, motors: ArrayLike) -> Array:
        """(M,) or (T, M) positions in [0, 1] -> (478, 3) or (T, 478, 3) mm."""
        motors = np.asarray(motors, dtype=np.float64)
        offset = np.clip(motors, 0.0, 1.0) - self._neutral
        up = np.maximum(offset, 0.0) / np.maximum(1.0 - self._neutral, 1e-9)
        down = np.maximum(-offset, 0.0) / np.maximum(self._neutral, 1e-9)
        moved = self._bent(down) @ self._low + self._bent(up) @ self._high
        moved = moved.reshape((*motors.shape[:-1], NUM_LANDMARKS, 3))
        size = np.linalg.norm(moved, axis=-1, keepdims=True)
        mesh = self.points + moved / np.sqrt(1.0 + (size / self._reach) ** 2)
        overlap = np.maximum(mesh[..., INNER_LOWER, 1] - mesh[..., INNER_UPPER, 1], 0.0) / 2.0
        mesh[..., INNER_UPPER, 1] += overlap
        mesh[..., INNER_LOWER, 1] -= overlap
        return np.asarray(mesh)

    def _bent(self, share: Array) -> Array:
        """(..., M) shares of the way -> (..., R) shares of the pull, saturating."""
        return np.asarray(np.tanh(self._bend * share[..., self._motor]) / np.tanh(self._bend))


def _fields(points: Array, triangles: NDArray[np.intp], regions: tuple[Region, ...]) -> Array:
    """(R, 478) pull of each region at each point.

    Skin does not move the irises: each goes as a whole, with the regions anchored at its centre.
    """
    count = int(triangles.max()) + 1
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    step = float(np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1).mean())
    adjacency = np.zeros((count, count))
    adjacency[edges[:, 0], edges[:, 1]] = adjacency[edges[:, 1], edges[:, 0]] = 1.0
    degree = adjacency.sum(axis=1)
    laplacian = np.eye(count) - adjacency / np.maximum(degree, 1.0)[:, None]
    plate = laplacian.T @ laplacian
    fields = np.zeros((len(regions), NUM_LANDMARKS))
    for row, region in enumerate(regions):
        anchors = [a for a, _ in region.anchors if a < count]
        given = np.array([w for a, w in region.anchors if a < count])
        system = (region.radius_mm / step) ** 4 * plate + np.eye(count)
        system[anchors, anchors] += _STIFF
        right = np.zeros(count)
        right[anchors] = _STIFF * given
        fields[row, :count] = np.linalg.solve(system, right)
        for anchor, weight in region.anchors:
            for iris in (RIGHT_IRIS, LEFT_IRIS):
                if anchor == iris[0]:
                    fields[row, iris] = weight
    return fields
