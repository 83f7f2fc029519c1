"""Servers that fail in every way: the turn says how it ended, the thread goes on, all is counted
once. End to end: a session, the real client, a real server, a home on disk."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.engine.helpers import USAGE, usage

from threadstore import NewThread, ThreadManager, open_store
from threadstore.engine import (
    Event,
    Model,
    OpenAIModel,
    Session,
    SessionSettings,
    StreamError,
    TokenCount,
    TurnResult,
    tool,
)
from threadstore.engine.compaction import SUMMARY_PREFIX
from threadstore.history.items import RolloutItem
from threadstore.history.turns import StoredTurn, build_turns
from threadstore.metadata import ThreadUsage, TokenUsage
from threadstore.testing.model_server import (
    Answer,
    Bytes,
    Call,
    Failed,
    HangUp,
    Http,
    Incomplete,
    Reply,
    Say,
    ScriptedModelServer,
    Silence,
    usage_limit_reached,
)

Json = dict[str, Any]

SETTINGS = SessionSettings(model="m-1", max_retries=2, retry_delay=0)
FINE = Reply(Say("fine"), usage=USAGE)
LONG = Say("what was said until the line went dead", chunk=8)
BROKEN = b'data: {"type": "response.output_text.delta", "delta": \n\n'
NOT_JSON = Http(200, "<html>a proxy</html>")


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What the server answers to the first turn, and what shall become of it."""

    answers: Sequence[Answer]
    """To each request of the turn."""
    error: Any = None
    """The ``codex_error_info`` of the turn; ``None``: it completes."""
    message: str = ""
    """What the error says, among other words."""
    said: str | None = "fine"
    counted: int = 1
    """How many of the answers told what they used."""
    client: Json = {}
    """Options of the client."""

    @property
    def retries(self) -> int:
        return len(self.answers) - 1


def _http(kind: str, status: int | None = None) -> Json:
    return {kind: {"http_status_code": status}}


def _error(status: int, code: str | None = None, **headers: str) -> Http:
    body = {"error": {"message": f"told {status}", "code": code}}
    return Http(status, body, {name.replace("_", "-"): text for name, text in headers.items()})


CUT = Reply(LONG, cut_after=3, usage=USAGE)
HALF = LONG.text[:24]
LOST: Json = {"error": _http("response_stream_disconnected"), "counted": 0}
NO_WAIT = {"retry_after_ms": "1"}
FAULTS = {
    "cut in a message": Fault(answers=[CUT, FINE]),
    "cut in a message for ever": Fault(answers=[CUT] * 3, said=HALF, message="broke", **LOST),
    "cut between items": Fault(answers=[Reply(Say("one"), cut=True), FINE]),
    "cut before the first item": Fault(answers=[Reply(cut=True), FINE]),
    "a malformed event": Fault(answers=[Reply(Bytes(BROKEN), usage=USAGE), FINE]),
    "malformed events for ever": Fault(
        answers=[Reply(Bytes(BROKEN))] * 3, said=None, message="malformed", **LOST
    ),
    "HTTP 400": Fault(
        answers=[_error(400)], error="bad_request", message="told 400", said=None, counted=0
    ),
    "HTTP 401": Fault(
        answers=[_error(401)], error="unauthorized", message="told 401", said=None, counted=0
    ),
    "HTTP 429 with retry-after": Fault(answers=[_error(429, **NO_WAIT), FINE]),
    "HTTP 429 with an hour's retry-after": Fault(
        answers=[_error(429, retry_after="3600")],
        error=_http("response_too_many_failed_attempts", 429),
        said=None,
        counted=0,
    ),
    "HTTP 429 for ever": Fault(
        answers=[_error(429, **NO_WAIT)] * 3,
        error=_http("response_too_many_failed_attempts", 429),
        said=None,
        counted=0,
    ),
    "a usage limit": Fault(
        answers=[usage_limit_reached()], error="usage_limit_exceeded", said=None, counted=0
    ),
    "HTTP 500, then fine": Fault(answers=[_error(500), FINE]),
    "HTTP 500 for ever": Fault(
        answers=[_error(500)] * 3,
        error="internal_server_error",
        message="told 500",
        said=None,
        counted=0,
    ),
    "overload in the stream": Fault(answers=[Reply(Failed("server_is_overloaded")), FINE]),
    "a response that is incomplete": Fault(
        answers=[Reply(Say("cut short"), Incomplete(), usage=USAGE)],
        error="other",
        message="max_output_tokens",
        said="cut short",
    ),
    "an empty body": Fault(answers=[Http(200, ""), NOT_JSON, FINE]),
    "a server that hangs up": Fault(answers=[HangUp(), HangUp(), FINE]),
    "a server that never answers": Fault(
        answers=[Silence()] * 3,
        error=_http("response_stream_connection_failed"),
        said=None,
        counted=0,
        client={"timeout": 0.2},
    ),
    "a server that falls silent": Fault(
        answers=[Reply(LONG, cut_after=3, hang=True)] * 3,
        said=HALF,
        client={"timeout": 0.2},
        **LOST,
    ),
}


