"""Running an app server: where it listens, and how it stops."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from threadstore.appserver.access import is_loopback
from threadstore.errors import InvalidRequest, StoreUnavailable
from threadstore.jsonrpc import Limits, Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import FrameType

    from threadstore.appserver.access import Access
    from threadstore.appserver.server import AppServer
    from threadstore.jsonrpc import Listener, Transport
    from threadstore.jsonrpc.framing import TooLarge

__all__ = ["serve"]

GRACE: Final = 1.5
"""Seconds that turns, running requests and slow readers each have when the server stops."""
LISTEN_HINT: Final = "use stdio://, unix://PATH or ws://HOST:PORT"


async def serve(
    app: AppServer, listen: str, *, ready: Callable[[str], None] = lambda _url: None
) -> None:
    """Serve clients at *listen* until they are gone (stdio) or the process is told to stop.

    *listen* is ``stdio://``, ``unix://PATH`` or ``ws://HOST:PORT`` (port 0: any); ``app.access``
    says who may connect. *ready* is told the URL as soon as clients can.

    The first SIGTERM or SIGINT stops it gracefully: running turns are interrupted, everything is
    flushed, and clients are told. The second ends the process at once. Raises
    :class:`InvalidRequest` for another URL and for an address that others can reach if nobody has
    to say who they are, and :class:`StoreUnavailable` for one that cannot be listened on.
    """
    server = Server(app.dispatcher, session=app.session, limits=Limits(grace_seconds=GRACE))
    with _stop_signals() as stopped:
        if listen == "stdio://":
            ready(listen)
            await _serve_pipes(app, server, stopped)
            return
        try:
            listener, url = await _listener(server.serve, listen, app.access)
            server.add(listener)
            ready(url)
            await stopped.wait()
        finally:
            await _stop(app, server)


async def _serve_pipes(app: AppServer, server: Server, stopped: asyncio.Event) -> None:
    """Serve the one client of standard input and output.

    What runs at the end of the input ends soon after; answers may take longer to be read.
    """
    transport, ended = _stdio()
    serving = asyncio.create_task(server.serve(transport))
    try:
        await _first(serving, ended, stopped)
        if not stopped.is_set():
            await _first(serving, stopped, timeout=GRACE)
            await app.close()
            await _first(serving, stopped)
    finally:
        await _stop(app, server)
        await serving


async def _first(
    task: asyncio.Task[None], *events: asyncio.Event, timeout: float | None = None
) -> None:
    """Return when *task* has ended or one of *events* is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait((task, *waiting), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()


async def _stop(app: AppServer, server: Server) -> None:
    """Let go of the threads while clients still hear of it, then of the clients.

    A client that does not read may hold up the end of its turns: it is cut off first then.
    """
    closing = asyncio.create_task(app.close())
    await asyncio.wait((closing,), timeout=GRACE)
    await server.stop(grace=GRACE)
    await closing


def _stdio() -> tuple[Transport, asyncio.Event]:
    """Standard input and output, and what is set at the end of the input."""
    from threadstore.jsonrpc.transports.stdio import StdioTransport

    ended = asyncio.Event()

    class Stdio(StdioTransport):
        async def __aiter__(self) -> AsyncIterator[bytes | TooLarge]:
            async for message in super().__aiter__():
                yield message
            ended.set()

    return Stdio(), ended


async def _listener(
    accept: Callable[[Transport], Any], listen: str, access: Access
) -> tuple[Listener, str]:
    from urllib.parse import urlsplit  # here: a server on a pipe starts without it

    parts = urlsplit(listen)
    try:
        if parts.scheme == "unix" and parts.netloc == "" and parts.path:
            from threadstore.jsonrpc.transports.unix import unix_listener

            return await unix_listener(accept, parts.path), listen
        if parts.scheme == "ws" and parts.hostname and parts.port is not None:
            from threadstore.jsonrpc.transports.websocket import websocket_listener

            if access.authorize is None and not is_loopback(parts.hostname):
                raise InvalidRequest(
                    f"{parts.hostname} can be reached by others, who would read every thread",
                    hint="say who may connect: --ws-auth capability-token --ws-token-file PATH",
                )
            found = await websocket_listener(
                accept,
                parts.hostname,
                parts.port,
                authorize=access.authorize,
                origins=access.origins,
            )
            host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
            return found, f"ws://{host}:{found.port}"
    except OSError as error:
        raise StoreUnavailable(f"cannot listen at {listen}: {error.strerror or error}") from error
    except ValueError as error:  # a port that is no port
        raise InvalidRequest(f"cannot listen at {listen}: {error}") from error
    raise InvalidRequest(f"cannot listen at {listen}", hint=LISTEN_HINT)


@contextmanager
def _stop_signals() -> Iterator[asyncio.Event]:
    """An event that the first SIGTERM or SIGINT sets.

    A thread listens, not the loop and no handler: the second signal must work while a tool keeps
    the loop busy, and the kernel may give it to a thread that runs no handlers.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    ours, theirs = socket.socketpair()
    theirs.settimeout(0)

    def listen() -> None:
        heard = 0
        while received := ours.recv(1):
            if received[0] in numbers:
                heard += 1
                if heard > 1:
                    os._exit(128 + received[0])
                loop.call_soon_threadsafe(stopped.set)

    listener = threading.Thread(target=listen, name="stop-signals", daemon=True)
    listener.start()
    before_fd = signal.set_wakeup_fd(theirs.fileno())
    before = {number: signal.signal(number, _heard_by_listener) for number in numbers}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_fd)
        theirs.close()
        listener.join()
        ours.close()


def _heard_by_listener(_number: int, _frame: FrameType | None) -> None:
    """Python tells the listener, but only of signals that have a handler."""
