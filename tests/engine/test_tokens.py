"""Every response is counted once, and told of when everything it brought about has settled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.engine.helpers import (
    SETTINGS,
    USAGE,
    add,
    counts,
    forked,
    gate,
    history,
    outline,
    reached,
    reply,
    resumed,
    say,
    started,
    told,
    totals,
    usage,
)

from threadstore.engine import AskUser, Event, RequestUserInput, TokenCount
from threadstore.engine.model import ModelError
from threadstore.metadata import ThreadUsage, TokenUsage
from threadstore.testing.scripted_model import Call, Failed, Incomplete, Reply, Say, rate_limits

if TYPE_CHECKING:
    from threadstore.manager import ThreadManager

ADD = Call("add", {"a": 1, "b": 2})
QUESTION = {
    "questions": [
        {
            "id": "color",
            "header": "Color",
            "question": "Which?",
            "options": [{"label": "red", "description": "a color"}],
        }
    ]
}


async def test_there_is_one_count_for_each_request_with_the_sums(
    any_manager: ThreadManager,
) -> None:
    script = [reply(ADD), reply(ADD, ADD), reply(Say("ok"))]
    session, _ = await started(any_manager, script, tools=[add])
    result = await say(session, "hi")
    assert result.usage == usage(3)
    told_of = counts(await history(any_manager, session.id))
    window = int(SETTINGS.context_window * 0.95)
    assert told_of == [
        {
            "type": "token_count",
            "info": {
                "total_token_usage": msgspec.to_builtins(usage(number)),
                "last_token_usage": msgspec.to_builtins(USAGE),
                "model_context_window": window,
            },
            "rate_limits": None,
        }
        for number in (1, 2, 3)
    ]
    stored = await session.read()
    assert stored.token_usage == usage(3)
    assert stored.usage == ThreadUsage(own={"m1": usage(3)})
    assert session.usage == stored.usage
    await session.close()


async def test_limits_and_usage_of_a_request_are_one_count(manager: ThreadManager) -> None:
    limits = [rate_limits(10, secondary=1), rate_limits(20)]
    script = [reply(ADD, rate_limits=limits[0]), reply(Say("ok"), rate_limits=limits[1])]
    session, _ = await started(manager, script, tools=[add])
    await say(session, "hi")
    events = counts(await history(manager, session.id))
    assert [event["rate_limits"] for event in events] == limits
    assert totals(await history(manager, session.id)) == [120, 240]
    await session.close()


async def test_limits_alone_are_told_and_carry_what_was_used_before(manager: ThreadManager) -> None:
    quiet: dict[str, Any] = {"usage": None, "rate_limits": rate_limits(1)}
    script = [Reply(Say("a"), **quiet), reply(Say("b")), Reply(Say("c"), **quiet)]
    session, _ = await started(manager, script)
    for text in ("one", "two", "three"):
        await say(session, text)
    events = counts(await history(manager, session.id))
    assert totals(await history(manager, session.id)) == [None, 120, 120]
    assert [event["rate_limits"] for event in events] == [rate_limits(1)] * 3
    assert (await session.read()).usage == ThreadUsage(own={"m1": USAGE})
    await session.close()


async def test_without_usage_and_limits_there_is_no_count(manager: ThreadManager) -> None:
    session, _ = await started(manager, [Reply(Say("a"), usage=None)])
    result = await say(session, "hi")
    assert result.usage == TokenUsage()
    assert counts(await history(manager, session.id)) == []
    assert (await session.read()).usage is None
    assert session.usage == ThreadUsage()
    await session.close()


async def test_plan_and_credits_stay_known_where_a_response_leaves_them_out(
    manager: ThreadManager,
) -> None:
    rich = {**rate_limits(1), "plan_type": "plus", "credits": {"balance": "5"}}
    script = [reply(Say("a"), rate_limits=rich), reply(Say("b"), rate_limits=rate_limits(2))]
    session, _ = await started(manager, script)
    await say(session, "one")
    await say(session, "two")
    last = counts(await history(manager, session.id))[-1]["rate_limits"]
    assert last == {**rate_limits(2), "plan_type": "plus", "credits": {"balance": "5"}}
    await session.close()


async def test_nothing_is_told_while_a_tool_waits_for_the_user_but_the_metadata_knows(
    any_manager: ThreadManager,
) -> None:
    script = [reply(Call("request_user_input", QUESTION)), reply(Say("red it is"))]
    session, _ = await started(any_manager, script, tools=[AskUser()])
    turn = await session.start_turn("hi")
    before: list[Event] = []
    async for event in turn:
        if isinstance(event, RequestUserInput):
            # The call comes before the end of the response, which says what it used.
            while (stored := await session.read()).token_usage is None:  # noqa: ASYNC110
                await asyncio.sleep(0)
            assert stored.token_usage == USAGE
            assert stored.usage == ThreadUsage(own={"m1": USAGE})
            assert counts(await history(any_manager, session.id)) == []
            assert not any(isinstance(event, TokenCount) for event in before)
            session.answer(event.call_id, {"answers": {"color": {"answers": ["red"]}}})
        before.append(event)
    assert totals(await history(any_manager, session.id)) == [120, 240]
    assert (await session.read()).usage == ThreadUsage(own={"m1": usage(2)})
    await session.close()


async def test_a_count_stands_before_what_was_said_meanwhile(manager: ThreadManager) -> None:
    pause = gate()
    session, _ = await started(manager, [reply(pause, Say("a")), reply(Say("b"))])
    turn = await session.start_turn("hi")
    await reached(pause)
    await session.steer("also this")
    pause.gate.set()
    await turn.result()
    lines = await outline(manager, session.id)
    assert lines[6:] == [
        *("agent_message", "ri:assistant", "token_count"),
        *("ri:user", "user_message"),
        *("agent_message", "ri:assistant", "token_count", "task_complete"),
    ]
    await session.close()


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (Reply(Say("x"), error=ModelError("no"), rate_limits=rate_limits(1)), [None]),
        (Reply(Say("x"), error=ModelError("no", usage=USAGE)), [120]),
        (Reply(error=ModelError("no", kind="bad_request", http_status=400)), []),
        (Reply(Failed("insufficient_quota"), rate_limits=rate_limits(1)), [None]),
        (Reply(Incomplete("content_filter"), usage=USAGE), [120]),
        (
            Reply(Failed("context_length_exceeded"), rate_limits=rate_limits(1)),
            [None, 258400],
        ),
        (Reply(Failed("context_length_exceeded")), [258400]),
    ],
)
async def test_a_turn_that_fails_tells_what_was_deferred_before_its_end(
    manager: ThreadManager, ending: Reply, expected: list[int | None]
) -> None:
    session, _ = await started(manager, [ending])
    result = await say(session, "hi")
    assert result.status == "failed"
    assert totals(await history(manager, session.id)) == expected
    lines = await outline(manager, session.id)
    assert lines[len(lines) - 1 - len(expected) :] == [
        *["token_count"] * len(expected),
        "task_complete",
    ]
    used = USAGE if 120 in expected else None
    assert (await session.read()).usage == (used and ThreadUsage(own={"m1": used}))
    await session.close()


async def test_each_try_counts_what_it_used(manager: ThreadManager) -> None:
    broken = Reply(Say("x"), error=ModelError("again", retryable=True, usage=USAGE))
    session, _ = await started(manager, [broken, reply(Say("ok"))])
    assert (await say(session, "hi")).usage == usage(2)
    assert totals(await history(manager, session.id)) == [120, 240]
    await session.close()


async def test_counters_of_a_paginated_thread_are_booked_before_the_outputs(
    manager: ThreadManager,
) -> None:
    script = [reply(ADD, response_id="resp_a"), reply(Say("ok")), reply(Say("ok"))]
    session, _ = await started(manager, script, tools=[add], history_mode="paginated")
    results = [await say(session, "hi"), await say(session, "ho")]
    records = [
        item.payload
        for item in await history(manager, session.id)
        if item.type == "token_usage_record"
    ]
    assert [record["turn_id"] for record in records] == [
        *[results[0].turn_id] * 2,
        results[1].turn_id,
    ]
    assert records[0]["response_id"] == "resp_a"
    assert [record["usage"]["total_tokens"] for record in records] == [120] * 3
    assert [record["turn_token_usage"]["total_tokens"] for record in records] == [120, 240, 120]
    assert [record["thread_token_usage"]["total_tokens"] for record in records] == [120, 240, 360]
    assert (await session.read()).usage == ThreadUsage(own={"m1": usage(3)})
    await session.close()


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_a_resumed_thread_goes_on_counting(any_manager: ThreadManager, mode: str) -> None:
    script = [reply(Say("a"), rate_limits=rate_limits(7))]
    session, _ = await started(any_manager, script, history_mode=mode)
    await say(session, "one")
    await session.close()
    session, _ = await resumed(any_manager, session.id, [reply(Say("b"))])
    assert session.usage == ThreadUsage(own={"m1": USAGE})
    await say(session, "two")
    assert totals(await history(any_manager, session.id)) == [120, 240]
    assert counts(await history(any_manager, session.id))[-1]["rate_limits"] == rate_limits(7)
    assert (await session.read()).usage == ThreadUsage(own={"m1": usage(2)})
    assert (await session.read()).token_usage == usage(2)
    await session.close()


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_a_fork_keeps_apart_what_it_took_over(any_manager: ThreadManager, mode: str) -> None:
    session, _ = await started(any_manager, lambda _: reply(Say("a")), history_mode=mode)
    first = await say(session, "one")
    await say(session, "two")
    fork = await forked(any_manager, session.id, through_turn=first.turn_id)
    assert fork.usage == ThreadUsage(inherited={"m1": USAGE})
    await say(fork, "three")
    expected = ThreadUsage(own={"m1": USAGE}, inherited={"m1": USAGE})
    assert (await fork.read()).usage == fork.usage == expected
    assert (await fork.read()).token_usage == usage(2)
    again = await forked(any_manager, fork.id)
    await say(again, "four")
    expected = ThreadUsage(own={"m1": USAGE}, inherited={"m1": usage(2)})
    assert (await again.read()).usage == again.usage == expected
    await again.close()
    resumed_fork, _ = await resumed(any_manager, again.id, [reply(Say("c"))])
    await say(resumed_fork, "five")
    expected = ThreadUsage(own={"m1": usage(2)}, inherited={"m1": usage(2)})
    assert (await resumed_fork.read()).usage == resumed_fork.usage == expected
    assert totals(await history(any_manager, again.id))[-1] == 480
    assert (await session.read()).usage == ThreadUsage(own={"m1": usage(2)})
    for each in (session, fork, resumed_fork):
        await each.close()


async def test_models_are_counted_apart(any_manager: ThreadManager) -> None:
    session, model = await started(any_manager, lambda _: reply(Say("a")))
    await say(session, "one")
    session.configure(model="m2")
    await say(session, "two")
    await say(session, "three")
    assert [request.model for request in model.requests] == ["m1", "m2", "m2"]
    assert (await session.read()).usage == ThreadUsage(own={"m1": USAGE, "m2": usage(2)})
    assert (await session.read()).model == "m2"
    fork = await forked(any_manager, session.id)
    await say(fork, "four")
    expected = ThreadUsage(own={"m2": USAGE}, inherited={"m1": USAGE, "m2": usage(2)})
    assert (await fork.read()).usage == expected
    await fork.close()
    await session.close()


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_what_was_used_stays_used_when_turns_are_taken_back_and_forth(
    any_manager: ThreadManager, mode: str
) -> None:
    session, _ = await started(any_manager, lambda _: reply(Say("a")), history_mode=mode)
    await say(session, "one")
    await say(session, "two")
    await session.revert(turns=1)
    assert (await session.read()).usage == ThreadUsage(own={"m1": usage(2)})
    await session.redo()
    assert (await session.read()).usage == ThreadUsage(own={"m1": usage(2)})
    await session.close()
    session, _ = await resumed(any_manager, session.id, lambda _: reply(Say("b")))
    assert session.usage == ThreadUsage(own={"m1": usage(2)})
    await say(session, "three")
    assert (await session.read()).usage == session.usage == ThreadUsage(own={"m1": usage(3)})
    assert totals(await history(any_manager, session.id))[-1] == 360
    await session.close()


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_a_compaction_counts_like_any_request(any_manager: ThreadManager, mode: str) -> None:
    session, _ = await started(any_manager, lambda _: reply(Say("a")), history_mode=mode)
    await say(session, "one")
    result = await (await session.compact()).result()
    assert result.usage == USAGE
    await say(session, "two")
    assert (await session.read()).usage == session.usage == ThreadUsage(own={"m1": usage(3)})
    await session.close()
    session, _ = await resumed(any_manager, session.id, [reply(Say("b"))])
    await say(session, "three")
    assert (await session.read()).usage == session.usage == ThreadUsage(own={"m1": usage(4)})
    await session.close()


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_an_overflow_fills_the_counter_and_uses_nothing(
    any_manager: ThreadManager, mode: str
) -> None:
    script = [reply(Say("a")), Reply(Failed("context_length_exceeded")), reply(Say("b"))]
    session, _ = await started(any_manager, script, history_mode=mode)
    for text in ("one", "two", "three"):
        await say(session, text)
    assert totals(await history(any_manager, session.id)) == [120, 258400, 258520]
    assert (await session.read()).usage == session.usage == ThreadUsage(own={"m1": usage(2)})
    await session.close()
    session, _ = await resumed(any_manager, session.id, [reply(Say("b"))])
    assert session.usage == ThreadUsage(own={"m1": usage(2)})
    await say(session, "four")
    assert (await session.read()).usage == session.usage == ThreadUsage(own={"m1": usage(3)})
    await session.close()


async def test_every_count_that_is_told_is_kept(manager: ThreadManager) -> None:
    script = [reply(ADD, rate_limits=rate_limits(1)), reply(Say("ok"))]
    session, _ = await started(manager, script, tools=[add])
    events = [
        event.payload()
        for event in await told(await session.start_turn("hi"))
        if isinstance(event, TokenCount)
    ]
    assert events == counts(await history(manager, session.id))
    await session.close()
