"""The app server with fifty clients on WebSockets, beside Codex 0.169."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.codex.app_server import environment
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.measure import Result, in_turn
from benchmarks.piles import copies, make_pile
from benchmarks.servers import CODEX, OURS, codex_binary
from benchmarks.sizes import pick

CLIENTS: Final = 50
REQUESTS: Final = 40
"""Of each client, one after the other."""


def throughput(_folder: str) -> Iterator[Result]:
    """Requests per second that 50 clients on WebSockets get answered, all at once."""
    ours, theirs = copies("pile-1000", lambda home: make_pile(home, 1000))
    with _listening(OURS, ours) as our_url, _listening(codex_binary(CODEX), theirs) as their_url:
        figures = in_turn(
            lambda: asyncio.run(_rate(our_url)),
            lambda: asyncio.run(_rate(their_url)),
            best=max,
            rounds=pick(3, 1),
        )
    yield Result(
        name=f"thread/read by {CLIENTS} clients / Codex",
        ours=figures[0],
        limit=figures[1],
        unit="1/s",
        goal=None,
        higher_is_better=True,
    )


@contextmanager
def _listening(program: Path, home: Path) -> Iterator[str]:
    """A server of WebSockets on a free port; its URL, as soon as it accepts."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"ws://127.0.0.1:{port}"
    command = [str(program), "app-server", "--listen", url]
    process = subprocess.Popen(command, env=environment(home), stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


async def _rate(url: str) -> float:
    async with contextlib.AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(connect(url, max_size=None)) for _ in range(CLIENTS)
        ]
        client = {"clientInfo": {"name": "bench", "version": "1"}}
        for each in sockets:
            await _call(each, "initialize", client)
        page = await _call(sockets[0], "thread/list", {"limit": 1, "modelProviders": []})
        wanted = {"threadId": page["data"][0]["id"]}

        async def ask(each: ClientConnection) -> None:
            for _ in range(REQUESTS):
                await _call(each, "thread/read", wanted)

        start = time.perf_counter()
        await asyncio.gather(*map(ask, sockets))
        return CLIENTS * REQUESTS / (time.perf_counter() - start)


async def _call(each: ClientConnection, method: str, params: object) -> Any:
    await each.send(json.dumps({"id": 1, "method": method, "params": params}))
    while "id" not in (answer := json.loads(await each.recv())):
        pass
    return answer["result"]


BENCHES: Final[list[Callable[[str], Iterator[Result]]]] = [throughput]
