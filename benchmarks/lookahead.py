"""Accuracy against look-ahead: the same clips through models trained alike but for their future.

    .venv/bin/python benchmarks/lookahead.py DIR MODEL [MODEL ...] [--split test] [--out PNG]

DIR is what `./emo eval lipsync` takes (best: prepared clips), MODEL a folder with a model trained
for one look-ahead each (0, 40, 80, 160, 240 ms); its own `lookahead_ms` is the abscissa.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
KEYS = ("opening_r", "width_r", "opening_slope", "closure", "closure_paired", "abs_lag_ms")
HEADINGS = ("opening r", "width r", "slope", "closure", "closure, paired", "absolute lag, ms")


def main() -> int:
    """Evaluate each model, print a table, draw the curve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dir", type=Path, metavar="DIR")
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--split", help="as in ./emo eval lipsync")
    parser.add_argument("--out", type=Path, metavar="PNG", help="draw the curve here")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    sys.path[:0] = [str(ROOT / "src" / "emo_core")]
    from emo_core.evaluation.clips import load_clips
    from emo_core.evaluation.lipsync import fit_length
    from emo_core.evaluation.metrics import average, position_error, score_clip
    from emo_core.evaluation.predictors import LipsyncPredictor
    from emo_core.face.topology import LIPS_JAW

    clips = load_clips(args.dir, split=args.split, max_training=1).clips
    static = 0.0
    for clip in clips:
        film = clip.clip.landmarks[:, LIPS_JAW]
        static += position_error(clip.static[None, LIPS_JAW] + 0 * film, film, clip.clip.valid)
    rows: list[dict[str, Any]] = []
    for model in args.models:
        predict = LipsyncPredictor(model)
        scores = []
        for clip in clips:
            faces = fit_length(predict(clip.clip.audio, clip.static), clip.frames)
            scores.append(score_clip(faces, clip.clip.landmarks, clip.voiced, clip.clip.valid))
        means, _ = average(scores)
        ratio = means["d_pl"] * len(clips) / static
        rows.append({"model": model, "lookahead_ms": predict.lookahead_ms,
                     "error_over_static": ratio, **means})  # fmt: skip
    rows.sort(key=lambda row: row["lookahead_ms"])
    if args.json:
        print(json.dumps({"clips": len(clips), "models": rows}, indent=1))
    else:
        print("| look-ahead, ms | error / static | " + " | ".join(HEADINGS) + " |")
        print("|---|---|" + "---|" * len(KEYS))
        for row in rows:
            cells = " | ".join(f"{row[key]:.3f}" for key in KEYS)
            print(f"| {row['lookahead_ms']:.0f} | {row['error_over_static']:.3f} | {cells} |")
    if args.out:
        draw(rows, args.out)
    return 0


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Error and the mouth's curves over look-ahead."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    x = [row["lookahead_ms"] for row in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    left.plot(x, [row["error_over_static"] for row in rows], "o-", color="#d9480f")
    left.set_ylabel("lips+jaw error / static face's error")
    for key, heading, colour in (
        ("opening_r", "opening r", "#d9480f"),
        ("width_r", "width r", "#1f2937"),
        ("closure", "closure", "#2b8a3e"),
        ("opening_slope", "slope", "#94a3b8"),
    ):
        right.plot(x, [row[key] for row in rows], "o-", color=colour, label=heading)
    right.legend(frameon=False)
    for axis in (left, right):
        axis.set_xlabel("look-ahead, ms")
        axis.set_xticks(x)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    sys.exit(main())
