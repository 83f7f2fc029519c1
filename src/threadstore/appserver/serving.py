"""Running an app server: where it listens, and how it stops."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from threadstore.errors import InvalidRequest, StoreUnavailable
from threadstore.jsonrpc import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from threadstore.appserver.server import AppServer
    from threadstore.jsonrpc import Listener, Transport
    from threadstore.jsonrpc.transports.websocket import Authorize

__all__ = ["LOOPBACK", "serve"]

LOOPBACK = ("127.0.0.1", "::1", "localhost")

GRACE = 5.0
"""Seconds that running requests have to finish when the server stops."""


async def serve(
    app: AppServer,
    listen: str,
    *,
    authorize: Authorize | None = None,
    origins: Collection[str] = (),
    ready: Callable[[str], None] = lambda _url: None,
) -> None:
    """Serve clients at *listen* until they are gone (stdio) or the process is told to stop.

    *listen* is ``stdio://``, ``unix://PATH`` or ``ws://HOST:PORT`` (port 0: any). SIGTERM and
    SIGINT stop it gracefully: running turns are interrupted and everything is flushed. *ready* is
    told the URL as soon as clients can connect. Raises :class:`InvalidRequest` for another URL, and
    for an address that others can reach if nobody has to say who they are.
    """
    server = Server(app.dispatcher, session=app.session)
    with _stop_signals() as stopped:
        async with AsyncExitStack() as closing:
            closing.push_async_callback(app.close)
            closing.push_async_callback(server.stop, grace=GRACE)
            work: list[asyncio.Task[Any]] = [asyncio.create_task(stopped.wait())]
            if listen == "stdio://":
                work.append(asyncio.create_task(server.serve(_stdio())))
                ready(listen)
            else:
                listener, url = await _listener(server.serve, listen, authorize, origins)
                server.add(listener)
                ready(url)
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            work[0].cancel()
            await server.stop(grace=GRACE)
            await asyncio.gather(*work[1:])


def _stdio() -> Transport:
    from threadstore.jsonrpc.transports.stdio import StdioTransport

    return StdioTransport()


async def _listener(
    accept: Callable[[Transport], Any],
    listen: str,
    authorize: Authorize | None,
    origins: Collection[str],
) -> tuple[Listener, str]:
    parts = urlsplit(listen)
    try:
        if parts.scheme == "unix" and parts.netloc == "" and parts.path:
            from threadstore.jsonrpc.transports.unix import unix_listener

            return await unix_listener(accept, parts.path), listen
        if parts.scheme == "ws" and parts.hostname and parts.port is not None:
            from threadstore.jsonrpc.transports.websocket import websocket_listener

            if authorize is None and parts.hostname not in LOOPBACK:
                raise InvalidRequest(
                    f"{parts.hostname} can be reached by others, who would read every thread",
                    hint="say who may connect: --ws-auth capability-token --ws-token-file PATH",
                )
            found = await websocket_listener(
                accept, parts.hostname, parts.port, authorize=authorize, origins=origins
            )
            host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
            return found, f"ws://{host}:{found.port}"
    except OSError as error:
        raise StoreUnavailable(f"cannot listen at {listen}: {error.strerror or error}") from error
    except ValueError as error:  # a port that is no port
        raise InvalidRequest(f"cannot listen at {listen}: {error}") from error
    raise InvalidRequest(
        f"cannot listen at {listen}", hint="use stdio://, unix://PATH or ws://HOST:PORT"
    )


@contextmanager
def _stop_signals() -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        yield stopped
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