@asynccontextmanager
async def resumed(home: Path, thread_id: str, client: Model) -> AsyncIterator[Session]:
    """The thread in a program that has just started."""
    async with (
        open_store(f"local:{home}") as store,
        ThreadManager(store) as manager,
        await Session.resume(manager, thread_id, client, settings=SETTINGS) as session,
    ):
        yield session


@asynccontextmanager
async def begun(home: Path, client: Model, *tools: Any, **changes: Any) -> AsyncIterator[Session]:
    """A new thread."""
    settings = msgspec.structs.replace(SETTINGS, **changes)
    async with open_store(f"local:{home}") as store, ThreadManager(store) as manager:
        new = NewThread(cwd="")
        async with await Session.start(
            manager, new, client, settings=settings, tools=tools
        ) as session:
            yield session


async def one_turn(session: Session, words: str) -> tuple[list[Event], TurnResult]:
    """A turn to its end."""
    turn = await session.start_turn(words)
    return [event async for event in turn], await turn.result()


async def on_disk(home: Path, thread_id: str) -> tuple[list[StoredTurn], ThreadUsage | None]:
    """The turns as somebody else finds them, and what they used."""
    async with open_store(f"local:{home}") as store:
        history = await store.load_history(thread_id)
        stored = await store.read_thread(thread_id)
        assert [thread.id for thread in (await store.list_threads()).items] == [thread_id]
    assert not history.damage
    return list(build_turns(history.items)), stored.usage


def texts(request: Json) -> list[str]:
    """What is said in a request."""
    messages = (item for item in request["input"] if item["type"] == "message")
    return [part["text"] for message in messages for part in message["content"]]


def check_retries(events: Sequence[Event], fault: Fault) -> None:
    """Each retry was told once, in order."""
    told = [event for event in events if isinstance(event, StreamError)]
    assert [event.message for event in told] == [
        f"Reconnecting... {number}/2" for number in range(1, fault.retries + 1)
    ]
    assert all(event.additional_details for event in told)
    if fault.error is not None:
        assert all(event.codex_error_info == fault.error for event in told)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_a_fault_is_told_and_the_thread_goes_on(tmp_path: Path, fault: Fault) -> None:
    with ScriptedModelServer([*fault.answers, FINE, FINE]) as server:
        async with OpenAIModel(server.base_url, **fault.client) as client:
            async with begun(tmp_path, client) as session:
                events, result = await one_turn(session, "first")
                asked = len(server.requests)
                _, second = await one_turn(session, "second")
                thread_id = session.id
            async with resumed(tmp_path, thread_id, client) as session:
                _, third = await one_turn(session, "third")
    assert asked == len(fault.answers)
    check_retries(events, fault)
    assert result.status == ("completed" if fault.error is None else "failed")
    assert result.last_message == fault.said
    assert result.usage == usage(fault.counted)
    if fault.error is not None:
        assert result.error is not None
        assert result.error.info == fault.error
        assert fault.message in result.error.message
    counts = [event.info for event in events if isinstance(event, TokenCount)]
    assert [info and info["total_token_usage"] for info in counts] == [
        msgspec.to_builtins(usage(number)) for number in range(1, fault.counted + 1)
    ] or fault.answers == [usage_limit_reached()]
    assert (second.status, third.status) == ("completed", "completed")
    assert len(server.requests) == len(fault.answers) + 2
    last = texts(server.requests[-1])
    assert [text for text in last if text in ("first", "second", "third")] == [
        "first", "second", "third"
    ]  # fmt: skip
    turns, used = await on_disk(tmp_path, thread_id)
    assert [turn.status for turn in turns] == [result.status, "completed", "completed"]
    assert turns[0].error == result.error
    assert used == ThreadUsage(own={"m-1": usage(fault.counted + 2)})


