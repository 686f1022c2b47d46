"""Speech to moving lips on the live ROS 2 graph: a recording or the microphone.

Leaves in the output folder: commands.csv (the pipeline's commands, 25 a second), sent.csv (what
went to the servo bus, and when), latency.json (and latency.csv, frame by frame) and, with a
simulated robot, robot.mp4 with sound. A recording ends by itself, the face neutral; the
microphone ends with Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emo.cli import EXIT_INTERRUPTED, add_json, add_robot, checkout, mouth_gain
from emo.graph import GraphOptions, Process, build_graph
from emo_core.errors import EmoError
from emo_core.lipsync import MAX_MOUTH_GAIN, VARIANTS
from emo_core.rates import FPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emo.monitor import Monitor

RESULTS = ("commands.csv", "sent.csv", "latency.csv", "latency.json", "robot.mp4")
#: Nothing moves so long after the start: something is wrong.
START_S = 60.0
#: No command for so long in the midst of a recording, likewise.
STALL_S = 10.0
#: The face has so long to come to rest after the last command.
REST_S = 4.0
#: It stays at rest for this long before the graph is stopped, so that the film shows it.
LINGER_S = 0.3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("speech", nargs="?", metavar="SPEECH", help="a recording: wav, mp3, mp4...")
    source.add_argument("--mic", action="store_true", help="the microphone instead of a recording")
    parser.add_argument("--device", default="", help="which microphone: a name or a number")
    add_robot(parser)
    parser.add_argument(
        "--out", default="out/lipsync", metavar="DIR", help="results (default: out/lipsync)"
    )
    parser.add_argument("--headless", action="store_true", help="no browser with the live picture")
    parser.add_argument(
        "--processes", action="store_true", help="a process for each node, instead of one for all"
    )
    parser.add_argument(
        "--lookahead",
        choices=sorted(VARIANTS),
        help="full (240 ms; default for a recording) or live (default for the microphone)",
    )
    parser.add_argument("--face", metavar="FACE", help="whose face: a .npz of track, image, video")
    parser.add_argument(
        "--mouth-gain",
        type=mouth_gain,
        default=1.0,
        metavar="G",
        help=f"factor on the mouth's opening, 0 to {MAX_MOUTH_GAIN:g} (default 1)",
    )
    parser.add_argument("--namespace", default="", help="the robot's namespace")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Set ROS up, run the graph, leave the results."""
    import emo_nodekit  # noqa: F401 (before numpy: it sets the number of BLAS threads)

    _check_input(args)
    _check_robot(args.robot)
    from emo.ros_setup import enter_ros

    enter_ros(checkout(), Path(sys.prefix))
    options = _options(args)
    interrupted = _run_graph(build_graph(options), options, args)
    return _report(Path(options.out), args, interrupted)


def _check_input(args: argparse.Namespace) -> None:
    """What is wrong with the input shows before anything starts."""
    if not args.mic:
        from emo_core.audio.sources import open_audio

        with open_audio(args.speech) as recording:
            next(recording.blocks(320))
        return
    try:
        import sounddevice
    except OSError as error:
        raise EmoError(
            f"no microphone can be used ({error}): install PortAudio (apt install libportaudio2)"
        ) from None
    try:
        device = int(args.device) if args.device.isdigit() else args.device or None
        sounddevice.query_devices(device, "input")
    except (sounddevice.PortAudioError, ValueError) as error:
        raise EmoError(f"no microphone ({error}): plug one in, or name it with --device") from None


def _check_robot(name: str) -> None:
    """What is wrong with the servos' port shows before anything starts, too."""
    from emo_core.robot.bus import make_bus
    from emo_core.robot.description import FAKE_PORT, RobotDescription
    from emo_motor_drivers.claim import Claim

    robot = RobotDescription.load(name)
    if robot.bus.kind == "sim" or robot.bus.port == FAKE_PORT:
        return
    claim = Claim(robot)
    try:
        with contextlib.closing(make_bus(robot)) as bus:
            bus.open()
    finally:
        claim.release()


