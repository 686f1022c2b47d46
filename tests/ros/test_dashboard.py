"""The dashboard against live nodes, with a browser's protocol but no browser."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, Mock

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not set up: the first ./emo lipsync installs it")
pytest.importorskip("emo_interfaces.msg", reason="emo's messages are not built: ./emo lipsync")
pytest.importorskip("viser", reason="pip install -r requirements/dashboard.txt")

from emo_interfaces.msg import AudioChunk, FaceLandmarks, MotorCommand, SpeechFeatures
from probing import spinning
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from waiting import until
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

from emo.bench.far_browser import looking
from emo_core.camera.image import encode
from emo_core.errors import EmoError
from emo_core.face import topology
from emo_core.face.alignment import canonical_face
from emo_core.robot.description import RobotDescription
from emo_dashboard import dashboard as dashboard_module
from emo_dashboard import faces, pictures, tables
from emo_dashboard.board import NodeState
from emo_dashboard.dashboard import DashboardNode
from emo_dashboard.gate import Gate
from emo_dashboard.latency import SPAN_S, STEP_S, Curves
from emo_dashboard.remote import Remote
from emo_motor_drivers import drivers
from emo_motor_drivers.arbiter import ArbiterNode
from emo_motor_drivers.door import Door
from emo_nodekit import qos
from emo_nodekit.messages import floats
from emo_normalization.normalization import NormalizationNode

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("ros")]

ROBOT = RobotDescription.load("sim")


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The e-stop's doors of these tests only: not of a robot that runs on this machine."""
    monkeypatch.setattr("emo_motor_drivers.door._folder", lambda: tmp_path)


Running = Callable[..., DashboardNode]


@pytest.fixture
def running() -> Iterator[Running]:
    """`running(*nodes, **parameters)` spins them and a dashboard until the test ends."""
    with spinning() as spin:

        def start(*nodes: Node, **parameters: Any) -> DashboardNode:
            dashboard = DashboardNode(parameters={"port": 18080, **parameters})
            spin(*nodes, dashboard)
            return dashboard

        yield start


def port_of(dashboard: DashboardNode) -> int:
    return int(dashboard.url.split(":")[2].split("/")[0])


def get(dashboard: DashboardNode, path: str = "/", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(dashboard), timeout=10)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


@contextlib.contextmanager
def browser(dashboard: DashboardNode, **headers: str) -> Iterator[ClientConnection]:
    """What a browser's web socket does, until the block ends; what comes is read and dropped."""
    with looking(dashboard.url, headers) as far:
        yield far.socket


# -- who may see it ----------------------------------------------------------------------------


def test_this_machine_only_and_no_other_page(running: Running) -> None:
    dashboard = running()
    assert dashboard.url == f"http://127.0.0.1:{port_of(dashboard)}/"
    assert get(dashboard).status == 200
    own = f"127.0.0.1:{port_of(dashboard)}"
    assert get(dashboard, Origin=f"http://{own}").status == 200
    assert get(dashboard, Origin="http://elsewhere.example").status == 403
    assert get(dashboard, Host="elsewhere.example").status == 403  # DNS rebinding
    assert get(dashboard, Host="[").status == 400
    with pytest.raises(InvalidStatus) as refused, browser(dashboard, Origin="http://evil.example"):
        pass
    assert refused.value.response.status_code == 403
    with browser(dashboard, Origin=f"http://{own}"):
        until(lambda: dashboard._page.watched)


def test_other_machines_need_the_token(running: Running) -> None:
    dashboard = running(host="0.0.0.0")
    assert dashboard.url.startswith(f"http://{socket.gethostname()}:{port_of(dashboard)}/?token=")
    token = dashboard.url.partition("?token=")[2]
    assert len(token) > 16
    host = f"robot.example:{port_of(dashboard)}"
    assert get(dashboard, Host=host).status == 401
    assert get(dashboard, "/?token=wrong", Host=host).status == 401
    entered = get(dashboard, f"/?token={token}", Host=host)
    assert entered.status == 200
    cookie = entered.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    pair = cookie.partition(";")[0]
    assert get(dashboard, Host=host, Cookie=pair).status == 200
    with pytest.raises(InvalidStatus) as refused, browser(dashboard):
        pass
    assert refused.value.response.status_code == 401
    with browser(dashboard, Cookie=pair.replace(host.partition(":")[0], "127.0.0.1")):
        until(lambda: dashboard._page.watched)


