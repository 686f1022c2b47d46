"""What the commands of the live graph share: their options, checked before anything starts."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emo.cli import add_json, add_namespace, add_robot, mouth_gain
from emo.cli._files import keep_inputs
from emo.options import BOTH, GraphOptions
from emo_core.errors import EmoError
from emo_core.lipsync import MAX_MOUTH_GAIN, VARIANTS
from emo_core.pipelines import LIPSYNC, MIMIC
from emo_core.rates import FPS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: The camera that is used if none is named.
CAMERA = GraphOptions().camera_device

#: What every run leaves beside its commands.
_ALWAYS = ("sent.csv", "latency.csv", "latency.json", "robot.mp4")
#: Pipeline -> what its run leaves; what an earlier one left under these names goes.
RESULTS = {
    LIPSYNC: ("commands.csv", *_ALWAYS),
    MIMIC: ("commands.csv", *_ALWAYS, "mimic.mp4"),
    BOTH: ("lipsync/commands.csv", "mimic/commands.csv", *_ALWAYS, "mimic.mp4"),
}
#: With --face: the resting face used.
_FACE = "static_face.npz"


def add_graph(parser: argparse.ArgumentParser, command: str) -> None:
    """Options of every graph."""
    out = f"out/{command}"
    add_robot(parser)
    parser.add_argument("--out", default=out, metavar="DIR", help=f"results (default: {out})")
    parser.add_argument("--headless", action="store_true", help="no browser with the live picture")
    parser.add_argument(
        "--processes", action="store_true", help="a process for each node, instead of one for all"
    )
    parser.add_argument(
        "--record", action="store_true", help="record every topic into DIR/bag (rosbag2), too"
    )
    add_namespace(parser)
    add_json(parser)


def add_speech(parser: argparse.ArgumentParser) -> None:
    """Options of lip-sync beside its source."""
    parser.add_argument("--device", default="", help="which microphone: a name or a number")
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


def add_camera(parser: argparse.ArgumentParser) -> None:
    """Options of mimicry beside its source."""
    parser.add_argument(
        "--no-predict",
        dest="predict",
        action="store_false",
        help="follow the face, instead of heading for the expression that is coming",
    )
    parser.add_argument(
        "--faces",
        default="",
        metavar="DIR",
        help="faces at rest, as `emo track --static` kept them",
    )
    parser.add_argument(
        "--person", default="", metavar="NAME", help="who is in view, by the name in --faces"
    )


def check(args: argparse.Namespace, pipeline: str) -> None:
    """What is wrong with the inputs or the servos' port shows before anything starts.

    Raises:
        EmoError: it is; or one of the inputs would be replaced by the results.
    """
    from emo_core.face.static_face import KeptFace

    read: list[str | Path | None] = []
    written = list(RESULTS[pipeline])
    if pipeline != MIMIC:
        _check_speech(args)
        read += [args.speech, args.face]
        written += [_FACE] if args.face else []
    if pipeline != LIPSYNC:
        _check_camera(args)
        read += [args.video, KeptFace(args.faces, args.person).path]
    folder, by = Path(args.out), "the results: choose another folder with --out"
    keep_inputs([folder / name for name in written], read, by)
    _check_robot(args.robot)


def _check_speech(args: argparse.Namespace) -> None:
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


def _check_camera(args: argparse.Namespace) -> None:
    from emo_core.face.static_face import KeptFace

    if args.person and not args.faces:
        raise EmoError(f"--person {args.person}: give the folder of faces, too, with --faces")
    KeptFace(args.faces, args.person).load()
    if args.video:
        from emo_core.camera.video import Video

        Video(args.video).close()
        return
    from emo_core.camera.opening import Mode, open_device

    try:
        open_device(args.camera or CAMERA, Mode()).release()
    except OSError as error:
        raise EmoError(str(error)) from None


def _check_robot(name: str) -> None:
    from emo_core.robot.bus import make_bus
    from emo_core.robot.description import RobotDescription
    from emo_motor_drivers.claim import Claim

    robot = RobotDescription.load(name)
    if not robot.bus.is_device:
        return
    claim = Claim(robot)
    try:
        with contextlib.closing(make_bus(robot)) as bus:
            bus.open()
    finally:
        claim.release()


def options(args: argparse.Namespace, pipeline: str) -> GraphOptions:
    """The graph that was asked for; its folder is rid of an earlier run's results.

    The inputs are those that `check` let pass, but for the talker's face, which may take a while
    to track: it is read here, before anything goes.

    Raises:
        EmoError: no such face, or the folder cannot be written to.
    """
    from emo_core.face.static_face import load_face
    from emo_core.robot.description import RobotDescription
    from emo_nodekit.records import unused

    folder = Path(args.out)
    chosen: dict[str, Any] = {}
    face = None
    if pipeline != MIMIC:
        chosen |= _speech_options(args)
        face = load_face(args.face) if args.face else None
    try:
        for name in RESULTS[pipeline]:
            (folder / name).unlink(missing_ok=True)
        if face is not None:
            chosen["static_face"] = _static_face(face, folder)
    except OSError as error:
        raise EmoError(
            f"cannot write to {folder} ({error.strerror}): choose another folder with --out"
        ) from None
    if pipeline != LIPSYNC:
        chosen |= _camera_options(args)
    shown = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    view = RobotDescription.load(args.robot).simulator is not None
    return GraphOptions(
        pipeline=pipeline,
        robot=args.robot,
        view=view,
        port=_free_port() if view and shown and not args.headless else 0,
        out=str(folder.resolve()),
        record=args.record,
        bag=str(unused(folder.resolve() / "bag")) if args.record else "",
        namespace=args.namespace,
        **chosen,
    )


def _speech_options(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "source": "device" if args.mic else "file",
        "speech": "" if args.mic else str(Path(args.speech).resolve()),
        "device": args.device,
        "lookahead": args.lookahead or ("live" if args.mic else "full"),
        "mouth_gain": args.mouth_gain,
    }


def _camera_options(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "camera": "file" if args.video else "device",
        "video": str(Path(args.video).resolve()) if args.video else "",
        "camera_device": args.camera or CAMERA,
        "predict": args.predict,
        "faces": str(Path(args.faces).resolve()) if args.faces else "",
        "person": args.person,
    }


def _static_face(face: NDArray[np.float32], folder: Path) -> str:
    """A resting face, (478, 3) mm, as a file that every node can read without tracking."""
    import numpy as np

    path = folder.resolve() / _FACE
    np.savez(path, landmarks=face[None].astype(np.float32), fps=float(FPS))
    return str(path)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def recordings(options: GraphOptions) -> dict[str, str]:
    """Pipeline -> the file it works on; pipelines with a live source are not among them."""
    files = {}
    if LIPSYNC in options.pipelines and options.source == "file":
        files[LIPSYNC] = options.speech
    if MIMIC in options.pipelines and options.camera == "file":
        files[MIMIC] = options.video
    return files
