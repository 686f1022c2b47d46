"""A recording as a picture and as a film."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_core.bag.reader import Bag
from emo_core.bag.summary import Commands, gaps
from emo_core.bag.tracks import nanoseconds, sound
from emo_core.evaluation.metrics import opening
from emo_core.evaluation.plots import pyplot
from emo_core.face.topology import NUM_LANDMARKS
from emo_core.files import whole_file
from emo_core.pipelines import LANDMARKS, LIPSYNC, MIMIC
from emo_core.rates import FPS, SAMPLE_RATE
from emo_core.robot.description import RobotDescription
from emo_core.robot.sim.render import Renderer
from emo_core.viz.video import VideoWriter

#: Of all that is a pipeline's.
_COLOURS = {LIPSYNC: "#2563eb", MIMIC: "#d97706"}
_MEASURED = "#475569"
_LOST = "#dc2626"


def overview(
    bag: Bag, commands: Mapping[str, Commands], place: str, robot: RobotDescription, path: Path
) -> None:
    """Messages of every topic over time (gaps in red), the mouth, and every motor.

    Args:
        commands: pipeline -> what it asked for.
        place: the robot's namespace with a slash at its end.
    """
    plt = pyplot()
    zero = min(int(times.min()) for times in bag.log_ns.values())
    names, motors = sorted(bag.log_ns), robot.names
    heights = [0.18 * len(names) + 0.4, 1.6, *([0.7] * len(motors))]
    figure, axes = plt.subplots(
        len(heights), 1, figsize=(11, sum(heights) + 0.5), sharex=True, squeeze=False,
        layout="constrained", gridspec_kw={"height_ratios": heights},
    )  # fmt: skip
    _messages(axes[0, 0], bag, names, zero)
    _mouth(axes[1, 0], bag, place, zero)
    measured = _measured(bag, f"{place}joint_states", robot)
    for axis, name in zip(axes[2:, 0], motors, strict=True):
        if name in measured:
            times, values = measured[name]
            axis.plot((times - zero) * 1e-9, values, color=_MEASURED, lw=1.0, label="measured")
        for pipeline, each in commands.items():
            if name in each.rows:
                stamps, wanted = each.rows[name]
                colour = _COLOURS[pipeline]
                axis.plot((np.array(stamps) - zero) * 1e-9, wanted, color=colour, lw=0.9,
                          label=f"{pipeline} wants")  # fmt: skip
        axis.set_ylim(-0.02, 1.02)
        axis.set_yticks([0.0, 1.0], ["0", "1"], fontsize=6)
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    axes[2, 0].legend(loc="upper right", frameon=False, ncols=3, fontsize=7)
    axes[-1, 0].set_xlabel("time, s")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _messages(axis: Any, bag: Bag, names: list[str], zero: int) -> None:
    for row, name in enumerate(names):
        times = np.sort(bag.log_ns[name])
        axis.plot(
            (times - zero) * 1e-9, np.full(len(times), row), "|", color=_MEASURED, ms=4, mew=0.5
        )
        for silence in gaps(times):
            axis.plot((silence - zero) * 1e-9, [row, row], color=_LOST, lw=1.5)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.invert_yaxis()


def _mouth(axis: Any, bag: Bag, place: str, zero: int) -> None:
    for pipeline, topic in LANDMARKS.items():
        times, faces = [], []
        for raw in bag.messages([place + topic]):
            message = bag.decode(raw)
            if len(message.points) == 3 * NUM_LANDMARKS:
                times.append(raw.publish_ns)
                faces.append(message.points)
        if faces:
            gaps = opening(np.array(faces, np.float32).reshape(-1, NUM_LANDMARKS, 3))
            axis.plot((np.array(times) - zero) * 1e-9, gaps, color=_COLOURS[pipeline], lw=1.0,
                      label=pipeline)  # fmt: skip
    axis.set_ylabel("human mouth,\nopening, mm", fontsize=8)
    if axis.get_lines():
        axis.legend(loc="upper right", frameon=False, ncols=2, fontsize=7)


def _measured(
    bag: Bag, topic: str, robot: RobotDescription
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Motor -> (times, ns; positions in [0, 1]) of joint states."""
    ranges = {motor.name: motor.range_rad for motor in robot.motors}
    found: dict[str, tuple[list[int], list[float]]] = {}
    for raw in bag.messages([topic]):
        message = bag.decode(raw)
        at = nanoseconds(message.header.stamp)
        for name, angle in zip(message.name, message.position, strict=False):
            if name in ranges:
                low, high = ranges[name]
                times, values = found.setdefault(name, ([], []))
                times.append(at)
                values.append((angle - low) / (high - low))
    return {
        name: (np.array(times, np.int64), np.array(values))
        for name, (times, values) in found.items()
    }


def film(bag: Bag, place: str, robot: RobotDescription, path: Path) -> bool:
    """The robot as it moved, with what was heard; False where there is nothing to show.

    The sound is `audio_played` (stamped when it was heard), else `audio`.
    """
    measured = _measured(bag, f"{place}joint_states", robot)
    if not measured or robot.simulator is None:
        return False
    heard = sound(bag, f"{place}audio_played")
    if not len(heard.samples):
        heard = sound(bag, f"{place}audio")
    start = min(int(times[0]) for times, _ in measured.values())
    end = max(int(times[-1]) for times, _ in measured.values())
    if len(heard.samples):
        start = min(start, heard.start_ns)
    render = Renderer(robot)
    pose = np.asarray(robot.neutral, np.float64).copy()
    rate = SAMPLE_RATE if len(heard.samples) else None
    with whole_file(path) as part, VideoWriter(part, render.size, FPS, rate) as writer:
        if len(heard.samples):
            writer.add_audio(heard.samples, (heard.start_ns - start) * 1e-9)
        for frame in range(int((end - start) * 1e-9 * FPS) + 1):
            at = start + frame * 1_000_000_000 // FPS
            for i, name in enumerate(robot.names):
                if name in measured:
                    times, values = measured[name]
                    pose[i] = np.interp(at, times, values)
            writer.add_frame(render(pose), frame / FPS)
    return True
