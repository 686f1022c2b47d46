"""Does the robot tell its own image from other faces? (emo_core.mimic.own_image)

    .venv/bin/python benchmarks/own_image.py DIR... [--clips 60] [--seeds 3] [--robot sim] [--json]

Mirror: the simulated robot's picture goes through FaceMesh and the whole pipeline to its motors,
10 s at 30 frames/s; drawn cleanly, and through the simulated camera with its vibration, noise and
sway; as a screen shows it and as a mirror does. Each is told when it was found out, and how far any
motor was from neutral at most; and the same with nobody looking, which shows what would happen.

People: talking faces (prepared clips or videos in DIR, test clips where DIR says which), and
composed expressions without a pause on the same faces, their commands fed from a random frame on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src" / "emo_core")]

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from emo_core.evaluation.clips import load_clips, spread  # noqa: E402
from emo_core.face.smoothing import smooth_track  # noqa: E402
from emo_core.face.topology import robot_points  # noqa: E402
from emo_core.mimic.action_units import action_units  # noqa: E402
from emo_core.mimic.composition import compose, own_way, perform  # noqa: E402
from emo_core.mimic.own_image import LOOK_S, LOOKING, LOOKS, OWN, OwnImage  # noqa: E402
from emo_core.mimic.pipeline import Mimic  # noqa: E402
from emo_core.rates import FPS  # noqa: E402
from emo_core.robot.description import RobotDescription  # noqa: E402
from emo_core.robot.inverse_model import InverseModel  # noqa: E402
from emo_core.robot.normalization import Normalizer  # noqa: E402
from emo_core.robot.safety import SafetyLayer  # noqa: E402
from emo_core.robot.sim.camera import Camera  # noqa: E402
from emo_core.robot.sim.render import Renderer  # noqa: E402
from emo_core.robot.sim.servos import SimulatedServos  # noqa: E402

Array = NDArray[np.float64]
Figures = dict[str, Any]

SECONDS, TICK_S, CAMERA_FPS = 10.0, 0.005, 30.0
#: From the exposure to the command that it leads to.
PIPELINE_S = 0.03
#: A clip must last for all looks, from wherever it begins.
FRAMES = int(LOOKS * LOOK_S * FPS) + 5


def mirror(robot: RobotDescription, shaking: bool, flipped: bool, seed: int, look: bool) -> Figures:
    """The loop, closed over the robot's own picture."""
    assert robot.simulator is not None
    own, safety = OwnImage(robot), SafetyLayer(robot)
    servos = SimulatedServos(robot.simulator.servos, robot.neutral)
    camera, renderer = Camera(robot, seed), Renderer(robot)
    found_s: float | None = None
    furthest, coming, next_s = 0.0, list[tuple[float, Any]](), 0.0
    with Mimic.load(robot) as mimic:
        for tick in range(round(SECONDS / TICK_S)):
            now = tick * TICK_S
            if now >= next_s:
                next_s += 1.0 / CAMERA_FPS
                horns = servos.horns(now)
                picture = camera(horns, now) if shaking else renderer(horns)
                rgb = picture[:, :: -1 if flipped else 1, ::-1]
                coming.append((now + PIPELINE_S, mimic.feed(np.ascontiguousarray(rgb), now)))
            command: dict[str, float] = {}
            while coming and coming[0][0] <= now:
                frame = coming.pop(0)[1]
                motors = [] if frame.motors is None else frame.motors.tolist()
                command = dict(zip(robot.names, motors, strict=False))
                if look:
                    command, _ = own.feed(command, frame.valid, now)
            servos.positions(now)
            servos.command(safety.step(command or None, now).positions, now)
            furthest = max(furthest, float(np.abs(servos.horns(now) - robot.neutral).max()))
            if found_s is None and own.state == OWN:
                found_s = now
    return {"found_s": found_s, "furthest": round(furthest, 2)}


def people(
    robot: RobotDescription, folders: list[str], count: int, rng: np.random.Generator
) -> Iterator[tuple[str, Array]]:
    """Kind, and motor commands (T, M) at 25 Hz."""
    model = InverseModel.load(robot)
    for folder in folders:
        for clip in spread(load_clips(Path(folder)).clips, count):
            track = smooth_track(clip.clip.landmarks, FPS)
            if not np.isfinite(track).all() or len(track) < FRAMES:
                continue
            face = track[:8].mean(axis=0)
            normalizer = Normalizer(face, model.profile)
            yield "talking", _commands(robot, model, normalizer(track))
            fields = own_way(action_units(face), rng)
            for _ in range(4):
                parts = [perform(face, fields, compose(rng, (0.1, 0.3)))[0] for _ in range(3)]
                posed = np.concatenate(parts) + robot_points(face)
                yield "composed", _commands(robot, model, normalizer(posed))


def _commands(robot: RobotDescription, model: InverseModel, faces: NDArray[np.float32]) -> Array:
    commands = np.tile(robot.neutral, (len(faces), 1))
    commands[:, robot.expressive] = np.stack([model(face) for face in faces])
    return commands


def greeted(robot: RobotDescription, commands: Array, rng: np.random.Generator) -> tuple[bool, int]:
    """Whether they were taken for the robot's own image, and after how many greetings."""
    own, looking = OwnImage(robot), 0
    first = int(rng.integers(0, len(commands) - FRAMES + 1))
    for n, row in enumerate(commands[first:]):
        own.feed(dict(zip(robot.names, row.tolist(), strict=True)), True, n / FPS)
        looking += own.state == LOOKING
    return own.state == OWN, max(1, round(looking / (LOOK_S * FPS)))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", metavar="DIR", help="prepared clips, or videos")
    parser.add_argument("--clips", type=int, default=60, help="of each folder, at most")
    parser.add_argument("--seeds", type=int, default=3, help="of the simulated camera")
    parser.add_argument("--robot", default="sim")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    robot = RobotDescription.load(args.robot)
    rng = np.random.default_rng(0)
    figures: Figures = {"mirror": [], "people": {}}
    cases = [(False, 0), *((True, seed) for seed in range(args.seeds))]
    for (shaking, seed), flipped in itertools.product(cases, (False, True)):
        case = {"shaking": shaking, "seed": seed, "flipped": flipped}
        figures["mirror"].append({**case, **mirror(robot, shaking, flipped, seed, True)})
    figures["nobody_looks"] = mirror(robot, False, True, 0, False)
    for kind, commands in people(robot, args.folders, args.clips, rng):
        own, looks = greeted(robot, commands, rng)
        counts = figures["people"].setdefault(
            kind, {"n": 0, "greeted_twice": 0, "taken_for_own": 0}
        )
        counts["n"] += 1
        counts["greeted_twice"] += looks > 1
        counts["taken_for_own"] += own
    if args.json:
        print(json.dumps(figures, indent=2))
        return
    for case in figures["mirror"]:
        print(case)
    print("nobody looks:", figures["nobody_looks"])
    for kind, counts in figures["people"].items():
        print(f"{kind}: {counts}")


if __name__ == "__main__":
    main()
