"""Node: a web page with the graph's faces, signals, delays and health; motors by hand; e-stop."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import threading
import time

from emo_interfaces.msg import MotorCommand
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from emo_core.errors import EmoError
from emo_core.robot.description import RobotDescription
from emo_dashboard.board import Board
from emo_dashboard.glimpse import Glance
from emo_dashboard.remote import Remote
from emo_nodekit import qos
from emo_nodekit.kit import Kit, placed
from emo_nodekit.parameters import ROBOT, Parameter, Value
from emo_nodekit.running import PATIENT, run

PARAMETERS = (
    ROBOT,
    Parameter(
        "host",
        "127.0.0.1",
        "address to serve on; one that other machines reach (0.0.0.0) asks for the token",
    ),
    Parameter("port", 8080, "of the page; the next one that is free is taken", 1, 65535),
    Parameter("rate_hz", 10.0, "how often the page is brought up to date", 0.5, 30.0),
)

#: The variable that fixes what a browser must know. No parameter: those can be read by anybody on
#: the graph, and go into recordings with /parameter_events.
TOKEN = "EMO_DASHBOARD_TOKEN"
#: Commands by hand come so often: the arbiter forgets them after 0.25 s.
MANUAL_S = 0.05
#: What a message that makes no sense may raise on its way to the page.
_BAD = (EmoError, ValueError, TypeError, ArithmeticError, LookupError)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class DashboardNode(Node):
    """Serves the page; publishes `manual/motor_command` while motors are moved by hand.

    While nobody looks it subscribes to nothing and does nothing.
    """

    def __init__(
        self,
        namespace: str = "",
        parameters: dict[str, Value] | None = None,
        remappings: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__("dashboard", **placed(namespace, parameters, remappings))
        self._kit = Kit(self, PARAMETERS)
        try:
            from emo_dashboard.page import Page
        except ImportError as error:
            raise EmoError(
                f"the dashboard needs packages that are not installed ({error}): "
                "pip install -r requirements/dashboard.txt"
            ) from None
        self._publisher = self.create_publisher(MotorCommand, "manual/motor_command", qos.FRAMES)
        self._glance = Glance("dashboard_eyes", self.get_namespace(), self.context)
        self._board = Board(self.get_namespace())
        self._working, self._ended = threading.Lock(), False
        host, token = self._kit.text("host"), os.environ.get(TOKEN, "")
        if host not in _LOOPBACK and not token:
            token = secrets.token_urlsafe(16)
        robot = RobotDescription.load(self._kit.text("robot"))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        period_s = 1.0 / self._kit.number("rate_hz")
        self._timer = self.create_timer(period_s, self._on_timer, clock=steady)
        self._manual_timer = self.create_timer(MANUAL_S, self._on_manual, clock=steady)
        for timer in (self._timer, self._manual_timer):
            timer.cancel()
        # The page calls from its own threads: what follows happens in this node's.
        self._attention = self.create_guard_condition(self._on_attention)
        port, remote = int(self._kit.number("port")), Remote(self)
        self._page = Page(host, port, token, robot, remote, self._attention.trigger)
        self.url = _url(host, self._page.port, token)

    def stop(self) -> None:
        """Close the page; commands by hand end with it."""
        with self._working:  # this node still spins
            self._ended = True
            self._page.close()
            self._glance.destroy()

    def _on_attention(self) -> None:
        """Somebody begins to look, or nobody does any more."""
        with self._working:
            if self._ended or self._page.watched == self._glance.is_open:
                return
            if self._page.watched:
                self._board = Board(self.get_namespace())
                self._glance.open()
                self._timer.reset()
            else:
                self._timer.cancel()
                self._manual_timer.cancel()
                self._glance.close()

    def _on_timer(self) -> None:
        with self._working:
            if self._ended:
                return
            try:
                self._look()
            except _BAD as error:
                self._kit.health.fault("bad_messages", f"{type(error).__name__}: {error}")

    def _look(self) -> None:
        now_s = time.monotonic()
        glimpse = self._glance.take()
        for text in glimpse.bad:
            self._kit.health.fault("bad_messages", text)
        for message in glimpse.all("/diagnostics"):
            self._board.diagnostics(message, now_s)
        for message in glimpse.all("motor_command"):
            self._board.command(message, now_s)
        for message in glimpse.all("arbiter_state"):
            self._board.arbiter(message)
        self._page.update(self._board, glimpse, now_s)
        manual, timer = self._page.motors.manual, self._manual_timer
        if manual == timer.is_canceled():
            (timer.reset if manual else timer.cancel)()
        self._kit.health.done()

    def _on_manual(self) -> None:
        now = self.get_clock().now().nanoseconds
        self._publisher.publish(self._page.motors.command(now))


def _url(host: str, port: int, token: str) -> str:
    """Where the page is; under a name for other machines where they may see it."""
    name = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    name = "127.0.0.1" if host in _LOOPBACK else name
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")


def create_nodes(
    namespace: str = "",
    parameters: dict[str, Value] | None = None,
    remappings: tuple[tuple[str, str], ...] = (),
) -> list[Node]:
    """The nodes of this process."""
    node = DashboardNode(namespace, parameters, remappings)
    # Not by the logger: /rosout is recorded, and who gets a recording must not get the token.
    print(f"dashboard: {node.url}", file=sys.stderr, flush=True)
    return [node]


def main() -> int:
    """Run the node."""
    return run(create_nodes, niceness=PATIENT)


if __name__ == "__main__":
    raise SystemExit(main())