def test_a_viser_that_opens_its_port_in_another_way_is_not_served() -> None:
    with pytest.raises(EmoError, match="kept from strangers"), Gate("").before_viser():
        pass


def test_two_pages_side_by_side_take_two_ports(running: Running) -> None:
    first, second = running(), running()
    assert port_of(first) != port_of(second)


def test_nobody_can_ask_for_a_way_in_from_outside(running: Running) -> None:
    assert running()._page._server.request_share_url() is None


# -- nothing when nobody looks -------------------------------------------------------------------


def test_it_subscribes_to_nothing_while_nobody_looks(running: Running) -> None:
    probe = Node("probe")
    dashboard = running(probe)
    assert dashboard._timer.is_canceled()
    assert probe.count_subscribers("/lipsync/landmarks") == 0
    with browser(dashboard):
        until(lambda: probe.count_subscribers("/lipsync/landmarks") == 1)
        until(lambda: probe.count_subscribers("/sim/image") == 1)
        with browser(dashboard):
            time.sleep(0.3)
            assert probe.count_subscribers("/lipsync/landmarks") == 1
        time.sleep(0.3)
        assert probe.count_subscribers("/lipsync/landmarks") == 1  # one still looks
    until(lambda: probe.count_subscribers("/lipsync/landmarks") == 0)
    assert dashboard._timer.is_canceled()


def test_whatever_comes_the_page_goes_on(running: Running) -> None:
    probe = Node("probe")
    dashboard = running(probe)
    bad = {
        "lipsync/landmarks": FaceLandmarks(dim=3, points=floats([1.0, np.nan])),
        "mimic/robot_landmarks": FaceLandmarks(dim=0, points=floats([1.0])),
        "speech_features": SpeechFeatures(dim=7, data=floats(np.zeros(5))),
        "audio": AudioChunk(data=floats([np.nan, np.inf])),
        "sim/image": Image(height=9, width=9, encoding="strange", data=[1, 2, 3]),
        "image/compressed": CompressedImage(data=b"no jpeg"),
        "motor_command": MotorCommand(names=["no_such_motor"], positions=floats([np.nan])),
    }
    publishers = {
        topic: probe.create_publisher(type(message), topic, qos.FRAMES)
        for topic, message in bad.items()
    }
    with browser(dashboard):
        until(lambda: all(p.get_subscription_count() for p in publishers.values()))
        for _ in range(3):
            for topic, message in bad.items():
                publishers[topic].publish(message)
            updates = dashboard._page._updates
            until(lambda: dashboard._page._updates > updates + 1)  # noqa: B023
        for publisher in publishers.values():
            publisher.publish(b"\x00\x01\x00\x00\xff\xff\xff")  # cut off in its header
        updates = dashboard._page._updates
        until(lambda: dashboard._page._updates > updates + 1)


