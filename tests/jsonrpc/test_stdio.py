"""What only pipes and files have."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.jsonrpc.desk import Desk
from tests.jsonrpc.peers import until

from threadstore.jsonrpc import Limits, Server
from threadstore.jsonrpc.framing import LineSplitter, TooLarge
from threadstore.jsonrpc.transports.stdio import StdioTransport

_ASK = b'{"id":1,"method":"any","params":1}'
_ANSWER = {"id": 1, "result": 1}


async def _serve(desk: Desk, source: int, target: int, grace: float = 30) -> None:
    server = Server(desk.dispatcher, limits=Limits(grace_seconds=grace))
    await server.serve(StdioTransport(source, target))


def _answers(path: Path) -> list[object]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize("end", [b"\n", b"", b"\r\n", b'\n{"id":2,"method":"an'])
async def test_files_are_served_whether_or_not_the_last_line_ends(
    tmp_path: Path, desk: Desk, end: bytes
) -> None:
    (tmp_path / "in").write_bytes(_ASK + end)
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as target:
        await _serve(desk, source.fileno(), target.fileno())
    assert _answers(tmp_path / "out") == [_ANSWER]


async def test_nothing_is_served_from_nowhere(desk: Desk) -> None:
    with Path(os.devnull).open("r+b") as nowhere:
        await _serve(desk, nowhere.fileno(), nowhere.fileno())


async def test_requests_are_answered_after_the_end_of_the_input(tmp_path: Path, desk: Desk) -> None:
    """As in ``echo … | threadstore app-server``."""
    source, target = os.pipe()
    with (tmp_path / "out").open("wb") as out:
        os.write(target, b'{"id":1,"method":"wait","params":{"word":"w"}}\n')
        os.close(target)
        serving = asyncio.create_task(_serve(desk, source, out.fileno()))
        await until(lambda: desk.started == ["w"])
        desk.gate.set()
        await serving
    os.close(source)
    assert _answers(tmp_path / "out") == [{"id": 1, "result": "w"}]


@pytest.mark.parametrize("named", [False, True])
async def test_a_pipe_that_everybody_has_left_is_read_to_its_end(
    tmp_path: Path, desk: Desk, named: bool
) -> None:
    if named:
        os.mkfifo(tmp_path / "in")
        source = os.open(tmp_path / "in", os.O_RDONLY | os.O_NONBLOCK)
        target = os.open(tmp_path / "in", os.O_WRONLY)
    else:
        source, target = os.pipe()
    os.write(target, _ASK + b"\n")
    os.close(target)
    with (tmp_path / "out").open("wb") as out:
        await _serve(desk, source, out.fileno())
    os.close(source)
    assert _answers(tmp_path / "out") == [_ANSWER]


async def test_nothing_is_asked_after_the_end_of_the_input(tmp_path: Path, desk: Desk) -> None:
    (tmp_path / "in").write_bytes(b'{"id":1,"method":"lateQuestion"}')
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as target:
        serving = asyncio.create_task(_serve(desk, source.fileno(), target.fileno(), 60))
        await until(lambda: desk.started == ["late"])
        await asyncio.wait([serving], timeout=0.05)
        desk.gate.set()
        await serving
    assert _answers(tmp_path / "out") == [
        {"id": 1, "error": {"code": -32800, "message": "Request cancelled"}}
    ]


async def test_a_stop_does_not_wait_as_long_as_the_end_of_the_input_does(
    tmp_path: Path, desk: Desk
) -> None:
    """The official SDK closes the input, and sends SIGTERM at once and SIGKILL after 2 s."""
    (tmp_path / "in").write_bytes(b'{"id":1,"method":"wait","params":{"word":"w"}}\n')
    server = Server(desk.dispatcher, limits=Limits(grace_seconds=60))
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as target:
        transport = StdioTransport(source.fileno(), target.fileno())
        serving = asyncio.create_task(server.serve(transport))
        await until(lambda: desk.started == ["w"])
        async with asyncio.timeout(2):
            await server.stop(grace=0.1)
        await serving
    problem = {"code": -32800, "message": "Request cancelled"}
    assert _answers(tmp_path / "out") == [{"id": 1, "error": problem}]


@pytest.mark.parametrize("blocking", [True, False])
async def test_a_descriptor_stays_as_it_is(desk: Desk, blocking: bool) -> None:
    (source, client_out), (client_in, target) = os.pipe(), os.pipe()
    for fd in (source, target):
        os.set_blocking(fd, blocking)
    serving = asyncio.create_task(_serve(desk, source, target))
    client = StdioTransport(client_in, client_out)
    await client.send([b'{"id":1,"method":"large","params":1000000}'])
    answer = await anext(aiter(client))
    assert not isinstance(answer, TooLarge)
    assert len(answer) > 1_000_000
    assert os.get_blocking(source) is os.get_blocking(target) is blocking
    await client.close()
    os.close(client_out)
    await serving
    for fd in (source, target, client_in):
        os.close(fd)


def test_a_line_above_the_limit_takes_no_more_memory_than_the_limit() -> None:
    lines, chunk = LineSplitter(1_000_000), b"x" * 100_000
    tracemalloc.start()
    for _ in range(1000):
        assert lines.feed(chunk) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3_000_000
    first, second = lines.feed(b"\n{}\n")
    assert isinstance(first, TooLarge)
    assert second == b"{}"


@given(st.lists(st.binary()), st.integers(1, 20))
def test_lines_are_the_same_however_they_are_cut(chunks: list[bytes], limit: int) -> None:
    splitter = LineSplitter(limit)
    got = [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.finish()
    whole = b"".join(chunks).split(b"\n")
    expected = [None if len(line) > limit else line for line in whole]
    assert [None if isinstance(line, TooLarge) else line for line in got] == [
        line for line in expected if line is None or line.strip()
    ]
