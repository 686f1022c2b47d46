"""The nodes in this process, on real ROS 2: bad input, gaps, lifecycle, simulated time."""

from __future__ import annotations

import array
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not set up: the first ./emo lipsync installs it")
pytest.importorskip("emo_interfaces.msg", reason="emo's messages are not built: ./emo lipsync")

import rclpy
import rclpy.exceptions
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from emo_interfaces.msg import (
    ArbiterState,
    AudioChunk,
    FaceLandmarks,
    Gaze,
    MotorCommand,
    SpeechFeatures,
)
from probing import Probe, Running
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Header, String
from std_srvs.srv import SetBool
from waiting import until

from emo.composed import Composed
from emo.graph import Process
from emo.monitor import Monitor
from emo_audio2landmark.audio2landmark import Audio2LandmarkNode
from emo_core.errors import EmoError
from emo_core.face.alignment import canonical_face
from emo_core.face.tracking import VideoFile
from emo_core.pipelines import MARK
from emo_core.robot.bus import BusError, Telemetry
from emo_core.robot.description import RobotDescription
from emo_core.robot.sim.servos import SimBus
from emo_inverse_model.inverse_model import InverseModelNode
from emo_microphone.microphone import MicrophoneNode
from emo_microphone.speaker import SpeakerNode
from emo_motor_drivers import drivers, shared
from emo_motor_drivers.arbiter import ArbiterNode
from emo_motor_drivers.driver import DriverNode
from emo_motor_drivers.head import Head
from emo_motor_drivers.shared import Shared
from emo_nodekit import qos
from emo_nodekit.health import Health
from emo_nodekit.messages import floats, nanoseconds, stamp
from emo_normalization.normalization import NormalizationNode
from emo_sim import robot_view
from emo_sim.robot_view import RobotViewNode
from emo_speech_features.speech_features import SpeechFeaturesNode

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("ros")]

NAN = float("nan")
#: Numbers in a row of features: 80 bands and the state of the shipped APC.
DIM = 592
BASE_NS = 1_700_000_000_000_000_000


def connected(publisher: Any, count: int = 1) -> Any:
    """The publisher, once it has its subscribers."""
    until(lambda: publisher.get_subscription_count() >= count)
    return publisher


def faults(node: Any) -> dict[str, int]:
    return node._kit.health.faults


def chunk(first: int, count: int = 320, **fields: Any) -> AudioChunk:
    end_ns = BASE_NS + (first + count) * 62_500
    values: dict[str, Any] = {
        "header": Header(stamp=stamp(end_ns)),
        "first_sample": first,
        "sample_rate": 16_000,
        "data": floats(np.zeros(count)),
    }
    return AudioChunk(**{**values, **fields})


# -- bad messages ----------------------------------------------------------------------------


def test_speech_features_survive_bad_audio_and_say_so(running: Running) -> None:
    node = SpeechFeaturesNode()
    probe = running(node)
    out = probe.collect(SpeechFeatures, "speech_features")
    publisher = connected(probe.create_publisher(AudioChunk, "audio", qos.STREAM))
    until(lambda: node._publisher.get_subscription_count() == 1)
    publisher.publish(chunk(0, data=array.array("f", [NAN] * 320)))
    publisher.publish(chunk(0, sample_rate=44_100))
    for k in range(4):
        publisher.publish(chunk(320 * k))
    until(lambda: len(out) == 3)
    assert faults(node) == {"bad_messages": 2}
    assert [message.first_frame for message in out] == [0, 1, 2]
    # Mel frame k is complete with sample 320 k + 640: that sample's capture time is the stamp.
    stamps = [nanoseconds(message.header.stamp) - BASE_NS for message in out]
    assert stamps == [(320 * k + 640) * 62_500 for k in range(3)]


