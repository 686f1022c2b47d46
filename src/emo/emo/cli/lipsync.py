"""Speech to moving lips on the live ROS 2 graph: a recording or the microphone.

Leaves in the output folder: commands.csv (the pipeline's commands, 25 a second), sent.csv (what
went to the servo bus, and when), latency.json (and latency.csv, frame by frame) and, with a
simulated robot, robot.mp4 with sound. A recording ends by itself, the face neutral; the
microphone ends with Ctrl-C.
"""

from __future__ import annotations

import argparse

from emo.cli import _live
from emo.cli._inputs import add_graph, add_speech
from emo_core.pipelines import LIPSYNC


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("speech", nargs="?", metavar="SPEECH", help="a recording: wav, mp3, mp4...")
    source.add_argument("--mic", action="store_true", help="the microphone instead of a recording")
    add_speech(parser)
    add_graph(parser, "lipsync")


def run(args: argparse.Namespace) -> int:
    """Run the graph, leave the results."""
    return _live.run(args, LIPSYNC)
