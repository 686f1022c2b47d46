"""A person's expressions on the robot, ahead of time, on the live ROS 2 graph: a video or a camera.

Leaves in the output folder: commands.csv (the pipeline's commands, one for each image with a
face), sent.csv (what went to the servo bus, and when), latency.json (and latency.csv, image by
image) and, with a simulated robot, robot.mp4; with a video, too, mimic.mp4: person and robot side
by side. A video ends by itself, the face neutral; a camera ends with Ctrl-C.
"""

from __future__ import annotations

import argparse

from emo.cli import _live
from emo.cli._inputs import CAMERA, add_camera, add_graph
from emo_core.pipelines import MIMIC


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("video", nargs="?", metavar="VIDEO", help="a video of somebody's face")
    source.add_argument(
        "--camera", nargs="?", const=CAMERA, metavar="N", help="a camera: its number, path or URL"
    )
    add_camera(parser)
    add_graph(parser, "mimic")


def run(args: argparse.Namespace) -> int:
    """Run the graph, leave the results."""
    return _live.run(args, MIMIC)
