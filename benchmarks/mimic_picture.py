"""Six expressions and the robot that mimics them, as one picture (docs/img/mimic.jpg).

    .venv/bin/python benchmarks/mimic_picture.py --out FILE [--robot emo22]

Composed expressions on a face that no model was trained on, each held until the servos are there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: What is shown: action unit -> intensity, for the right and the left half of the face.
EXPRESSIONS: dict[str, dict[str, tuple[float, float]]] = {
    "smile": {"lip_corner_pull": (1.0, 1.0), "cheek_raise": (0.8, 0.8)},
    "surprise": {"brow_raise": (1.0, 1.0), "jaw_drop": (0.7, 0.7)},
    "anger": {"brow_drop": (1.0, 1.0), "nose_wrinkle": (0.4, 0.4), "chin_raise": (0.6, 0.6)},
    "sadness": {"lip_corner_depress": (1.0, 1.0), "brow_raise": (0.5, 0.5)},
    "kiss": {"pucker": (1.0, 1.0)},
    "wink": {"lid_close": (1.0, 0.0), "lip_corner_pull": (0.8, 0.3)},
}
SIDE = 236  # of a picture, px


def main() -> int:
    """Compose, mimic, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--robot", default="emo22")
    args = parser.parse_args()
    sys.path[:0] = [str(ROOT / "src" / "emo_core")]
    import cv2
    import numpy as np

    from emo_core.face.alignment import canonical_face
    from emo_core.mimic.action_units import UNITS, action_units, show
    from emo_core.mimic.composition import another_person
    from emo_core.robot.description import RobotDescription
    from emo_core.robot.mapping import LandmarksToMotors
    from emo_core.robot.sim.render import Renderer
    from emo_core.viz import draw

    robot = RobotDescription.load(args.robot)
    face = another_person(canonical_face(), np.random.default_rng(7))
    to_motors, render = LandmarksToMotors.load(robot, face), Renderer(robot)
    intensities = np.zeros((len(EXPRESSIONS), len(UNITS), 2))
    for row, units in enumerate(EXPRESSIONS.values()):
        for unit, halves in units.items():
            intensities[row, list(UNITS).index(unit)] = halves
    faces = show(face, action_units(face), intensities).astype(np.float32)
    fit = draw.fit_face(face, (SIDE, SIDE))
    columns = []
    for name, shown, motors in zip(EXPRESSIONS, faces, to_motors(faces), strict=True):
        column = draw.canvas((SIDE, 2 * SIDE + 30))
        draw.draw_face(column[:SIDE], draw.place_face(shown, fit))
        picture = render(motors)
        height, width = picture.shape[:2]
        left = (width - height) // 2
        middle = np.ascontiguousarray(picture[:, left : left + height])
        column[SIDE : 2 * SIDE] = cv2.resize(middle, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        draw.put_text(column, name, (SIDE // 2, 2 * SIDE + 4), 17, align="centre")
        columns += [column, draw.canvas((6, column.shape[0]), draw.BACKGROUND)]
    cv2.imwrite(str(args.out), np.concatenate(columns[:-1], axis=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
