"""The robot's picture in a browser, live: a page with a motion-JPEG stream. No ROS."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
from numpy.typing import NDArray

from emo_core.errors import EmoError

_PAGE = (
    b"<!doctype html><title>emo</title><body style='margin:0;background:#222;text-align:center'>"
    b"<img src='stream' style='max-width:100%;height:100vh;object-fit:contain'>"
)
_BOUNDARY = b"--frame\r\nContent-Type: image/jpeg\r\n\r\n"
_PATIENCE_S = 1.0


class Web:
    """Serves http://127.0.0.1:PORT/ to any number of browsers of this machine.

    Raises:
        EmoError: the port is taken.
    """

    def __init__(self, port: int) -> None:
        self._fresh = threading.Condition()
        self._jpeg = b""
        self._watching = 0
        view = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                view._answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except OSError as error:
            raise EmoError(
                f"cannot serve the robot's picture on port {port}: {error.strerror}. "
                "Choose another port"
            ) from None
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="web", daemon=True).start()

    def show(self, picture: NDArray[np.uint8]) -> None:
        """A new BGR picture; costs nothing while nobody looks."""
        if not self._watching:
            return
        good, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
        if good:
            with self._fresh:
                self._jpeg = jpeg.tobytes()
                self._fresh.notify_all()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        streams = request.path == "/stream"
        kind = "multipart/x-mixed-replace; boundary=frame" if streams else "text/html"
        try:
            request.send_response(200)
            request.send_header("Content-Type", kind)
            request.end_headers()
            if not streams:
                request.wfile.write(_PAGE)
                return
            self._watching += 1
            try:
                while True:
                    with self._fresh:
                        if not self._fresh.wait(_PATIENCE_S):
                            continue
                        jpeg = self._jpeg
                    request.wfile.write(_BOUNDARY + jpeg + b"\r\n")
            finally:
                self._watching -= 1
        except ConnectionError:
            return  # the browser left
