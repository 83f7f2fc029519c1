"""What the model client makes of refusals, failures and broken streams."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from tests.engine.asking import REQUEST, SECRET, ask, refusal

from threadstore.engine.model import ItemDone, ModelError, RateLimits, TextDelta
from threadstore.engine.openai_model import OpenAIModel
from threadstore.metadata import TokenUsage
from threadstore.testing.model_server import (
    Answer,
    Bytes,
    Failed,
    HangUp,
    Http,
    Incomplete,
    Reply,
    Say,
    Silence,
    rate_limits,
    usage_limit_reached,
)

Json = dict[str, Any]


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


async def test_a_scripted_error_means_the_same_through_a_server() -> None:
    told = ModelError("full", kind="server_overloaded", retryable=True)
    error = await refusal(Reply(Say("a"), error=told))
    assert (error.kind, error.retryable, str(error)) == ("server_overloaded", True, "full")
    told = ModelError("who?", kind="unauthorized", http_status=401)
    error = await refusal(Reply(error=told))
    assert (error.kind, error.retryable, error.http_status) == ("unauthorized", False, 401)
