"""Clocks that are set while the robot runs: an hour on or back, and a bag that begins again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not set up: the first ./emo lipsync installs it")
pytest.importorskip("emo_interfaces.msg", reason="emo's messages are not built: ./emo lipsync")

import rclpy.clock
from emo_interfaces.msg import AudioChunk, MotorCommand
from probing import Probe, Running, spinning
from rclpy.duration import Duration
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from sounds import write_float_wav
from videos import film_a_face
from waiting import until

from emo.composed import Composed
from emo.graph import build_graph
from emo.options import GraphOptions
from emo_core.audio.sources import load_audio
from emo_core.robot.description import RobotDescription
from emo_microphone.playout import Playout
from emo_motor_drivers.driver import DriverNode
from emo_motor_drivers.head import Written
from emo_nodekit.messages import nanoseconds, stamp
from emo_nodekit.pacing import Pacer, Timeline
from emo_nodekit.parameters import overrides
from emo_sim.motion import Motion

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("ros")]

ROOT = Path(__file__).resolve().parents[2]
HELLO = ROOT / "src" / "emo" / "emo" / "data" / "hello.flac"
MINUTE, HOUR = 60_000_000_000, 3600_000_000_000
MS = 1_000_000
#: Simulated time begins here: not at 0, which is no time yet.
BEGIN_NS = 1000_000_000_000


class Ticking:
    """`/clock`, as a bag that is played has it: real time, but for the jumps."""

    def __init__(self, probe: Probe) -> None:
        self._publisher = probe.create_publisher(Clock, "/clock", 10)
        self._ahead = BEGIN_NS - time.monotonic_ns()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def now(self) -> int:
        return time.monotonic_ns() + self._ahead

    def jump(self, delta_ns: int) -> None:
        self._ahead += delta_ns

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.005):
            self._publisher.publish(Clock(clock=stamp(self.now)))


class SetByHand:
    """This machine's clock as every node reads it, without touching this machine's clock."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._ahead, read = 0, rclpy.clock.Clock.now

        def now(clock: Any) -> Any:
            told = read(clock)
            steady = clock.clock_type == rclpy.clock.ClockType.STEADY_TIME
            return told if steady else told + Duration(nanoseconds=self._ahead)

        patch.setattr(rclpy.clock.Clock, "now", now)

    @property
    def now(self) -> int:
        return time.time_ns() + self._ahead

    def jump(self, delta_ns: int) -> None:
        self._ahead += delta_ns

    def close(self) -> None:
        """The patch goes with its fixture."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Half a minute of speech and of a face."""
    folder = tmp_path_factory.mktemp("files")
    write_float_wav(folder / "long.wav", np.tile(load_audio(HELLO), 10), 16_000)
    video = film_a_face(folder / "face.mp4", frames=750)
    return {"speech": str(folder / "long.wav"), "video": str(video)}