async def test_a_refused_connection_is_tried_again_and_told(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1"
        async with OpenAIModel(url) as client, begun(tmp_path, client) as session:
            events, result = await one_turn(session, "first")
            thread_id = session.id
    check_retries(events, Fault(answers=[Silence()] * 3, error=_http("http_connection_failed")))
    assert result.error is not None
    assert result.error.info == _http("http_connection_failed")
    with ScriptedModelServer([FINE]) as server:
        async with (
            OpenAIModel(server.base_url) as client,
            resumed(tmp_path, thread_id, client) as session,
        ):
            assert (await one_turn(session, "second"))[1].status == "completed"
    assert texts(server.requests[0])[-2:] == ["first", "second"]
    turns, used = await on_disk(tmp_path, thread_id)
    assert [turn.status for turn in turns] == ["failed", "completed"]
    assert used == ThreadUsage(own={"m-1": USAGE})


async def test_what_a_cut_stream_had_called_runs_once(tmp_path: Path) -> None:
    ran = []

    @tool
    def note(word: str) -> str:
        """Note a word."""
        ran.append(word)
        return "noted"

    cut = Reply(Call("note", {"word": "once"}, "call_1"), LONG, cut_after=2)
    with ScriptedModelServer([cut, FINE]) as server:
        async with OpenAIModel(server.base_url) as client, begun(tmp_path, client, note) as session:
            _, result = await one_turn(session, "first")
            thread_id = session.id
    assert (result.status, ran) == ("completed", ["once"])
    kinds = [item["type"] for item in server.requests[1]["input"][-2:]]
    assert kinds == ["function_call", "function_call_output"]
    turns, used = await on_disk(tmp_path, thread_id)
    calls = [item for item in turns[0].items if item.kind == "function_call"]
    assert len(calls) == 1
    assert used == ThreadUsage(own={"m-1": USAGE})


async def test_half_a_message_is_kept_once_and_only_at_the_end(tmp_path: Path) -> None:
    with ScriptedModelServer([CUT, CUT, CUT, FINE]) as server:
        async with OpenAIModel(server.base_url) as client, begun(tmp_path, client) as session:
            await one_turn(session, "first")
            await one_turn(session, "second")
            thread_id = session.id
    assert texts(server.requests[2])[-1] == "first"  # a retry does not see the half
    assert texts(server.requests[3])[-3:] == ["first", HALF, "second"]
    (turn, _), _ = await on_disk(tmp_path, thread_id)
    assert sum(HALF in str(item.payload) for item in turn.items if _is_message(item)) == 1


def _is_message(item: RolloutItem) -> bool:
    return item.type == "response_item" and item.payload.get("role") == "assistant"


@pytest.mark.parametrize(
    "overflow",
    [Reply(Failed("context_length_exceeded")), _error(400, "context_length_exceeded")],
    ids=["in the stream", "by HTTP 400"],
)
@pytest.mark.parametrize("restarted", [False, True])
async def test_after_an_overflow_the_next_turn_compacts(
    tmp_path: Path, overflow: Answer, restarted: bool
) -> None:
    summary = Reply(Say("all of it in short"), usage=USAGE)
    with ScriptedModelServer([FINE, overflow, summary, FINE]) as server:
        async with OpenAIModel(server.base_url) as client:
            async with begun(tmp_path, client) as session:
                await one_turn(session, "first")
                events, result = await one_turn(session, "second")
                thread_id = session.id
                if not restarted:
                    _, third = await one_turn(session, "third")
            if restarted:
                async with resumed(tmp_path, thread_id, client) as session:
                    _, third = await one_turn(session, "third")
    assert result.error is not None
    assert (result.status, result.error.info) == ("failed", "context_window_exceeded")
    window = SETTINGS.reported_window
    (count,) = [event.info for event in events if isinstance(event, TokenCount)]
    assert count is not None
    assert count["total_token_usage"] == msgspec.to_builtins(TokenUsage(total_tokens=window))
    assert (third.status, third.usage) == ("completed", usage(2))
    said = texts(server.requests[3])
    assert f"{SUMMARY_PREFIX}\nall of it in short" in said
    assert [text for text in said if text in ("first", "second", "third", "fine")] == [
        "first", "second", "third"
    ]  # fmt: skip
    turns, used = await on_disk(tmp_path, thread_id)
    assert [turn.status for turn in turns] == ["completed", "failed", "completed"]
    assert used == ThreadUsage(own={"m-1": usage(3)})


async def test_half_of_a_surrogate_pair_costs_a_character(tmp_path: Path) -> None:
    """JSON can say what UTF-8 cannot."""
    part = '{"type": "output_text", "text": "a\\ud800b"}'
    item = f'{{"type": "message", "role": "assistant", "content": [{part}]}}'
    event = f'data: {{"type": "response.output_item.done", "item": {item}}}\n\n'
    with ScriptedModelServer([Reply(Bytes(event.encode()), usage=USAGE), FINE]) as server:
        async with OpenAIModel(server.base_url) as client, begun(tmp_path, client) as session:
            _, first = await one_turn(session, "first")
            _, second = await one_turn(session, "second")
            thread_id = session.id
    assert (first.status, first.last_message) == ("completed", "a?b")
    assert second.status == "completed"
    turns, used = await on_disk(tmp_path, thread_id)
    assert [turn.status for turn in turns] == ["completed", "completed"]
    assert used == ThreadUsage(own={"m-1": usage(2)})
