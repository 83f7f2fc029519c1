"""The model client against a real server on 127.0.0.1."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

import openai
import pytest

from threadstore.engine.model import (
    Completed,
    ItemDone,
    ItemStarted,
    ModelError,
    ModelEvent,
    ModelRequest,
    RateLimits,
    ReasoningDelta,
    TextDelta,
)
from threadstore.engine.openai_model import OpenAIModel
from threadstore.errors import InvalidRequest
from threadstore.metadata import TokenUsage
from threadstore.testing.model_server import (
    Answer,
    Bytes,
    Call,
    Failed,
    HangUp,
    Http,
    Incomplete,
    Pause,
    Raw,
    Reply,
    Say,
    ScriptedModelServer,
    Silence,
    Think,
    rate_limits,
    usage_limit_reached,
)
from threadstore.testing.scripted_model import ScriptedModel

Json = dict[str, Any]
HELLO: Json = {
    "type": "message",
    "role": "user",
    "content": [{"type": "input_text", "text": "hello"}],
}
REQUEST = ModelRequest(model="m-1", instructions="Be brief.", input=(HELLO,))
SECRET = "sk-very-secret"


async def ask(
    script: Sequence[Answer] | Callable[[Json], Answer],
    request: ModelRequest = REQUEST,
    **options: Any,
) -> tuple[list[ModelEvent], ModelError | None, ScriptedModelServer]:
    """One request to a server with *script*: its events, the error if any, and the server."""
    seen: list[ModelEvent] = []
    failed = None
    with ScriptedModelServer(script) as server:
        async with OpenAIModel(server.base_url, SECRET, **options) as model:
            try:
                async for event in model.stream(request):
                    seen.append(event)  # noqa: PERF401 - what came before the error counts
            except ModelError as error:
                failed = error
    return seen, failed, server


async def refusal(answer: Answer, **options: Any) -> ModelError:
    """The error of one request that is answered with *answer*, and asked no second time."""
    _, error, server = await ask([answer], **options)
    assert error is not None
    assert len(server.requests) == 1
    assert SECRET not in str(error)
    return error


async def test_the_answer_is_the_same_as_in_one_process() -> None:
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "new": {"a": [1]}}
    reply = Reply(
        Think("**One**", "Two"),
        Say("Grüße \u2028 and more", chunk=5, phase="final_answer"),
        Call("add", {"a": 1}, namespace="math"),
        Raw(search),
        rate_limits=rate_limits(12.5, secondary=3),
    )
    seen, error, _ = await ask([reply])
    here = [event async for event in ScriptedModel([reply]).stream(REQUEST)]
    assert error is None
    assert seen == here
    kinds = {type(event) for event in seen}
    assert kinds == {RateLimits, ItemStarted, TextDelta, ReasoningDelta, ItemDone, Completed}


async def test_a_plain_request_stores_nothing_on_the_server() -> None:
    _, _, server = await ask([Reply()])
    assert server.requests == [
        {
            "model": "m-1",
            "instructions": "Be brief.",
            "input": [HELLO],
            "stream": True,
            "store": False,
        }
    ]
    assert server.headers[0]["authorization"] == f"Bearer {SECRET}"


async def test_everything_that_a_request_says_is_sent() -> None:
    tool: Json = {"type": "function", "name": "add", "parameters": {}, "strict": False}
    schema: Json = {"type": "object", "properties": {}}
    request = ModelRequest(
        model="m",
        instructions="",
        input=(HELLO, {"type": "custom", "unknown": None}),
        tools=(tool,),
        parallel_tool_calls=False,
        reasoning_effort="high",
        reasoning_summary="auto",
        output_schema=schema,
        cache_key="thread-1",
    )
    _, _, server = await ask([Reply()], request, headers={"x-team": "blue"})
    assert server.requests == [
        {
            "model": "m",
            "input": [HELLO, {"type": "custom", "unknown": None}],
            "stream": True,
            "store": False,
            "tools": [tool],
            "tool_choice": "auto",
            "parallel_tool_calls": False,
            "reasoning": {"effort": "high", "summary": "auto"},
            "include": ["reasoning.encrypted_content"],
            "text": {
                "format": {
                    "type": "json_schema",
                    "name": "output",
                    "strict": True,
                    "schema": schema,
                }
            },
            "prompt_cache_key": "thread-1",
        }
    ]
    assert server.headers[0]["x-team"] == "blue"


async def test_reasoning_that_only_the_server_could_know_is_not_sent_back() -> None:
    thought: Json = {"type": "reasoning", "id": "rs_1", "summary": []}
    kept: Json = {**thought, "encrypted_content": "c2M="}
    shown: Json = {**thought, "content": [{"type": "reasoning_text", "text": "hm"}]}
    request = ModelRequest(model="m", instructions="", input=(thought, kept, shown))
    _, _, server = await ask([Reply()], request)
    assert server.requests[0]["input"] == [kept, shown]


async def test_usage_names_cached_and_reasoning_tokens() -> None:
    usage = TokenUsage(
        input_tokens=100,
        cached_input_tokens=60,
        output_tokens=20,
        reasoning_output_tokens=7,
        total_tokens=120,
    )
    seen, _, _ = await ask([Reply(usage=usage, response_id="resp_x")])
    assert seen == [Completed("resp_x", usage)]
    seen, _, _ = await ask([Reply(usage=None)])
    assert seen == [Completed("resp_1", None)]


async def test_unknown_events_are_passed_over() -> None:
    odd = (
        b'data: {"type": "response.brand_new", "x": 1}\n\n'
        b": a comment\n\n"
        b"data: 5\n\n"
        b'data: {"no_type": true}\n\n'
        b'data: {"type": "response.output_text.delta", "delta": "?"}\n\n'
        b'data: {"type": "response.reasoning_text.delta", "content_index": 2, "delta": "raw"}\n\n'
    )
    seen, error, _ = await ask([Reply(Say("hi"), Bytes(odd))])
    assert error is None
    assert seen[-3:-1] == [
        TextDelta("msg_1_0", "?"),
        ReasoningDelta("msg_1_0", "raw", 2, summary=False),
    ]


async def test_rate_limits_come_first_and_only_if_the_server_tells_them() -> None:
    limits = rate_limits(12)
    seen, _, _ = await ask([Reply(rate_limits=limits)])
    assert seen[0] == RateLimits(limits)
    assert limits["secondary"] is None
    seen, _, _ = await ask([Reply()])
    assert len(seen) == 1


async def test_a_usage_limit_is_final_and_its_rate_limits_are_delivered() -> None:
    limits = rate_limits(100, secondary=40)
    seen, error, _ = await ask([usage_limit_reached(limits)])
    assert seen == [RateLimits(limits)]
    assert error is not None
    assert (error.kind, error.retryable, error.http_status) == ("usage_limit_exceeded", False, 429)
    assert "The usage limit has been reached" in str(error)


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({"retry-after": "7"}, "slow", 7.0),
        ({"retry-after-ms": "1500", "retry-after": "7"}, "slow", 1.5),
        ({"retry-after": "-3"}, "slow", 0.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, "slow", 0.0),
        ({}, "Please try again in 1.2s.", 1.2),
        ({}, "Please try again in 1m30s. Visit us.", 90.0),
        ({}, "try again in 350ms", 0.35),
        ({}, "try again in 2 seconds", 2.0),
        ({"retry-after": "soon"}, "try again in a while", None),
    ],
)
async def test_a_429_says_how_long_to_wait(
    headers: dict[str, str], message: str, seconds: float | None
) -> None:
    body = {"error": {"message": message, "code": "rate_limit_exceeded"}}
    error = await refusal(Http(429, body, headers))
    assert (error.kind, error.retryable) == ("response_too_many_failed_attempts", True)
    assert error.retry_after == (None if seconds is None else pytest.approx(seconds))
    assert message in str(error)


async def test_a_date_to_wait_for_counts_from_the_servers_own_clock() -> None:
    dates = {
        "date": "Wed, 21 Oct 2015 07:28:00 GMT",
        "retry-after": "Wed, 21 Oct 2015 07:28:30 GMT",
    }
    error = await refusal(Http(503, "busy", dates))
    assert error.retry_after == 30.0


@pytest.mark.parametrize(
    ("status", "told", "kind", "retryable"),
    [
        (400, {"message": "no"}, "bad_request", False),
        (
            400,
            {"message": "long", "code": "context_length_exceeded"},
            "context_window_exceeded",
            False,
        ),
        (
            400,
            {"message": "This model's maximum context length is 8 tokens", "code": 400},
            "context_window_exceeded",
            False,
        ),
        (401, {"message": f"Incorrect API key provided: {SECRET}"}, "unauthorized", False),
        (403, {"message": "no"}, "unauthorized", False),
        (404, {"message": "no such model"}, "bad_request", False),
        (408, {"message": "late"}, "response_stream_connection_failed", True),
        (429, {"message": "pay", "code": "insufficient_quota"}, "usage_limit_exceeded", False),
        (500, {"message": "oops"}, "internal_server_error", True),
        (502, {"message": "oops"}, "internal_server_error", True),
        (503, {"message": "full", "code": "server_is_overloaded"}, "server_overloaded", True),
        (503, {"message": "full", "code": "slow_down"}, "server_overloaded", True),
    ],
)
async def test_an_error_status_has_its_kind(
    status: int, told: Json, kind: str, *, retryable: bool
) -> None:
    error = await refusal(Http(status, {"error": told}))
    assert (error.kind, error.retryable, error.http_status) == (kind, retryable, status)
    assert str(error).startswith(f"HTTP {status}: ")


@pytest.mark.parametrize(
    "body", ["<html>bad gateway</html>", {"error": "bad gateway"}, {"detail": "bad gateway"}, ""]
)
async def test_an_error_in_any_form_says_what_the_server_said(body: Json | str) -> None:
    error = await refusal(Http(502, body))
    assert "bad gateway" in str(error).lower()


@pytest.mark.parametrize(
    ("code", "kind", "retryable"),
    [
        ("context_length_exceeded", "context_window_exceeded", False),
        ("insufficient_quota", "usage_limit_exceeded", False),
        ("usage_not_included", "usage_limit_exceeded", False),
        ("invalid_prompt", "bad_request", False),
        ("server_error", "internal_server_error", True),
        ("server_is_overloaded", "server_overloaded", True),
        ("slow_down", "server_overloaded", True),
        ("rate_limit_exceeded", "response_too_many_failed_attempts", True),
        ("brand_new", "other", True),
    ],
)
async def test_a_failed_response_has_the_kind_of_its_code(
    code: str, kind: str, *, retryable: bool
) -> None:
    error = await refusal(Reply(Say("partial"), Failed(code, "Please try again in 2s.")))
    assert (error.kind, error.retryable) == (kind, retryable)
    assert error.retry_after == (2.0 if retryable else None)
    assert str(error) == "Please try again in 2s."


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"type": "error", "code": "server_error", "message": "oops"}\n\n',
        b'data: {"type": "error", "error": {"code": "server_error", "message": "oops"}}\n\n',
    ],
)
async def test_an_error_event_ends_the_response(event: bytes) -> None:
    error = await refusal(Reply(Bytes(event)))
    assert (str(error), error.kind, error.retryable) == ("oops", "internal_server_error", True)


async def test_an_incomplete_response_is_no_success_and_its_usage_counts() -> None:
    usage = TokenUsage(input_tokens=3, output_tokens=4, total_tokens=7)
    seen, error, _ = await ask([Reply(Say("half"), Incomplete("max_output_tokens"), usage=usage)])
    assert isinstance(seen[-1], ItemDone)
    assert error is not None
    assert (error.kind, error.retryable, error.usage) == ("other", False, usage)
    assert "max_output_tokens" in str(error)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(Say("abcdef", chunk=2), cut_after=2),
        Reply(Say("ab"), Bytes(b'event: response.output_text.delta\ndata: {"typ'), cut=True),
        Reply(Bytes(b"data: {broken\n\n")),
        Reply(Bytes(b"data: \xff\xfe\n\n")),
        Http(200, 'data: {"type": "response.created"}\n\n', {"content-type": "text/event-stream"}),
        Http(200, "<html>Welcome</html>"),
        Http(200, {"object": "response", "output": []}),
    ],
    ids=["cut", "cut in an event", "bad JSON", "bad UTF-8", "ends early", "a page", "no stream"],
)
async def test_a_broken_stream_may_be_tried_again(reply: Answer) -> None:
    error = await refusal(reply)
    assert (error.kind, error.retryable) == ("response_stream_disconnected", True)
    assert error.info == {"response_stream_disconnected": {"http_status_code": None}}


async def test_what_came_before_the_cut_is_delivered() -> None:
    seen, _, _ = await ask([Reply(Say("abcdef", chunk=2), cut_after=2)])
    assert [event.text for event in seen if isinstance(event, TextDelta)] == ["ab", "cd"]


async def test_an_answer_that_is_no_stream_is_named() -> None:
    assert "text/html" in str(await refusal(Http(200, "<html>Welcome</html>")))


async def test_a_server_that_falls_silent_is_given_up() -> None:
    error = await refusal(Reply(Say("a"), hang=True), timeout=0.2)
    assert (error.kind, error.retryable) == ("response_stream_disconnected", True)


@pytest.mark.parametrize("answer", [Silence(), HangUp()])
async def test_a_server_that_never_answers_is_given_up(answer: Answer) -> None:
    error = await refusal(answer, timeout=0.2)
    assert (error.kind, error.retryable) == ("response_stream_connection_failed", True)


async def test_a_server_that_is_not_there_is_named_without_credentials() -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with OpenAIModel(f"http://user:{SECRET}@{address}/v1?key={SECRET}") as model:
            with pytest.raises(ModelError) as caught:
                await anext(model.stream(REQUEST))
    assert (caught.value.kind, caught.value.retryable) == ("http_connection_failed", True)
    assert address in str(caught.value)
    assert SECRET not in str(caught.value)


async def test_closing_the_stream_closes_the_connection() -> None:
    with ScriptedModelServer([Reply(Say("abcd", chunk=2), cut_after=1, hang=True)]) as server:
        async with OpenAIModel(server.base_url) as model:
            stream = model.stream(REQUEST)
            async for event in stream:
                if isinstance(event, TextDelta):
                    break
            assert not server.hung_up.is_set()
            await stream.aclose()
            assert await asyncio.to_thread(server.hung_up.wait, 10)


async def test_cancelling_the_reader_closes_the_connection() -> None:
    paused = Pause(threading.Event(), threading.Event())
    assert isinstance(paused.reached, threading.Event)
    with ScriptedModelServer([Reply(Say("a"), paused)]) as server:
        async with OpenAIModel(server.base_url) as model:

            async def read() -> list[ModelEvent]:
                return [event async for event in model.stream(REQUEST)]

            reading = asyncio.create_task(read())
            assert await asyncio.to_thread(paused.reached.wait, 10)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            assert await asyncio.to_thread(server.hung_up.wait, 10)


async def test_a_pause_of_the_server_is_no_error() -> None:
    paused = Pause(threading.Event(), threading.Event())
    assert isinstance(paused.gate, threading.Event)
    with ScriptedModelServer([Reply(Say("a"), paused, Say("b"))]) as server:
        async with OpenAIModel(server.base_url) as model:
            texts = []
            async for event in model.stream(REQUEST):
                if isinstance(event, TextDelta):
                    texts.append(event.text)
                    paused.gate.set()
    assert texts == ["a", "b"]


async def test_requests_at_the_same_time_do_not_mix() -> None:
    def script(body: Json) -> Reply:
        return Reply(Say(body["model"] * 50, chunk=3))

    with ScriptedModelServer(script) as server:
        async with OpenAIModel(server.base_url) as model:

            async def text(name: str) -> str:
                request = ModelRequest(model=name, instructions="", input=())
                events = [event async for event in model.stream(request)]
                return "".join(event.text for event in events if isinstance(event, TextDelta))

            texts = await asyncio.gather(*(text(str(number)) for number in range(10)))
    assert texts == [str(number) * 50 for number in range(10)]


async def test_a_request_too_many_is_refused_by_the_server() -> None:
    _, error, _ = await ask([])
    assert error is not None
    assert "the script has 0 replies" in str(error)


async def test_a_scripted_error_means_the_same_through_a_server() -> None:
    told = ModelError("full", kind="server_overloaded", retryable=True)
    error = await refusal(Reply(Say("a"), error=told))
    assert (error.kind, error.retryable, str(error)) == ("server_overloaded", True, "full")
    told = ModelError("who?", kind="unauthorized", http_status=401)
    error = await refusal(Reply(error=told))
    assert (error.kind, error.retryable, error.http_status) == ("unauthorized", False, 401)


async def test_the_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_ADMIN_KEY", SECRET)
    monkeypatch.setenv("OPENAI_ORG_ID", SECRET)
    monkeypatch.setenv("OPENAI_PROJECT_ID", SECRET)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"x-mine: {SECRET}\nAuthorization: {SECRET}")
    with ScriptedModelServer([Reply()]) as server:
        async with OpenAIModel(server.base_url) as model:
            events = [event async for event in model.stream(REQUEST)]
    assert len(events) == 1
    assert SECRET not in str(server.headers)
    with pytest.raises(InvalidRequest):
        OpenAIModel()
    async with OpenAIModel(api_key="k") as model:
        assert "api.openai.com" in str(model._client.base_url)


async def test_a_client_of_ones_own_is_used_and_left_open() -> None:
    with ScriptedModelServer([Http(500, "oops"), Reply()]) as server:
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key="mine") as client:
            async with OpenAIModel(client=client) as model:
                with pytest.raises(ModelError):
                    await anext(model.stream(REQUEST))
            assert len(server.requests) == 1
            events = [event async for event in OpenAIModel(client=client).stream(REQUEST)]
    assert len(events) == 1
    assert server.headers[0]["authorization"] == "Bearer mine"


@pytest.mark.parametrize(
    ("base_url", "api_key", "words"),
    [
        (None, None, "no API key"),
        (None, "", "no API key"),
        ("localhost:8000", None, "not the URL of a model server"),
        ("http://", None, "not the URL of a model server"),
        (f"ftp://me:{SECRET}@host/v1", None, "not the URL of a model server: 'host/v1'"),
        ("http://host:many/v1", None, "not the URL of a model server"),
        ("http://[::1/v1", None, "not the URL of a model server"),
        (None, f"{SECRET}\n", "api_key has a character"),
    ],
)
def test_what_cannot_work_is_refused_at_once(
    base_url: str | None, api_key: str | None, words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        OpenAIModel(base_url, api_key)
    assert caught.value.hint
    assert SECRET not in str(caught.value)
