"""One message per text frame of a WebSocket. Needs the extra ``threadstore[server]``.

As Codex 0.169 does it: any path, no subprotocol, no compression, no ping of the server's own;
``GET /healthz`` and ``/readyz`` say 200; an ``Origin``, which every browser sends, gets 403.
"""

from __future__ import annotations

import asyncio
import http
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from threadstore.jsonrpc.errors import ConnectionClosed, MissingExtra
from threadstore.jsonrpc.framing import DEFAULT_LIMIT, TooLarge
from threadstore.jsonrpc.transports import Close, Serve, Transport

if TYPE_CHECKING:
    from websockets.asyncio.connection import Connection as Socket
    from websockets.asyncio.server import Server, ServerConnection
    from websockets.http11 import Request, Response

__all__ = [
    "BACKLOG",
    "Authorize",
    "WebSocketListener",
    "WebSocketTransport",
    "load_websockets",
    "options",
    "websocket_listener",
]

Authorize = Callable[[Mapping[str, str]], bool]
"""Whether the headers of a handshake may pass; else 401."""

_FRAGMENT: Final = 4 * 1024 * 1024
"""Bytes of a frame. Codex's clients refuse frames above 16 MiB; longer messages are fragmented."""
_FRAMES_AHEAD: Final = 4
_CLOSE_SECONDS: Final = 2.0
BACKLOG: Final = 1024
_HEALTH: Final = {"/healthz", "/readyz"}


def load_websockets() -> Any:
    """The package, loaded when a server needs it."""
    try:
        import websockets.asyncio.server
    except ImportError:
        raise MissingExtra(
            "WebSockets and unix sockets need the package websockets: "
            "pip install 'threadstore[server]'"
        ) from None
    return websockets


class WebSocketTransport(Transport):
    """A connection of the package ``websockets``, of either side. Binary frames count as text."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._gone = load_websockets().exceptions.ConnectionClosed

    @property
    def is_open(self) -> bool:
        return self._socket.state.name == "OPEN"

    async def __aiter__(self) -> AsyncIterator[bytes | TooLarge]:
        try:
            while True:
                yield await self._socket.recv(decode=False)
        except self._gone:
            return

    async def send(self, messages: Sequence[bytes]) -> None:
        try:
            for message in messages:
                await self._socket.send(_fragments(message), text=True)
        except self._gone as error:
            raise ConnectionClosed(str(error)) from None

    async def close(self, reason: Close = Close.DONE) -> None:
        code, text = reason.value
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._socket.close(code, text)
        except TimeoutError:  # it does not even read the goodbye
            self._socket.transport.abort()
            await self._socket.wait_closed()


def _fragments(message: bytes) -> bytes | list[bytes]:
    if len(message) <= _FRAGMENT:
        return message
    return [message[at : at + _FRAGMENT] for at in range(0, len(message), _FRAGMENT)]


def options(limit: int) -> dict[str, Any]:
    """How both sides use the package: a message above *limit* ends the connection (code 1009)."""
    return {
        "max_size": limit,
        "max_queue": _FRAMES_AHEAD,
        "compression": None,
        # No pings: a terminal that is stopped for a while (Ctrl-Z) must find its session again.
        "ping_interval": None,
        "close_timeout": _CLOSE_SECONDS,
        "logger": logging.getLogger("threadstore.jsonrpc.websockets"),
    }


class WebSocketListener:
    """Accepts connections until it is closed."""

    def __init__(self, server: Server) -> None:
        self._server = server

    @property
    def port(self) -> int:
        """The port, also if any was asked for."""
        return int(next(iter(self._server.sockets)).getsockname()[1])

    def close(self) -> None:
        """Accept no more."""
        self._server.close(close_connections=False)

    async def wait_closed(self) -> None:
        """Return when every connection has ended."""
        await self._server.wait_closed()


async def websocket_listener(
    serve: Serve,
    host: str,
    port: int,
    *,
    limit: int = DEFAULT_LIMIT,
    authorize: Authorize | None = None,
    origins: Collection[str] = (),
) -> WebSocketListener:
    """Accept connections from now on; port 0 is any.

    *authorize* sees the headers of each handshake, *origins* are those of web pages that may
    connect. Raises :class:`OSError` if the address can not be listened on, and
    :class:`MissingExtra` without the package.
    """
    package = load_websockets()

    def check(socket: ServerConnection, request: Request) -> Response | None:
        if any(origin not in origins for origin in request.headers.get_all("Origin")):
            return socket.respond(http.HTTPStatus.FORBIDDEN, "")
        if request.path in _HEALTH:
            return socket.respond(http.HTTPStatus.OK, "")
        if authorize is not None and not authorize(request.headers):
            return socket.respond(http.HTTPStatus.UNAUTHORIZED, "")
        return None

    async def accept(socket: ServerConnection) -> None:
        await serve(WebSocketTransport(socket))

    server = await package.asyncio.server.serve(
        accept, host, port, process_request=check, backlog=BACKLOG, **options(limit)
    )
    return WebSocketListener(server)
