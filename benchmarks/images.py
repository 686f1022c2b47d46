"""Images lost, and how late they come: raw or compressed, in one process or from one to another.

    .venv/bin/python benchmarks/images.py [--seconds 60] [--json]

The camera node plays a video of noise-like texture, 640 x 480 at 30 images/s. The listener is a
node with the tracker's queue that unpacks each image. An image is lost
if its number, which the middleware counts, never arrives; late is from the stamp to the array.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(folder) for folder in sorted((ROOT / "src").glob("emo*"))]

FPS = 30.0


def main() -> int:
    """Run all four, print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--listen", choices=("raw", "compressed"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    from emo import ros_domain
    from emo.ros_setup import enter_ros

    enter_ros(ROOT, Path(sys.prefix))
    os.environ.update(ros_domain.domain_environment(os.environ, None))
    import rclpy

    from emo_nodekit.running import URGENT, be_nice

    be_nice(URGENT)  # as the graph's processes are
    rclpy.init(args=[])
    if args.listen:
        print(json.dumps(listen(args.listen, args.seconds)))
        rclpy.try_shutdown()
        return 0
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "texture.mp4"
        film(video)
        for kind in ("compressed", "raw"):
            for apart in (False, True):
                rows.append(measure(video, kind, apart, args.seconds))
    rclpy.try_shutdown()
    if args.json:
        print(json.dumps({"load": os.getloadavg()[0], "rows": rows}, indent=1))
        return 0
    print(f"{args.seconds:g} s at {FPS:g} images/s; load average: {os.getloadavg()[0]:.1f}")
    print("images      processes  received  lost  late p50  p95  max (ms)")
    for row in rows:
        print(
            f"{row['kind']:<11} {row['processes']:9d} {row['received']:9d} {row['lost']:5d} "
            f"{row['p50_ms']:9.1f} {row['p95_ms']:4.1f} {row['max_ms']:4.1f}"
        )
    return 0


def film(path: Path) -> None:
    """Two seconds of texture that moves, as hard to pack as a real room."""
    from emo_core.viz.video import VideoWriter

    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (60, 80, 3)).astype(np.uint8)
    room = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)
    with VideoWriter(path, (640, 480), FPS) as writer:
        for k in range(round(2 * FPS)):
            noise = rng.normal(0.0, 3.0, room.shape)
            moved = np.roll(room, 4 * k, axis=1)
            writer.add_frame(np.clip(moved + noise, 0, 255).astype(np.uint8))


def measure(video: Path, kind: str, apart: bool, seconds: float) -> dict[str, Any]:
    """One way: camera here, listener here or in a process of its own."""
    from emo_camera.camera import CameraNode
    from emo_nodekit.running import Spinner

    topic = "image" if kind == "raw" else "image/compressed"
    parameters = {"source": "file", "path": str(video), "loop": True, "wait_for": [topic]}
    spinner = Spinner([CameraNode(parameters=parameters)])
    spinner.start()
    if apart:
        command = [sys.executable, __file__, "--listen", kind, "--seconds", str(seconds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        figures = json.loads(done.stdout.splitlines()[-1])
    else:
        figures = listen(kind, seconds)
    spinner.stop()
    return {"kind": kind, "processes": 1 + apart, **figures}


def listen(kind: str, seconds: float) -> dict[str, Any]:
    """Listen for so long after the first image, as the tracker does."""
    from rclpy.node import Node
    from sensor_msgs.msg import CompressedImage, Image

    from emo_nodekit import qos
    from emo_nodekit.messages import nanoseconds
    from emo_nodekit.pictures import picture_of
    from emo_nodekit.running import Spinner

    node = Node("listener")
    numbers: list[int] = []
    late: list[float] = []
    ended = threading.Event()

    def on_image(message: Any, info: Any) -> None:
        picture_of(message)
        numbers.append(info["publication_sequence_number"])
        late.append((time.time_ns() - nanoseconds(message.header.stamp)) * 1e-6)
        if len(numbers) > 1 and time.monotonic() > first[0] + seconds:
            ended.set()
        first.append(time.monotonic())

    first: list[float] = []
    if kind == "raw":
        node.create_subscription(Image, "image", on_image, qos.IMAGE)
    else:
        node.create_subscription(CompressedImage, "image/compressed", on_image, qos.PACKED)
    spinner = Spinner([node])
    spinner.start()
    ended.wait(seconds + 60.0)
    spinner.stop()
    p50, p95 = np.percentile(late, [50, 95])
    return {
        "received": len(numbers),
        "lost": numbers[-1] - numbers[0] + 1 - len(numbers),
        "p50_ms": round(float(p50), 1),
        "p95_ms": round(float(p95), 1),
        "max_ms": round(max(late), 1),
    }


if __name__ == "__main__":
    raise SystemExit(main())
