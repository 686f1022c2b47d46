"""Who may see the page: this machine's browsers, or who has the token.

Viser itself lets in whoever reaches its port. Any web page that is open in the operator's browser
does: a browser lets a page connect to web sockets of other places, this machine's too, and such a
page could move the robot. So each request, the web socket's too, is looked at before viser gets it.
"""

from __future__ import annotations

import contextlib
import hmac
import http
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import viser.infra._infra as infra
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from emo_core.errors import EmoError

#: Names of this machine itself. Others that lead here were made for it (DNS rebinding).
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_COOKIE = "emo_token_{port}"

Handler = Callable[[ServerConnection, Request], Any]


class Gate:
    """Decides on each request.

    Args:
        token: asked for; empty: none, and only this machine's own names are served.
    """

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, connection: ServerConnection, request: Request, handler: Handler) -> Any:
        """The response of `handler`, or a refusal; None lets a web socket in."""
        try:
            host = urlsplit(f"//{request.headers.get('Host', '')}")
            origin = urlsplit(request.headers.get("Origin") or f"//{host.netloc}")
            name, port = host.hostname, host.port
        except ValueError:
            return _refusal(http.HTTPStatus.BAD_REQUEST, "no such address")
        if origin.netloc != host.netloc:
            return _refusal(http.HTTPStatus.FORBIDDEN, "another page may not use this one")
        if not self._token:
            if name not in LOCAL_NAMES:
                return _refusal(http.HTTPStatus.FORBIDDEN, "this page is for this machine only")
            return handler(connection, request)
        cookie = _COOKIE.format(port=port or 80)
        given = parse_qs(urlsplit(request.path).query).get("token", [""])[0]
        if not (self._is_token(given) or self._is_token(_cookies(request).get(cookie, ""))):
            return _refusal(
                http.HTTPStatus.UNAUTHORIZED, "open the address that ./emo dashboard printed"
            )
        response = handler(connection, request)
        if isinstance(response, Response) and given:
            # The web socket comes with it, too; other places' pages do not get it sent along.
            response.headers["Set-Cookie"] = f"{cookie}={given}; Path=/; HttpOnly; SameSite=Strict"
        return response

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self._token.encode())

    @contextlib.contextmanager
    def before_viser(self) -> Iterator[None]:
        """A ViserServer made within the block asks this gate first.

        Viser has no hook of its own for it: the function that opens its port gets one here.

        Raises:
            EmoError: this viser opened its port in another way.
        """
        opened = threading.Event()

        def guarded(*args: Any, process_request: Handler, **options: Any) -> serve:
            opened.set()

            def ask(connection: ServerConnection, request: Request) -> Any:
                return self(connection, request, process_request)

            return serve(*args, process_request=ask, **options)

        server = infra.websockets.asyncio.server
        server.serve = guarded
        try:
            yield
        finally:
            server.serve = serve
        if not opened.is_set():
            raise EmoError(
                "this release of viser cannot be kept from strangers: "
                "pip install -r requirements/dashboard.txt"
            )


def _cookies(request: Request) -> dict[str, str]:
    pairs = (part.partition("=") for part in request.headers.get("Cookie", "").split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _refusal(status: http.HTTPStatus, why: str) -> Response:
    body = f"emo: {why}\n".encode()
    headers = Headers({"Content-Type": "text/plain", "Content-Length": str(len(body))})
    return Response(int(status), status.phrase, headers, body)
