"""One run of a live graph, as an operator starts it, and what it took."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
import wave
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from emo.bench.usage import Usage
from emo.options import BOTH
from emo_core.audio.sources import load_audio
from emo_core.errors import EmoError
from emo_core.pipelines import LIPSYNC, MIMIC
from emo_core.rates import FPS, SAMPLE_RATE

COMMANDS = {LIPSYNC: "lipsync", MIMIC: "mimic", BOTH: "run"}
#: `emo`, whether this is a checkout or an installed package.
EMO = (sys.executable, "-c", "import sys; from emo.cli import main; sys.exit(main())")


def run(
    pipeline: str,
    speech: Path,
    video: Path,
    out: Path,
    processes: bool = False,
    period_s: float = 0.25,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Figures of one graph from its command's start to its end.

    Args:
        period_s: how often its processes are looked at.
        environment: another than this process's.

    Returns:
        `pipelines`: pipeline -> figures as in latency.json; `startup_s`: from the command to the
        first pipeline's command written to the servos, None if there was none; `commands_s`:
        the first and the last, likewise; `cores`: name -> cores kept busy while
        commands came; `memory_mb`: name -> most (proportional set size); `memory`: (s, name -> MB)
        over time; `niceness`: by name; `load`: (s, of the machine) over time; `wall_s`.

    Raises:
        EmoError: the graph failed; its log says why.
    """
    inputs = {
        LIPSYNC: [str(speech)],
        MIMIC: [str(video)],
        BOTH: [str(speech), "--video", str(video)],
    }[pipeline]
    out.mkdir(parents=True, exist_ok=True)
    arguments = [COMMANDS[pipeline], *inputs, "--headless", "--out", str(out)]
    log_path = out / "log.txt"
    start_s = time.time()
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [*EMO, *arguments, *(["--processes"] if processes else [])],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            env=None if environment is None else dict(environment),
        )  # fmt: skip
        with Usage(process.pid, period_s) as usage:
            status = process.wait()
    wall_s = time.time() - start_s
    if status:
        lines = log_path.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        raise EmoError(f"emo {arguments[0]} failed: {lines[-1]} (log: {log_path})")
    figures = json.loads((out / "latency.json").read_text())
    span_s = _span(out / "sent.csv")
    first_s, last_s = span_s or (start_s, start_s + wall_s)
    memory = usage.memory()
    names = {name for _, look in memory for name in look}
    return {
        "pipelines": figures if pipeline == BOTH else {pipeline: figures},
        "startup_s": first_s - start_s if span_s else None,
        "commands_s": (first_s - start_s, last_s - start_s),
        "cores": usage.cores(first_s, last_s),
        "memory_mb": {
            name: max(look.get(name, 0.0) for _, look in memory) for name in sorted(names)
        },
        "memory": [(when - start_s, look) for when, look in memory],
        "niceness": usage.niceness(),
        "load": [(when - start_s, load) for when, load in usage.load],
        "wall_s": wall_s,
    }


def _span(path: Path) -> tuple[float, float] | None:
    """Unix times of the first and the last write that carried a pipeline's command, if any did."""
    first = last = None
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["source"] and row["time"]:
                last = float(row["time"])
                first = last if first is None else first
    return None if first is None or last is None else (first, last)


def write_speech(source: Path, seconds: float, target: Path) -> None:
    """16 kHz 16-bit mono wav of `seconds`, made of the source repeated."""
    samples = (load_audio(source) * 32767).astype("<i2")
    left = round(seconds * SAMPLE_RATE)
    with wave.open(str(target), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        while left > 0:
            file.writeframes(samples[:left].tobytes())
            left -= len(samples)


def write_video(source: Path | None, seconds: float, target: Path) -> None:
    """A video of `seconds`: the source repeated, or the simulated robot with a lively face."""
    import av

    from emo_core.evaluation.speed import pictures
    from emo_core.viz.video import VideoWriter

    if source is None:
        once = target if seconds <= 10 else target.with_name("once.mp4")
        with VideoWriter(once, (640, 480), FPS) as film:
            for picture in pictures(round(min(seconds, 10) * FPS)):
                film.add_frame(np.ascontiguousarray(picture[..., ::-1]))
        if once == target:
            return
        source = once
    # The packets as they are, again and again: an hour of film costs no encoding.
    with av.open(str(target), "w", format="mp4") as out:
        stream, offset_s = None, 0.0
        while offset_s < seconds:
            with av.open(str(source)) as film_in:
                given = film_in.streams.video[0]
                unit_s = given.time_base
                assert unit_s is not None  # of what was opened to be read
                if stream is None:
                    stream = out.add_stream_from_template(given)
                shift = round(offset_s / unit_s)
                end_s = offset_s
                for packet in film_in.demux(given):
                    if packet.dts is None or packet.pts is None:
                        continue
                    length = packet.duration or round(Fraction(1, FPS) / unit_s)
                    packet.pts += shift
                    packet.dts += shift
                    if packet.pts * unit_s >= seconds:
                        continue
                    end_s = max(end_s, float((packet.pts + length) * unit_s))
                    packet.stream = stream
                    out.mux(packet)
            if end_s <= offset_s:
                return
            offset_s = end_s
