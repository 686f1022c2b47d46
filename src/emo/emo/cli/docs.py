"""The documentation as a site, in out/site; broken links are errors.

The reference (docs/nodes, docs/commands.md) is made from the code: `--write` makes it anew,
`--check` says which of its pages the code has left behind; both need ROS.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from emo.cli import EXIT_ERROR, checkout, ensure, repository
from emo_core.errors import EmoError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--serve", action="store_true", help="show it at http://127.0.0.1:8000")
    what.add_argument("--write", action="store_true", help="make the reference pages anew")
    what.add_argument("--check", action="store_true", help="are the reference pages up to date?")
    parser.add_argument(
        "-o", "--out", metavar="DIR", help="where the site goes (default: out/site)"
    )


def run(args: argparse.Namespace) -> int:
    """Build, serve, or see to the reference."""
    root = repository()
    if args.write or args.check:
        return _reference(root, args.write)
    ensure("docs", "./emo docs")
    mkdocs = [sys.executable, "-m", "mkdocs"]
    if args.serve:
        return subprocess.run([*mkdocs, "serve", "--strict"], cwd=root, check=False).returncode
    site = Path(args.out) if args.out else root / "out" / "site"
    command = [*mkdocs, "build", "--strict", "--site-dir", str(site.resolve())]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.splitlines()
        wrong = [line for line in lines if line.startswith(("WARNING", "ERROR"))]
        print("\n".join(wrong or lines), file=sys.stderr)
        raise EmoError("the site was not built: mend the pages named above")
    print(site)
    return 0


def _reference(root: Path, write: bool) -> int:
    """Write the pages, or name those that are stale."""
    from emo.ros_setup import enter_ros

    enter_ros(checkout(), Path(sys.prefix))
    from emo.reference import pages

    made = pages(root)
    old = stale(root / "docs", made)
    for path in old:
        print(f"docs/{path}")
    if not write:
        if not old:
            print("docs/nodes and docs/commands.md are as the code says")
        return EXIT_ERROR if old else 0
    for path in old:
        target = root / "docs" / path
        if path not in made:
            target.unlink()
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(made[path], encoding="utf-8")
    return 0


def stale(docs: Path, made: dict[str, str]) -> list[str]:
    """Paths below `docs` whose text is not that of `made`, with those that should be gone."""
    there = {
        str(path.relative_to(docs)): path.read_text(encoding="utf-8")
        for path in [*docs.glob("nodes/*.md"), docs / "commands.md"]
        if path.is_file()
    }
    return sorted(path for path in {*there, *made} if there.get(path) != made.get(path))
