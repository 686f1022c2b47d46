"""What each stage costs on one core, beside the usual way of doing the same; and how cost grows.

Each group is one job done in several ways, in turns, on the same input, so that whatever else the
machine does hits all alike. (From sound to face only the baselines take turns: they are timed over
a whole clip, after the network.) Times are medians.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_core.audio.mel import HOP, N_MELS, WINDOW, LogMel
from emo_core.data.prepare import Clip
from emo_core.evaluation.baselines import SLICE, LoudnessRegression, NearestNeighbour
from emo_core.evaluation.clips import EvalClip
from emo_core.evaluation.inverse import published_network
from emo_core.face.alignment import canonical_face
from emo_core.face.topology import ROBOT_LANDMARKS
from emo_core.face.tracking import FaceTracker
from emo_core.lipsync.pipeline import Lipsync
from emo_core.mimic.pipeline import Mimic
from emo_core.rates import FPS, FRAME, SAMPLE_RATE
from emo_core.robot.description import RobotDescription
from emo_core.robot.inverse_model import InverseModel
from emo_core.robot.safety import SafetyLayer
from emo_core.robot.sim.render import Renderer
from emo_core.robot.speech_like import SpeechLikeCurve

Array = NDArray[np.float32]
Image = NDArray[np.uint8]
Call = Callable[[], object]

#: Robots of 11 and of 22 motors.
ROBOTS = ("sim", "emo22")
#: Poses and speech frames that the nearest neighbours look through: what babbling brings by
#: default for a group of motors, and 790 clips of 3 s as of GRID's speaker 1.
NEIGHBOUR_POSES, NEIGHBOUR_FRAMES = 800, 59_250
_ROUNDS = 7


@dataclass(frozen=True)
class Cost:
    """One way of doing a job.

    Attributes:
        job: what is done; all of one job are comparable.
        way: how. `ours`: it is the way that the nodes go.
        ms: milliseconds for one frame; None where what it needs is not installed.
    """

    job: str
    way: str
    ours: bool
    ms: float | None


def in_turns(ways: Mapping[str, Call | None], times: int) -> dict[str, float | None]:
    """Milliseconds of one call: the median of rounds of `times` calls in which they take turns."""
    rounds: dict[str, list[float]] = {name: [] for name, call in ways.items() if call}
    for _ in range(_ROUNDS):
        for name in rounds:
            call = ways[name]
            assert call is not None
            start = time.perf_counter()
            for _ in range(times):
                call()
            rounds[name].append((time.perf_counter() - start) / times)
    return {name: 1e3 * float(np.median(rounds[name])) if call else None
            for name, call in ways.items()}  # fmt: skip


def measure(speech: Array, quick: bool = False) -> list[Cost]:
    """All jobs, on `speech` (16 kHz) and on pictures of the simulated robot."""
    times = 5 if quick else 50
    return [cost for job in (_mel, _lips, _motors, _faces) for cost in job(speech, times)]


def _costs(job: str, ours: str, ways: Mapping[str, Call | None], times: int) -> Iterator[Cost]:
    for way, ms in in_turns(ways, times).items():
        yield Cost(job, way, way == ours, ms)


def _mel(speech: Array, times: int) -> Iterator[Cost]:
    stream, chunk, heard = LogMel(), speech[:FRAME], speech[: HOP * SLICE + WINDOW - HOP]
    ways: dict[str, Call | None] = {"as a stream": lambda: stream.feed(chunk), "librosa, "
                                    "a slice of 0.5 s for each frame": _librosa(heard)}  # fmt: skip
    yield from _costs("log-mel of a frame (40 ms)", "as a stream", ways, times)


def _librosa(heard: Array) -> Call | None:
    try:
        import librosa
    except ImportError:
        return None

    def call() -> object:
        power = librosa.feature.melspectrogram(
            y=heard, sr=SAMPLE_RATE, n_fft=WINDOW, hop_length=HOP, n_mels=N_MELS,
            fmin=90, fmax=7600, center=False,
        )  # fmt: skip
        return librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None)

    return call


def _lips(speech: Array, times: int) -> Iterator[Cost]:
    """Sound to landmarks. The baselines are those of `evaluation.baselines`, fitted to our answer:
    what they learned does not matter here, how much they look through does.
    """
    lipsync = Lipsync.load("full")
    faces = lipsync.animate(speech)
    mel = LogMel().feed(np.concatenate([speech, np.zeros(2 * FRAME, np.float32)]))
    everywhere = np.ones(len(faces), dtype=bool)
    pose = np.zeros((len(faces), 4, 4), np.float32)
    clip = EvalClip(Clip("speech", faces, pose, everywhere, speech, mel))
    copies = -(-NEIGHBOUR_FRAMES // len(faces))
    loudness, neighbour = LoudnessRegression([clip]), NearestNeighbour([clip] * copies)
    chunk = speech[:FRAME]
    lipsync.reset()
    lipsync.feed(speech[: SAMPLE_RATE // 2])
    network = in_turns({"ours": lambda: lipsync.feed(chunk)}, times)["ours"]
    whole: dict[str, Call | None] = {
        "loudness regression (static face + its displacement)": lambda: loudness.predict(clip),
        f"nearest neighbour over {NEIGHBOUR_FRAMES} frames": lambda: neighbour.predict(clip),
    }
    job = "sound to face, a frame"
    yield Cost(job, "log-mel, APC and Audio2Landmark as a stream", True, network)
    for way, ms in in_turns(whole, 1).items():
        assert ms is not None
        yield Cost(job, way, False, ms / len(faces))


def _motors(speech: Array, times: int) -> Iterator[Cost]:
    robot = RobotDescription.load("sim")
    model = InverseModel.load(robot)
    rng = np.random.default_rng(0)
    frame = rng.normal(size=2 * len(ROBOT_LANDMARKS)).astype(np.float32)
    poses = rng.normal(size=(NEIGHBOUR_POSES, len(frame))).astype(np.float32)
    squares = (poses**2).sum(axis=1)
    published = published_network(len(robot.motors))
    ways: dict[str, Call | None] = {
        "inverse model": lambda: model(frame),
        f"nearest of {NEIGHBOUR_POSES} babbled poses": lambda: (
            squares - 2.0 * (poses @ frame)
        ).argmin(),
        "226-1024-512-11 in plain PyTorch": None if published is None else lambda: published(frame),
    }
    yield from _costs("landmarks to motors, a frame", "inverse model", ways, times)


def pictures(count: int, robot: RobotDescription | None = None) -> Iterator[Image]:
    """RGB pictures of the simulated robot, 25 a second: for 1 s at rest, then a lively face."""
    robot = robot or RobotDescription.load("sim")
    draw, curve = Renderer(robot), SpeechLikeCurve(0)
    for n in range(count):
        commands = robot.neutral if n < FPS else curve.commands(robot, n / FPS)
        yield draw(commands)[..., ::-1].copy()


def _faces(speech: Array, times: int) -> Iterator[Cost]:
    seen = list(pictures(2 * FPS))
    with FaceTracker() as follows, FaceTracker(static_image_mode=True) as anew:
        turn = {"follows": 0, "anew": 0}

        def track(name: str, tracker: FaceTracker) -> object:
            turn[name] += 1
            return tracker.track(seen[turn[name] % len(seen)])

        ways: dict[str, Call | None] = {
            "FaceMesh, following a face": lambda: track("follows", follows),
            "FaceMesh, static mode (each picture for itself)": lambda: track("anew", anew),
        }
        job = "image to landmarks, 640 x 480"
        yield from _costs(job, "FaceMesh, following a face", ways, times)
    with Mimic.load("sim", static_face=canonical_face().astype(np.float32)) as mimic:
        start = time.perf_counter()
        mimic.run(seen, FPS)
        each = (time.perf_counter() - start) / len(seen)
        job = "image to motors, whole pipeline"
        yield Cost(job, "tracking, prediction, normalization, inverse model", True, 1e3 * each)


def growth_with_motors(quick: bool = False) -> list[dict[str, Any]]:
    """Milliseconds of what depends on the number of motors, for each of `ROBOTS`."""
    return [_cost_of_robot(RobotDescription.load(name), 5 if quick else 50) for name in ROBOTS]


def _cost_of_robot(robot: RobotDescription, times: int) -> dict[str, Any]:
    model, layer, draw = InverseModel.load(robot), SafetyLayer(robot), Renderer(robot)
    curve, now_s = SpeechLikeCurve(0), 0.0
    frame = np.random.default_rng(0).normal(size=2 * len(ROBOT_LANDMARKS)).astype(np.float32)

    def step() -> object:
        nonlocal now_s
        now_s += 0.01
        return layer.step(curve.commands(robot, now_s), now_s)

    ways: dict[str, Call | None] = {
        "inverse_model_ms": lambda: model(frame),
        "safety_layer_ms": step,
        "picture_ms": lambda: draw(robot.neutral),
    }
    return {"robot": robot.name, "motors": len(robot.motors), **in_turns(ways, times)}
