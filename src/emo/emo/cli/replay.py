"""A recording through the live nodes again: what any stage was given, and what comes out now.

Feeds the recorded input of each pipeline to the very nodes of the live graph, as fast as they
work (or at --rate), and compares each pipeline's motor commands with those of the recording:
they are equal bit for bit as long as code, models and options are the same. With --with (other
options) or --against (another recording, say of a replay) a report tells two runs apart:
compare.md, .json, .png and .mp4.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emo.cli import EXIT_ERROR, EXIT_INTERRUPTED, add_json, checkout
from emo_core.errors import EmoError
from emo_core.files import results_folder
from emo_core.pipelines import COMMANDS, LANDMARKS, MIMIC

if TYPE_CHECKING:
    from emo.outcome import Outcome
    from emo.replay import Plan
    from emo_core.bag import Bag


#: FaceMesh, which a replay of images runs in this process.
QUIET_NATIVE = True


#: The face comes to rest within so long after a recording's end.
_REST_S = 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("bag", metavar="BAG", help="a recording (--record)")
    parser.add_argument(
        "--from",
        dest="start",
        default="",
        metavar="TOPIC",
        help="feed this topic, say lipsync/landmarks; default: each pipeline's first",
    )
    parser.add_argument(
        "--rate", type=rate, default=0.0, metavar="R", help="times real time; default: full speed"
    )
    parser.add_argument(
        "--with",
        dest="settings",
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        help="another value of an option of the graph (lookahead, mouth_gain, predict, robot, ...)",
    )
    parser.add_argument(
        "--against", metavar="OTHER", help="compare with another recording's commands"
    )
    parser.add_argument(
        "--out", metavar="DIR", help="leave the replay as a recording, and commands.csv"
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="show it on the robot (--with robot=...), in real time: drivers and view run, too",
    )
    add_json(parser)


def rate(text: str) -> float:
    """The type of --rate."""
    value = float(text)
    if not 0.01 <= value <= 1000.0:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.01 and 1000")
    return value


def run(args: argparse.Namespace) -> int:
    """Replay, compare, report."""
    import emo_nodekit  # noqa: F401 (before numpy: it sets the number of BLAS threads)
    from emo import replay
    from emo.bootstrap import say
    from emo_core.bag import Bag

    bag = Bag(args.bag)
    against = Bag(args.against) if args.against else None
    if args.live:
        return _live(bag, args)
    compared = bool(args.settings or against)
    out = Path(args.out or "out/replay").resolve() if args.out or compared else None
    options = replay.recorded_options(bag)
    robot = replay.recorded_robot(bag, options)
    if robot != options.robot and not any(each.startswith("robot=") for each in args.settings):
        say(f"robot {options.robot} is not here as it was recorded: the recorded one is used "
            "(--with robot=NAME takes one from here)")  # fmt: skip
    options = replay.changed(replace(options, robot=robot), args.settings)
    chosen = replay.plan(bag, options, args.start, str(out or ""))
    if out is None:
        return _again(bag, against, chosen, args, None)
    with results_folder(out):
        _make_room(out, chosen, *(each.path for each in (bag, against) if each))
        return _again(bag, against, chosen, args, out)


def _again(
    bag: Bag, against: Bag | None, chosen: Plan, args: argparse.Namespace, out: Path | None
) -> int:
    """The replay as planned, and the report; returns the exit status."""
    from emo import replay
    from emo.ros_setup import enter_ros

    enter_ros(checkout(), Path(sys.prefix))
    compared = bool(args.settings or against)
    outcomes, seconds, stopped = _replay(bag, chosen, args, out)
    length = _length(bag, chosen)
    figures: dict[str, Any] = {
        "input_s": round(length, 3),
        "took_s": round(seconds, 3),
        "speed": round(length / seconds, 2),
        "damage": bag.damage,
        "inputs_lost": {topic: bag.lost[chosen.name(topic)] for topic in chosen.fed.values()},
        "may_differ": replay.reasons(bag, chosen),
        "pipelines": {name: asdict(each) for name, each in outcomes.items()},
    }
    if stopped:
        return EXIT_INTERRUPTED
    if compared and out is not None:
        figures["compared"] = _compare(bag, against, chosen, out)
    _report(figures, outcomes, args, out)
    same = compared or all(each.same for each in outcomes.values())
    return 0 if same else EXIT_ERROR


def _live(bag: Bag, args: argparse.Namespace) -> int:
    """The recording on the robot, with everything that a live run leaves."""
    from emo import replay
    from emo.cli import _live as graph_runner
    from emo.ros_setup import enter_ros

    if args.rate or args.against:
        raise EmoError("--live is in real time, and compares nothing: leave --rate, --against out")
    out = Path(args.out or "out/replay").resolve()
    options = replay.changed(replay.recorded_options(bag), args.settings)
    options = replace(options, out=str(out), view=True)
    chosen = replay.plan(bag, options, args.start, str(out))
    graph = replay.live(bag, options, args.start)
    enter_ros(checkout(), Path(sys.prefix))
    replay.check_types(bag, [chosen.name(topic) for topic in chosen.fed.values()])
    shown = replace(chosen.options, camera="topic")  # of whose film no end is known here
    seconds = _length(bag, chosen) + _REST_S
    with results_folder(out), graph_runner.alone(shown.namespace):
        _make_room(out, chosen, bag.path)
        for name in ("sent.csv", "latency.csv", "latency.json", "robot.mp4"):
            (out / name).unlink(missing_ok=True)
        stopped = graph_runner.run_graph(graph, shown, False, str(args.bag), seconds)
        figures = graph_runner.summarize(shown, stopped)
    graph_runner.report(shown, figures, args.json)
    return EXIT_INTERRUPTED if stopped else 0


def _make_room(out: Path, chosen: Plan, *read: Path) -> None:
    """Rid the folder of an earlier replay's recording.

    Args:
        read: recordings that the replay reads.

    Raises:
        EmoError: one of them would go, or the folder cannot be written.
    """
    import shutil

    for path in read:
        if path.resolve().is_relative_to((out / "bag").resolve()):
            raise EmoError(
                f"{path} would be replaced by the replay: choose another folder with --out"
            )
    try:
        for folder in (out, *(out / pipeline for pipeline in chosen.fed)):
            (folder / "commands.csv").unlink(missing_ok=True)
        if (out / "bag").exists():
            shutil.rmtree(out / "bag")
    except OSError as error:
        raise EmoError(
            f"cannot write to {out} ({error.strerror}): choose another folder with --out"
        ) from None


def _replay(
    bag: Bag, chosen: Plan, args: argparse.Namespace, out: Path | None
) -> tuple[dict[str, Outcome], float, bool]:
    """Outcome by pipeline, seconds it took, whether a signal ended it."""
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from emo import replay
    from emo.cli._live import alone
    from emo.outcome import outcome
    from emo_nodekit.running import stop_event

    replay.check_types(bag, [chosen.name(topic) for topic in chosen.fed.values()])
    stop = stop_event()
    with alone(chosen.options.namespace):
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        results = replay.Results(bag, chosen, out and out / "bag")
        try:
            messages = replay.inputs(bag, chosen)
            seconds = replay.run(chosen, messages, bag, results, args.rate, stop.is_set)
        finally:
            rclpy.try_shutdown()
            results.close()
    stopped = stop.is_set()
    stop.release()
    outcomes = {}
    for name in chosen.fed:
        topic = chosen.name(COMMANDS[name])
        recorded = (bag.decode(raw) for raw in bag.messages([topic]))
        outcomes[name] = outcome(recorded, results.commands[topic])
    return outcomes, seconds, stopped


def _length(bag: Bag, chosen: Plan) -> float:
    """Seconds of input that were fed."""
    times = [bag.log_ns[chosen.name(topic)] for topic in chosen.fed.values()]
    return float(max(each[-1] for each in times) - min(each[0] for each in times)) * 1e-9


def _compare(bag: Bag, against: Bag | None, chosen: Plan, out: Path) -> dict[str, Any]:
    """The reports of all pipelines."""
    from emo import replay
    from emo.configuration import heading, told_apart
    from emo_core.bag import Bag as Recording
    from emo_core.bag.tracks import first_stamp, pictures, sound, track
    from emo_core.evaluation import compare
    from emo_core.robot.description import RobotDescription
    from emo_core.viz.compare_film import Input

    replayed, other = Recording(out / "bag"), against or bag
    robots = [
        RobotDescription.load(replay.recorded_robot(each, replay.recorded_options(each)))
        for each in (other, replayed)
    ]
    settings = told_apart(other, replayed)
    told = heading(settings)
    names = [str(against.path) if against else "recorded", "replayed"]
    names = [f"{name}: {what}" if what else name for name, what in zip(names, told, strict=True)]
    heard = sound(bag, chosen.name("audio"))
    seen = chosen.name("image/compressed")
    results = {}
    for pipeline in chosen.fed:
        folder = out if len(chosen.fed) == 1 else out / pipeline
        folder.mkdir(exist_ok=True)
        topics = chosen.name(COMMANDS[pipeline]), chosen.name(LANDMARKS[pipeline])
        begun = heard.start_ns or first_stamp(bag, seen) or first_stamp(bag, topics[0])
        first, second = (
            track(each, name, robot, *topics, begun)
            for each, name, robot in zip((other, replayed), names, robots, strict=True)
        )
        shown = pictures(bag, seen, begun) if pipeline == MIMIC else ()
        figures = compare.compare(first, second)
        compare.write(first, second, figures, settings, Input(heard.samples, shown), folder)
        results[pipeline] = figures
    return results


def _report(
    figures: dict[str, Any],
    outcomes: dict[str, Outcome],
    args: argparse.Namespace,
    out: Path | None,
) -> None:
    if args.json:
        print(json.dumps({**figures, "out": str(out or "")}, indent=2))
        return
    if figures["damage"]:
        print(f"{args.bag}: {figures['damage']}")
    for topic, count in figures["inputs_lost"].items():
        if count:
            print(
                f"{count} messages of {topic} are not in the recording: what the nodes made of "
                "them, and of what they keep in mind from them, cannot be made again"
            )
    print(
        f"{figures['input_s']:.2f} s of input in {figures['took_s']:.2f} s "
        f"({figures['speed']:.1f} x real time)"
    )
    for name, each in outcomes.items():
        if "compared" not in figures:
            print(f"{name}: {_told(each)}")
    if "compared" not in figures and not all(each.same for each in outcomes.values()):
        for reason in figures["may_differ"]:
            print(f"  {reason}")
    for name, each in figures.get("compared", {}).items():
        print(
            f"{name} against {args.against or 'the recording'}: all motors rms "
            f"{each['all_motors_rms']} of the stroke over {each['frames']} frames"
        )
    if out is not None:
        print(f"  {out}")


def _told(each: Outcome) -> str:
    total = each.equal + each.different + each.missing
    parts = [f"{each.equal} of {total} motor commands equal bit for bit"]
    if each.different:
        parts.append(f"{each.different} differ")
    if each.missing:
        parts.append(f"{each.missing} were not made again")
    if each.added:
        parts.append(f"{each.added} more, whose landmarks were lost on the way in the recorded run")
    first = f". The first: that of {each.first}" if each.first else ""
    return "; ".join(parts) + first
