"""Videos -> clips to train and evaluate on: tracked landmarks, sound, log-mel; one npz for each.

A prepared clip holds
    landmarks  float32 (T, 478, 3)  metric mm at 25 Hz, NaN where no face was found
    pose       float32 (T, 4, 4)    metric -> screen
    valid      bool (T,)
    fps        25.0
    audio      int16 (N,)           16 kHz; sample 640 n belongs to frame n
    mel        float32 (K, 80)      log-mel in dB (`emo_core.audio.mel`)
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emo_core.audio.mel import LogMel
from emo_core.audio.sources import load_audio
from emo_core.errors import EmoError
from emo_core.face.tracking import Track, track_video
from emo_core.files import whole_file
from emo_core.npz import open_npz
from emo_core.rates import FPS, FRAME

Array = NDArray[np.float32]

VIDEO_SUFFIXES = {".mp4", ".mpg", ".mpeg", ".mkv", ".mov", ".avi", ".webm", ".m4v"}
_MIN_VALID = 0.8
#: Files state times to a millisecond or better: what is nearer than this to counting is counted.
_EVEN_S = 0.005
#: Nobody knows what a face did in a gap as long as this between two frames.
_GAP_S = 0.25
#: A file whose time leaps by more than this is wrong about time.
_LEAP_S = 5.0


@dataclass(frozen=True)
class Clip:
    """A prepared clip in memory (fields as in the module's docstring)."""

    name: str
    landmarks: Array
    pose: Array
    valid: NDArray[np.bool_]
    audio: Array  # float32 in [-1, 1]
    mel: Array

    @staticmethod
    def load(path: str | Path) -> Clip:
        """Read a prepared clip.

        Raises:
            EmoError: the file is not one, or is cut short.
        """
        remedy = "Remove it and run './emo data prepare'"
        with open_npz(path, "a prepared clip", remedy) as stored:
            return Clip(
                Path(path).stem,
                stored["landmarks"],
                stored["pose"],
                stored["valid"],
                stored["audio"].astype(np.float32) / 32768.0,
                stored["mel"],
            )


def prepare_clip(video: str | Path, sound: bool = True) -> Clip:
    """Track one video and decode its sound.

    Args:
        sound: it must have some; else a video without is taken as well, its sound empty.

    Raises:
        EmoError: not a video, no sound, a face in under 80 % of the frames.
    """
    track = track_video(video)
    share = float(track.valid.mean())
    if share < _MIN_VALID:
        raise EmoError(f"{video}: a face in only {share:.0%} of the frames")
    landmarks, pose, valid = resample(track, FPS)
    try:
        audio = load_audio(video)[: len(landmarks) * FRAME]
    except EmoError:
        if sound:
            raise
        audio = np.zeros(0, np.float32)
    mel = LogMel().feed(audio)
    return Clip(Path(video).stem, landmarks, pose, valid, audio, mel)


def resample(track: Track, fps: float) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Landmarks, pose and validity at another frame rate, linear in time.

    By the times that the film states for its frames, where counting them would miss those: where
    the rate varies, or a frame was left out. Long gaps are not bridged.
    """
    times = _uneven(track)
    last = len(track.metric) - 1
    if times is not None:
        at_s = np.arange(max(1, round((times[-1] + 1 / track.fps) * fps))) / fps
        # To a millionth of a frame: a frame's own time is that frame, whatever the rounding.
        position = np.interp(at_s, times, np.arange(len(times))).round(6)
    elif abs(track.fps - fps) < 0.01:
        return track.metric, track.pose, track.valid
    else:
        count = max(1, round(len(track.metric) * fps / track.fps))
        position = np.minimum(np.arange(count) * track.fps / fps, last)
    low = position.astype(int)
    high = np.ceil(position).astype(int)  # at a frame's own time no other is needed
    share = (position - low).astype(np.float32)
    if times is not None:
        gap = np.where(at_s < times[0], times[0], times[high] - times[low])
        share[gap > _GAP_S] = np.nan

    def at(values: Array) -> Array:
        weight = share.reshape(-1, *[1] * (values.ndim - 1))
        mixed: Array = values[low] * (1 - weight) + values[high] * weight
        return mixed

    valid = track.valid[low] & track.valid[high] & np.isfinite(share)
    return at(track.metric), at(track.pose), valid


def _uneven(track: Track) -> NDArray[np.float64] | None:
    """The frames' times, s; None: they are as good as counted, or of no use."""
    times = track.times_s
    if times is None or len(times) < 2:
        return None
    steps = np.diff(times)
    if not ((steps > 0) & (steps < _LEAP_S)).all() or abs(times[0]) > _LEAP_S:
        return None
    counted = np.arange(len(times)) / track.fps
    return times if np.abs(times - counted).max() > _EVEN_S else None


def save_clip(clip: Clip, path: Path) -> None:
    """Write a clip; the file appears only when it is whole.

    Raises:
        EmoError: it cannot be written.
    """
    with whole_file(path) as part, part.open("wb") as out:
        np.savez(
            out,
            landmarks=clip.landmarks,
            pose=clip.pose,
            valid=clip.valid,
            fps=np.float64(FPS),
            audio=np.round(clip.audio * 32767).astype(np.int16),
            mel=clip.mel,
        )


def videos_in(folder: Path) -> list[Path]:
    """The videos of a folder, by name.

    Raises:
        EmoError: no such folder, or no video in it.
    """
    if not folder.is_dir():
        raise EmoError(f"no such folder: {folder}")
    videos = sorted(p for p in folder.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        raise EmoError(f"no videos in {folder}: give a folder of mp4, mpg, mkv, mov, avi or webm")
    return videos


def prepare_folder(
    folder: Path,
    out: Path,
    names: Sequence[str] | None = None,
    jobs: int | None = None,
    sound: bool = True,
) -> Iterator[tuple[str, str | None]]:
    """Prepare the videos of a folder on all cores, skipping what is there already.

    Args:
        names: only these, without suffix.
        jobs: processes; None: one for each core.
        sound: as for `prepare_clip`.

    Yields:
        (name, None) for each clip done, (name, reason) for each one that cannot be used. The
        reasons are also left in `OUT/bad_clips.json`.
    """
    videos = [v for v in videos_in(folder) if names is None or v.stem in names]
    out.mkdir(parents=True, exist_ok=True)
    if (folder / "splits.json").is_file():
        shutil.copyfile(folder / "splits.json", out / "splits.json")
    pending = []
    for video in videos:
        if (out / f"{video.stem}.npz").exists():
            yield video.stem, None
        else:
            pending.append((str(video), str(out / f"{video.stem}.npz"), sound))
    bad: dict[str, str] = {}
    jobs = min(jobs or os.cpu_count() or 1, max(1, len(pending)))
    context = multiprocessing.get_context("spawn")
    if pending:
        with context.Pool(jobs, initializer=_quiet) as pool:
            for name, reason in pool.imap_unordered(_prepare_one, pending):
                if reason is not None:
                    bad[name] = reason
                yield name, reason
    (out / "bad_clips.json").write_text(json.dumps(bad, indent=1) + "\n")


def _quiet() -> None:
    os.environ["GLOG_minloglevel"] = "2"
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # MediaPipe's start-up chatter


def _prepare_one(job: tuple[str, str, bool]) -> tuple[str, str | None]:
    video, out, sound = job
    name = Path(video).stem
    try:
        clip = prepare_clip(video, sound)
    except EmoError as error:
        return name, str(error)
    save_clip(clip, Path(out))
    return name, None


def load_split(folder: Path, split: str) -> list[Clip]:
    """The prepared clips that `splits.json` lists under `split`; those missing are left out.

    Raises:
        EmoError: the folder has no such split, or none of its clips.
    """
    try:
        names = json.loads((folder / "splits.json").read_text())[split]
    except (OSError, KeyError, json.JSONDecodeError):
        raise EmoError(f"{folder} has no splits.json with '{split}' in it") from None
    paths = [folder / f"{name}.npz" for name in names]
    clips = [Clip.load(path) for path in paths if path.exists()]
    if not clips:
        raise EmoError(f"no prepared clip of '{split}' in {folder}: run './emo data prepare' first")
    return clips
