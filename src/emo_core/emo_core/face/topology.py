"""Which FaceMesh points are which: MediaPipe's 468 mesh points, then 2 x 5 iris points.

Left and right are the person's own. Indices are those of MediaPipe's canonical face model
(`mediapipe/python/solutions/face_mesh_connections.py`), ordered along each contour.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

NUM_LANDMARKS = 478

RIGHT_EYEBROW = np.array([70, 63, 105, 66, 107, 46, 53, 52, 65, 55])
LEFT_EYEBROW = np.array([300, 293, 334, 296, 336, 276, 283, 282, 295, 285])
RIGHT_EYE = np.array([33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7])
LEFT_EYE = np.array(
    [263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249]
)
LIPS_OUTER = np.array(
    [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146]
)
LIPS_INNER = np.array(
    [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95]
)
#: Lower face oval from the right ear, over the chin, to the left ear.
_RIGHT_JAW = [234, 93, 132, 58, 172, 136, 150, 149, 176, 148]
_LEFT_JAW = [377, 400, 378, 379, 365, 397, 288, 361, 323, 454]
LOWER_OVAL = np.array([*_RIGHT_JAW, 152, *_LEFT_JAW])
#: The outline of the face: LOWER_OVAL, then over the forehead back to the right ear.
FACE_OVAL = np.array(
    [*LOWER_OVAL, 356, 389, 251, 284, 332, 297, 338, 10, 109, 67, 103, 54, 21, 162, 127]
)
RIGHT_IRIS = np.array([468, 469, 470, 471, 472])
LEFT_IRIS = np.array([473, 474, 475, 476, 477])

EYEBROWS = np.concatenate([RIGHT_EYEBROW, LEFT_EYEBROW])
EYES = np.concatenate([RIGHT_EYE, LEFT_EYE])
#: Closed outlines of the brows, whose tables above list the upper edge and then the lower.
_AROUND = np.array([0, 1, 2, 3, 4, 9, 8, 7, 6, 5])
BROW_OUTLINES = (RIGHT_EYEBROW[_AROUND], LEFT_EYEBROW[_AROUND])
LIPS = np.concatenate([LIPS_OUTER, LIPS_INNER])

#: The 113 points a robot is driven by: 52 of eyes and brows, then 61 of mouth and jaw.
EYES_BROWS = np.concatenate([EYEBROWS, EYES])
LIPS_JAW = np.concatenate([LIPS, LOWER_OVAL])
ROBOT_LANDMARKS = np.concatenate([EYES_BROWS, LIPS_JAW])
#: Which points, in which order, in which units: a model is trained for one such list.
ROBOT_SCHEMA = "facemesh113xy-mm-1"

UPPER_LIP_INNER, LOWER_LIP_INNER = 13, 14
MOUTH_CORNERS = (61, 291)
OUTER_EYE_CORNERS = (33, 263)

#: Points that move with the skull and hardly with the expression (forehead, temples, nose
#: bridge, inner and outer eye corners), and their weights in the rigid fit.
RIGID_WEIGHTS: dict[int, float] = {
    **dict.fromkeys([10, 109, 338, 67, 297, 103, 332, 54, 284, 151, 108, 337], 0.5),
    **dict.fromkeys([127, 356, 162, 389, 21, 251, 34, 264], 0.7),
    **dict.fromkeys([168, 6, 197, 195, 122, 351, 196, 419, 193, 417], 1.0),
    **dict.fromkeys([33, 263, 133, 362], 0.7),
}
assert len(ROBOT_LANDMARKS) == 113  # a slip in the tables above; not a user's error


def robot_points(face: ArrayLike) -> NDArray[np.float64]:
    """(..., 478, 3) metric face or (..., 113, 2) robot landmarks -> (..., 113, 2) float64.

    Raises:
        ValueError: neither.
    """
    face = np.asarray(face, dtype=np.float64)
    if face.shape[-2:] == (NUM_LANDMARKS, 3):
        return face[..., ROBOT_LANDMARKS, :2]
    if face.shape[-2:] == (len(ROBOT_LANDMARKS), 2):
        return face
    expected = f"(..., {NUM_LANDMARKS}, 3) or (..., {len(ROBOT_LANDMARKS)}, 2)"
    raise ValueError(f"expected {expected}, got {face.shape}")
