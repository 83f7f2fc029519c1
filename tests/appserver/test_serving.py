"""How an app server stops: real processes, with turns that run, tools that hang, clients that do
not read."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.appserver.clients import Client
from tests.appserver.processes import Pipes, ServerProcess, server_process
from websockets.exceptions import InvalidStatus

from threadstore.cli import main
from threadstore.errors import Conflict, ThreadNotFound
from threadstore.factory import open_store
from threadstore.history.turns import build_turns
from threadstore.jsonrpc.transports.websocket import WebSocketTransport
from threadstore.testing.model_server import (
    Answer,
    Call,
    Reply,
    Say,
    ScriptedModelServer,
    Silence,
)

Json = dict[str, Any]
SOON = 15.0
"""Seconds that a stop may take on a busy machine."""

TOOLS = '''
import asyncio, sys, threading, time

def _say(word):
    print(word, file=sys.stderr, flush=True)

def sleep_on():
    """Take no notice of anything."""
    _say("hanging")
    threading.Event().wait()

async def ignore():
    """Swallow every cancellation."""
    _say("hanging")
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

async def block():
    """Keep the whole loop busy."""
    _say("hanging")
    time.sleep(600)
'''


def answer(body: Json) -> Answer:
    """The model: calls the tool that the user names, hangs, or says something."""
    said = [item for item in body["input"] if item.get("role") == "user"][-1]
    text = said["content"][0]["text"]
    if text.startswith("call ") and body["input"][-1]["type"] == "message":
        return Reply(Call(text.removeprefix("call ")))
    if text == "hang":
        return Silence()
    if text == "long":
        return Reply(Say("word " * 400_000, chunk=1_000_000))
    return Reply(Say("fine"))


@pytest.fixture
def model() -> Iterator[str]:
    """The URL of the model server."""
    with ScriptedModelServer(answer) as server:
        yield server.base_url


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where servers run."""
    tmp_path.joinpath("tools.py").write_text(TOOLS)
    tmp_path.joinpath("home").mkdir()
    return tmp_path


def store_of(place: Path) -> str:
    """The store of servers there."""
    return f"local:{place / 'home'}"


async def statuses(place: Path, thread_id: str) -> list[str]:
    """How the turns of a thread ended, as the next one who opens the store sees it."""
    async with open_store(store_of(place)) as store:
        await store.resume_thread(thread_id)  # nobody holds it any more
        return [turn.status for turn in build_turns((await store.load_history(thread_id)).items)]


async def hanging(server: ServerProcess, client: Client, tool: str | None) -> tuple[str, str]:
    """A thread and its turn, which hangs in a tool or in a request."""
    thread_id = await client.start()
    await client.turn(thread_id, "hello")
    turn_id = await client.start_turn(thread_id, "hang" if tool is None else f"call {tool}")
    if tool is None:
        await client.note("item/completed", turnId=turn_id)
    else:
        await server.said("hanging")
    return thread_id, turn_id


@pytest.mark.parametrize(
    ("number", "tool"),
    [(signal.SIGTERM, None), (signal.SIGINT, "sleep_on"), (signal.SIGTERM, "ignore")],
)
async def test_a_signal_interrupts_what_runs_and_ends_the_server(
    place: Path, model: str, number: signal.Signals, tool: str | None
) -> None:
    tools = () if tool is None else ("--tools", f"tools:{tool}")
    async with server_process(store_of(place), model, *tools, cwd=place) as server:
        client = await server.connect()
        thread_id, turn_id = await hanging(server, client, tool)
        server.signal(number)
        assert (await client.completed(turn_id))["status"] == "interrupted"
        await client.until(lambda: client.ended)
        assert isinstance(client.transport, WebSocketTransport)
        assert await server.ended(within=SOON) == 0, server.errors.decode()
    assert await statuses(place, thread_id) == ["completed", "interrupted"]


