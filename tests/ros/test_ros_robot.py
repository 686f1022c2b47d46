"""A robot on the far side of ROS topics: driven, lost and found again, with the real drivers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not set up: the first ./emo lipsync installs it")
pytest.importorskip("emo_interfaces.msg", reason="emo's messages are not built: ./emo lipsync")

from probing import spinning
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from waiting import until

from emo_core.errors import EmoError
from emo_core.robot.bus import BusError, ServoBus, make_bus
from emo_core.robot.description import RobotDescription
from emo_motor_drivers import last_resort
from emo_motor_drivers.claimed import Owner, Record
from emo_motor_drivers.head import Head
from emo_nodekit.joints import LISTEN, SEND
from emo_sim.sim_robot import SimRobotNode

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("ros")]

GROUPS = ("eye", "mouth")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def robot_behind(port: str) -> RobotDescription:
    robot = RobotDescription.load("ros_sim")
    return replace(robot, bus=replace(robot.bus, port=port))


def active(stack: ExitStack, robot: RobotDescription) -> Head:
    """A head with torque on, as soon as the robot is discovered."""
    head = Head(robot, make_bus(robot))

    def activated() -> bool:
        try:
            for group in GROUPS:
                head.open(group)
                head.activate(group)
        except BusError:
            return False
        return True

    until(activated, 30.0)
    for group in GROUPS:
        stack.callback(head.close, group)
    return head


def drive(head: Head, seconds: float, goal: float) -> list[Any]:
    written = []
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        written.append(head.command(dict.fromkeys(head.description.names, goal)))
        time.sleep(0.04)
    return written


def test_without_its_driver_it_is_let_go_from_elsewhere(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    file, shipped = tmp_path / "robot.yaml", RobotDescription.load("ros_sim").file
    file.write_text(f"extends: {shipped}\nbus: {{kind: ros, port: away}}\n")
    robot = RobotDescription.load(file)
    sim = SimRobotNode(description=robot)
    stack.enter_context(spinning(sim))
    head = active(stack, robot)
    drive(head, 0.3, 0.8)
    assert sim._servos.holds().all()
    head._bus.close()  # as when its process is killed: goals cease
    said: list[str] = []

    def let_go() -> bool:
        try:
            said.append(last_resort.let_go(Record.of(robot, Owner(60), pid=0)))
        except EmoError:  # not discovered yet
            return False
        return True

    until(let_go)
    assert said == ["torque off (this bus cannot confirm it), all stand still"]
    until(lambda: not sim._servos.holds().any())


def test_it_goes_where_it_is_sent_and_says_so_in_radians(stack: ExitStack) -> None:
    robot = robot_behind("there")
    sim = SimRobotNode(description=robot)
    stack.enter_context(spinning(sim))
    heard: list[JointState] = []
    goals: list[JointState] = []
    probe = Node("probe")
    probe.create_subscription(JointState, "there/joint_states", heard.append, LISTEN)
    probe.create_subscription(JointState, "there/joint_command", goals.append, LISTEN)
    stack.enter_context(spinning(probe))
    head = active(stack, robot)
    assert all(drive(head, 1.2, 0.6))
    np.testing.assert_allclose(head.measured()[0], 0.6, atol=0.01)
    expected = robot.to_radians(np.full(len(robot.motors), 0.6))
    for message in (goals[-1], heard[-1]):
        assert list(message.name) == list(robot.names)
        np.testing.assert_allclose(message.position, expected, atol=0.01)


def test_nobody_there_is_one_line_and_another_commander_is_refused(stack: ExitStack) -> None:
    robot = robot_behind("alone")
    bus = make_bus(robot)
    stack.callback(bus.close)
    with pytest.raises(BusError, match="no answer on /alone/joint_states: start the robot"):
        bus.open()
    bus.close()
    stack.enter_context(spinning(SimRobotNode(description=robot)))
    bus.open()
    other = make_bus(robot)
    stack.callback(other.close)
    until(lambda: bus._node.count_publishers("alone/joint_command") == 1)
    with pytest.raises(BusError, match="another node publishes /alone/joint_command"):
        other.open()


def test_namespaces_keep_two_robots_apart(stack: ExitStack) -> None:
    robot = RobotDescription.load("ros_sim")  # port fake: each brings its robot along
    buses = [make_bus(robot, namespace=name) for name in ("left", "right")]
    for bus in buses:
        stack.callback(bus.close)
        bus.open()
        bus.torque(True)

    def there(bus: ServoBus, goal: float) -> bool:
        bus.write(np.full(len(robot.motors), goal))  # again: the first may pass torque on its way
        return bool(np.abs(bus.read() - goal).max() < 0.01)

    for bus, goal in zip(buses, (0.3, 0.7), strict=True):
        until(lambda bus=bus, goal=goal: there(bus, goal))


def test_bad_goals_move_nothing_and_without_torque_none_is_sent(stack: ExitStack) -> None:
    robot = robot_behind("bad")
    sim = SimRobotNode(description=robot)
    stack.enter_context(spinning(sim))
    probe = Node("probe")
    publisher = probe.create_publisher(JointState, "bad/joint_command", SEND)
    stack.enter_context(spinning(probe))
    until(lambda: publisher.get_subscription_count() == 1)
    bad = (["jaw"], []), (["jaw"], [float("nan")]), (["elbow"], [0.1])
    for count, (names, positions) in enumerate(bad, 1):
        publisher.publish(JointState(name=names, position=positions))
        until(lambda count=count: sim._kit.health.faults.get("bad_messages") == count)
    probe.destroy_publisher(publisher)
    bus = make_bus(robot)
    stack.callback(bus.close)
    until(lambda: probe.count_publishers("bad/joint_command") == 0)
    bus.open()
    assert np.isnan(bus.write(np.full(len(robot.motors), 0.9))).all()
    np.testing.assert_allclose(bus.read(), robot.neutral, atol=1e-6)
    assert np.isfinite(bus.read([2])).sum() == 1


def test_the_camera_works_only_while_somebody_looks(stack: ExitStack) -> None:
    sim = SimRobotNode(description=robot_behind("seen"))
    stack.enter_context(spinning(sim))
    time.sleep(0.2)
    assert sim._camera is None
    probe = Node("probe")
    pictures: list[Image] = []
    probe.create_subscription(Image, "seen/image", pictures.append, LISTEN)
    stack.enter_context(spinning(probe))
    until(lambda: pictures)
    assert (pictures[0].width, pictures[0].height, pictures[0].encoding) == (640, 480, "bgr8")


def test_killed_and_started_again_it_is_taken_up_gently(stack: ExitStack, tmp_path: Path) -> None:
    file = tmp_path / "robot.yaml"
    shipped = RobotDescription.load("ros_sim")
    file.write_text(f"extends: {shipped.file}\nbus: {{port: mortal}}\n")
    robot = RobotDescription.load(file)

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "emo_sim.sim_robot", "--ros-args", "-p", f"robot:={file}"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        stack.callback(process.wait, 20)
        stack.callback(process.terminate)
        return process

    process = start()
    head = active(stack, robot)
    drive(head, 1.0, 0.8)
    process.send_signal(signal.SIGKILL)
    process.wait()
    began = time.monotonic()
    until(lambda: head.fault, 2.0)
    assert time.monotonic() - began < 1.0
    assert "no answer on /mortal/joint_states" in head.fault
    assert set(drive(head, 0.2, 0.8)) == {None}
    start()  # stands at neutral, as new robots do
    until(lambda: head.torque_on, 30.0)
    first = head.command(dict.fromkeys(robot.names, 0.8))
    assert first is not None
    np.testing.assert_allclose(first.positions, robot.neutral, atol=0.1)
    until(lambda: np.abs(drive(head, 0.2, 0.6)[-1].positions - 0.6).max() < 0.02)
    assert head.fault == ""


def test_a_prefix_that_ros_would_not_take_names_file_and_remedy(tmp_path: Path) -> None:
    file = tmp_path / "robot.yaml"
    shipped = RobotDescription.load("ros_sim")
    file.write_text(f"extends: {shipped.file}\nbus: {{port: my robot}}\n")
    with pytest.raises(EmoError, match=r"robot.yaml: bus.port is 'my robot': give a prefix"):
        RobotDescription.load(file)
