"""Turn a recording into lip motion, offline and faster than real time.

OUT.npz holds landmarks float32 (T, 478, 3) in mm at fps 25, motors float32 (T, M) in [0, 1] and
motor_names. OUT.mp4 shows sound, human landmarks and the simulated robot side by side, with sound.
Memory does not grow with the recording's length.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emo.cli import add_json, add_robot, mouth_gain
from emo.cli._files import ArraySpool, check_output, write_npz
from emo_core.files import whole_file
from emo_core.lipsync import MAX_MOUTH_GAIN, VARIANTS
from emo_core.rates import FPS, SAMPLE_RATE

if TYPE_CHECKING:
    from emo_core.audio.sources import AudioFile
    from emo_core.lipsync.pipeline import Lipsync
    from emo_core.robot.description import RobotDescription
    from emo_core.robot.mapping import LandmarksToMotors

Array = NDArray[np.float32]

#: Samples fed at once: long enough for large matrices, short enough for little memory.
BLOCK = 30 * SAMPLE_RATE
#: Louder than this, as a share of full scale, counts as sound.
SILENCE = 1e-3

QUIET_NATIVE = True  # MediaPipe talks, where --face is a picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("speech", metavar="SPEECH", help="recording: whatever FFmpeg decodes")
    parser.add_argument("-o", "--out", required=True, metavar="OUT.npz|OUT.mp4", help="result")
    parser.add_argument(
        "--face",
        metavar="FACE.npz|IMAGE|VIDEO",
        help="whose face speaks (default: the canonical face); FACE.npz is made by emo track",
    )
    add_robot(parser)
    parser.add_argument(
        "--lookahead",
        choices=tuple(VARIANTS),
        default="full",
        help="how much of the future the lips may know: full (default) or live",
    )
    parser.add_argument(
        "--mouth-gain",
        type=mouth_gain,
        default=1.0,
        metavar="G",
        help=f"factor on the mouth's opening, 0 to {MAX_MOUTH_GAIN:g} (default 1)",
    )
    add_json(parser)


@dataclass
class Heard:
    """What the recording was like; each oddity is told in one line."""

    samples: int = 0
    loudest: float = 0.0
    at_full_scale: int = 0
    warnings: list[str] = field(default_factory=list)

    def hear(self, block: Array) -> None:
        """Look at the recording's next block (n,)."""
        size = np.abs(block)
        self.samples += len(block)
        self.loudest = max(self.loudest, float(size.max(initial=0.0)))
        self.at_full_scale += int((size >= 0.999).sum())

    def judge(self, recording: AudioFile) -> list[str]:
        """Warnings for the user, after the last block."""
        if self.loudest < SILENCE:
            self.warnings.append("the recording is silent: the face stays at rest")
        elif self.at_full_scale > 0.001 * self.samples:
            self.warnings.append(
                f"the recording is clipped ({100 * self.at_full_scale / self.samples:.1f} % of it "
                "at full scale): lips may be less accurate. Record it at a lower level"
            )
        if recording.non_finite:
            self.warnings.append(
                f"{recording.non_finite} samples are not numbers (NaN or infinite): "
                "taken as silence"
            )
        if recording.damaged:
            self.warnings.append(
                f"{recording.damaged} damaged packets in the recording were skipped"
            )
        return self.warnings


@dataclass(frozen=True)
class Speaker:
    """The models of one run: sound in, faces and motor commands out."""

    lipsync: Lipsync
    to_motors: LandmarksToMotors
    robot: RobotDescription
    static_face: Array

    @classmethod
    def load(
        cls, lookahead: str, robot: str, face: str | None = None, mouth_gain: float = 1.0
    ) -> Speaker:
        """Everything that can go wrong with models, robot and face goes wrong here."""
        from emo_core.face.alignment import canonical_face
        from emo_core.lipsync.pipeline import Lipsync
        from emo_core.robot.description import RobotDescription
        from emo_core.robot.mapping import LandmarksToMotors

        description = RobotDescription.load(robot)
        if face is None:
            static = canonical_face()
        else:
            from emo_core.face.static_face import load_face

            static = load_face(face)
        lipsync = Lipsync.load(lookahead, static_face=static, mouth_gain=mouth_gain)
        return cls(lipsync, LandmarksToMotors.load(description, static), description, static)

    def faces(self, blocks: Iterator[Array]) -> Iterator[tuple[Array, Array]]:
        """Pairs (the block just heard (n,), the faces it completed (k, 478, 3)); then the rest."""
        for block in blocks:
            yield block, self.lipsync.feed(block)
        yield np.zeros(0, np.float32), self.lipsync.flush()


