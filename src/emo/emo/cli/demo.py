"""The simulated robot speaks a bundled sentence: see and hear that everything works.

Leaves demo.mp4 (sound, landmarks and robot side by side), demo.png (a frame of it), contact.png
(six moments) and index.html in the output folder, and opens the page where there is a display.
"""

from __future__ import annotations

import argparse
import html
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emo.cli import add_json, add_robot
from emo_core.errors import EmoError
from emo_core.files import whole_file
from emo_core.rates import FPS

SENTENCE = Path(__file__).resolve().parent.parent / "data" / "hello.flac"
WORDS = "Hello! My name is Emo. My lips move with every word I hear."
MOMENTS = 6

Image = NDArray[np.uint8]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "--out", default="out/demo", metavar="DIR", help="folder of the results (default: out/demo)"
    )
    parser.add_argument("--headless", action="store_true", help="open nothing, print the paths")
    add_robot(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Make the film, the contact sheet and the page."""
    start = time.monotonic()
    folder = Path(args.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmoError(
            f"cannot make the output folder {folder}: {error.strerror}. Choose another with --out"
        ) from error
    from emo.cli.animate import Heard, Speaker, animate_mp4
    from emo_core.audio.sources import load_audio, open_audio

    speaker = Speaker.load("full", args.robot)
    moments: list[tuple[float, Image]] = []
    film, sheet, page = folder / "demo.mp4", folder / "contact.png", folder / "index.html"
    chosen = telling_moments(speaker.lipsync.animate(load_audio(SENTENCE)))
    speaker.lipsync.reset()
    with open_audio(SENTENCE) as recording, whole_file(film) as part:

        def look(n: int, picture: Image) -> None:
            if n in chosen:
                moments.append((n / FPS, picture.copy()))

        frames = animate_mp4(recording, speaker, part, Heard(), f"“{WORDS}”", look)
    write_png(folder / "demo.png", moments[MOMENTS // 2 - 1][1])  # an open mouth, half-way through
    write_png(sheet, contact_sheet(moments))
    page.write_text(_page(), encoding="utf-8")
    opened = not args.headless and _open(page)
    report = {
        "video": str(film),
        "contact_sheet": str(sheet),
        "page": str(page),
        "frames": frames,
        "opened": opened,
        "seconds": round(time.monotonic() - start, 2),
    }
    if args.json:
        print(json.dumps(report))
    else:
        for path, what in ((film, "the film, with sound"), (sheet, "six moments"), (page, "both")):
            print(f"{path.resolve()}  {what}")
        if not opened and not args.headless:
            print("emo: no display here: copy the film to a machine with one", file=sys.stderr)
        print("Next: ./emo animate YOUR_RECORDING -o OUT.mp4")
    return 0


def telling_moments(faces: NDArray[np.float32]) -> set[int]:
    """Frames of `faces` (T, 478, 3) to show: an open and a closed mouth by turns, in order."""
    from emo_core.viz.film import mouth_opening

    openings = np.array([mouth_opening(face) for face in faces])
    first, last = round(0.08 * len(faces)), round(0.92 * len(faces))
    parts = np.array_split(np.arange(first, last), MOMENTS)
    pick = (np.argmax, np.argmin)
    return {int(part[pick[n % 2](openings[part])]) for n, part in enumerate(parts)}


def contact_sheet(moments: list[tuple[float, Image]]) -> Image:
    """Human and robot face at each moment, above one another."""
    import cv2

    from emo_core.viz import draw, film

    half = 2
    cells = []
    for when, picture in moments:
        pair = [cv2.resize(card, None, fx=1 / half, fy=1 / half, interpolation=cv2.INTER_AREA)
                for card in film.face_pictures(picture)]  # fmt: skip
        gap = draw.canvas((pair[0].shape[1], 8), draw.BACKGROUND)
        cell = np.concatenate([pair[0], gap, pair[1]])
        draw.put_text(cell, f"{when:.2f} s", (10, 8), 13, draw.TEXT_DIM)
        cells += [cell, draw.canvas((8, cell.shape[0]), draw.BACKGROUND)]
    body = np.concatenate(cells[:-1], axis=1)
    sheet = draw.canvas((body.shape[1] + 32, body.shape[0] + 68), draw.BACKGROUND)
    sheet[52 : 52 + body.shape[0], 16:-16] = body
    draw.put_text(sheet, "emo", (18, 13), 20, draw.SOUND, bold=True)
    draw.put_text(sheet, f"“{WORDS}”", (80, 16), 16)
    return sheet


def write_png(path: Path, image: Image) -> None:
    """Write a BGR picture, small."""
    import cv2

    with whole_file(path) as part:
        good, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])
        if not good:
            raise EmoError(f"cannot encode {path}: the picture library has no PNG")
        part.write_bytes(data.tobytes())


def _open(page: Path) -> bool:
    """Show the page in the browser; False where there is no display, or no browser."""
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform != "darwin" and not display:
        return False
    import webbrowser

    return webbrowser.open(page.resolve().as_uri())


def _page() -> str:
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>emo demo</title>
<style>
  body {{ margin: 0; background: #0d1014; color: #e6edf3; font: 17px/1.6 system-ui, sans-serif; }}
  main {{ max-width: 1120px; margin: 0 auto; padding: 2rem 1rem 4rem; }}
  h1 {{ font-size: 1.6rem; }} h1 b {{ color: #54d6c8; }}
  video, img {{ width: 100%; border-radius: 10px; }}
  code {{ background: #171c22; padding: .2em .5em; border-radius: 5px; }}
  p {{ color: #a0acb8; }}
</style>
<main>
<h1><b>emo</b> {html.escape(WORDS)}</h1>
<video src="demo.mp4" poster="demo.png" controls autoplay></video>
<p>Left: the sound, how far the mouths open, and the motors. Middle: the face that the model
imagines for the sound. Right: the simulated robot, its servos with their limits and lag.</p>
<img src="contact.png" alt="Human and robot face at six moments of the sentence">
<p>Your own recording: <code>./emo animate RECORDING -o OUT.mp4</code>. The live graph:
<code>./emo lipsync RECORDING</code>.</p>
</main>
</html>
"""