def test_small_gaps_are_filled_and_large_ones_start_anew(running: Running) -> None:
    node = SpeechFeaturesNode()
    probe = running(node)
    out = probe.collect(SpeechFeatures, "speech_features")
    publisher = connected(probe.create_publisher(AudioChunk, "audio", qos.STREAM))
    until(lambda: node._publisher.get_subscription_count() == 1)
    for first in (0, 320, 640, 3200, 3520, 64_000, 64_320, 64_640):
        publisher.publish(chunk(first))
    until(lambda: len(out) == 6)
    frames = [(m.first_frame, len(m.data) // m.dim) for m in out]
    # 2560 samples of silence make up for the hole; the stream goes on with frame 200.
    assert frames == [(0, 1), (1, 1), (2, 8), (10, 1), (200, 1), (201, 1)]
    assert faults(node) == {"gaps": 2}


def test_a_stream_that_ends_without_silence_is_flushed(running: Running) -> None:
    features, landmarks = SpeechFeaturesNode(), Audio2LandmarkNode()
    probe = running(features, landmarks)
    out = probe.collect(FaceLandmarks, "lipsync/landmarks")
    publisher = connected(probe.create_publisher(AudioChunk, "audio", qos.STREAM))
    until(lambda: landmarks._publisher.get_subscription_count() == 1)
    until(lambda: features._publisher.get_subscription_count() == 1)
    for k in range(9):
        publisher.publish(chunk(320 * k))
        time.sleep(0.01)
    publisher.publish(chunk(2880, 100, end_of_stream=True))
    until(lambda: len(out) == 5)  # ceil(2980 / 640)
    assert [message.frame for message in out] == [0, 1, 2, 3, 4]
    assert [message.end_of_stream for message in out] == [False] * 4 + [True]
    for message in out:
        stamp_ns = nanoseconds(message.header.stamp)
        assert stamp_ns - BASE_NS == (640 * message.frame + 240 * 16) * 62_500
        assert nanoseconds(message.target_time) - BASE_NS == message.frame * 40_000_000


def test_audio2landmark_survives_bad_features(running: Running) -> None:
    node = Audio2LandmarkNode()
    probe = running(node)
    publisher = connected(probe.create_publisher(SpeechFeatures, "speech_features", qos.STREAM))
    bad = [
        SpeechFeatures(dim=7, data=floats(np.zeros(7))),
        SpeechFeatures(dim=DIM, data=floats(np.zeros(DIM + 1))),
        SpeechFeatures(dim=DIM, data=floats(np.full(DIM, NAN))),
    ]
    for message in bad:
        publisher.publish(message)
    until(lambda: faults(node).get("bad_messages") == 3)


def test_normalization_and_inverse_model_survive_bad_landmarks(running: Running) -> None:
    normalization, inverse = NormalizationNode(), InverseModelNode()
    probe = running(normalization, inverse)
    out = probe.collect(MotorCommand, "motor_command")
    publisher = connected(probe.create_publisher(FaceLandmarks, "landmarks", qos.FRAMES))
    until(lambda: inverse._publisher.get_subscription_count() == 1)
    until(lambda: normalization._publisher.get_subscription_count() == 1)
    face = canonical_face()
    torn = face.copy()
    torn[5, 1] = NAN
    for points in (face[:468], torn):
        publisher.publish(FaceLandmarks(dim=3, points=floats(points), valid=True))
    publisher.publish(FaceLandmarks(dim=3, valid=False, frame=7))
    publisher.publish(FaceLandmarks(dim=3, points=floats(face), valid=True, frame=8))
    until(lambda: len(out) == 2)
    assert faults(normalization) == {"bad_messages": 2, "dropped": 6}
    assert (out[0].frame, out[0].valid, len(out[0].positions)) == (7, False, 0)
    robot = RobotDescription.load("sim")
    assert list(out[1].names) == list(robot.names)
    assert len(out[1].stage_ms) == 2


# -- what is told of nodes -------------------------------------------------------------------


def test_a_flood_of_one_fault_does_not_keep_another_out_of_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node, said = Probe(), list[str]()
    health = Health(node)
    monkeypatch.setattr(node, "get_logger", lambda: SimpleNamespace(warning=said.append))
    for k in range(50):
        health.fault("dropped", f"frame {k} is missing")
    health.fault("bad_messages", "no finite number")
    node.destroy_node()
    assert said == ["frame 0 is missing", "no finite number"]
    assert health.faults == {"dropped": 50, "bad_messages": 1}


def test_errors_of_another_robot_are_not_this_ones() -> None:
    monitor = Monitor(RobotDescription.load("sim"), "left", ["mimic"])

    def hear(name: str, level: bytes, hardware: str = "emo") -> None:
        status = DiagnosticStatus(name=name, level=level, message="!", hardware_id=hardware)
        monitor._on_diagnostics(DiagnosticArray(status=[status]))

    for name in ("left/camera", "left/mimic/normalization", "right/camera", "lefty/camera"):
        hear(name, DiagnosticStatus.ERROR)
    hear("left/lidar", DiagnosticStatus.ERROR, "somebody else's")
    assert set(monitor.errors) == {"left/camera", "left/mimic/normalization"}
    hear("left/camera", DiagnosticStatus.OK)
    monitor.destroy_node()
    assert set(monitor.errors) == {"left/mimic/normalization"}


# -- arbiter ---------------------------------------------------------------------------------


def test_the_arbiter_tells_who_drives_what(running: Running) -> None:
    node = ArbiterNode(parameters={"fade_s": 0.0, "greet": False})
    probe = running(node)
    robot = RobotDescription.load("sim")
    out = probe.collect(MotorCommand, "motor_command")
    states = probe.collect(ArbiterState, "arbiter_state")
    sources = {
        name: connected(probe.create_publisher(MotorCommand, f"{name}/motor_command", qos.FRAMES))
        for name in ("lipsync", "mimic")
    }
    until(lambda: node._publisher.get_subscription_count() == 1)

    def command(value: float, **fields: Any) -> MotorCommand:
        positions = floats(np.full(len(robot.names), value))
        return MotorCommand(
            names=list(robot.names), positions=positions, valid=True, active=True, **fields
        )

    sources["lipsync"].publish(command(0.9))
    until(lambda: len(out) == 1)
    assert set(out[0].names) == set(robot.names)  # alone, it drives everything
    sources["mimic"].publish(command(0.2))
    until(lambda: len(out) == 2)
    eye = {robot.names[i] for i in robot.group("eye")}
    assert (out[1].source, set(out[1].names)) == ("mimic", eye)
    until(lambda: states and list(states[-1].sources) == ["mimic", "lipsync"])
    assert list(states[-1].groups) == ["eye", "mouth"]
    until(lambda: list(states[-1].sources) == ["", ""])
    known = len(states)
    until(lambda: len(states) >= known + 2)  # nothing changes, but who comes later is told, too
    sources["mimic"].publish(MotorCommand(names=["jaw"], valid=True))
    until(lambda: faults(node).get("bad_messages") == 1)
    assert len(out) == 2


def test_gaze_turns_the_eyeballs_and_a_hand_goes_before_it(running: Running) -> None:
    node = ArbiterNode(parameters={"robot": "emo22", "fade_s": 0.0})
    probe = running(node)
    robot = RobotDescription.load("emo22")
    eyeballs = {motor.name for motor in robot.motors if motor.gaze}
    out = probe.collect(MotorCommand, "motor_command")
    states = probe.collect(ArbiterState, "arbiter_state")
    gaze = connected(probe.create_publisher(Gaze, "mimic/gaze", qos.FRAMES))
    hand = connected(probe.create_publisher(MotorCommand, "manual/motor_command", qos.FRAMES))
    until(lambda: node._publisher.get_subscription_count() == 1)
    gaze.publish(Gaze(yaw=NAN, valid=True))
    gaze.publish(Gaze(frame=4, yaw=0.0, pitch=0.35, valid=True, stage_ms=floats([3.0])))
    until(lambda: len(out) == 1)
    assert faults(node) == {"bad_messages": 1}
    assert (out[0].source, out[0].frame, set(out[0].names)) == ("gaze", 4, eyeballs)
    assert len(out[0].stage_ms) == 2
    sent = dict(zip(out[0].names, out[0].positions, strict=True))
    expected = {m.name: 0.5 if m.gaze == "yaw" else 1.0 for m in robot.motors if m.gaze}
    assert sent == pytest.approx(expected)
    until(lambda: states and list(states[-1].sources) == ["", "gaze", ""])
    assert list(states[-1].groups) == ["eye", "gaze", "mouth"]
    hand.publish(MotorCommand(names=["eye_yaw_left"], positions=floats([0.2]), valid=True))
    until(lambda: len(out) == 2)
    assert (out[1].source, list(out[1].names)) == ("manual", ["eye_yaw_left"])
    gaze.publish(Gaze(frame=5, valid=True))
    until(lambda: len(out) == 3)
    assert (out[2].frame, out[2].valid, list(out[2].names)) == (5, False, [])  # told all the same


def test_the_eyeballs_are_let_go_when_the_images_end(running: Running) -> None:
    node = ArbiterNode(parameters={"robot": "emo22"})
    probe = running(node)
    out = probe.collect(MotorCommand, "motor_command")
    gaze = connected(probe.create_publisher(Gaze, "mimic/gaze", qos.FRAMES))
    until(lambda: node._publisher.get_subscription_count() == 1)
    gaze.publish(Gaze(frame=0, yaw=0.3, valid=True))
    gaze.publish(Gaze(frame=1, end_of_stream=True))  # its angles mean nothing
    until(lambda: len(out) == 2)
    assert out[0].valid
    assert (out[1].end_of_stream, out[1].valid, list(out[1].names)) == (True, False, [])


def test_motors_of_another_robot_are_left_out_of_what_mimic_wants(running: Running) -> None:
    node = ArbiterNode()
    probe = running(node)
    robot = RobotDescription.load("sim")
    out = probe.collect(MotorCommand, "motor_command")
    mimic = connected(probe.create_publisher(MotorCommand, "mimic/motor_command", qos.FRAMES))
    until(lambda: node._publisher.get_subscription_count() == 1)
    names = [*robot.names, "elbow"]
    for frame in range(30):  # until the greeting is over, and its face followed
        positions = floats([*robot.neutral, 0.5])
        mimic.publish(
            MotorCommand(frame=frame, names=names, positions=positions, valid=True, active=True)
        )
        time.sleep(0.04)
    until(lambda: len(out) == 30)
    assert list(out[-1].names) and "elbow" not in out[-1].names
    assert faults(node)["unknown_motors"] == 30


def test_the_own_image_is_said_and_not_followed(running: Running) -> None:
    node = ArbiterNode()
    probe = running(node)
    robot = RobotDescription.load("sim")
    out = probe.collect(MotorCommand, "motor_command")
    told = probe.collect(DiagnosticArray, "/diagnostics")
    mimic = connected(probe.create_publisher(MotorCommand, "mimic/motor_command", qos.FRAMES))
    until(lambda: node._publisher.get_subscription_count() == 1)
    pose = dict(zip(robot.names, robot.neutral.tolist(), strict=True))
    poses = [pose] * 4  # the mirror shows what was sent four frames ago

    def step(frame: int) -> None:
        seen = poses[-4]
        mimic.publish(
            MotorCommand(
                frame=frame,
                names=list(seen),
                positions=floats(list(seen.values())),
                valid=True,
                active=True,
            )
        )
        until(lambda: len(out) > frame)
        sent = dict(zip(out[frame].names, out[frame].positions, strict=True))
        poses.append({**(pose if not sent else poses[-1]), **sent})
        time.sleep(0.03)

    frame = 0
    while not node._kit.health.warning:
        assert frame < 150
        step(frame)
        frame += 1
    step(frame)
    assert (out[-1].valid, list(out[-1].names)) == (False, [])
    assert max(abs(shown[name] - pose[name]) for shown in poses for name in pose) < 0.3
    until(lambda: any("not followed" in s.message for m in told for s in m.status))


# -- drivers ---------------------------------------------------------------------------------


@pytest.fixture
def robot() -> RobotDescription:
    return RobotDescription.load("sim")


def command_all(robot: RobotDescription, value: float, frame: int) -> MotorCommand:
    return MotorCommand(
        frame=frame,
        names=list(robot.names),
        positions=floats(np.full(len(robot.names), value)),
        valid=True,
        source="lipsync",
    )


def test_drivers_move_the_robot_and_survive_bad_commands(
    running: Running, robot: RobotDescription
) -> None:
    nodes = drivers.create_nodes()
    probe = running(*nodes)
    states = probe.collect(JointState, "joint_states")
    publisher = connected(probe.create_publisher(MotorCommand, "motor_command", qos.FRAMES), 2)
    publisher.publish(MotorCommand(names=["jaw"], positions=floats([NAN]), valid=True))
    publisher.publish(MotorCommand(names=["jaw", "jaw"], positions=floats([0.5]), valid=True))
    publisher.publish(MotorCommand(names=["elbow"], positions=floats([0.5]), valid=True))
    until(lambda: all(faults(node).get("bad_messages") == 2 for node in nodes))
    until(lambda: all(faults(node).get("unknown_motors") == 1 for node in nodes))
    for k in range(60):
        publisher.publish(command_all(robot, 0.6, k))
        time.sleep(0.02)
    low, high = np.array([motor.range_rad for motor in robot.motors]).T
    angle = dict(zip(robot.names, low + 0.6 * (high - low), strict=True))
    latest = {}
    for message in states:
        latest.update(zip(message.name, message.position, strict=True))
    assert set(latest) == set(robot.names)
    for name, value in latest.items():
        assert value == pytest.approx(angle[name], abs=0.05), name
    # Commands cease: within 250 ms + 1 s the face is neutral.
    time.sleep(robot.watchdog.timeout_s + robot.watchdog.ease_s + 0.3)
    head = nodes[0]._head
    np.testing.assert_allclose(head.measured()[0], robot.neutral, atol=0.02)


def test_the_servos_thread_outlives_a_driver_that_leaves() -> None:
    first, second = drivers.create_nodes()
    told = list(first._head.listeners)  # what the thread holds when a driver leaves
    first.stop()
    first.destroy_node()
    first._share._shown_s[:] = -np.inf  # there would be news to publish
    for _ in range(4):
        for listener in told:
            listener(None)
    with pytest.raises(rclpy.exceptions.InvalidHandle):
        first._tell()
    second.stop()
    second.destroy_node()


def test_lifecycle_no_torque_before_activate_and_none_after_deactivate(
    running: Running, robot: RobotDescription
) -> None:
    nodes = drivers.create_nodes(parameters={"autostart": False})
    head = nodes[0]._head
    probe = running(*nodes)
    for node in nodes:
        node.trigger_configure()
    assert not head.torque_on
    nodes[0].trigger_activate()
    nodes[1].trigger_activate()
    assert head.torque_on
    publisher = connected(probe.create_publisher(MotorCommand, "motor_command", qos.FRAMES), 2)
    for k in range(20):
        publisher.publish(command_all(robot, 0.8, k))
        time.sleep(0.02)
    assert np.abs(head.measured()[0] - robot.neutral).max() > 0.05
    nodes[0].trigger_deactivate()
    assert head.torque_on  # the other driver still works
    nodes[1].trigger_deactivate()
    assert not head.torque_on
    np.testing.assert_allclose(head.measured()[0], robot.neutral, atol=0.02)
    until(lambda: all(node._kit.health.values["torque"] == "off" for node in nodes))
    for node in nodes:
        node.trigger_shutdown()


def test_a_driver_that_fails_as_it_leaves_has_no_torque_all_the_same(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = drivers.create_nodes()
    running(*nodes)
    until(lambda: nodes[0]._head.torque_on and all(node._subscription for node in nodes))
    for node in nodes:
        with monkeypatch.context() as context:
            context.setattr(node, "destroy_subscription", Mock(side_effect=RuntimeError("gone")))
            with pytest.raises(RuntimeError, match="gone"):
                node.stop()
    assert not nodes[0]._head.torque_on


def test_a_bus_that_does_not_open_is_an_error_state_until_it_does(running: Running) -> None:
    class Unplugged(SimBus):
        there = False

        def open(self) -> None:
            if not self.there:
                raise EmoError("no servo bus: plug it in")
            super().open()

    bus = Unplugged(RobotDescription.load("sim"))
    nodes = drivers.create_nodes(shared=Shared(bus))
    running(*nodes)
    assert [node._kit.health.error for node in nodes] == ["no servo bus: plug it in"] * 2
    assert not nodes[0]._head.torque_on
    bus.there = True
    until(lambda: nodes[0]._head.torque_on)
    until(lambda: all(node._subscription is not None for node in nodes))
    assert [node._kit.health.error for node in nodes] == [""] * 2


def test_a_lost_line_is_an_error_in_the_diagnostics_at_once(running: Running) -> None:
    class Cut(SimBus):
        cut = False

        def write(self, positions: Any) -> np.ndarray:
            if self.cut:
                raise BusError("unplugged")
            return super().write(positions)

    bus = Cut(RobotDescription.load("sim"))
    nodes = drivers.create_nodes(shared=Shared(bus))
    probe = running(*nodes)
    told = probe.collect(DiagnosticArray, "/diagnostics")
    until(lambda: {status.name for m in told for status in m.status} >= {"eye_driver"})
    bus.cut = True
    until(lambda: nodes[0]._head.fault)
    began = time.monotonic()
    until(lambda: any(s.message == "unplugged" for m in told for s in m.status), 1.5)
    assert time.monotonic() - began < 0.5  # sooner than the next of every second
    bus.cut = False
    until(lambda: told[-1].status[0].level == DiagnosticStatus.OK)


def test_a_motor_that_rests_is_a_warning_of_its_driver(running: Running) -> None:
    class Hot(SimBus):
        def telemetry(self, motor: int) -> Telemetry:
            return Telemetry(temperature_c=80.0 if motor == 0 else 40.0)

    nodes = drivers.create_nodes(shared=Shared(Hot(RobotDescription.load("sim"))))
    probe = running(*nodes)
    told = probe.collect(DiagnosticArray, "/diagnostics")
    warned = "brow_right rests: 80 °C"
    until(lambda: any(s.message == warned for m in told for s in m.status))
    named = {s.name for m in told for s in m.status if s.level == DiagnosticStatus.WARN}
    assert named == {"eye_driver"}


def test_estop_service_of_either_driver_stops_both(
    running: Running, robot: RobotDescription
) -> None:
    nodes = drivers.create_nodes()
    head = nodes[0]._head
    probe = running(*nodes)
    client = probe.create_client(SetBool, "mouth_driver/estop")
    assert client.wait_for_service(timeout_sec=5.0)
    answer = client.call(SetBool.Request(data=True))
    assert answer.success
    until(lambda: not head.torque_on)
    assert all(node._kit.health.error.startswith("e-stop is set") for node in nodes[1:])
    client.call(SetBool.Request(data=False))
    until(lambda: head.torque_on)


def test_two_drivers_of_two_robots_in_one_process_are_refused() -> None:
    shared = Shared()
    first = DriverNode("eye", shared)
    with pytest.raises(EmoError, match="one robot"):
        DriverNode("mouth", shared, parameters={"robot": "another"})
    first.stop()
    first.destroy_node()


@pytest.fixture
def heads(monkeypatch: pytest.MonkeyPatch) -> list[Head]:
    """Owners of servos that drivers make."""
    made: list[Head] = []

    def make(*options: Any) -> Head:
        made.append(Head(*options))
        return made[-1]

    monkeypatch.setattr(shared, "Head", make)
    return made


@pytest.mark.parametrize("error", [EmoError, ImportError, KeyboardInterrupt])
def test_drivers_let_go_when_a_node_after_them_cannot_be_made(
    monkeypatch: pytest.MonkeyPatch, heads: list[Head], error: type[BaseException]
) -> None:
    def create_nodes(**options: Any) -> list[Any]:
        assert heads[0].torque_on
        raise error("no cv2")

    monkeypatch.setitem(sys.modules, "nowhere.camera", SimpleNamespace(create_nodes=create_nodes))
    graph = [Process("emo_motor_drivers", "drivers", ""), Process("nowhere", "camera", "camera")]
    with pytest.raises(error, match="no cv2"):
        Composed(graph)
    assert heads[0].limp and not heads[0].torque_on


def test_the_first_driver_lets_go_when_the_second_cannot_be_made(
    monkeypatch: pytest.MonkeyPatch, heads: list[Head]
) -> None:
    def make(group: str, *options: Any) -> DriverNode:
        if group == "eye":
            return DriverNode(group, *options)
        assert heads[0].torque_on
        raise RuntimeError("no mouth")

    monkeypatch.setattr(drivers, "DriverNode", make)
    with pytest.raises(RuntimeError, match="no mouth"):
        drivers.create_nodes()
    assert heads[0].limp and not heads[0].torque_on


# -- microphone, speaker, view ---------------------------------------------------------------


def test_parameters_are_checked() -> None:
    with pytest.raises(EmoError, match="source of microphone is 'radio'"):
        MicrophoneNode(parameters={"source": "radio"})
    with pytest.raises(EmoError, match="alpha of normalization"):
        NormalizationNode(parameters={"alpha": 7.0})
    with pytest.raises(EmoError, match="no such recording"):
        MicrophoneNode(parameters={"source": "file", "path": "nowhere.wav"})


def test_a_recording_is_paced_by_simulated_time(running: Running, tmp_path: Any) -> None:
    path = tmp_path / "tone.wav"
    write_wav(path, np.zeros(3200))
    probe = running()
    out = probe.collect(AudioChunk, "audio")
    clock = probe.create_publisher(Clock, "/clock", 10)
    parameters = {"source": "file", "path": str(path), "use_sim_time": True, "tail_s": 0.0,
                  "wait_for": ["audio"]}  # fmt: skip
    running(MicrophoneNode(parameters=parameters))
    connected(clock)
    now_ns = 1_000_000_000
    ended = time.monotonic() + 8.0
    while len(out) < 11 and time.monotonic() < ended:  # simulated time at a quarter of real time
        clock.publish(Clock(clock=stamp(now_ns)))
        now_ns += 2_500_000
        time.sleep(0.01)
    stamps = np.array([nanoseconds(message.header.stamp) for message in out])
    assert len(out) == 11
    assert out[-1].end_of_stream
    assert out[-1].total_samples == 3200
    np.testing.assert_allclose(np.diff(stamps[:10]), 20_000_000, atol=100_000)
    assert stamps[0] < 100_000_000_000  # simulated, not this machine's, time


def test_a_source_waits_until_the_recorder_knows_it(running: Running, tmp_path: Any) -> None:
    path = tmp_path / "tone.wav"
    write_wav(path, np.zeros(3200))
    probe = running()
    out = probe.collect(AudioChunk, "audio")
    recorder, kept = Node("recorder"), []
    recorder.create_subscription(String, MARK, lambda message: None, 1)
    running(
        MicrophoneNode(
            parameters={"source": "file", "path": str(path), "wait_for": ["audio", MARK]}
        ),
        recorder,
    )
    time.sleep(1.5)
    assert not out, "it records, but has not found the microphone yet"
    recorder.create_subscription(AudioChunk, "audio", kept.append, qos.STREAM)
    until(lambda: out and out[-1].end_of_stream and kept and kept[-1].end_of_stream)
    assert [chunk.first_sample for chunk in kept] == [chunk.first_sample for chunk in out]
    assert kept[0].first_sample == 0


def test_the_speaker_tells_when_sound_is_heard(running: Running) -> None:
    node = SpeakerNode(parameters={"output": "null"})
    probe = running(node)
    out = probe.collect(AudioChunk, "audio_played")
    audio = connected(probe.create_publisher(AudioChunk, "audio", qos.STREAM))
    commands = connected(probe.create_publisher(MotorCommand, "motor_command", qos.FRAMES))
    until(lambda: node._publisher.get_subscription_count() == 1)
    start = time.time_ns()
    for k in range(5):
        end_ns = start + (k + 1) * 20_000_000
        audio.publish(chunk(320 * k, header=Header(stamp=stamp(end_ns))))
    time.sleep(0.2)
    assert out == []  # nobody knows yet when the lips will move
    # When this node reads a command, some time after it was sent, does not matter.
    sent = {"header": Header(stamp=stamp(start)), "target_time": stamp(start), "valid": True}
    for source, ages in [("mimic", [900.0]), ("lipsync", []), ("lipsync", [NAN])]:
        commands.publish(MotorCommand(source=source, stage_ms=floats(ages), **sent))
    commands.publish(MotorCommand(source="lipsync", stage_ms=floats([240.0, 246.0]), **sent))
    until(lambda: node._playout.measured_ns)
    audio.publish(chunk(1600, header=Header(stamp=stamp(start + 120_000_000))))
    until(lambda: len(out) == 6)
    lag_ns = RobotDescription.load("sim").servo_lag_s * 1e9
    delay_ns = nanoseconds(out[0].header.stamp) - (start + 20_000_000)
    assert delay_ns == pytest.approx(246e6 + lag_ns, abs=1e3)  # look-ahead and pipeline, and lag
    assert faults(node) == {"bad_messages": 1}
    assert [message.first_sample for message in out] == [320 * k for k in range(6)]


def test_the_view_survives_bad_joint_states(running: Running) -> None:
    node = RobotViewNode()
    probe = running(node)
    publisher = connected(probe.create_publisher(JointState, "joint_states", qos.STATES))
    publisher.publish(JointState(name=["jaw"], position=[]))
    publisher.publish(JointState(name=["jaw"], position=[NAN]))
    until(lambda: faults(node).get("bad_messages") == 2)


def test_a_view_that_lags_behind_ends_its_film_early_but_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(robot_view, "FINISH_S", 0.1)
    node = RobotViewNode(parameters={"trace_dir": str(tmp_path), "sound": False})
    for second in range(600):  # ten minutes to draw
        radians = JointState(name=["jaw"], position=[0.1])
        radians.header.stamp = stamp((1000 + second) * 10**9)
        node._on_joints(radians)
    begin = Gaze()
    begin.header.stamp = stamp(1000 * 10**9)
    node._on_gaze(begin)
    drawing = node._drawing
    until(lambda: drawing._film is not None and drawing._film.next_ns is not None)
    node.stop()
    node.destroy_node()
    with VideoFile(tmp_path / "robot.mp4") as film:
        frames = sum(1 for _ in film.frames())
    assert 0 < frames < 599 * 25


def write_wav(path: Any, samples: np.ndarray) -> None:
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((np.asarray(samples) * 32767).astype("<i2").tobytes())
