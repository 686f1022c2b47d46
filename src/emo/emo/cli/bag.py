"""What is in a recording: topics, rates, gaps, losses, latency; plots, and the robot on film.

Reads rosbag2 recordings in MCAP, also those that a crash cut off; needs no ROS. With --out it
leaves bag.png (messages over time, mouth, motors as commanded and as measured), the robot.yaml that
was recorded and, where there are joint_states of a robot with a picture, robot.mp4 with the sound.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emo.cli import add_json
from emo_core.errors import EmoError

if TYPE_CHECKING:
    from emo_core.bag import Bag
    from emo_core.bag.summary import Commands


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("bag", metavar="BAG", help="a recording (--record), or one file of it")
    parser.add_argument(
        "--out", metavar="DIR", help="leave bag.png, robot.yaml and robot.mp4 there"
    )
    parser.add_argument(
        "--repair", metavar="DIR", help="write what can be read as a new, whole recording"
    )
    add_json(parser)


@dataclass(frozen=True)
class _Content:
    figures: dict[str, Any]
    commands: dict[str, Commands]  # pipeline -> its commands
    place: str  # the robot's namespace, with a slash at its end


def run(args: argparse.Namespace) -> int:
    """Read, report, draw."""
    from emo_core.bag import Bag

    bag = Bag(args.bag)
    made: list[Path] = []
    if args.repair:
        from emo_core.bag.repair import repair

        repair(bag, Path(args.repair))
        made.append(Path(args.repair))
    content = _content(bag)
    if args.out:
        out = Path(args.out)
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EmoError(
                f"cannot write to {out} ({error.strerror}): choose another folder with --out"
            ) from None
        made += _draw(bag, content, out)
    if args.json:
        print(json.dumps({**content.figures, "files": [str(path) for path in made]}, indent=2))
        return 0
    _print(content.figures)
    for path in made:
        print(f"  {path}")
    return 0


def _content(bag: Bag) -> _Content:
    from emo_core.bag import summary
    from emo_core.bag.provenance import differences, recorded_models
    from emo_core.pipelines import COMMANDS, readers

    first = min(int(times.min()) for times in bag.log_ns.values())
    last = max(int(times.max()) for times in bag.log_ns.values())
    found: dict[str, Commands] = {}
    place = "/"
    latency, dropped = {}, {}
    for pipeline, topic in COMMANDS.items():
        name = next((each for each in bag.types if each.endswith("/" + topic)), None)
        if name is None:
            continue
        place = name.removesuffix(topic)
        found[pipeline] = commands = summary.commands(bag, name)
        ages = commands.ages_ms.get(pipeline, [])
        latency[pipeline] = summary.latency(ages, list(readers(pipeline).values()))
        dropped[pipeline] = commands.dropped.get(pipeline, 0)
    figures = {
        "bag": str(bag.path),
        "emo": bag.info.get("emo"),
        "robot": _robot(bag),
        "models": recorded_models(bag.info),
        "changed_since": differences(bag.info) if "models" in bag.info else [],
        "began": datetime.fromtimestamp(first * 1e-9, timezone.utc).isoformat(timespec="seconds"),
        "seconds": round((last - first) * 1e-9, 3),
        "files": len(bag.files),
        "megabytes": round(sum(path.stat().st_size for path in bag.files) / 1e6, 2),
        "damage": bag.damage,
        "lost": sum(bag.lost.values()),
        "topics": summary.topics(bag),
        "frames_dropped": dropped,
        "latency_ms": latency,
    }
    return _Content(figures, found, place)


def _robot(bag: Bag) -> dict[str, Any] | None:
    """The robot in the recording; None: an older one, or not one of emo."""
    from emo.replay import recorded_options
    from emo_core.robot.description import RobotDescription
    from emo_core.robot.portable import ROBOT, is_same

    if ROBOT not in bag.attached:
        return None
    robot = RobotDescription.load(bag.unpacked / ROBOT)
    asked = recorded_options(bag).robot
    return {
        "asked": asked,
        "name": robot.name,
        "motors": len(robot.motors),
        "inverse_model": robot.inverse_model,
        "is_here": is_same(bag.attached, asked),
    }


def _print(figures: dict[str, Any]) -> None:
    print(
        f"{figures['bag']}: {figures['seconds']} s from {figures['began']}, "
        f"{figures['megabytes']} MB in {figures['files']} file(s); {figures['lost']} messages lost"
    )
    if figures["damage"]:
        print(f"{figures['damage']}")
    if robot := figures["robot"]:
        here = "as it is here" if robot["is_here"] else "not here as it was recorded"
        print(
            f"robot {robot['asked']} ({robot['motors']} motors, {robot['inverse_model']}): {here}; "
            f"{len(figures['models'])} files of models known by their checksums"
        )
    for change in figures["changed_since"]:
        print(change)
    width = max(len(name) for name in figures["topics"])
    print(f"{'topic':<{width}} {'messages':>9} {'Hz':>8} {'largest gap':>12} {'gaps':>5} {'lost':>5} {'kB':>9}  type")  # fmt: skip  # noqa: E501
    for name, row in figures["topics"].items():
        rate = "" if row["rate_hz"] is None else row["rate_hz"]
        gap = "" if row["largest_gap_ms"] is None else f"{row['largest_gap_ms']} ms"
        print(
            f"{name:<{width}} {row['count']:>9} {rate:>8} {gap:>12} {row['gaps']:>5} "
            f"{row['lost']:>5} {row['kilobytes']:>9}  {row['type']}"
        )
    for pipeline, stages in figures["latency_ms"].items():
        parts = [f"{name} {each['p50']}/{each['p95']}" for name, each in stages.items()]
        print(
            f"{pipeline}: {figures['frames_dropped'][pipeline]} frames dropped; "
            f"ms p50/p95: {', '.join(parts)}"
        )


def _draw(bag: Bag, content: _Content, out: Path) -> list[Path]:
    from emo.replay import recorded_options, recorded_robot
    from emo_core.bag import plots
    from emo_core.robot.description import RobotDescription
    from emo_core.robot.portable import MESH, ROBOT

    robot = RobotDescription.load(recorded_robot(bag, recorded_options(bag)))
    paths = [out / "bag.png"]
    for name in (ROBOT, MESH):
        if name in bag.attached:
            (out / name).write_bytes(bag.attached[name])
            paths.append(out / name)
    plots.overview(bag, content.commands, content.place, robot, paths[0])
    film = out / "robot.mp4"
    if plots.film(bag, content.place, robot, film):
        paths.append(film)
    return paths