async def test_a_client_that_does_not_read_holds_no_stop_up(place: Path, model: str) -> None:
    async with server_process(store_of(place), model, cwd=place) as server:
        client = await server.connect()
        thread_id = await client.start()
        await client.turn(thread_id)
        deaf = await server.transport()
        hello = {"clientInfo": {"name": "deaf", "version": "1"}}
        follow = {"threadId": thread_id}
        await deaf.send([_request(1, "initialize", hello), _request(2, "thread/resume", follow)])
        for _ in range(5):
            await client.turn(thread_id, "long")  # 6 MB of news for either
        turn_id = await client.start_turn(thread_id, "hang")
        await client.note("item/completed", turnId=turn_id)
        server.signal(signal.SIGTERM)
        assert await server.ended(within=SOON) == 0, server.errors.decode()
        await deaf.close()
    assert (await statuses(place, thread_id))[-1] == "interrupted"


@pytest.mark.parametrize("tool", ["block", "ignore"])
async def test_a_second_signal_ends_the_server_at_once(place: Path, model: str, tool: str) -> None:
    tools = ("--tools", f"tools:{tool}")
    async with server_process(store_of(place), model, *tools, cwd=place) as server:
        client = await server.connect()
        await hanging(server, client, tool)
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGINT)
        assert await server.ended(within=3) in (128 + signal.SIGINT, 128 + signal.SIGTERM)


@pytest.mark.parametrize("tool", [None, "ignore"])
async def test_the_end_of_the_input_ends_a_server_on_stdio(
    place: Path, model: str, tool: str | None
) -> None:
    tools = () if tool is None else ("--tools", f"tools:{tool}")
    async with server_process(
        store_of(place), model, *tools, listen="stdio://", cwd=place
    ) as server:
        client = await server.connect()
        thread_id, _ = await hanging(server, client, tool)
        last = await client.begin("thread/read", {"threadId": thread_id})
        assert isinstance(client.transport, Pipes)
        client.transport.end_input()
        assert (await client.answer_to(last))["thread"]["id"] == thread_id
        assert await server.ended(within=SOON) == 0, server.errors.decode()
    assert await statuses(place, thread_id) == ["completed", "interrupted"]


async def test_answers_that_nobody_reads_hold_no_turn_up(place: Path, model: str) -> None:
    async with server_process(store_of(place), model, listen="stdio://", cwd=place) as server:
        deaf = await server.transport()
        assert isinstance(deaf, Pipes)
        messages = deaf.__aiter__()
        await deaf.send([_request(1, "initialize", {"clientInfo": {"name": "deaf"}})])
        await deaf.send([_request(2, "thread/start", {})])
        while (message := json.loads(await anext(messages))).get("id") != 2:  # type: ignore[arg-type]
            pass
        thread_id = message["result"]["thread"]["id"]
        for number, text in enumerate(("long", "hang")):
            given = [{"type": "text", "text": text}]
            turn = {"threadId": thread_id, "input": given}
            await deaf.send([_request(3 + number, "turn/start", turn)])
        deaf.end_input()
        await _released(place, thread_id)
        server.signal(signal.SIGTERM)
        assert await server.ended(within=SOON) == 0, server.errors.decode()
    assert (await statuses(place, thread_id))[-1] == "interrupted"


async def _released(place: Path, thread_id: str) -> None:
    """Return when nobody writes the thread any more."""
    async with asyncio.timeout(SOON), open_store(store_of(place)) as store:
        while True:
            try:
                await store.resume_thread(thread_id)
            except (Conflict, ThreadNotFound):
                await asyncio.to_thread(os.sched_yield)
            else:
                return


async def test_a_signal_ends_a_server_on_stdio(place: Path, model: str) -> None:
    async with server_process(store_of(place), model, listen="stdio://", cwd=place) as server:
        client = await server.connect()
        thread_id, turn_id = await hanging(server, client, None)
        server.signal(signal.SIGTERM)
        assert (await client.completed(turn_id))["status"] == "interrupted"
        assert await server.ended(within=SOON) == 0, server.errors.decode()
    assert await statuses(place, thread_id) == ["completed", "interrupted"]


