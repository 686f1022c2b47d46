"""The page: what is where, and what its buttons do. Viser serves it; no ROS messages are made."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import rich
import viser

from emo_core.errors import EmoError
from emo_core.robot.description import RobotDescription
from emo_dashboard import tables
from emo_dashboard.board import Board
from emo_dashboard.faces import Faces
from emo_dashboard.gate import Gate
from emo_dashboard.glimpse import Glimpse
from emo_dashboard.latency import LatencyCurves
from emo_dashboard.motors import Motors
from emo_dashboard.pictures import Pictures
from emo_dashboard.remote import Remote
from emo_dashboard.settings import Settings

#: Tables that nobody reads ten times a second are shown every so many updates.
_SLOW = 5


class _Server(viser.ViserServer):
    """Viser without its way to the outside."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        """A browser may ask for a tunnel through viser's makers' machines: never."""
        return None


class Page:
    """Serves the page until `close`.

    Args:
        host, port: where; the next free port is taken where this one is not free.
        token: asked for; empty: none.
        robot: whose motors are shown.
        remote: for the e-stop and settings.
        attention: called when somebody begins to look, and when nobody does any more.

    Attributes:
        port: where it is.
        motors: the motors' part.

    Raises:
        EmoError: it cannot listen there.
    """

    def __init__(
        self,
        host: str,
        port: int,
        token: str,
        robot: RobotDescription,
        remote: Remote,
        attention: Callable[[], None],
    ) -> None:
        rich.get_console().quiet = True  # viser greets on standard output
        with Gate(token).before_viser():
            self._server = _Server(host=host, port=port, label="emo", verbose=False)
        self.port = self._server.get_port()
        self._remote, self._attention = remote, attention
        self._clients: set[int] = set()
        self._lock = threading.Lock()
        self._updates = 0
        gui: Any = self._server.gui
        gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False)
        self._faces = Faces(self._server)
        left = gui.add_panel()
        with left.add_tab("Pictures and sound"):
            self._pictures = Pictures(self._server)
            self._curves = LatencyCurves(self._server)
        left.dock_left()
        left.set_width(300)
        # First, so that it never moves.
        stop = gui.add_button("E-STOP", color="red", icon=viser.Icon.HAND_STOP)
        stop.on_click(lambda event: self._estop(True, event.client))
        release = gui.add_button("Release", color="gray", hint="motors work again, gently")
        release.on_click(lambda event: self._estop(False, event.client))
        self._status = gui.add_html("")
        tabs = gui.add_tab_group()
        with tabs.add_tab("Motors"):
            self.motors = Motors(self._server, robot)
        with tabs.add_tab("Latency"):
            self._stages = gui.add_html("")
        with tabs.add_tab("Health"):
            self._health = gui.add_html("")
        with tabs.add_tab("Settings") as container:
            self._settings = Settings(self._server, container, remote)
        gui.main_panel.dock_right()
        gui.main_panel.set_width(380)
        self._server.on_client_connect(self._on_connect)
        self._server.on_client_disconnect(self._on_disconnect)

    @property
    def watched(self) -> bool:
        """Whether a browser has the page open."""
        return bool(self._clients)

    def close(self) -> None:
        """Serve no more; nobody's attention is told of."""
        self._attention = lambda: None
        self._remote.close()
        self._server.stop()

    def update(self, board: Board, glimpse: Glimpse, now_s: float) -> None:
        """Show what came since the last time. Costs what it costs: call it if somebody looks."""
        nodes = board.nodes(now_s)
        with self._server.atomic():
            self._faces.update(glimpse)
            self._pictures.update(glimpse)
            self.motors.update(glimpse, nodes)
            if self._updates % _SLOW == 0:
                self._update_slow(board, now_s)
        self._updates += 1

    def _update_slow(self, board: Board, now_s: float) -> None:
        nodes = board.nodes(now_s)
        self._status.content = tables.status(board.sources, nodes, self.motors.manual)
        self._curves.update(board, now_s)
        self._stages.content = tables.stages(board.latency_ms(now_s))
        self._health.content = tables.health(nodes, board.processes(now_s))

    def _on_connect(self, client: Any) -> None:
        with self._lock:
            self._clients.add(client.client_id)
        self._attention()
        self._settings.refresh()

    def _on_disconnect(self, client: Any) -> None:
        with self._lock:
            self._clients.discard(client.client_id)
        if not self.watched:
            self.motors.leave()
        self._attention()

    def _estop(self, stop: bool, client: Any) -> None:
        try:
            text, colour = self._remote.estop(stop), "green"
        except EmoError as error:
            text, colour = str(error), "red"
        if client is not None:
            title = "E-stop" if stop else "Release"
            client.add_notification(title, text, color=colour, auto_close_seconds=8.0)
