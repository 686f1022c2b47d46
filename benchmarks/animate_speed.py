"""How many times faster than real time `./emo animate SPEECH -o OUT.npz` is, start-up included.

    .venv/bin/python benchmarks/animate_speed.py SPEECH [--seconds 60] [--runs 3] [--json]

SPEECH is cut or repeated to the length asked for. The command runs as a user runs it: a new
process each time, from the checkout's `./emo`. The first run is also counted (cold caches) but
reported apart; the figure is the median of the others.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RATE = 16_000


def write_speech(source: Path, seconds: float, target: Path) -> None:
    """16 kHz 16-bit mono wav of `seconds`, made of the source repeated."""
    from emo_core.audio.sources import load_audio

    samples = load_audio(source)
    wanted = round(seconds * RATE)
    samples = np.tile(samples, -(-wanted // len(samples)))[:wanted]
    with wave.open(str(target), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def main() -> int:
    """Run, time, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("speech", type=Path, metavar="SPEECH")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--runs", type=int, default=3, help="after the first")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    sys.path[:0] = [str(ROOT / "src" / "emo_core")]
    with tempfile.TemporaryDirectory() as folder:
        speech, out = Path(folder, "speech.wav"), Path(folder, "out.npz")
        write_speech(args.speech, args.seconds, speech)
        walls = []
        for _ in range(args.runs + 1):
            start = time.monotonic()
            subprocess.run(
                [str(ROOT / "emo"), "animate", str(speech), "-o", str(out)],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            walls.append(time.monotonic() - start)
        with np.load(out) as result:
            frames = len(result["landmarks"])
    median = statistics.median(walls[1:] or walls)
    figures = {
        "speech_s": args.seconds,
        "frames": frames,
        "first_run_s": round(walls[0], 3),
        "wall_s": round(median, 3),
        "runs": args.runs,
        "times_real_time": round(args.seconds / median, 1),
    }
    if args.json:
        print(json.dumps(figures, indent=1))
    else:
        print(
            f"{args.seconds:g} s of speech ({frames} frames) in {median:.2f} s (median of "
            f"{args.runs}; the first run took {walls[0]:.2f} s): {args.seconds / median:.1f} times "
            "real time, start-up included"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