def test_a_message_that_breaks_the_page_is_counted(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    dashboard = running()
    handle = MagicMock()
    handle.take_message.side_effect = [RuntimeError("cut off"), None]
    subscription: Any = SimpleNamespace(handle=handle, msg_type=MotorCommand)
    with browser(dashboard):
        until(lambda: dashboard._glance.is_open)
        with dashboard._working:
            own = dict(dashboard._glance._subscriptions)
            dashboard._glance._subscriptions = {"motor_command": subscription}
            glimpse = dashboard._glance.take()
            dashboard._glance._subscriptions = own
        assert glimpse.bad == ["motor_command: cut off"] and not glimpse.messages
        with monkeypatch.context() as patch:
            patch.setattr(dashboard._page, "update", Mock(side_effect=ValueError("no number")))
            until(lambda: dashboard._kit.health.faults.get("bad_messages", 0) > 2)
        updates = dashboard._page._updates
        until(lambda: dashboard._page._updates > updates + 1)


def test_the_token_is_printed_and_never_logged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logged: list[str] = []
    for name in ("debug", "info", "warning", "error", "fatal"):
        monkeypatch.setattr(RcutilsLogger, name, lambda self, text, **options: logged.append(text))
    (node,) = dashboard_module.create_nodes(parameters={"port": 18080, "host": "0.0.0.0"})
    assert isinstance(node, DashboardNode)
    node.stop()
    node.destroy_node()
    token = node.url.partition("?token=")[2]
    assert len(token) > 16
    assert f"dashboard: {node.url}" in capsys.readouterr().err.splitlines()
    assert not [text for text in logged if token in text]


def test_a_token_that_was_given_is_no_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters go to /parameter_events, which is recorded."""
    monkeypatch.setenv("EMO_DASHBOARD_TOKEN", "open-sesame")
    node = DashboardNode(parameters={"port": 18080, "host": "0.0.0.0"})
    told = {name: each.value for name, each in node.get_parameters_by_prefix("").items()}
    node.stop()
    node.destroy_node()
    assert node.url.endswith("/?token=open-sesame")
    assert told["host"] == "0.0.0.0" and "open-sesame" not in str(told)


# -- by hand, e-stop, settings -------------------------------------------------------------------


def test_motors_are_moved_by_hand_and_given_back_with_the_page(running: Running) -> None:
    probe = Node("probe")
    asked: list[MotorCommand] = []
    probe.create_subscription(MotorCommand, "manual/motor_command", asked.append, qos.FRAMES)
    robot = drivers.create_nodes()
    dashboard = running(probe, ArbiterNode(), *robot)
    motors = dashboard._page.motors
    head = robot[0]._head
    jaw = ROBOT.names.index("jaw")
    with browser(dashboard):
        until(lambda: np.isfinite(motors._measured).all())
        motors._switch.value = True
        until(lambda: asked)
        assert list(asked[0].names) == list(ROBOT.names)
        # The sliders begin where the motors are: nothing jumps.
        assert np.allclose(asked[0].positions, ROBOT.neutral, atol=0.02)
        motors._sliders[jaw].value = 0.6
        until(lambda: abs(head.measured()[0][jaw] - 0.6) < 0.02)
    until(lambda: not motors.manual)
    until(lambda: abs(head.measured()[0][jaw] - ROBOT.neutral[jaw]) < 0.02)
    count = len(asked)
    time.sleep(0.3)
    assert len(asked) <= count + 1


def test_estop_works_while_the_pipeline_is_stuck(running: Running) -> None:
    robot = drivers.create_nodes()
    dashboard = running(*robot)
    stuck = ArbiterNode()  # nobody spins it
    try:
        assert dashboard._page._remote.estop(True) == "all motors stopped"
        assert robot[0]._head.estopped
        assert dashboard._page._remote.estop(False) == "released"
        assert not robot[0]._head.estopped
    finally:
        stuck.destroy_node()


def test_estop_reaches_drivers_whose_ros_is_stuck(running: Running) -> None:
    robot = drivers.create_nodes()  # nobody spins them: their services never answer
    dashboard = running()
    try:
        assert dashboard._page._remote.estop(True) == "all motors stopped"
        assert robot[0]._head.estopped
        with pytest.raises(EmoError, match=r"no motor driver answers.*stop --release"):
            dashboard._page._remote.estop(False)
        assert robot[0]._head.estopped, "directly, other robots would be released, too"
    finally:
        for node in robot:
            node.stop()
            node.destroy_node()


def test_estop_that_reaches_nobody_says_what_to_do(running: Running) -> None:
    with pytest.raises(EmoError, match=r"no motor driver answers.*cut its power"):
        running()._page._remote.estop(True)

    def broken(stop: bool) -> Any:
        raise ConnectionError

    door = Door(broken)
    try:
        with pytest.raises(EmoError, match="cut its power"):
            running()._page._remote.estop(True)
    finally:
        door.close()


def test_settings_are_found_changed_and_refused(running: Running) -> None:
    node = NormalizationNode(namespace="mimic")
    dashboard = running(node)
    remote: Remote = dashboard._page._remote
    until(lambda: remote.settings())
    settings = {setting.name: setting for setting in remote.settings()}
    alpha = settings["alpha"]
    assert (alpha.node, alpha.value, alpha.low, alpha.high) == ("/mimic/normalization", 0.9, 0, 2)
    assert "use_sim_time" not in settings
    assert "trace_dir" not in settings
    remote.set(alpha, 0.5)
    assert node.get_parameter("alpha").value == 0.5
    with pytest.raises(EmoError, match="out of range"):
        remote.set(alpha, 5.0)
    with pytest.raises(EmoError, match="no such face"):
        remote.set(settings["static_face"], "/no/such/face.npz")
    assert remote.value("/mimic/normalization", "alpha") == 0.5
    with pytest.raises(EmoError, match="nobody offers it"):
        remote.value("/nobody", "alpha")
    emptied, client = SimpleNamespace(value=None), Mock()
    dashboard._page._settings._apply(alpha, emptied, client)
    assert client.add_notification.call_args.args[1] == "alpha: give a number"
    assert emptied.value == 0.5, "what the node has"


# -- what is shown, without ROS ------------------------------------------------------------------


def test_lines_of_human_and_robot_are_the_same_points() -> None:
    human = canonical_face()
    lines = faces.contours()
    robot = human[topology.ROBOT_LANDMARKS]
    assert np.array_equal(human[lines], robot[faces.rows_of(lines)])
    assert faces.rows_of(lines).min() == 0  # all of them are robot landmarks


def test_points_in_whichever_form() -> None:
    human = FaceLandmarks(dim=3, points=floats(canonical_face()))
    assert np.allclose(faces.points_of(human), canonical_face())
    flat = canonical_face()[topology.ROBOT_LANDMARKS, :2]
    points = faces.points_of(FaceLandmarks(dim=2, points=floats(flat)))
    assert points is not None
    assert np.allclose(points[:, :2], flat)
    assert not points[:, 2].any()
    assert faces.points_of(FaceLandmarks(dim=2, points=floats(canonical_face()))) is None


def test_pictures_are_scaled_and_coloured_right() -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    image[:, 320:] = (250, 20, 10)  # red on the right
    raw = Image(height=480, width=640, encoding="rgb8", step=1920, data=image.tobytes())
    packed = CompressedImage(data=encode(image))
    for message in (raw, packed):
        picture = pictures.picture_of(message)
        assert picture is not None
        assert picture.shape == (240, 320, 3)
        assert np.abs(picture[120, 250].astype(int) - (250, 20, 10)).max() < 12
        assert picture[120, 60].max() < 12


def test_level_is_that_of_the_sound() -> None:
    def level(amplitude: float) -> float | None:
        wave = amplitude * np.sin(np.arange(1600) * 0.3)
        return pictures.level_percent([AudioChunk(data=floats(wave))])

    assert level(0.0) == 0.0
    quiet, loud = level(0.02), level(0.2)
    assert quiet is not None
    assert loud is not None
    assert loud - quiet == pytest.approx(20 / 60 * 100, abs=0.1)
    assert pictures.level_percent([]) is None


def test_mel_moves_to_the_left_with_high_tones_above() -> None:
    mel = pictures.Mel()
    row = np.full(592, -9.0)
    row[70:80] = 9.0  # high tones only
    mel.add([SpeechFeatures(dim=592, data=floats(np.tile(row, (25, 1))))])
    picture = mel.picture().sum(2)
    assert picture[5, -10] > 500  # the brightest colour
    assert picture[-5, -10] < 30
    assert picture[5, : pictures.WIDTH // 2].max() < 30


def test_what_messages_say_is_text_never_markup() -> None:
    evil = "<script>alert(1)</script>'\""
    node = NodeState(evil, "error", evil, 1.0, 1.0, 1.0, 0, evil, 1.0)
    pages = [
        tables.status({evil: (evil, 1.0)}, [node], True),
        tables.motors([evil], [0.5], [float("nan")], evil),
        tables.stages({evil: {evil: (1.0, 2.0)}}),
        tables.health([node], []),
    ]
    for page in pages:
        assert "<script" not in page
        assert "&lt;script" in page


def test_curves_hold_the_last_minute() -> None:
    curves = Curves(("a", "b"))
    for k in range(200):
        assert curves.add({"a": float(k), "b": 1.0}, STEP_S * k)
    assert not curves.add({"a": -1.0, "b": -1.0}, STEP_S * 199 + 0.1)
    ago, a, b = curves.data()
    assert ago[-1] == 0.0
    assert ago[0] == pytest.approx(STEP_S - SPAN_S)
    assert a.tolist() == [float(k) for k in range(80, 200)]
    assert set(b) == {1.0}