@pytest.mark.slow
@pytest.mark.parametrize("simulated", [False, True], ids=["system", "bag"])
def test_no_clock_makes_the_face_jump_or_stall(
    simulated: bool, files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = GraphOptions(
        pipeline="both", source="file", camera="file", view=True, out=str(tmp_path),
        use_sim_time=simulated, **files,
    )  # fmt: skip
    probe = Probe()
    sources = {"lipsync": 0, "mimic": 0}
    ages_s: list[float] = []
    ends: list[str] = []

    def heard(message: MotorCommand) -> None:
        sources[message.source] = sources.get(message.source, 0) + 1
        if message.end_of_stream:
            ends.append(message.source)

    def timed(message: AudioChunk | CompressedImage) -> None:
        ages_s.append((clock.now - nanoseconds(message.header.stamp)) * 1e-9)

    probe.create_subscription(MotorCommand, "motor_command", heard, 100)
    probe.create_subscription(AudioChunk, "audio", timed, 100)
    probe.create_subscription(CompressedImage, "image/compressed", timed, 100)
    seen = probe.collect(Image, "sim/image")
    clock = Ticking(probe) if simulated else SetByHand(monkeypatch)
    written: list[Written] = []
    composed = Composed(build_graph(options))  # the view, too: it shares this process's clock
    head = next(node._head for node in composed.nodes if isinstance(node, DriverNode))
    head.listeners.append(lambda each: each is not None and written.append(each))
    with spinning(probe), closing(clock), composed:
        until(lambda: min(sources.values()) > 25 and len(seen) > 10)
        for delta_ns in (HOUR, -HOUR, -MINUTE, HOUR):
            clock.jump(delta_ns)
            time.sleep(0.3)  # what was on its way is stamped by the old time
            del ages_s[:]
            before, shown = dict(sources), len(seen)
            # A stall would last a minute or an hour; a leap of the sources, until their ends.
            until(lambda: all(sources[each] > before[each] + 25 for each in before), 30.0)  # noqa: B023
            until(lambda: len(seen) > shown + 10, 30.0)  # noqa: B023
            assert np.abs(ages_s).max() < 10.0, "sound and pictures are of now"
            assert not ends
            assert not composed.failed
    robot = RobotDescription.load("sim")
    steps = np.abs(np.diff([each.positions for each in written], axis=0))
    seconds = np.diff([each.time_s for each in written])[:, None]
    assert np.all(steps <= robot.max_speed * (seconds + 0.02)), "no motor faster than it may be"
    assert np.ptp([each.positions for each in written], axis=0).max() > 0.1, "and it moved"


# -- the parts ---------------------------------------------------------------------------------


@pytest.fixture
def clock(running: Running) -> Iterator[Callable[[int], None]]:
    """Sets simulated time of a pacer's node: its node comes with it."""
    probe = running()
    publisher = probe.create_publisher(Clock, "/clock", 10)
    yield lambda now_ns: publisher.publish(Clock(clock=stamp(now_ns)))


def test_simulated_time_that_jumps_moves_stamps_and_never_the_pace(
    clock: Callable[[int], None], running: Running
) -> None:
    node = rclpy.create_node("paced", parameter_overrides=overrides({"use_sim_time": True}))
    running(node)
    pacer = Pacer(node)

    def at(now_ns: int) -> None:
        def told() -> bool:
            clock(now_ns)
            time.sleep(0.01)
            return bool(node.get_clock().now().nanoseconds == now_ns)

        until(told)

    at(BEGIN_NS)
    pacer.start()
    at(BEGIN_NS + 500 * MS)
    assert pacer.elapsed() == 500 * MS
    for jump_ns in (-MINUTE, HOUR, -HOUR, -1):
        before = pacer.elapsed()
        began_ns = node.get_clock().now().nanoseconds + jump_ns
        at(began_ns)
        assert pacer.elapsed() == before
        at(began_ns + 100 * MS)
        assert pacer.elapsed() == before + 100 * MS
        assert pacer.stamp(pacer.elapsed()) == began_ns + 100 * MS
        assert pacer.wait(pacer.elapsed())
    waiting = threading.Thread(target=pacer.wait, args=(pacer.elapsed() + 50 * MS,), daemon=True)
    waiting.start()
    at(BEGIN_NS)
    assert waiting.is_alive(), "a jump is no time that went by"
    at(BEGIN_NS + 60 * MS)
    waiting.join(10.0)
    assert not waiting.is_alive()


def test_a_line_of_stamps_goes_on_through_a_clock_that_is_set() -> None:
    ahead = [0]
    line = Timeline(lambda: time.monotonic_ns() + ahead[0])
    for jump_ns in (0, HOUR, -HOUR, -MINUTE, 10 * HOUR):
        before = ahead[0]
        ahead[0] += jump_ns
        for clock_ns in (ahead[0], before):  # a message may have been on its way meanwhile
            now_ns = time.monotonic_ns()
            placed_ns = line.place(now_ns + clock_ns)
            assert abs(placed_ns - now_ns) < 1000 * MS
        assert abs(line.stamp(line.place(now_ns + ahead[0])) - now_ns - ahead[0]) < 1000 * MS


def test_a_robots_motion_is_seen_again_where_its_stamps_went_back() -> None:
    robot = RobotDescription.load("sim")
    low, high = robot.motors[-1].range_rad
    name = robot.names[-1]
    motion = Motion(robot)
    for time_ns, share in ((HOUR, 0.2), (HOUR - 5 * MS, 0.9), (MINUTE, 0.4), (MINUTE + MS, 0.6)):
        motion.add(time_ns, {name: low + share * (high - low)})
    assert motion.known_until() == MINUTE + MS
    assert motion.at(MINUTE)[-1] == pytest.approx(0.4)
    motion.add(MINUTE + 2 * MS, {name: 1e30})
    assert motion.at(MINUTE + 2 * MS)[-1] <= 2.0


def test_sound_planned_for_another_time_is_not_waited_for() -> None:
    playout = Playout(16_000, 0)
    playout.measure(HOUR, HOUR)
    tone = np.full(320, 0.5, np.float32)
    playout.push(0, tone, HOUR + 20 * MS)
    playout.push(320, tone, 40 * MS)  # the clock went back by an hour
    assert np.all(playout.pull(20 * MS, 320) == 0.5)
