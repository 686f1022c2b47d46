"""The robot that babbles or is calibrated: a simulated one, or a real one before a real camera."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from emo_core.errors import EmoError

if TYPE_CHECKING:
    from emo_core.robot.bench import Bench
    from emo_core.robot.description import RobotDescription


def add_camera(parser: argparse.ArgumentParser) -> None:
    """The camera's option."""
    parser.add_argument(
        "--camera",
        metavar="N|DEVICE|URL",
        help="camera that sees the robot's whole face: a number, /dev/video2, rtsp://...; "
        "a simulated robot brings its own",
    )


def has_camera(args: argparse.Namespace, robot: RobotDescription) -> bool:
    """Whether a real camera looks; False: the simulated one.

    Raises:
        EmoError: a simulated robot and a real camera, or a real robot and none.
    """
    if args.camera is not None and robot.bus.kind == "sim":
        raise EmoError(
            f"{robot.file}: bus.kind is sim: no camera can see this robot, it brings its own. "
            "Leave --camera out"
        )
    if args.camera is None and (robot.bus.is_device or robot.bus.kind == "ros"):
        raise EmoError(
            f"{robot.file}: bus.kind is {robot.bus.kind}: put a camera before the robot, and name "
            "it with --camera (./emo doctor lists the cameras)"
        )
    return args.camera is not None


@contextmanager
def real_bench(
    robot: RobotDescription, camera: str, latency_s: float | None = None
) -> Iterator[Bench]:
    """A real robot, owned and before a real camera.

    Raises:
        EmoError: somebody else drives it, no camera. BusError: no servos.
    """
    from emo_core.camera.bench import camera_bench
    from emo_motor_drivers.claim import Claim
    from emo_motor_drivers.claimed import Owner

    # Being told to end is an interrupt, too: the robot goes to neutral, and its torque off.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    claim = Claim(robot, Owner())
    limp, inside = claim.limp, None
    try:
        if claim.marked:
            raise EmoError(f"e-stop is set ({claim.marked}): ./emo stop --release")
        with camera_bench(robot, camera, latency_s, _tell) as bench:
            limp = False
            try:
                yield bench
            except BaseException as error:
                inside = error
                raise
        limp = True
    except BaseException as error:
        limp = limp or error is inside  # another one came of leaving the bench: torque may be on
        raise
    finally:
        claim.release(limp)


def _tell(text: str) -> None:
    print(f"emo: {text}", file=sys.stderr)
