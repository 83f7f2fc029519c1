"""Our app server beside the real one, on copies of the same home, through the same client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.codex.app_server import AppServer, environment, write_config
from tests.codex.install import codex_binary
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.homes import make_history, make_home
from benchmarks.measure import Result, in_turn, seconds

CODEX: Final = "0.169.0"
THREADS: Final = 10_000
HISTORY: Final = 20_000_000
CLIENTS: Final = 50
REQUESTS: Final = 40
"""Of each client, one after the other."""
OURS: Final = Path(sys.executable).with_name("threadstore")


def _homes(folder: str, fill: Callable[[str], object]) -> tuple[Path, Path]:
    """The same home twice, one for each server; both have been indexed by their own server."""
    ours, theirs = Path(folder) / "ours", Path(folder) / "theirs"
    fill(str(ours))
    shutil.copytree(ours, theirs)
    for home in (ours, theirs):
        write_config(home, "http://127.0.0.1:9/v1")
    for binary, home in ((OURS, ours), (codex_binary(CODEX), theirs)):
        with AppServer(binary, home, home, patience=600.0) as server:
            server.call("thread/list", limit=1, modelProviders=[])
    return ours, theirs


def lists(folder: str) -> Iterator[Result]:
    """The first page of 10,000 threads, and from the start of the program to it."""
    ours, theirs = _homes(folder, lambda home: make_home(home, THREADS))
    binary = codex_binary(CODEX)
    with (
        AppServer(OURS, ours, ours, patience=300.0) as our_server,
        AppServer(binary, theirs, theirs, patience=300.0) as their_server,
    ):
        for key in ("created_at", "updated_at"):

            def page(server: AppServer, key: str = key) -> float:
                return seconds(
                    lambda: server.call("thread/list", limit=50, sortKey=key, modelProviders=[])
                )

            yield _result(f"thread/list by {key}", page, our_server, their_server)
        yield Result(
            name=f"resident memory with {THREADS:,} threads",
            ours=_resident(our_server),
            limit=_resident(their_server),
            unit="kB",
            goal=1.0,
            higher_is_better=False,
        )
        thread_id = their_server.call("thread/list", limit=1, modelProviders=[])["data"][0]["id"]

        def rename(server: AppServer) -> float:
            return seconds(lambda: server.call("thread/name/set", threadId=thread_id, name="new"))

        yield _result("thread/name/set, cold", rename, our_server, their_server)

    def started(program: Path, home: Path) -> float:
        def run() -> None:
            with AppServer(program, home, home) as server:
                server.call("thread/list", limit=50, modelProviders=[])

        return seconds(run)

    figures = in_turn(
        lambda: started(OURS, ours), lambda: started(binary, theirs), best=min, rounds=5
    )
    yield _line("start to first list and end", *figures)


def reads(folder: str) -> Iterator[Result]:
    """A thread of 20 MB with all its turns."""
    found: list[str] = []
    ours, theirs = _homes(folder, lambda home: found.append(make_history(home, HISTORY)[0]))

    def read(server: AppServer) -> float:
        return seconds(lambda: server.call("thread/read", threadId=found[0], includeTurns=True))

    with (
        AppServer(OURS, ours, ours, patience=300.0) as our_server,
        AppServer(codex_binary(CODEX), theirs, theirs, patience=300.0) as their_server,
    ):
        yield _result("thread/read of 20 MB with turns", read, our_server, their_server)


def throughput(folder: str) -> Iterator[Result]:
    """Requests per second that 50 clients on WebSockets get answered, all at once."""
    ours, theirs = _homes(folder, lambda home: make_home(home, 1000))
    with _listening(OURS, ours) as our_url, _listening(codex_binary(CODEX), theirs) as their_url:
        figures = in_turn(
            lambda: asyncio.run(_rate(our_url)),
            lambda: asyncio.run(_rate(their_url)),
            best=max,
            rounds=3,
        )
    yield Result(
        name=f"thread/read by {CLIENTS} clients / Codex",
        ours=figures[0],
        limit=figures[1],
        unit="1/s",
        goal=0.0,  # reported, not judged
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


def _result(
    name: str, measure: Callable[[AppServer], float], ours: AppServer, theirs: AppServer
) -> Result:
    figures = in_turn(lambda: measure(ours), lambda: measure(theirs), best=min, rounds=9)
    return _line(name, *figures)


def _line(name: str, ours: float, limit: float) -> Result:
    """Twice as good is the goal; less than that is not told apart on a shared machine."""
    return Result(
        name=f"{name} / Codex",
        ours=ours,
        limit=limit,
        unit="s",
        goal=0.5,
        higher_is_better=False,
    )


def _resident(server: AppServer) -> float:
    """Kilobytes of memory of the process and its children."""
    pids = [server.pid]
    for pid in pids:
        children = Path(f"/proc/{pid}/task/{pid}/children")
        pids += [int(child) for child in children.read_text().split()]
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


BENCHES: Final[list[Callable[[str], Iterator[Result]]]] = [lists, reads, throughput]
