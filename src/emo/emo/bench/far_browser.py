"""What a browser on another computer asks of this one: its web socket is read, nothing is drawn.

    python -m emo.bench.far_browser http://127.0.0.1:8080/

looks at a dashboard until it is ended, and then says how much came.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import msgspec.msgpack
import viser
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

#: What a browser sends first: from then on it looks.
CAMERA = {
    "type": "ViewerCameraMessage",
    "wxyz": (1.0, 0.0, 0.0, 0.0),
    "position": (0.0, 0.0, 5.0),
    "fov": 1.0,
    "near": 0.01,
    "far": 1000.0,
    "image_height": 600,
    "image_width": 800,
    "look_at": (0.0, 0.0, 0.0),
    "up_direction": (0.0, 1.0, 0.0),
}


class FarBrowser:
    """A web socket that looks at a dashboard; what comes is read, counted and dropped.

    Attributes:
        socket: the connection.
        received: bytes that came.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.received = 0
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        socket.send(msgspec.msgpack.encode(CAMERA))

    def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                self.received += len(self.socket.recv())


@contextlib.contextmanager
def looking(address: str, headers: Mapping[str, str] | None = None) -> Iterator[FarBrowser]:
    """Look at the dashboard at an http address until the block ends."""
    with connect(
        f"ws://{urlsplit(address).netloc}",
        subprotocols=[Subprotocol(f"viser-v{viser.__version__}")],
        additional_headers=headers,
        max_size=None,
    ) as socket:
        yield FarBrowser(socket)


def main() -> None:
    """Look until SIGTERM, or until the dashboard ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with looking(sys.argv[1]) as browser:
        try:
            browser.reader.join()
        finally:
            print(f"{browser.received} bytes", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