def _options(args: argparse.Namespace) -> GraphOptions:
    from emo_core.robot.description import RobotDescription

    robot = RobotDescription.load(args.robot)
    folder = Path(args.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in RESULTS:
            (folder / name).unlink(missing_ok=True)
        static_face = _static_face(args.face, folder) if args.face else ""
    except OSError as error:
        raise EmoError(
            f"cannot write to {folder} ({error.strerror}): choose another folder with --out"
        ) from None
    shown = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    view = robot.simulator is not None
    return GraphOptions(
        source="device" if args.mic else "file",
        speech="" if args.mic else str(Path(args.speech).resolve()),
        device=args.device,
        robot=args.robot,
        lookahead=args.lookahead or ("live" if args.mic else "full"),
        static_face=static_face,
        mouth_gain=args.mouth_gain,
        view=view,
        port=_free_port() if view and shown and not args.headless else 0,
        out=str(folder.resolve()),
        namespace=args.namespace.strip("/"),
    )


def _static_face(face: str, folder: Path) -> str:
    """A resting face as a file that every node can read without tracking."""
    import numpy as np

    from emo_core.face.tracking import load_face

    path = folder.resolve() / "static_face.npz"
    np.savez(path, landmarks=load_face(face)[None].astype(np.float32), fps=float(FPS))
    return str(path)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
def _alone(namespace: str) -> Iterator[None]:
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


def _run_graph(graph: list[Process], options: GraphOptions, args: argparse.Namespace) -> bool:
    """Run until the recording is over and the face at rest. True if a signal ended it."""
    from emo.bootstrap import say
    from emo.composed import Composed
    from emo.monitor import Monitor
    from emo.supervisor import Supervisor
    from emo_core.robot.description import RobotDescription
    from emo_nodekit.running import URGENT, Spinner, be_nice, stop_event

    apart = [entry for entry in graph if args.processes or entry.isolated]
    together = [entry for entry in graph if entry not in apart]
    stop = stop_event()
    be_nice(URGENT)
    with _alone(options.namespace), _ros():
        monitor = Monitor(RobotDescription.load(options.robot), options.namespace)
        watcher = Spinner([monitor])
        supervisor = Supervisor(apart, os.environ, say)
        composed = Composed(together)
        watcher.start()
        how = "one process for each node" if args.processes else "one process"
        say(f"{args.speech or 'microphone'} -> robot {args.robot} ({how}), "
            f"ROS_DOMAIN_ID={os.environ.get('ROS_DOMAIN_ID', '0')}")  # fmt: skip
        if options.port:
            import webbrowser

            say(f"live picture: http://127.0.0.1:{options.port}/")
            webbrowser.open(f"http://127.0.0.1:{options.port}/")
        try:
            with supervisor, composed:
                started, over = time.monotonic(), False
                while not (over or stop.is_set()):
                    supervisor.watch(0.05)
                    if composed.failed:
                        raise EmoError("a node broke down (see above); run again with --debug")
                    over = _over(monitor, started, not args.mic)
        finally:
            watcher.stop()
        if monitor.began is not None and not monitor.speech:
            say("no speech was heard: the face stayed at rest")
    return not over


def _over(monitor: Monitor, started: float, recorded: bool) -> bool:
    """Whether the stream has ended and the face is at rest.

    Raises:
        EmoError: nothing moves.
    """
    now = time.monotonic()
    problem = "; ".join(f"{name}: {text}" for name, text in monitor.errors.items())
    if monitor.began is None:
        if now - started > START_S:
            raise EmoError(f"no motor command within {START_S:.0f} s: {problem or 'see above'}")
        return False
    if monitor.ended is not None:
        rests = monitor.neutral and now - monitor.ended > 1.0 + LINGER_S
        return rests or now - monitor.ended > REST_S
    if recorded and now - monitor.heard > STALL_S:
        raise EmoError(f"no motor command for {STALL_S:.0f} s: {problem or 'see above'}")
    return False


def _report(folder: Path, args: argparse.Namespace, interrupted: bool) -> int:
    from emo.latency import summarize

    figures: dict[str, Any] = summarize(folder / "latency.csv")
    (folder / "latency.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if not figures["frames"]:
        if interrupted:
            return EXIT_INTERRUPTED
        raise EmoError(f"no command reached the servos: see the messages above and {folder}")
    # The microphone is meant to be ended so, a recording is not.
    status = EXIT_INTERRUPTED if interrupted and not args.mic else 0
    if args.json:
        print(json.dumps({**figures, "out": str(folder)}, indent=2))
        return status
    total = figures["end_to_end_ms"]
    print(
        f"{figures['frames']} frames, {figures['dropped']} dropped; audio to motor "
        f"p50 {total['p50']} ms, p95 {total['p95']} ms, p99 {total['p99']} ms"
    )
    for name in RESULTS:
        if (folder / name).exists():
            print(f"  {folder / name}")
    return status
