"""Face tracking on real videos: frames/s, how still a still face is, what smoothing costs.

    .venv/bin/python benchmarks/tracking.py FOLDER [--first 0] [--clips 40] [--json]

FOLDER holds videos of talking faces (those of GRID, say). They are tracked at 640 x 480, and the
tracks smoothed as `./emo track` does, by a moving average, and by the One-Euro filter at its best.

- shakiness: 95th percentile over frames and the robot's 113 landmarks of the way from one frame
  to the next, mm: in the clips' calm stretches, and on a photo (three clips' first images, each
  shown for 3 s at 30 frames/s) with seeded sensor noise of 3 grey levels, as a webcam's indoors.
- added lag: the shift in time that best lays the smoothed signal over the raw one (least squares,
  all clips together); for mouth opening, mouth width and eye opening of talking faces, and for a
  slow onset: brows that rise by 4 or 7 mm in 0.5 to 1.2 s (minimum jerk), on calm faces' noise.
- kept: slope of smoothed over raw, and share of the range between lowest and highest, median.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src" / "emo_core")]

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from emo_core.data.prepare import videos_in  # noqa: E402
from emo_core.face.alignment import to_metric  # noqa: E402
from emo_core.face.follower import Follower  # noqa: E402
from emo_core.face.smoothing import Smoother, smooth_track  # noqa: E402
from emo_core.face.topology import EYEBROWS, ROBOT_LANDMARKS  # noqa: E402
from emo_core.face.tracking import FaceTracker, VideoFile  # noqa: E402
from emo_core.mimic.expressions import calm_stretches  # noqa: E402

Array = NDArray[np.float32]
Filter = Callable[[Array, float], Array]
SIZE = (640, 480)
NOISE_GREY_LEVELS = 3.0
SETTLED = 10  # frames of a photo that FaceMesh takes to settle, and 5 of a clip


def at_vga(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scaled to fill 640 x 480, the middle of it."""
    height, width = image.shape[:2]
    scale = max(SIZE[0] / width, SIZE[1] / height)
    inner = round(width * scale), round(height * scale)
    image = np.asarray(cv2.resize(image, inner, interpolation=cv2.INTER_CUBIC), np.uint8)
    x, y = (inner[0] - SIZE[0]) // 2, (inner[1] - SIZE[1]) // 2
    return np.ascontiguousarray(image[y : y + SIZE[1], x : x + SIZE[0]])


def images_of(video: Path) -> tuple[list[NDArray[np.uint8]], float]:
    """Frames at 640 x 480, and their rate."""
    with VideoFile(video) as film:
        return [at_vga(image) for image in film.frames()], film.fps


def follow(images: list[NDArray[np.uint8]], fps: float) -> tuple[Array, float, float]:
    """Metric landmarks, not smoothed (T, 478, 3); seconds and CPU seconds, smoothing included."""
    with FaceTracker(max_faces=2) as tracker:
        follower, smoother = Follower(tracker), Smoother()
        follower.feed(images[0], 0.0)  # the graph's first run prepares it
        seen: list[Array] = []
        wall, cpu = time.perf_counter(), time.process_time()
        for i, image in enumerate(images):
            sight = follower.feed(image, i / fps)
            seen.append(to_metric(sight.screen)[0])
            smoother.feed(seen[-1], 1 / fps)
        return np.stack(seen), time.perf_counter() - wall, time.process_time() - cpu


def photo(image: NDArray[np.uint8]) -> Array:
    """Track of a still with sensor noise (90, 478, 3) at 30 frames/s."""
    rng = np.random.default_rng(0)
    images = [
        np.clip(image + rng.normal(0, NOISE_GREY_LEVELS, image.shape), 0, 255).round()
        for _ in range(90)
    ]
    return follow([noisy.astype(np.uint8) for noisy in images], 30.0)[0]


def moving_average(frames: int) -> Filter:
    """Mean of the newest `frames`."""

    def smooth(track: Array, fps: float) -> Array:
        padded = np.concatenate([np.repeat(track[:1], frames - 1, 0), track]).astype(np.float64)
        total = np.cumsum(np.concatenate([np.zeros_like(padded[:1]), padded]), 0)
        averaged: Array = ((total[frames:] - total[:-frames]) / frames).astype(np.float32)
        return averaged

    return smooth


def one_euro(cutoff: float, beta: float) -> Filter:
    """Casiez, Roussel and Vogel 2012, each coordinate for itself; derivative cut off at 1 Hz."""

    def smooth(track: Array, fps: float) -> Array:
        def gain(hertz: Any) -> Any:
            return 1 / (1 + fps / (2 * np.pi * hertz))

        face, speed = track[0].astype(np.float64), np.zeros(track[0].shape)
        smoothed: Array = track.copy()
        for i in range(1, len(track)):
            speed += gain(1.0) * ((track[i] - track[i - 1]) * fps - speed)
            face = face + gain(cutoff + beta * np.abs(speed)) * (track[i] - face)
            smoothed[i] = face
        return smoothed

    return smooth


def shakiness(faces: Array) -> NDArray[Any]:
    """Way of each of the 113 landmarks from frame to frame, mm (T - 1, 113)."""
    return np.linalg.norm(np.diff(faces[:, ROBOT_LANDMARKS, :2], axis=0), axis=-1)


