"""What the eye reads off a face, as linear readings of its landmarks: (226,) mm times (226, K)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emo_core.face.topology import (
    LEFT_EYE,
    LEFT_EYEBROW,
    MOUTH_CORNERS,
    RIGHT_EYE,
    RIGHT_EYEBROW,
    ROBOT_LANDMARKS,
)
from emo_core.robot.inverse_model import INPUTS
from emo_core.robot.normalization import INNER_LOW, INNER_UP

Array = NDArray[np.float64]

_PLACE = {int(index): row for row, index in enumerate(ROBOT_LANDMARKS)}


def mouth_readings(width_weight: float = 1.0) -> Array:
    """(226, 10): a face times this is what the eye reads off its mouth, mm.

    The nine gaps of the inner lips, and the mouth's width times its weight.
    """
    out = np.zeros((len(ROBOT_LANDMARKS), 2, 10))
    for column, (up, low) in enumerate(zip(INNER_UP, INNER_LOW, strict=True)):
        out[up, 1, column], out[low, 1, column] = 1.0, -1.0
    right, left = (_PLACE[corner] for corner in MOUTH_CORNERS)
    out[left, 0, 9], out[right, 0, 9] = width_weight, -width_weight
    return out.reshape(INPUTS, 10)


def eye_readings() -> Array:
    """(226, 10): the same of eyes and brows.

    Three gaps between the lids of each eye, the height of each brow's outer and inner half.
    """
    out = np.zeros((len(ROBOT_LANDMARKS), 2, 10))
    column = 0
    for eye in (RIGHT_EYE, LEFT_EYE):
        for n in (3, 4, 5):  # of 16 around the eye: the upper lid's middle, and the lower's
            out[_PLACE[int(eye[n])], 1, column] = 1.0
            out[_PLACE[int(eye[16 - n])], 1, column] = -1.0
            column += 1
    for brow in (RIGHT_EYEBROW, LEFT_EYEBROW):
        for half in ([0, 1, 5, 6], [3, 4, 8, 9]):
            for n in half:
                out[_PLACE[int(brow[n])], 1, column] = 1.0 / len(half)
            column += 1
    return out.reshape(INPUTS, 10)
