"""Calibration: the robot steps each of its motors before a camera, and writes down what it sees.

For each motor: whether its servo and the face move, which way, over which part of its stroke, and
how late. What differs from the robot's file becomes a file that extends it; quick motors then wait
for slow ones. With --rest, an earlier babbling, the neutral pose is moved to look as it did then.

A motor that does not do what it should is reported, and the exit status is 1; the file is written
for the others.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emo.cli import add_json, add_robot
from emo.cli._bench import add_camera, has_camera, real_bench
from emo_core.errors import EmoError

if TYPE_CHECKING:
    from emo_core.robot.bench import Bench
    from emo_core.robot.calibration import Calibration
    from emo_core.robot.description import RobotDescription
    from emo_core.robot.findings import Finding

QUIET_NATIVE = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_robot(parser)
    add_camera(parser)
    parser.add_argument(
        "--camera-latency",
        type=float,
        metavar="MS",
        help="from an exposure to its time stamp, where it is known (default: measured at the "
        "servos, if they tell where they are)",
    )
    parser.add_argument(
        "-o", "--out", type=Path, help="the new robot file (default: data/calibrated_<robot>.yaml)"
    )
    parser.add_argument(
        "--rest",
        type=Path,
        metavar="BABBLE.npz",
        help="bring the neutral pose back to the face at rest of this babbling",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Calibrate, write the file, say what was found."""
    from tqdm import tqdm

    from emo_core.paths import share_dir
    from emo_core.robot.babbling import Babble
    from emo_core.robot.calibration import calibrate, check_out
    from emo_core.robot.description import RobotDescription
    from emo_core.robot.sim.motor_skew import motor_skew

    robot = RobotDescription.load(args.robot)
    out: Path = args.out or share_dir() / "data" / f"calibrated_{robot.name}.yaml"
    check_out(robot, out)
    rest = None if args.rest is None else Babble.load(args.rest).rest
    # Being told to end is an interrupt, too: the robot goes to neutral, and its torque off.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        tqdm(total=len(robot.motors) + 2, disable=not sys.stderr.isatty()) as bar,
        _bench(args, robot) as bench,
    ):

        def progress(what: str) -> None:
            bar.set_description(what)
            bar.update(1)

        found = calibrate(bench, rest, progress=progress)
    found.save(out)
    after = RobotDescription.load(out)
    skews = {}
    if robot.bus.kind == "sim":
        skews = {
            "uncompensated": motor_skew(found.uncompensated),
            "described": motor_skew(robot),
            "calibrated": motor_skew(after),
        }
    report = _report(found, out, {name: skew.as_json() for name, skew in skews.items()})
    print(json.dumps(report) if args.json else _text(found, report))
    for name, fault in found.faults.items():
        print(f"emo: {robot.name}: {name} {fault}", file=sys.stderr)
    return 1 if found.faults else 0


def _bench(args: argparse.Namespace, robot: RobotDescription) -> AbstractContextManager[Bench]:
    latency = args.camera_latency
    if latency is not None and not (args.camera and 0.0 <= latency <= 1000.0):
        raise EmoError(f"--camera-latency {latency:g}: goes with --camera, and is 0 to 1000 ms")
    if not has_camera(args, robot):
        from emo_core.robot.sim.bench import bench_of

        return bench_of(robot)
    return real_bench(robot, args.camera, None if latency is None else latency * 1e-3)


def _report(found: Calibration, out: Path, skew: dict[str, dict[str, float]]) -> dict[str, Any]:
    return {
        "robot": found.before.name,
        "file": str(out),
        "motors": [_motor(finding) for finding in found.findings],
        "servo_lag_ms": {
            "before": _ms(found.before.servo_lag_s),
            "after": _ms(found.after.servo_lag_s),
        },
        "camera_latency_ms": None if math.isnan(found.camera_late_s) else _ms(found.camera_late_s),
        "skew": skew,
        "rest_mm": [None if math.isnan(mm) else round(mm, 2) for mm in found.rest_mm],
        "needs_training": found.needs_training,
    }


def _motor(finding: Finding) -> dict[str, Any]:
    motor = finding.motor
    return {
        "name": motor.name,
        "servo": finding.servo,
        "seen": finding.seen,
        "where": finding.where,
        "travel_mm": round(finding.travel_mm, 1),
        "way": finding.way,
        "limits": list(motor.limits),
        "neutral": motor.neutral,
        "latency_ms": _ms(motor.latency_s),
        "latency_sd_ms": None if math.isnan(finding.latency_sd_s) else _ms(finding.latency_sd_s),
        "fault": finding.fault,
    }


def _ms(seconds: float) -> float:
    return round(1000.0 * seconds, 1)


def _text(found: Calibration, report: dict[str, Any]) -> str:
    width = max(len(name) for name in found.before.names)
    lines = [f"{'motor':<{width}}  latency      limits      neutral  what moves"]
    for motor in report["motors"]:
        low, high = motor["limits"]
        error = "" if motor["latency_sd_ms"] is None else f"+-{motor['latency_sd_ms']:.1f}"
        seen = f"{motor['where']} by {motor['travel_mm']:.0f} mm, {motor['way'] or 'any way'}"
        what = seen if motor["seen"] else "not seen: the others' median latency"
        lines.append(
            f"{motor['name']:<{width}}  {motor['latency_ms']:4.0f}{error:<5} ms "
            f"{low:5.2f}..{high:4.2f}  {motor['neutral']:7.2f}  {what}"
        )
    for name, skew in report["skew"].items():
        lines.append(
            f"skew between motors, {name}: p50 {skew['p50_ms']:.1f}, p95 {skew['p95_ms']:.1f}, "
            f"at most {skew['max_ms']:.1f} ms"
        )
    lag = report["servo_lag_ms"]
    lines.append(f"servo_lag_s: {lag['before']:.0f} -> {lag['after']:.0f} ms")
    late = report["camera_latency_ms"]
    if late is None:
        lines.append("  with the camera's latency in it: these servos do not tell where they are.")
        lines.append("  Give --camera-latency, if you know it")
    elif late:
        lines.append(f"camera: {late:.0f} ms late")
    if report["rest_mm"][0] is not None:
        lines.append("face at rest, off by: {} -> {} mm".format(*report["rest_mm"]))
    lines.append(f"{report['file']}: use it with --robot")
    if report["needs_training"]:
        lines.append(
            f"limits or neutral pose have changed: ./emo babble --robot {report['file']} && "
            f"./emo train inverse --robot {report['file']}"
        )
    return "\n".join(lines)
