"""How well the speech representation foresees the coming log-mel frames.

As in Chung, Hsu, Tang and Glass 2019 ("An unsupervised autoregressive model for speech
representation learning"): the L1 error of predicting frame t + n from frames up to t. Its base is
the error of repeating frame t.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_core.audio.mel import LogMel
from emo_core.audio.sources import load_audio, recordings_in
from emo_core.errors import EmoError
from emo_core.evaluation.clips import Progress
from emo_core.rates import SAMPLE_RATE

Array = NDArray[np.float32]


def shift_errors(
    frames: Array, predictions: Mapping[int, Array]
) -> dict[int, tuple[float, float, int]]:
    """L1 errors of one recording for each shift n.

    Args:
        frames: (K, D) what was heard, in the space the model predicts in.
        predictions: n -> (K, D), row t being the model's idea of `frames[t + n]`.

    Returns:
        n -> (sum over t of mean |frames[t+n] - prediction[t]|, the same for frames[t] in the
        prediction's place, number of t). Recordings of n frames or fewer give (0, 0, 0).
    """
    out = {}
    for shift, predicted in predictions.items():
        count = max(len(frames) - shift, 0)
        coming = frames[shift:]
        error = np.abs(coming - predicted[:count]).mean(axis=1).sum()
        last = np.abs(coming - frames[:count]).mean(axis=1).sum()
        out[shift] = (float(error), float(last), count)
    return out


def evaluate_apc(folder: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Errors of the shipped APC on all recordings of a folder, every frame weighing the same.

    Returns:
        {"recordings", "minutes", "shifts": {"3": {"error", "last_frame", "ratio"}}, "skipped"}.

    Raises:
        EmoError: no recordings, none that can be read, no model.
    """
    from emo_core.audio.apc import Apc

    apc = Apc.load()
    totals: dict[int, NDArray[np.float64]] = {}
    skipped: dict[str, str] = {}
    seconds = 0.0
    paths = recordings_in(folder)
    for done, path in enumerate(paths, 1):
        try:
            samples = load_audio(path)
        except EmoError as error:
            skipped[path.name] = str(error)
            continue
        seconds += len(samples) / SAMPLE_RATE
        frames, predictions = apc.predict(LogMel().feed(samples))
        for shift, sums in shift_errors(frames, predictions).items():
            totals[shift] = totals.get(shift, np.zeros(3)) + np.array(sums)
        if progress:
            progress(done, len(paths), "predicting")
    if not totals:
        raise EmoError(f"no recording of {folder} can be read")
    return {
        "recordings": len(paths) - len(skipped),
        "minutes": seconds / 60,
        "shifts": {
            str(shift): {
                "error": float(error / max(count, 1)),
                "last_frame": float(last / max(count, 1)),
                "ratio": float(error / last) if last else None,  # silence alone
            }
            for shift, (error, last, count) in sorted(totals.items())
        },
        "skipped": skipped,
    }
