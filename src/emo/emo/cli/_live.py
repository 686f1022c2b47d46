"""Runs the live ROS graph for a command, watches it, and sums up what it left."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import emo_nodekit  # noqa: F401 (before numpy: it sets the number of BLAS threads)
from emo.cli import EXIT_INTERRUPTED, checkout, quiet_native
from emo.cli import _inputs as inputs
from emo.graph import Process, build_graph
from emo.options import GraphOptions
from emo_core.errors import EmoError
from emo_core.files import results_folder, whole_file
from emo_core.pipelines import LIPSYNC, MIMIC

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emo.monitor import Monitor

#: Nothing moves so long after the start: something is wrong.
START_S = 60.0
#: No command for so long in the midst of a recording, likewise.
STALL_S = 10.0
#: The face has so long to come to rest after the last command.
REST_S = 4.0
#: It stays at rest for this long before the graph is stopped, so that the film shows it.
LINGER_S = 0.3
#: So often is asked whether the live picture is served.
SERVED_S = 0.1

#: Pipeline -> what it listens to or looks at, as a name; what it waits for in vain.
LIVE = {LIPSYNC: "microphone", MIMIC: "camera"}
SENSES = {LIPSYNC: "audio", MIMIC: "camera"}
UNSEEN = {LIPSYNC: "no speech was heard", MIMIC: "no face was seen"}


def run(args: argparse.Namespace, pipeline: str) -> int:
    """Set ROS up, run the graph until its recordings are over, leave the results."""
    inputs.check(args, pipeline)
    from emo.ros_setup import enter_ros

    enter_ros(checkout(), Path(sys.prefix))
    # Before an earlier run's results go: they may be those of one that still runs.
    with results_folder(Path(args.out)):
        return _run(args, pipeline)


def _run(args: argparse.Namespace, pipeline: str) -> int:
    from emo.bootstrap import say

    with alone(args.namespace):  # until the graph ends: the film of it takes as long again
        options = inputs.options(args, pipeline)
        interrupted = run_graph(build_graph(options), options, args.processes)
    from emo_nodekit.running import PATIENT, be_nice

    be_nice(PATIENT)  # as the graph is no more: other robots of this machine go first
    if not args.debug:
        quiet_native()  # not before: the nodes' messages come the same way
    try:
        images = _film(options)
    except KeyboardInterrupt:
        say("no mimic.mp4: interrupted")
        interrupted, images = True, 0
    figures = summarize(options, interrupted, 0 if interrupted else images)
    if interrupted and not any(figure["frames"] for figure in figures.values()):
        return EXIT_INTERRUPTED
    live = len(inputs.recordings(options)) < len(options.pipelines)
    report(options, figures, args.json)
    _check_bag(options)
    # A live source is meant to be ended so, a recording is not.
    return EXIT_INTERRUPTED if interrupted and not live else 0


@contextlib.contextmanager
def _ros() -> Iterator[None]:
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        yield
    finally:
        rclpy.try_shutdown()


@contextlib.contextmanager
def alone(namespace: str) -> Iterator[None]:
    """One graph for each ROS domain and namespace.

    Raises:
        EmoError: another one runs there.
    """
    import fcntl

    from emo.ros_domain import graph_lock

    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    with graph_lock(domain, namespace).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmoError(
                f"another emo runs in ROS domain {domain}, namespace '/{namespace}': "
                "stop it, or give this one a --namespace or a ROS_DOMAIN_ID of its own"
            ) from None
        yield


def run_graph(
    graph: list[Process],
    options: GraphOptions,
    processes: bool,
    title: str = "",
    seconds: float = math.inf,
) -> bool:
    """Run until the recordings are over and the face at rest. True if a signal ended it.

    The caller is `alone`.

    Args:
        title: what runs; empty: the names of the files or devices.
        seconds: at the latest so long after the first command, streams over or not.
    """
    from emo.bootstrap import say
    from emo.supervisor import Supervisor
    from emo_nodekit.running import URGENT, Spinner, be_nice, stop_event

    apart = [entry for entry in graph if processes or entry.isolated]
    together = [entry for entry in graph if entry not in apart]
    recorded = inputs.recordings(options)
    stop = stop_event()
    be_nice(URGENT)
    # What has a process of its own starts while this one imports and makes its nodes.
    with Supervisor(apart, os.environ, say) as supervisor, _ros():
        from emo.composed import Composed
        from emo.monitor import Monitor
        from emo_core.robot.description import RobotDescription

        robot = RobotDescription.load(options.robot)
        monitor = Monitor(robot, options.namespace, options.pipelines)
        watcher = Spinner([monitor])
        what = title or ", ".join(
            Path(recorded[name]).name if name in recorded else LIVE[name]
            for name in options.pipelines
        )
        how = "one process for each node" if processes else "one process"
        composed = Composed(together)
        watcher.start()
        try:
            with composed:  # ends it whatever happens: from here on servos may have torque
                say(f"{what} -> robot {options.robot} ({how}), "
                    f"ROS_DOMAIN_ID={os.environ.get('ROS_DOMAIN_ID', '0')}")  # fmt: skip
                started, over = time.monotonic(), False
                with _browser(options.port):
                    while not (over or stop.is_set()):
                        supervisor.watch(0.05)
                        if composed.failed:
                            raise EmoError("a node broke down (see above); run again with --debug")
                        over = _over(monitor, started, set(recorded), supervisor.came_back_s)
                        first = min(s.began or math.inf for s in monitor.streams.values())
                        over = over or time.monotonic() - first > seconds
        finally:
            watcher.stop()
        for name, stream in monitor.streams.items():
            if stream.began is not None and not stream.active:
                say(f"{UNSEEN[name]}: the face stayed at rest")
    stop.release()
    return not over


@contextlib.contextmanager
def _browser(port: int) -> Iterator[None]:
    """Opens the live picture once it is served, if that is while the block lasts.

    The view, a process of its own, takes seconds to start; a page that is refused stays refused.

    Args:
        port: 0: there is no picture.
    """
    from emo.bootstrap import say

    ended, page = threading.Event(), f"http://127.0.0.1:{port}/"

    def show() -> None:
        import webbrowser

        while not ended.wait(SERVED_S):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            except OSError:  # not yet
                continue
            if not ended.is_set():
                with contextlib.suppress(OSError):  # no browser is no matter
                    webbrowser.open(page)
            return

    if port:
        say(f"live picture: {page}")
        # Nobody waits for it: a browser may take its time.
        threading.Thread(target=show, name="browser", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _over(
    monitor: Monitor, started: float, recorded: set[str], came_back: dict[str, float]
) -> bool:
    """Whether all streams have ended and the face is at rest; a live one never ends.

    A process that is down as a recording ends takes the end's mark with it: where nothing comes of
    it when it is back, that was the end.

    Args:
        came_back: process -> when it was last started again, in monotonic seconds.

    Raises:
        EmoError: nothing moves.
    """
    from emo.bootstrap import say

    now = time.monotonic()
    errors = dict(monitor.errors)  # which the monitor's own thread changes
    problem = "; ".join(f"{name}: {text}" for name, text in errors.items())
    for name, stream in monitor.streams.items():
        if stream.began is None:
            if now - started > START_S:
                raise EmoError(
                    f"no motor command of {name} within {START_S:.0f} s: {problem or 'see above'}"
                )
        elif stream.ended is None and name in recorded:
            down = [each for each, at in came_back.items() if at > stream.heard]
            if now - max([stream.heard, *(came_back[each] for each in down)]) < STALL_S:
                continue
            if not down:
                raise EmoError(
                    f"no motor command of {name} for {STALL_S:.0f} s: {problem or 'see above'}"
                )
            say(f"{name}: the recording ended while {' and '.join(down)} started again: its last "
                "frames are missing")  # fmt: skip
            stream.ended = stream.heard
    ends = [s.ended for s in monitor.streams.values() if s.ended is not None]
    if len(ends) < len(monitor.streams):
        return False
    rested = now - max(ends)
    return rested > REST_S or (monitor.neutral and rested > 1.0 + LINGER_S)


def summarize(
    options: GraphOptions, interrupted: bool, images: int = 0
) -> dict[str, dict[str, Any]]:
    """Write latency.json: figures of the pipeline, or of each of two.

    Args:
        images: in the video, all of which should have come to the drivers; 0: not known.

    Raises:
        EmoError: nothing came to the servos.
    """
    from emo import latency

    folder = Path(options.out)
    each = latency.summarize(folder / "latency.csv", options.pipelines, {MIMIC: images})
    figures = each if len(each) > 1 else each[options.pipeline]
    (folder / "latency.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    silent = [name for name, figure in each.items() if not figure["frames"]]
    if silent and not interrupted:
        raise EmoError(
            f"no command of {' and '.join(silent)} reached the servos: see the messages above "
            f"and {folder}"
        )
    return each


def _film(options: GraphOptions) -> int:
    """mimic.mp4, where person and robot are both on film; returns the number of its images."""
    folder = Path(options.out)
    video = inputs.recordings(options).get(MIMIC)
    if video is None or not (folder / "robot.mp4").exists():
        return 0
    from emo.bootstrap import say
    from emo.latency import first_stamp
    from emo_core.viz.mimic_film import side_by_side

    start_s = first_stamp(folder / "latency.csv", MIMIC)
    if start_s is None:
        return 0
    try:
        with whole_file(folder / "mimic.mp4") as part:
            return side_by_side(Path(video), folder / "robot.mp4", start_s, part)
    except EmoError as error:  # the view was killed over its film, say: all else is there
        say(f"no mimic.mp4: {error}")
        return 0


def report(options: GraphOptions, figures: dict[str, dict[str, Any]], as_json: bool) -> None:
    folder = Path(options.out)
    if as_json:
        flat = figures if len(figures) > 1 else figures[options.pipeline]
        print(json.dumps({**flat, "out": str(folder)}, indent=2))
        return
    for name, figure in figures.items():
        total = figure["end_to_end_ms"]
        print(
            f"{figure['frames']} frames, {figure['dropped']} dropped; {SENSES[name]} to motor "
            f"p50 {total['p50']} ms, p95 {total['p95']} ms, p99 {total['p99']} ms"
        )
    for result in inputs.RESULTS[options.pipeline]:
        if (folder / result).exists():
            print(f"  {folder / result}")
    if options.record:
        print(f"  {options.bag}")


def _check_bag(options: GraphOptions) -> None:
    if options.record:
        from emo_core.bag import complete

        if not complete(options.bag):
            raise EmoError(f"the recording {options.bag} is not complete: see the messages above")
