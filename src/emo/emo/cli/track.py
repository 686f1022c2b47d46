"""Follow the face in a video: MediaPipe FaceMesh to screen and metric landmarks.

OUT.npz holds landmarks (T, 478, 3) in mm without head pose, screen (T, 478, 3) in px,
pose (T, 4, 4), valid (T,) and fps. OUT.mp4 is the video with the mesh drawn over it, and its sound.
The tracker's shaking is smoothed off, unless --raw. Frames without a face, or too blurred to trust,
are NaN and not valid (--fill: landmarks are held, then ease to rest, as a robot shows them); of
several faces the largest at first is followed. --static keeps the face at rest, by name, as a file
that --face of other commands takes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emo.cli import add_json
from emo.cli._files import check_output
from emo_core.errors import EmoError
from emo_core.files import whole_file
from emo_core.rates import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emo_core.face.stream import FaceStream, Seen
    from emo_core.face.tracking import VideoFile

Image = NDArray[np.uint8]

QUIET_NATIVE = True  # MediaPipe talks
FACES = "faces"  # folder of the faces kept by name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("video", metavar="VIDEO", help="video or image: whatever FFmpeg decodes")
    parser.add_argument("-o", "--out", metavar="OUT.npz|OUT.mp4", help="result")
    parser.add_argument("--raw", action="store_true", help="as tracked, without smoothing")
    parser.add_argument(
        "--fill", action="store_true", help="OUT.npz: no gaps in the landmarks: held, then at rest"
    )
    parser.add_argument(
        "--static", metavar="NAME", help="keep the face at rest (its first calm second) as NAME"
    )
    parser.add_argument(
        "--faces", metavar="DIR", default=FACES, help=f"folder for --static (default {FACES})"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Track and write; reports frames, faces found and speed."""
    if args.out is None and args.static is None:
        raise EmoError("nothing to write: give -o OUT.npz or OUT.mp4, or --static NAME")
    target = None
    if args.out is not None:
        target = check_output(args.out, (".npz", ".mp4"), args.video)
    from emo_core.face.presence import fill
    from emo_core.face.static_face import face_path, save_static_face
    from emo_core.face.stream import FaceStream, collect
    from emo_core.face.tracking import FaceTracker, VideoFile

    if args.static is not None:
        face_path(args.faces, args.static)  # a name that is none is told of before the work
    start = time.monotonic()
    # Two faces are looked for so that a second one can be told of; one is followed.
    with VideoFile(args.video) as video, FaceTracker(max_faces=2) as tracker:
        tally = _Tally(video.fps)
        watched = tally.watch(FaceStream(tracker, smooth=not args.raw), video)
        if target is None:
            for _ in watched:
                pass
            tally.require_face(args.video)
        elif target.suffix.lower() == ".npz":
            track = collect([seen for _, seen in watched], video.fps)
            tally.require_face(args.video)
            if args.fill:
                rest, _ = tally.at_rest(args.video)
                track = replace(track, metric=fill(track.metric, rest, video.fps))
            with whole_file(target) as part, open(part, "wb") as out:
                track.save(out)  # type: ignore[arg-type]  # np.savez takes a file as well
        else:
            with whole_file(target) as part:
                _overlay(watched, video.fps, args.video, part)
                tally.require_face(args.video)
    seconds = time.monotonic() - start
    report = {
        "out": None if target is None else str(target),
        "frames": tally.frames,
        "fps": round(tally.fps, 3),
        "with_face": tally.found,
        "blurred": tally.blurred,
        "several_faces": tally.several,
        "smoothed": not args.raw,
        "seconds": round(seconds, 3),
    }
    if tally.several:
        _say("several faces in view: the one largest at first is followed")
    missed = tally.frames - tally.found - tally.blurred
    for count, what in ((missed, "no face"), (tally.blurred, "face too blurred to trust")):
        if count:
            _say(f"{what} in {count} of {tally.frames} frames: they are marked not valid")
    if args.static is not None:
        face, calm = tally.at_rest(args.video)
        kept = save_static_face(args.faces, args.static, face)
        report |= {"static": str(kept), "calm": calm}
        if not calm:
            _say(f"{args.static}: no calm second in {args.video}: the calmest was taken")
    if args.json:
        print(json.dumps(report))
        return 0
    written = ", ".join(str(report[key]) for key in ("out", "static") if report.get(key))
    print(f"{written}: {tally.frames} frames, {tally.found} with a face, "
          f"{tally.frames / seconds:.0f} frames/s")  # fmt: skip
    return 0