def run(args: argparse.Namespace) -> int:
    """Animate; reports frames and speed."""
    start = time.monotonic()
    target = check_output(args.out, (".npz", ".mp4"), args.speech, args.face)
    from emo_core.audio.sources import open_audio

    with open_audio(args.speech) as recording:
        speaker = Speaker.load(args.lookahead, args.robot, args.face, args.mouth_gain)
        heard = Heard()
        with whole_file(target) as part, _progress(recording, target) as advance:
            if target.suffix.lower() == ".npz":
                frames = animate_npz(recording, speaker, part, heard, advance)
            else:
                ahead = speaker.lipsync.lookahead_ms
                title = f"{Path(args.speech).name}   ·   look-ahead {ahead:.0f} ms"
                frames = animate_mp4(
                    recording, speaker, part, heard, title, lambda n, picture: advance(1)
                )
        warnings = heard.judge(recording)
    seconds = time.monotonic() - start
    length = heard.samples / SAMPLE_RATE
    for warning in warnings:
        print(f"emo: {warning}", file=sys.stderr)
    if args.json:
        print(
            json.dumps(
                {
                    "out": str(target),
                    "frames": frames,
                    "fps": FPS,
                    "audio_s": round(length, 3),
                    "seconds": round(seconds, 3),
                    "times_real_time": round(length / seconds, 2),
                    "warnings": warnings,
                }
            )
        )
    else:
        times = length / seconds
        speed = f"{times:.0f}" if times >= 10 else f"{times:.1f}"
        print(
            f"{target}: {frames} frames, {length:.1f} s of sound in {seconds:.1f} s "
            f"({speed} x real time)"
        )
    return 0


@contextlib.contextmanager
def _progress(recording: AudioFile, target: Path) -> Iterator[Callable[[int], object]]:
    """A bar of frames on a terminal, for work that takes a while; yields what advances it."""
    length = recording.duration_s
    short = target.suffix.lower() == ".npz" and length is not None and length < 300
    if short or not sys.stderr.isatty():
        yield lambda frames: None
        return
    from tqdm import tqdm

    total = None if length is None else math.ceil(length * FPS)
    with tqdm(total=total, unit=" frames", leave=False, desc=target.name) as bar:
        yield bar.update


def animate_npz(
    recording: AudioFile,
    speaker: Speaker,
    out: Path,
    heard: Heard,
    advance: Callable[[int], object] = lambda frames: None,
) -> int:
    """Landmarks and motor commands of a whole recording; returns the number of frames.

    Args:
        advance: called with the number of new frames.
    """
    with ArraySpool(out.parent) as landmarks, ArraySpool(out.parent) as motors:
        for block, faces in speaker.faces(recording.blocks(BLOCK)):
            heard.hear(block)
            if len(faces):
                landmarks.append(faces)
                motors.append(speaker.to_motors(faces))
                advance(len(faces))
        arrays: dict[str, Any] = {
            "landmarks": landmarks,
            "motors": motors,
            "motor_names": np.array(speaker.robot.names),
            "fps": np.float64(FPS),
        }
        write_npz(out, arrays)
        return landmarks.rows


def animate_mp4(
    recording: AudioFile,
    speaker: Speaker,
    out: Path,
    heard: Heard,
    title: str,
    on_frame: Callable[[int, NDArray[np.uint8]], object] | None = None,
) -> int:
    """The film of a whole recording; returns the number of frames.

    Args:
        on_frame: called with the number of each film frame and its picture.
    """
    from emo_core.robot.sim.render import Renderer
    from emo_core.robot.sim.stream import SimulatedRobot
    from emo_core.viz.film import SpeechFilm

    renderer = Renderer(speaker.robot)
    servos = SimulatedRobot(speaker.robot)
    waiting: list[tuple[Array, Array]] = []
    frames = 0
    neutral = np.asarray(speaker.robot.neutral, np.float32)
    names = speaker.robot.names
    with SpeechFilm(out, title, speaker.static_face, names, neutral, on_frame) as film:
        for block, faces in speaker.faces(recording.blocks(SAMPLE_RATE)):
            heard.hear(block)
            film.add_audio(block)
            positions = []
            if len(faces):
                commands = np.asarray(speaker.to_motors(faces), np.float32)
                waiting.extend(zip(faces, commands, strict=True))
                positions = [p for command in commands for p in servos.feed(command)]
            if not len(block):  # the end
                positions += servos.flush()
            for position in positions:
                face, _ = waiting.pop(0)
                mesh = renderer.skin(position)
                film.add_frame(face, position.astype(np.float32), renderer.draw(mesh), mesh)
                frames += 1
    return frames
