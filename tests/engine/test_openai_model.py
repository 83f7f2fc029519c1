"""The model client against a real server on 127.0.0.1."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

import openai
import pytest
from tests.engine.asking import HELLO, REQUEST, SECRET, ask

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
    answer,
)
from threadstore.engine.openai_model import OpenAIModel
from threadstore.engine.responses import usage_of
from threadstore.errors import InvalidRequest, Unsupported
from threadstore.metadata import TokenUsage
from threadstore.testing.model_server import (
    Bytes,
    Call,
    Http,
    Pause,
    Raw,
    Reply,
    Say,
    ScriptedModelServer,
    Think,
    rate_limits,
)
from threadstore.testing.scripted_model import ScriptedModel

Json = dict[str, Any]

DONE = Bytes(b'data: {"type": "response.completed", "response": {"id": "resp_1"}}\n\n')


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


@pytest.mark.parametrize("odd", [-5, 2**53 + 1, 2**64, 10**30, True, "7", 1.5, None, {}])
def test_a_count_that_can_be_none_counts_as_nothing(odd: Any) -> None:
    usage: Json = {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": odd},
        "output_tokens": odd,
        "output_tokens_details": {"reasoning_tokens": odd},
        "total_tokens": odd,
    }
    assert usage_of({"usage": usage}) == TokenUsage(input_tokens=7, total_tokens=7)


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


async def the_end() -> None:
    """The end of an answer is read by a task of its own; a slow machine may need a while."""
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})


async def test_requests_one_after_the_other_use_one_connection() -> None:
    with ScriptedModelServer([Reply(Say("a"))] * 5) as server:
        async with OpenAIModel(server.base_url) as model:
            for _ in range(5):
                events = [event async for event in answer(model, REQUEST)]
                assert isinstance(events[-1], Completed)
                await the_end()
    assert (len(server.requests), server.connections) == (5, 1)


async def test_what_comes_after_completion_is_read_and_passed_over() -> None:
    rest = Bytes(b'data: {"type": "response.late"}\n\ndata: [DONE]\n\n')
    with ScriptedModelServer([Reply(DONE, rest)] * 2) as server:
        async with OpenAIModel(server.base_url) as model:
            for _ in range(2):
                assert [type(event) async for event in answer(model, REQUEST)] == [Completed]
                await the_end()
    assert server.connections == 1


async def test_a_server_that_never_ends_its_answer_delays_nobody() -> None:
    gate = threading.Event()
    replies = [Reply(DONE, Pause(gate)), Reply(Say("next"))]
    with ScriptedModelServer(replies) as server:
        async with OpenAIModel(server.base_url) as model:
            async with asyncio.timeout(10):
                assert [type(event) async for event in answer(model, REQUEST)] == [Completed]
                assert not server.hung_up.is_set()
                events = [event async for event in answer(model, REQUEST)]
                assert isinstance(events[-1], Completed)
                # In the end its connection is closed.
                assert await asyncio.to_thread(server.hung_up.wait, 10)
    assert server.connections == 2


async def test_closing_the_model_closes_an_answer_that_does_not_end() -> None:
    with ScriptedModelServer([Reply(DONE, Pause(threading.Event()))]) as server:
        async with OpenAIModel(server.base_url) as model:
            async for _ in answer(model, REQUEST):
                pass
        assert await asyncio.to_thread(server.hung_up.wait, 10)
        assert asyncio.all_tasks() == {asyncio.current_task()}


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


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(Unsupported) as caught:
        OpenAIModel(api_key="k")
    assert caught.value.hint == "pip install 'threadstore[openai]'"
