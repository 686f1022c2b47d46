"""Prepare recordings for training and evaluation.

`prepare`: each video of a folder is tracked by FaceMesh, aligned, and kept with its sound and
log-mel as one npz; a run that was cut short goes on where it stopped.
`expressions`: where expressions set off and peak in the videos of a folder, with the curves that
tell; the tracked clips are what `./emo train predictive` learns from.
`canonical`: the canonical face and the mirror table, from videos of several people. It is frozen:
a new one makes every model new.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from emo.cli import add_json
from emo_core.errors import EmoError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="prepare|expressions|canonical"
    )
    prepare = actions.add_parser("prepare", help="videos to landmarks, sound and log-mel")
    prepare.add_argument("dir", type=Path, metavar="DIR", help="folder of videos")
    prepare.add_argument(
        "-o", "--out", type=Path, help="where to (default: data/prepared/<name of DIR>)"
    )
    prepare.add_argument("--clips", nargs="+", metavar="NAME", help="only these, without suffix")
    prepare.add_argument("--jobs", type=int, help="processes (default: all cores)")
    add_json(prepare)
    expressions = actions.add_parser("expressions", help="find expressions, and draw the curves")
    expressions.add_argument(
        "dir", type=Path, metavar="DIR", help="videos, with sound or without, or prepared clips"
    )
    expressions.add_argument(
        "-o", "--out", type=Path, help="where to (default: data/expressions/<name of DIR>)"
    )
    expressions.add_argument(
        "--curves", type=int, default=20, metavar="N", help="draw N clips, spread (default: 20)"
    )
    add_json(expressions)
    canonical = actions.add_parser("canonical", help="a new canonical face")
    canonical.add_argument("dirs", type=Path, nargs="+", metavar="DIR", help="one for each person")
    canonical.add_argument("-o", "--out", type=Path, required=True, help="folder to write to")
    canonical.add_argument(
        "--clips-each", type=int, default=40, help="videos of each person (default: 40)"
    )


def run(args: argparse.Namespace) -> int:
    """Do it."""
    actions = {"prepare": _prepare, "expressions": _expressions, "canonical": _canonical}
    return actions[args.action](args)


def _prepare(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from emo_core.data.prepare import prepare_folder, videos_in

    if args.jobs is not None and args.jobs < 1:
        raise EmoError(f"--jobs {args.jobs}: give at least 1")
    out: Path = args.out or Path("data/prepared") / args.dir.resolve().name
    wanted = None if args.clips is None else set(args.clips)
    videos = [v for v in videos_in(args.dir) if wanted is None or v.stem in wanted]
    bad: dict[str, str] = {}
    done = 0
    with tqdm(total=len(videos), unit="clip", disable=not sys.stderr.isatty()) as bar:
        for name, reason in prepare_folder(args.dir, out, args.clips, args.jobs):
            bar.update(1)
            done += reason is None
            if reason is not None:
                bad[name] = reason
                bar.write(f"skipped {reason}", file=sys.stderr)
    if args.json:
        print(json.dumps({"folder": str(out), "clips": done, "skipped": bad}))
    else:
        print(f"{out}: {done} clips prepared, {len(bad)} skipped (see bad_clips.json)")
    if not done:
        raise EmoError(f"no clip of {args.dir} could be used: see {out / 'bad_clips.json'}")
    return 0


def _expressions(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from emo_core.data.faces import load_faces, prepared
    from emo_core.evaluation.clips import spread
    from emo_core.mimic.expressions import curves, find_expressions
    from emo_core.viz.curves import plot_selection

    if args.curves < 0:
        raise EmoError(f"--curves {args.curves}: give 0 or more")
    out: Path = args.out or Path("data/expressions") / args.dir.resolve().name
    folder, work = prepared(args.dir, out)
    quiet = not sys.stderr.isatty()
    bad = {name: why for name, why in tqdm(work, unit="clip", disable=quiet) if why is not None}
    clips = load_faces(folder)
    drawn = {clip.name for clip in spread(clips, args.curves)} if args.curves else set()
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict[str, float]]] = {}
    for clip in tqdm(clips, unit="clip", disable=quiet):
        ones = find_expressions(clip.landmarks)
        found[clip.name] = [
            {"inputs": one.inputs[0], "activation": one.activation, "peak": one.peak,
             "rise_mm": round(one.rise, 3)} for one in ones
        ]  # fmt: skip
        if clip.name in drawn:
            (out / "curves").mkdir(exist_ok=True)
            path = out / "curves" / f"{clip.name}.png"
            plot_selection(path, clip.name, curves(clip.landmarks), ones)
    table = out / "expressions.json"
    table.write_text(json.dumps(found, indent=1) + "\n")
    count = sum(map(len, found.values()))
    if args.json:
        figures = {"folder": str(folder), "clips": len(clips), "expressions": count}
        print(json.dumps({**figures, "table": str(table), "skipped": bad}))
    else:
        print(f"{table}: {count} expressions in {len(clips)} clips; curves in {out / 'curves'}")
    for why in bad.values():
        print(f"skipped {why}", file=sys.stderr)
    return 0


def _canonical(args: argparse.Namespace) -> int:
    import numpy as np
    from tqdm import tqdm

    from emo.cli import ensure
    from emo_core.data.prepare import videos_in
    from emo_core.face.tracking import track_video
    from emo_core.training.canonical import procrustes_face

    ensure("train", "./emo data canonical")
    people = []
    for folder in args.dirs:
        videos = videos_in(folder)
        chosen = videos[:: max(1, len(videos) // args.clips_each)][: args.clips_each]
        tracks = [track_video(v) for v in tqdm(chosen, unit="clip", desc=folder.name)]
        people.append(np.concatenate([track.screen[track.valid] for track in tracks]))
    face, mirror = procrustes_face(people)
    args.out.mkdir(parents=True, exist_ok=True)
    np.save(args.out / "canonical_face.npy", face)
    np.save(args.out / "mirror.npy", mirror.astype(np.int16))
    print(f"{args.out}: canonical face of {len(people)} people, frames {[len(p) for p in people]}")
    return 0
