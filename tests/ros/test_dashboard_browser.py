"""The dashboard in a real browser: headless Chromium, driven by its DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not set up: the first ./emo lipsync installs it")
pytest.importorskip("emo_interfaces.msg", reason="emo's messages are not built: ./emo lipsync")
pytest.importorskip("viser", reason="pip install -r requirements/dashboard.txt")

from emo_interfaces.msg import FaceLandmarks
from probing import spinning
from rclpy.node import Node
from waiting import until
from websockets.sync.client import connect

from emo.bench.dashboard import BROWSER, browser_command
from emo_core.face.alignment import canonical_face
from emo_core.robot.description import RobotDescription
from emo_dashboard.dashboard import DashboardNode
from emo_motor_drivers import drivers
from emo_motor_drivers.arbiter import ArbiterNode
from emo_nodekit import qos
from emo_nodekit.messages import floats
from emo_normalization.normalization import NormalizationNode

pytestmark = [
    pytest.mark.ros,
    pytest.mark.usefixtures("ros"),
    pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt install chromium"),
]

#: The middle of the first visible element with exactly this text, or with this selector.
FIND = """(what => {
  const found = what.startsWith('css:')
    ? [...document.querySelectorAll(what.slice(4))]
    : [...document.querySelectorAll('*')].filter(
        e => !e.children.length && e.textContent.trim() == what);
  const boxes = found.map(e => e.getBoundingClientRect()).filter(r => r.width && r.height);
  return boxes.length ? [boxes[0].x + boxes[0].width / 2, boxes[0].y + boxes[0].height / 2] : null;
})"""


class Browser:
    """One tab."""

    def __init__(self, devtools: str) -> None:
        self._socket = connect(devtools, max_size=None)
        self._numbers = itertools.count(1)
        self.errors: list[str] = []
        self.requests: list[str] = []
        for domain in ("Runtime", "Network", "Page"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == number:
                return dict(message["result"])
            if message.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(message["params"]))
            if message.get("method") == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])

    def evaluate(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    def text(self) -> str:
        return str(self.evaluate("document.body.innerText"))

    def shows(self, *texts: str) -> None:
        """Wait for all of the texts."""
        until(lambda: all(text in self.text() for text in texts), step_s=0.1)

    def picture(self) -> np.ndarray:
        """What is on the screen: BGR."""
        png = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR))

    def click(self, what: str) -> None:
        """Click like a hand would: at the place where it is seen."""
        until(lambda: self.evaluate(f"{FIND}({json.dumps(what)})"))
        x, y = self.evaluate(f"{FIND}({json.dumps(what)})")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Replace what is in the field that has the focus."""
        self.call("Input.dispatchKeyEvent", type="keyDown", commands=["selectAll"])
        self.call("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key="Enter", windowsVirtualKeyCode=13)


def skin(picture: np.ndarray) -> float:
    """Share of the scene, between the panels, that has the colour of the human faces."""
    scene = picture[:, picture.shape[1] // 4 : picture.shape[1] * 2 // 3].astype(int)
    blue, green, red = scene[..., 0], scene[..., 1], scene[..., 2]
    return float(np.mean((red > 90) & (red > green + 8) & (green > blue + 8)))


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    process = subprocess.Popen(
        [*browser_command(profile), "--remote-debugging-port=0", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port = profile / "DevToolsActivePort"
        until(lambda: port.exists() and len(port.read_text().split()) == 2)
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port.read_text().split()[0]}/json"
        ) as list_:
            tabs = json.load(list_)
        page = next(tab for tab in tabs if tab["type"] == "page")
        yield Browser(page["webSocketDebuggerUrl"])
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture
def graph(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[tuple[DashboardNode, Any, NormalizationNode]]:
    """A dashboard, drivers with an arbiter, a normalization; and a face that somebody publishes."""
    monkeypatch.setattr("emo_motor_drivers.door._folder", lambda: tmp_path)
    dashboard = DashboardNode(parameters={"port": 18180})
    motors = drivers.create_nodes()
    normalization = NormalizationNode(namespace="lipsync")
    talker = Node("talker")
    publisher = talker.create_publisher(FaceLandmarks, "lipsync/landmarks", qos.FRAMES)
    face = FaceLandmarks(dim=3, points=floats(canonical_face()), valid=True)

    def talk() -> None:
        face.frame += 1
        publisher.publish(face)

    talker.create_timer(0.1, talk)
    with spinning(*motors, ArbiterNode(), normalization, talker, dashboard):
        yield dashboard, motors[0]._head, normalization


def test_a_browser_with_the_token_gets_in(
    graph: tuple[DashboardNode, Any, NormalizationNode], tmp_path: Path
) -> None:
    guarded = DashboardNode(parameters={"port": 18190, "host": "0.0.0.0"})
    address = guarded.url.partition("?")[0]
    with spinning(guarded), chromium(tmp_path / "profile") as browser:
        browser.call("Page.navigate", url=address)
        browser.shows("open the address")
        browser.call("Page.navigate", url=guarded.url)
        until(lambda: guarded._page.watched)
        browser.shows("E-STOP")
        browser.call("Page.navigate", url=address)  # from now on the cookie will do
        browser.shows("E-STOP")


def test_an_operator_looks_stops_moves_and_sets(
    graph: tuple[DashboardNode, Any, NormalizationNode], tmp_path: Path
) -> None:
    dashboard, head, normalization = graph
    robot = RobotDescription.load("sim")
    with chromium(tmp_path / "profile") as browser:
        browser.call("Page.navigate", url=dashboard.url)

        # It shows the robot's motors, who is well, and a face in 3-D.
        browser.shows("E-STOP")
        browser.shows(*robot.names)
        browser.shows("nodes are well")
        until(lambda: skin(browser.picture()) > 0.02, step_s=0.1)

        # The e-stop.
        browser.click("E-STOP")
        until(lambda: head.estopped)
        browser.shows("all motors stopped")
        browser.shows("e-stop is set")
        browser.click("Release")
        until(lambda: not head.estopped)

        # By hand: through the arbiter and the safety layer to the servos.
        jaw = robot.names.index("jaw")
        browser.click("css:input[type=checkbox]")
        until(lambda: dashboard._page.motors.manual)
        browser.shows("moved by hand")
        until(
            lambda: browser.evaluate("document.querySelectorAll('input[type=text]').length") > 10,
            step_s=0.1,
        )
        places = browser.evaluate(
            "[...document.querySelectorAll('input[type=text]')].map(e => e.value)"
        )
        browser.evaluate(
            f"document.querySelectorAll('input[type=text]')[{jaw}].scrollIntoView(),"
            f"document.querySelectorAll('input[type=text]')[{jaw}].focus()"
        )
        assert len(places) >= len(robot.names)
        browser.type("0.5")
        until(lambda: abs(head.measured()[0][jaw] - 0.5) < 0.03)

        # Another scale of all motion, while it runs.
        browser.evaluate("window.scrollTo(0, 0)")
        browser.click("Settings")
        browser.shows("/lipsync/normalization")
        alpha = (
            "[...document.querySelectorAll('input[type=text]')].filter(e => e.value == '0.9')[0]"
        )
        until(lambda: browser.evaluate(f"!!{alpha}"))
        browser.evaluate(f"{alpha}.focus()")
        browser.type("0.7")
        until(lambda: np.isclose(normalization.get_parameter("alpha").value, 0.7))

        assert browser.errors == []
        elsewhere = [
            url
            for url in browser.requests
            if not url.startswith((dashboard.url, "data:", f"blob:{dashboard.url}"))
        ]
        assert elsewhere == [], "everything comes from the robot: it works without the internet"

    # The page is closed: the motors are given back.
    until(lambda: not dashboard._page.motors.manual)
    until(lambda: abs(head.measured()[0][jaw] - robot.neutral[jaw]) < 0.03)