def _say(what: str) -> None:
    print(f"emo: {what}", file=sys.stderr)


class _Tally:
    """What a stream has seen, in constant memory."""

    def __init__(self, fps: float) -> None:
        from emo_core.face.static_face import StaticCapture

        self.fps = fps
        self.frames = self.found = self.blurred = 0
        self.several = False
        self._capture = StaticCapture()

    def watch(self, stream: FaceStream, video: VideoFile) -> Iterator[tuple[Image, Seen]]:
        """Every image and the face in it."""
        for rgb in video.frames():
            seen = stream.feed(rgb, self.frames / self.fps)
            self.frames += 1
            self.found += seen.valid
            self.blurred += seen.blurred
            self.several = self.several or seen.faces > 1
            self._capture.feed(seen.metric, 1.0 / self.fps)
            yield rgb, seen

    def require_face(self, video: str) -> None:
        """Raises EmoError: no frame had one."""
        if not self.found:
            raise EmoError(f"no face found in {video}: give a video with a face in view")

    def at_rest(self, video: str) -> tuple[NDArray[np.float32], bool]:
        """The face of the first calm second, or else of the calmest; and whether it was calm."""
        if self._capture.captured is not None:
            return self._capture.captured, True
        if self._capture.calmest is None:
            raise EmoError(
                f"no whole second of {video} shows a face: give a longer one for --static or --fill"
            )
        return self._capture.calmest, False


def _overlay(watched: Iterator[tuple[Image, Seen]], fps: float, source: str, out: Path) -> None:
    """Write the video with the mesh over it, frame by frame."""
    from emo_core.viz import draw
    from emo_core.viz.video import VideoWriter

    writer: VideoWriter | None = None
    sound = _sound_blocks(source, fps)
    enlarge = 1
    try:
        for rgb, seen in watched:
            if writer is None:
                enlarge = max(1, round(720 / rgb.shape[0]))
                height, width = (side * enlarge // 2 * 2 for side in rgb.shape[:2])
                writer = VideoWriter(out, (width, height), fps, SAMPLE_RATE if sound else None)
            bgr = _enlarged(rgb, enlarge)
            if seen.valid:
                draw.draw_landmarks(bgr, (seen.screen + 0.5) * enlarge - 0.5)
            writer.add_frame(_fitted(bgr, writer.size))
            if sound is not None and (block := next(sound, None)) is not None:
                writer.add_audio(block)
    finally:
        if writer is not None:
            writer.close()


def _enlarged(rgb: Image, times: int) -> Image:
    """As BGR, `times` as large."""
    import cv2

    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    if times > 1:
        bgr = cv2.resize(bgr, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)
    return np.asarray(bgr, np.uint8)


def _fitted(bgr: Image, size: tuple[int, int]) -> Image:
    """In a film of (width, height): cut by an odd line, scaled where a video changes its size."""
    import cv2

    height, width = bgr.shape[:2]
    if not (0 <= width - size[0] <= 1 and 0 <= height - size[1] <= 1):
        bgr = np.asarray(cv2.resize(bgr, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.ascontiguousarray(bgr[: size[1], : size[0]])


def _sound_blocks(source: str, fps: float) -> Iterator[NDArray[np.float32]] | None:
    """The sound in blocks of one video frame, or None for a silent video."""
    from emo_core.audio.sources import open_audio

    try:
        recording = open_audio(source)
    except EmoError:  # no sound track: the result is silent, too
        return None
    return recording.blocks(max(1, round(SAMPLE_RATE / fps)))
