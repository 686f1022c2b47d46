"""Follow the face in a video: MediaPipe FaceMesh to screen and metric landmarks.

OUT.npz holds landmarks (T, 478, 3) in mm without head pose, screen (T, 478, 3) in px,
pose (T, 4, 4), valid (T,) and fps. OUT.mp4 is the video with the mesh drawn over it, and its sound.
Frames without a face are NaN and not valid; of several faces the largest at first is followed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emo.cli import add_json
from emo.cli._files import check_output, whole_file
from emo_core.errors import EmoError
from emo_core.rates import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emo_core.face.tracking import FaceTracker, VideoFile

QUIET_NATIVE = True  # MediaPipe talks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("video", metavar="VIDEO", help="video or image: whatever FFmpeg decodes")
    parser.add_argument("-o", "--out", required=True, metavar="OUT.npz|OUT.mp4", help="result")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Track and write; reports frames, faces found and speed."""
    target = check_output(args.out, (".npz", ".mp4"))
    start = time.monotonic()
    from emo_core.face.tracking import FaceTracker, VideoFile, track_frames

    with VideoFile(args.video) as video:
        # Two faces are looked for so that a second one can be told of; one is followed.
        with FaceTracker(max_faces=2) as tracker:
            if target.suffix.lower() == ".npz":
                track = track_frames(tracker, video.frames(), video.fps)
                frames, valid, two = len(track.valid), track.valid, track.two_faces
                _require_face(valid, args.video)
                with whole_file(target) as part, open(part, "wb") as out:
                    track.save(out)  # type: ignore[arg-type]  # np.savez takes a file as well
            else:
                with whole_file(target) as part:
                    valid, two = _overlay(tracker, video, args.video, part)
                    _require_face(valid, args.video)
                frames = len(valid)
    seconds = time.monotonic() - start
    found = int(valid.sum())
    report = {
        "out": str(target),
        "frames": frames,
        "fps": round(video.fps, 3),
        "with_face": found,
        "several_faces": two,
        "seconds": round(seconds, 3),
    }
    if two:
        print("emo: several faces in view: the one largest at first is followed", file=sys.stderr)
    if found < frames:
        print(f"emo: no face in {frames - found} of {frames} frames: they are marked not valid",
              file=sys.stderr)  # fmt: skip
    if args.json:
        print(json.dumps(report))
    else:
        print(f"{target}: {frames} frames, {found} with a face, {frames / seconds:.0f} frames/s")
    return 0


def _require_face(valid: NDArray[np.bool_], video: str) -> None:
    if not valid.any():
        raise EmoError(f"no face found in {video}: give a video with a face in view")


def _overlay(
    tracker: FaceTracker, video: VideoFile, source: str, out: Path
) -> tuple[NDArray[np.bool_], bool]:
    """Write the video with the mesh over it, frame by frame; returns valid (T,), several faces."""
    from emo_core.viz import draw
    from emo_core.viz.video import VideoWriter

    valid: list[bool] = []
    two = False
    writer: VideoWriter | None = None
    sound = _sound_blocks(source, video.fps)
    enlarge = 1
    try:
        for rgb in video.frames():
            points = tracker.track(rgb)
            two = two or tracker.faces_seen > 1
            valid.append(points is not None)
            if writer is None:
                enlarge = max(1, round(720 / rgb.shape[0]))
                height, width = (side * enlarge // 2 * 2 for side in rgb.shape[:2])
                writer = VideoWriter(
                    out, (width, height), video.fps, SAMPLE_RATE if sound else None
                )
            import cv2

            bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
            if enlarge > 1:
                bgr = cv2.resize(bgr, None, fx=enlarge, fy=enlarge, interpolation=cv2.INTER_CUBIC)
            bgr = np.ascontiguousarray(bgr[: writer.size[1], : writer.size[0]])
            if points is not None:
                draw.draw_landmarks(bgr, (points + 0.5) * enlarge - 0.5)
            writer.add_frame(bgr)
            if sound is not None and (block := next(sound, None)) is not None:
                writer.add_audio(block)
    finally:
        if writer is not None:
            writer.close()
    return np.array(valid, bool), two


def _sound_blocks(source: str, fps: float) -> Iterator[NDArray[np.float32]] | None:
    """The sound in blocks of one video frame, or None for a silent video."""
    from emo_core.audio.sources import open_audio

    try:
        recording = open_audio(source)
    except EmoError:  # no sound track: the result is silent, too
        return None
    return recording.blocks(max(1, round(SAMPLE_RATE / fps)))
