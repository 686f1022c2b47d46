"""MediaPipe FaceMesh on images and videos, and the file that keeps what it saw."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from emo_core.errors import EmoError
from emo_core.face.alignment import to_metric
from emo_core.face.hush import drawn_face, hushed
from emo_core.face.topology import NUM_LANDMARKS
from emo_core.later import later
from emo_core.media import MediaFile, reason

Array = NDArray[np.float32]
Image = NDArray[np.uint8]

#: By a quarter, a half, three quarters, counter-clockwise.
_TURNS = (cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)


class FaceTracker:
    """FaceMesh with irises on RGB images, one person at a time.

    Args:
        static_image_mode: images that have nothing to do with each other (detect in each).
        max_faces: look for as many; the one nearest to the last one seen (at first: the largest)
            is returned.

    Source: Kartynnik et al. 2019, "Real-time facial surface geometry from monocular video".
    """

    def __init__(self, static_image_mode: bool = False, max_faces: int = 1) -> None:
        # Only who tracks pays for MediaPipe; nobody for its plots, which are 0.3 s of its 0.4 s.
        with later("matplotlib", "matplotlib.pyplot"):
            from mediapipe.python.solutions.face_mesh import FaceMesh

        with hushed():
            self._mesh: Any = FaceMesh(
                static_image_mode=static_image_mode,
                max_num_faces=max_faces,
                refine_landmarks=True,
                min_detection_confidence=0.5,
                min_tracking_confidence=0.5,
            )
            self._warm_up()
        self._last: Array | None = None

    def __enter__(self) -> FaceTracker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the graph."""
        self._mesh.close()

    def reset(self) -> None:
        """Forget where faces were: what comes next has nothing to do with what was seen."""
        with hushed():
            self._mesh.reset()
            self._warm_up()
        self._last = None

    def _warm_up(self) -> None:
        """The first face takes 0.3 s: see one, and forget it."""
        self.faces(drawn_face())
        self.faces(np.zeros_like(drawn_face()))

    def faces(self, rgb: Image) -> list[Array]:
        """RGB uint8 (H, W, 3) -> landmarks float32 (478, 3) in px of every face found."""
        result = self._mesh.process(np.ascontiguousarray(rgb))
        height, width = rgb.shape[:2]
        scale = np.array([width, height, width], np.float32)
        return [
            np.array([(p.x, p.y, p.z) for p in face.landmark], np.float32) * scale
            for face in result.multi_face_landmarks or []
        ]

    def track(self, rgb: Image) -> Array | None:
        """RGB uint8 (H, W, 3) -> landmarks float32 (478, 3) in px (x, y, z), or None: no face."""
        faces = self.faces(rgb)
        if not faces:
            self._last = None
            return None
        if len(faces) == 1:
            chosen = faces[0]
        elif self._last is None:
            chosen = max(faces, key=lambda face: float(np.ptp(face[:, 0]) * np.ptp(face[:, 1])))
        else:
            last = self._last.mean(0)
            chosen = min(faces, key=lambda face: float(np.linalg.norm(face.mean(0) - last)))
        self._last = chosen
        return chosen


@dataclass(frozen=True)
class Track:
    """A tracked video: T frames at `fps`; frames without a face are NaN and not `valid`."""

    screen: Array  # (T, 478, 3) px
    metric: Array  # (T, 478, 3) mm
    pose: Array  # (T, 4, 4) metric -> screen
    valid: NDArray[np.bool_]  # (T,)
    fps: float
    blurred: int = 0  # frames that were left out as too blurred
    times_s: NDArray[np.float64] | None = None  # (T,) as the file states them; None: counted

    def save(self, path: str | Path) -> None:
        """Write the FACE.npz format: landmarks, screen, pose, valid, fps."""
        np.savez_compressed(
            path,
            landmarks=self.metric,
            screen=self.screen,
            pose=self.pose,
            valid=self.valid,
            fps=np.float64(self.fps),
        )


class VideoFile(MediaFile):
    """Frames of a video as RGB, decoded as they are read.

    Raises:
        EmoError: no such file, not a video.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path, "video", "an mp4, mpg or mkv, say, or a png or jpg")
        if not self._container.streams.video:
            self.close()
            raise EmoError(f"{self.path} has no picture in it: give a video")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.fps = float(rate) if rate else 25.0
        self.size = (self._stream.width, self._stream.height)

    def frames(self) -> Iterator[Image]:
        """RGB uint8 (H, W, 3), turned upright where the file says so; damaged ones are left out."""
        for _, image in self.timed_frames():
            yield image

    def timed_frames(self) -> Iterator[tuple[float, Image]]:
        """As `frames`, each with the time in s that the file states for it.

        From the start of the picture, as sound is (`AudioFile`); a first frame that is damaged is
        no other start. Frames for which the file states no time are at the start.
        """
        start: float | None = None
        if self._stream.start_time is not None and self._stream.time_base is not None:
            start = float(self._stream.start_time * self._stream.time_base)
        try:
            for packet in self._container.demux(self._stream):
                try:
                    decoded = cast("list[VideoFrame]", packet.decode())
                except av.error.InvalidDataError:
                    continue
                for frame in decoded:
                    image = cast(Image, frame.to_ndarray(format="rgb24"))
                    turns = round(getattr(frame, "rotation", 0) / 90) % 4
                    if start is None:
                        start = frame.time or 0.0
                    time = start if frame.time is None else frame.time
                    if turns:
                        image = cast(Image, cv2.rotate(image, _TURNS[turns - 1]))
                    yield time - start, image
        except av.error.FFmpegError as error:
            raise EmoError(
                f"cannot decode {self.path} ({reason(error)}): the file is damaged"
            ) from None


def track_frames(tracker: FaceTracker, frames: Iterator[tuple[float, Image]], fps: float) -> Track:
    """Track images, each with its time in s, in order (see `Track`)."""
    missing = np.full((NUM_LANDMARKS, 3), np.nan, np.float32)
    seen: list[Array] = []
    times_s: list[float] = []
    for time_s, image in frames:
        times_s.append(time_s)
        found = tracker.track(image)
        seen.append(missing if found is None else found)
    screen = np.stack(seen) if seen else np.zeros((0, NUM_LANDMARKS, 3), np.float32)
    metric, pose = to_metric(screen)
    valid = np.isfinite(screen).all(axis=(1, 2))
    return Track(screen, metric, pose, valid, fps, times_s=np.array(times_s))


def track_video(path: str | Path, max_faces: int = 1) -> Track:
    """Track a video or an image file.

    Raises:
        EmoError: it cannot be read, or no frame shows a face.
    """
    with VideoFile(path) as video, FaceTracker(max_faces=max_faces) as tracker:
        track = track_frames(tracker, video.timed_frames(), video.fps)
    if not track.valid.any():
        raise EmoError(f"no face found in {path}: give a video with a face in view")
    return track