def signals(faces: Array) -> dict[str, NDArray[Any]]:
    """Mouth opening and width, eye opening: each (T,) mm."""
    return {
        "mouth_opening": faces[:, 13, 1] - faces[:, 14, 1],
        "mouth_width": faces[:, 291, 0] - faces[:, 61, 0],
        "eye_opening": 0.5 * (faces[:, [159, 386], 1] - faces[:, [145, 374], 1]).sum(1),
    }


def misfit(raw: NDArray[Any], smoothed: NDArray[Any], fps: float) -> NDArray[Any]:
    """Squared difference when `raw` is delayed by -40, -38 ... 160 ms."""
    at = np.arange(len(raw)) / fps
    late = np.arange(-40, 161, 2) / 1000
    return np.array([((smoothed - np.interp(at - s, at, raw))[5:] ** 2).sum() for s in late])


def best_lag(errors: NDArray[Any]) -> float:
    """Delay of the least misfit, ms."""
    return float(np.arange(-40, 161, 2)[errors.argmin()])


def slow_onsets(calm: list[Array], fps: float) -> Iterator[tuple[Array, NDArray[Any]]]:
    """Tracks of brows that rise, and how far they truly are, mm."""
    rng = np.random.default_rng(1)
    residuals = [part - part.mean(0) for part in calm]
    for duration in (0.5, 0.8, 1.2):
        for rise in (4.0, 7.0):
            for _ in range(6):
                parts: list[Array] = []
                while sum(map(len, parts)) < 75:
                    parts.append(residuals[rng.integers(len(residuals))])
                track = np.concatenate(parts)[:75].copy()
                u = np.clip((np.arange(75) / fps - 1.0) / duration, 0, 1)
                true = rise * (10 * u**3 - 15 * u**4 + 6 * u**5)
                track[:, EYEBROWS, 1] += true[:, None].astype(np.float32)
                yield track, true


def judge(smooth: Filter, tracks: list[tuple[Array, float]], photos: list[Array]) -> dict[str, Any]:
    """All figures of one filter."""
    still: list[NDArray[Any]] = []
    calm: list[Array] = []
    late: dict[str, NDArray[Any]] = {}
    kept: dict[str, list[tuple[float, float]]] = {}
    for raw, fps in tracks:
        smoothed = smooth(raw, fps)
        for stretch in calm_stretches(raw, fps):
            still.append(shakiness(smoothed[stretch]).ravel())
            calm.append(raw[stretch])
        mine = signals(smoothed)
        for name, signal in signals(raw).items():
            late[name] = late.get(name, 0.0) + misfit(signal, mine[name], fps)
            kept.setdefault(name, []).append(
                (
                    float(np.polyfit(signal, mine[name], 1)[0]),
                    float(np.ptp(mine[name]) / np.ptp(signal)),
                )
            )
    onset: Any = 0.0
    for track, true in slow_onsets(calm, tracks[0][1]):
        rise = smooth(track, tracks[0][1])[:, EYEBROWS, 1].mean(1)
        onset = onset + misfit(true, rise - rise[:20].mean(), tracks[0][1])
    trembling = [shakiness(smooth(shown, 30.0)[SETTLED:]) for shown in photos]
    return {
        "shakiness_calm_mm": round(float(np.percentile(np.concatenate(still), 95)), 3),
        "shakiness_photo_mm": [round(float(np.percentile(t, 95)), 3) for t in trembling],
        "lag_ms": {name: best_lag(errors) for name, errors in late.items()}
        | {"slow_onset": best_lag(onset)},
        "slope_kept": {n: round(float(np.median([s for s, _ in k])), 3) for n, k in kept.items()},
        "range_kept": {n: round(float(np.median([r for _, r in k])), 3) for n, k in kept.items()},
    }


def main() -> int:
    """Track, judge, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--first", type=int, default=0, help="leave out so many, by name")
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    tracks: list[tuple[Array, float]] = []
    photos: list[Array] = []
    rates: list[tuple[float, float]] = []
    for video in videos_in(args.folder)[args.first :][: args.clips]:
        images, fps = images_of(video)
        track, wall, cpu = follow(images, fps)
        rates.append((len(images) / wall, len(images) / cpu))
        if np.isfinite(track).all():
            tracks.append((track, fps))
        if len(photos) < 3:
            photos.append(photo(images[0]))
    ours = judge(smooth_track, tracks, photos)
    averages = {n: judge(moving_average(n), tracks, photos) for n in (2, 3, 4, 6, 8, 12)}
    # The shortest that is as still as ours, or else the stillest there is.
    calm = {n: judged["shakiness_calm_mm"] for n, judged in averages.items()}
    as_still = [n for n in calm if calm[n] <= ours["shakiness_calm_mm"]]
    frames = min(as_still) if as_still else min(calm, key=lambda n: calm[n])
    figures = {
        "clips": len(tracks),
        "frames_per_s": round(float(np.median([wall for wall, _ in rates])), 1),
        "frames_per_cpu_s": round(float(np.median([cpu for _, cpu in rates])), 1),
        "raw": judge(lambda track, fps: track, tracks, photos),
        "smoothed": ours,
        f"moving average of {frames} frames": averages[frames],
        "One-Euro, 0.3 Hz, 0.3": judge(one_euro(0.3, 0.3), tracks, photos),
    }
    if args.json:
        print(json.dumps(figures, indent=1))
        return 0
    for name, value in figures.items():
        if not isinstance(value, dict):
            print(f"{name}: {value}")
            continue
        print(name)
        for key, figure in value.items():
            print(f"  {key}: {figure}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