async def test_a_server_that_stops_begins_nothing(place: Path, model: str) -> None:
    tools = ("--tools", "tools:ignore")
    async with server_process(store_of(place), model, *tools, cwd=place) as server:
        client, other = await server.connect(), await server.connect()
        _, turn_id = await hanging(server, client, "ignore")
        await other.start()
        server.signal(signal.SIGTERM)
        await other.note("thread/closed")
        try:
            refused = await other.refusal("thread/start")
        except AssertionError:  # it was too late even for that
            return
        assert refused.message == "the server stops"
        assert (await client.completed(turn_id))["status"] == "interrupted"


async def test_a_unix_socket_is_for_its_user_only_and_goes_with_its_server(
    place: Path, model: str
) -> None:
    with tempfile.TemporaryDirectory(prefix="ts") as folder:
        path = os.path.join(folder, "inner", "s")
        listen = f"unix://{path}"
        async with server_process(store_of(place), model, listen=listen, cwd=place) as server:
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
            assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
            client = await server.connect()
            assert (await client.turn(await client.start()))["status"] == "completed"
            server.signal(signal.SIGTERM)
            assert await server.ended(within=SOON) == 0
        assert not os.path.exists(path)


# Who may connect


async def test_a_server_that_others_reach_wants_a_token(place: Path, model: str) -> None:
    secret = place / "secret"
    secret.write_text("open-sesame\n")
    flags = ("--ws-auth", "capability-token", "--ws-token-file", str(secret))
    async with server_process(
        store_of(place), model, *flags, listen="ws://0.0.0.0:0", cwd=place
    ) as server:
        server.url = server.url.replace("0.0.0.0", "127.0.0.1")
        right = {"Authorization": "Bearer open-sesame"}
        twice = [*right.items(), *right.items()]
        pages = [*right.items(), ("Origin", "https://a.example"), ("Origin", "https://b.example")]
        for given, status in (
            ({}, 401),
            ({"Authorization": "Bearer open-sesam"}, 401),
            ({"Authorization": "open-sesame"}, 401),
            (twice, 401),
            (pages[:2], 403),
            (pages, 403),
        ):
            with pytest.raises(InvalidStatus) as refused:
                await server.connect(additional_headers=given)
            assert refused.value.response.status_code == status
        client = await server.connect(additional_headers=right)
        thread_id = await client.start()
        image = [{"type": "localImage", "path": str(secret)}]
        error = await client.refusal("turn/start", threadId=thread_id, input=image)
        assert "no file" in error.message
        server.signal(signal.SIGTERM)
        assert await server.ended(within=SOON) == 0
        assert b"sesame" not in server.errors
        assert b"Traceback" not in server.errors
        assert "sesame" not in str(client.heard)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--listen", "ws://0.0.0.0:0"], "can be reached by others"),
        (["--listen", "ws://[::]:0"], "can be reached by others"),
        (["--listen", "ws://example.org:0"], "can be reached by others"),
        (["--listen", "http://127.0.0.1:0"], "cannot listen"),
        (["--listen", "ws://127.0.0.1"], "cannot listen"),
        (["--listen", "ws://127.0.0.1:99999"], "cannot listen"),
        (["--allow-origin", "https://example.org"], "ws://HOST:PORT"),
        (["--ws-issuer", "me"], "--ws-auth"),
        (["--max-requests", "-1"], "max-requests"),
    ],
)
def test_a_server_that_cannot_be_says_why(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    words: str,
) -> None:
    monkeypatch.setenv("CODEX_HOME", str(tmp_path))
    assert main(["--store", "memory:", "app-server", *flags]) == 2
    assert words in capsys.readouterr().err


def _request(number: int, method: str, params: Json) -> bytes:
    return json.dumps({"id": number, "method": method, "params": params}).encode()
