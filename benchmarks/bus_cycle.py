"""Bus cycles that end too late: all motors written, one read, at a steady rate, on each fake bus.

    .venv/bin/python benchmarks/bus_cycle.py [ROBOT ...] [--seconds 600] [--rate 50] [--json]

The device behind the pseudo-terminal runs in a process of its own and paces every byte as the wire
does; what has no serial port (I2C) stands in the driver's process. A cycle begins on time, writes
goals that move all motors, then asks one motor where it is, in turn: the answer comes only after
the wire has carried the goals. A miss is a cycle that is not over when the next one is due; cycles
whose time has then passed are left out, as a driver does, and are misses too. Run it on a machine
that does nothing else: a pseudo-terminal's bytes are carried by a thread of the kernel that has to
wait its turn.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src" / "emo_core")]

from emo_core.robot.bus import ServoBus, fake_class, make_bus  # noqa: E402
from emo_core.robot.buses.fake import Device  # noqa: E402
from emo_core.robot.description import RobotDescription  # noqa: E402


def main() -> int:
    """Run all robots side by side, print a row for each."""
    robots = sorted(str(file) for file in (ROOT / "config" / "robots").glob("*_fake.yaml"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("robots", nargs="*", metavar="ROBOT", default=robots)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--rate", type=float, default=50.0, help="cycles per second")
    parser.add_argument("--serially", action="store_true", help="one robot after the other")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    workers = 1 if args.serially else len(args.robots)
    context = multiprocessing.get_context("spawn")
    load = os.getloadavg()[0]
    with ProcessPoolExecutor(workers, context) as pool:
        work = [pool.submit(measure, robot, args.seconds, args.rate) for robot in args.robots]
        rows = [one.result() for one in work]
    if args.json:
        print(json.dumps({"load_before": load, "buses": rows}, indent=1))
        return 0
    print(f"{args.seconds:g} s at {args.rate:g} Hz; load average before: {load:.1f}")
    print("| robot | motors | cycles | misses | % | unanswered | p50, ms | p99 | p99.9 | max |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        times = " | ".join(f"{row[key]:.1f}" for key in ("p50_ms", "p99_ms", "p99_9_ms", "max_ms"))
        print(
            f"| {row['robot']} | {row['motors']} | {row['cycles']} | {row['misses']} "
            f"| {row['misses_percent']:.3f} | {row['unanswered']} | {times} |"
        )
    return 0


def measure(robot: str, seconds: float, rate: float) -> dict[str, Any]:
    """One robot's row."""
    description = RobotDescription.load(robot)
    with far_side(description) as bus:
        late = unanswered = 0
        took = []
        phase = np.arange(len(description.motors))
        with bus:
            bus.torque(True)
            begin = time.monotonic() + 0.1
            cycles = round(seconds * rate)
            n = 0
            while n < cycles:
                due = begin + n / rate
                time.sleep(max(due - time.monotonic(), 0.0))
                reach = 0.1 * np.sin(2 * np.pi * 1.5 * n / rate + phase)
                bus.write(np.clip(description.neutral + reach, 0.0, 1.0))
                motor = n % len(phase)
                unanswered += bool(np.isnan(bus.read([motor])[motor]))
                end = time.monotonic() + (0.0 if bus.read_s else bus.write_s)
                took.append(end - due)
                passed = min(max(int((end - due) * rate), 0), cycles - n)
                late += passed
                n += max(passed, 1)
    p50, p99, p99_9, most = np.percentile(took, [50, 99, 99.9, 100]) * 1e3
    return {
        "robot": description.name,
        "motors": len(description.motors),
        "cycles": cycles,
        "misses": late,
        "misses_percent": 100.0 * late / cycles,
        "unanswered": unanswered,
        "p50_ms": p50,
        "p99_ms": p99,
        "p99_9_ms": p99_9,
        "max_ms": most,
    }


@contextmanager
def far_side(description: RobotDescription) -> Iterator[ServoBus]:
    """A bus with its device in another process, where that has a serial port."""
    if not issubclass(fake_class(description.bus.kind), Device):
        yield make_bus(description)
        return
    with tempfile.TemporaryDirectory() as folder:
        link = str(Path(folder) / "port")
        device = subprocess.Popen(
            [sys.executable, "-m", "emo_core.robot.buses.serve", str(description.file), link],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src" / "emo_core")},
        )
        assert device.stdin is not None and device.stdout is not None
        try:
            if not device.stdout.readline():
                raise RuntimeError(f"the fake of {description.file} did not start")
            yield make_bus(replace(description, bus=replace(description.bus, port=link)))
        finally:
            device.stdin.close()
            device.wait()


if __name__ == "__main__":
    sys.exit(main())
