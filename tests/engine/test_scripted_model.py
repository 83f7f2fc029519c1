"""The scripted model answers as its script says."""

from __future__ import annotations

import asyncio

import pytest

from threadstore.engine.model import (
    Completed,
    ItemDone,
    ItemStarted,
    Model,
    ModelError,
    ModelEvent,
    ModelRequest,
    RateLimits,
    ReasoningDelta,
    TextDelta,
)
from threadstore.metadata import TokenUsage
from threadstore.testing.scripted_model import (
    Call,
    Failed,
    Incomplete,
    Pause,
    Raw,
    Reply,
    Say,
    ScriptedModel,
    ScriptExhausted,
    Think,
    rate_limits,
)


def request_of(*texts: str) -> ModelRequest:
    """A request with one user message for each of *texts*."""
    items = tuple({"type": "message", "role": "user", "content": text} for text in texts)
    return ModelRequest(model="m", instructions="", input=items)


async def all_of(model: Model, request: ModelRequest) -> list[ModelEvent]:
    """Every event of the answer."""
    return [event async for event in model.stream(request)]


async def test_a_message_is_streamed_in_chunks_and_completed() -> None:
    model = ScriptedModel([Reply(Say("Hello world", chunk=6))])
    started, first, second, done, completed = await all_of(model, request_of("hi"))
    assert isinstance(started, ItemStarted)
    assert started.item["content"] == []
    assert started.item["status"] == "in_progress"
    assert (first, second) == (TextDelta("msg_1_0", "Hello "), TextDelta("msg_1_0", "world"))
    assert isinstance(done, ItemDone)
    assert done.item["content"][0]["text"] == "Hello world"
    assert isinstance(completed, Completed)
    assert completed.response_id == "resp_1"
    assert completed.usage is not None
    assert completed.usage.total_tokens == completed.usage.input_tokens + 20
    assert model.requests == [request_of("hi")]


async def test_reasoning_calls_and_raw_items_keep_their_order_and_their_own_ids() -> None:
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "new": [1]}
    parts = (Think("**One**", "Two"), Call("add", {"a": 1}), Call("add", "{broken"), Raw(search))
    events = await all_of(ScriptedModel([Reply(*parts)]), request_of("hi"))
    done = [event.item for event in events if isinstance(event, ItemDone)]
    assert [item["type"] for item in done] == [
        "reasoning",
        "function_call",
        "function_call",
        "web_search_call",
    ]
    assert done[3] == search
    assert [item["arguments"] for item in done[1:3]] == ['{"a": 1}', "{broken"]
    assert done[1]["call_id"] != done[2]["call_id"]
    assert [event for event in events if isinstance(event, ReasoningDelta)] == [
        ReasoningDelta("rs_1_0", "**One**", 0),
        ReasoningDelta("rs_1_0", "Two", 1),
    ]


async def test_ids_differ_between_responses_and_are_the_same_in_every_run() -> None:
    runs = []
    for _ in range(2):
        model = ScriptedModel([Reply(Call("a")), Reply(Call("a"))])
        runs.append([await all_of(model, request_of("hi")) for _ in range(2)])
    assert runs[0] == runs[1]
    first, second = ({e.item["call_id"] for e in r if isinstance(e, ItemDone)} for r in runs[0])
    assert first.isdisjoint(second)


async def test_usage_grows_with_the_input_is_as_told_or_absent() -> None:
    told = TokenUsage(input_tokens=1, output_tokens=2, total_tokens=3)
    model = ScriptedModel([Reply(), Reply(), Reply(usage=told), Reply(usage=None)])
    requests = (request_of("a"), request_of("a", "b"), request_of("a"), request_of("a"))
    usages = []
    for request in requests:
        (completed,) = await all_of(model, request)
        assert isinstance(completed, Completed)
        usages.append(completed.usage)
    assert usages[0] is not None
    assert usages[1] is not None
    assert usages[0].total_tokens < usages[1].total_tokens
    assert usages[2:] == [told, None]


async def test_rate_limits_come_first() -> None:
    limits = rate_limits(12, secondary=3)
    events = await all_of(ScriptedModel([Reply(Say("x"), rate_limits=limits)]), request_of("hi"))
    assert events[0] == RateLimits(limits)


async def test_an_error_is_raised_after_the_parts_and_a_cut_stream_just_ends() -> None:
    error = ModelError("broken", retryable=True)
    model = ScriptedModel(
        [Reply(Say("abcd", chunk=2), error=error), Reply(Say("abcd", chunk=2), cut_after=1)]
    )
    seen: list[ModelEvent] = []

    async def collect() -> None:
        async for event in model.stream(request_of("hi")):
            seen.append(event)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(ModelError) as caught:
        await collect()
    assert caught.value is error
    assert isinstance(seen[-1], ItemDone)
    cut = await all_of(model, request_of("hi"))
    assert cut[-1] == TextDelta("msg_2_0", "ab")


async def test_failures_by_code_and_incomplete_responses_are_told_apart() -> None:
    model = ScriptedModel(
        [Reply(Say("x"), Failed("context_length_exceeded")), Reply(Incomplete("content_filter"))]
    )
    with pytest.raises(ModelError) as failed:
        await all_of(model, request_of("hi"))
    with pytest.raises(ModelError, match="content_filter") as incomplete:
        await all_of(model, request_of("hi"))
    assert failed.value.kind == "context_window_exceeded"
    assert (incomplete.value.kind, incomplete.value.retryable) == ("other", False)
    assert incomplete.value.usage is not None


async def test_a_pause_waits_for_its_gate() -> None:
    pause = Pause(asyncio.Event(), asyncio.Event())
    model = ScriptedModel([Reply(Say("a"), pause, Say("b"))])
    running = asyncio.create_task(all_of(model, request_of("hi")))
    assert isinstance(pause.reached, asyncio.Event)
    await pause.reached.wait()
    assert not running.done()
    assert isinstance(pause.gate, asyncio.Event)
    pause.gate.set()
    assert isinstance((await running)[-1], Completed)


async def test_a_reply_that_hangs_ends_when_it_is_closed() -> None:
    stream = ScriptedModel([Reply(Say("abcd", chunk=2), cut_after=1, hang=True)]).stream(
        request_of("hi")
    )
    assert isinstance(await anext(stream), ItemStarted)
    assert await anext(stream) == TextDelta("msg_1_0", "ab")
    waiting = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await stream.aclose()


async def test_a_function_answers_by_the_request() -> None:
    model = ScriptedModel(lambda request: Reply(Say(f"{len(request.input)} items")))
    events = await all_of(model, request_of("a", "b"))
    assert TextDelta("msg_1_0", "2 items") in events


async def test_a_request_too_many_says_so() -> None:
    with pytest.raises(ScriptExhausted, match="has 0 replies, and this is request 1"):
        await all_of(ScriptedModel([]), request_of("hi"))
