"""A WebSocket over a unix socket: what ``--listen unix://PATH`` of Codex 0.169 speaks.

Bare lines are not understood there, nor here. An ``Origin`` passes: browsers do not come this way.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from typing import TYPE_CHECKING

from threadstore.jsonrpc.framing import DEFAULT_LIMIT
from threadstore.jsonrpc.transports import Serve
from threadstore.jsonrpc.transports.websocket import (
    BACKLOG,
    WebSocketListener,
    WebSocketTransport,
    load_websockets,
    options,
)

if TYPE_CHECKING:
    from websockets.asyncio.server import Server, ServerConnection

__all__ = ["UnixListener", "unix_listener"]


class UnixListener(WebSocketListener):
    """Accepts connections at a path, which it removes in the end if it is still its own."""

    def __init__(self, server: Server, path: str) -> None:
        super().__init__(server)
        self._path = path
        self._inode = os.stat(path).st_ino

    def close(self) -> None:
        """Accept no more, and make room for another server."""
        super().close()
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self._path).st_ino == self._inode:
                os.unlink(self._path)


async def unix_listener(serve: Serve, path: str, *, limit: int = DEFAULT_LIMIT) -> UnixListener:
    """Accept connections of this user at *path* from now on.

    A socket that a killed server left is replaced. Raises :class:`OSError` if a server listens
    there, if something else is there, or if the path is too long (about 100 bytes), and
    :class:`MissingExtra` without the package.
    """
    package = load_websockets()

    async def accept(connection: ServerConnection) -> None:
        await serve(WebSocketTransport(connection))

    bound = _bind(path)
    server = await package.asyncio.server.unix_serve(
        accept, sock=bound, backlog=BACKLOG, **options(limit)
    )
    return UnixListener(server, path)


def _bind(path: str) -> socket.socket:
    """Private before anybody can connect, since nobody can before it listens."""
    os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
    _make_room(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(path)
        os.chmod(path, 0o600)
    except OSError as error:
        bound.close()
        raise OSError(error.errno or errno.EINVAL, f"cannot listen here: {error}", path) from None
    return bound


def _make_room(path: str) -> None:
    try:
        is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise FileExistsError(errno.EEXIST, "there is something that is no socket", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise OSError(errno.EADDRINUSE, "a server listens there already", path)
