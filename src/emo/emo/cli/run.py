"""Lip-sync and mimicry at once on the live ROS 2 graph.

The mouth speaks while there is speech; eyes and brows, and else the mouth, too, do what the person
in view does. Without SPEECH the microphone is the source, without --video the camera. Leaves in the
output folder: lipsync/commands.csv and mimic/commands.csv (each pipeline's wishes), sent.csv (what
went to the servo bus, and when), latency.json (figures of each pipeline; latency.csv, frame by
frame) and, with a simulated robot, robot.mp4 with sound; with --video, too, mimic.mp4: person and
robot side by side. Recordings end by themselves, the face neutral; live sources end with Ctrl-C.
"""

from __future__ import annotations

import argparse

from emo.cli import _live
from emo.cli._inputs import add_camera, add_graph, add_speech
from emo.options import BOTH


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    voice = parser.add_mutually_exclusive_group()
    voice.add_argument("speech", nargs="?", metavar="SPEECH", help="a recording: wav, mp3, mp4...")
    voice.add_argument("--mic", action="store_true", help="the microphone (default)")
    picture = parser.add_mutually_exclusive_group()
    picture.add_argument("--video", metavar="VIDEO", help="a video of somebody's face")
    picture.add_argument(
        "--camera", metavar="N", help="a camera: its number, path or URL (default: 0)"
    )
    add_speech(parser)
    add_camera(parser)
    add_graph(parser, "run")


def run(args: argparse.Namespace) -> int:
    """Run the graph, leave the results."""
    args.mic = args.mic or args.speech is None
    return _live.run(args, BOTH)
