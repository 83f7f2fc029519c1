"""A compaction replaces what the model gets, and nothing of the history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.engine.helpers import (
    SETTINGS,
    add,
    counts,
    gate,
    history,
    outline,
    reached,
    reply,
    resumed,
    said,
    say,
    started,
    statuses,
    totals,
)

from threadstore.engine.compaction import SUMMARY_PREFIX
from threadstore.engine.model import ModelError
from threadstore.errors import Conflict, InvalidRequest
from threadstore.metadata import TokenUsage
from threadstore.testing.scripted_model import Call, Failed, Reply, Say, rate_limits

if TYPE_CHECKING:
    from threadstore.manager import ThreadManager

OPENING = ["ri:developer", "ri:user", "turn_context", "ri:user", "user_message"]
ANSWER = ["agent_message", "ri:assistant", "token_count", "task_complete"]
ADD = Call("add", {"a": 1, "b": 2})
SUMMARY = f"{SUMMARY_PREFIX}\nIn short."
BIG = TokenUsage(input_tokens=2000, output_tokens=10, total_tokens=2010)
LIMITED = msgspec.structs.replace(SETTINGS, compact_at=1000)


async def test_on_request_the_model_goes_on_with_what_the_user_said_and_a_summary(
    any_manager: ThreadManager,
) -> None:
    limits = rate_limits(1)
    script = [reply(Say("a")), reply(Say("In short."), rate_limits=limits), reply(Say("b"))]
    session, model = await started(any_manager, script, tools=[add])
    await say(session, "one")
    before = await outline(any_manager, session.id)
    turn = await session.compact()
    assert (await turn.result()).status == "completed"
    assert (await outline(any_manager, session.id))[len(before) :] == [
        *("task_started", "token_count", "token_count", "compacted"),
        *("token_count", "context_compacted", "task_complete"),
    ]
    asked = model.requests[1]
    assert asked.input[: len(model.requests[0].input)] == model.requests[0].input
    assert asked.tools == ()
    await say(session, "two")
    assert said(model.requests[2]) == ["one", SUMMARY, "two"]
    assert (await outline(any_manager, session.id))[len(before) + 7 :] == [
        *("task_started", *OPENING),
        *ANSWER,
    ]
    assert await statuses(any_manager, session.id) == ["completed"] * 3
    await session.close()


async def test_a_paginated_thread_shows_the_compaction_as_an_item(manager: ThreadManager) -> None:
    script = [reply(Say("a")), reply(Say("In short.")), reply(Say("b"))]
    session, _ = await started(manager, script, history_mode="paginated")
    await say(session, "one")
    before = await outline(manager, session.id)
    await (await session.compact()).result()
    assert (await outline(manager, session.id))[len(before) :] == [
        *("task_started", "token_usage_record", "token_count", "compacted"),
        *("token_count", "done:ContextCompaction", "task_complete"),
    ]
    await session.close()


async def test_a_full_context_is_compacted_before_the_next_turn(
    any_manager: ThreadManager,
) -> None:
    script = [reply(Say("a"), usage=BIG), reply(Say("In short.")), reply(Say("b"))]
    session, model = await started(any_manager, script, settings=LIMITED)
    await say(session, "one")
    before = await outline(any_manager, session.id)
    await say(session, "two")
    assert (await outline(any_manager, session.id))[len(before) :] == [
        *("task_started", "token_count", "compacted", "token_count", "context_compacted"),
        *OPENING,
        *ANSWER,
    ]
    assert said(model.requests[2]) == ["one", SUMMARY, "two"]
    await session.close()


async def test_a_full_context_is_compacted_between_two_requests_of_a_turn(
    any_manager: ThreadManager,
) -> None:
    limits = rate_limits(1)
    script = [
        reply(ADD, usage=BIG),
        reply(Say("In short."), rate_limits=limits),
        reply(Say("b")),
        reply(Say("c")),
    ]
    session, model = await started(any_manager, script, settings=LIMITED, tools=[add])
    assert (await say(session, "one")).last_message == "b"
    assert await outline(any_manager, session.id) == [
        *("task_started", *OPENING),
        *("function_call", "function_call_output"),
        *("token_count", "token_count", "token_count", "compacted", "turn_context"),
        *("token_count", "context_compacted"),
        *ANSWER,
    ]
    opening = model.requests[0].input[:2]
    assert model.requests[2].input[:2] == opening
    assert said(model.requests[2]) == ["one", SUMMARY]
    assert "3" in said(model.requests[1])
    await say(session, "two")
    assert said(model.requests[3]) == ["one", SUMMARY, "b", "two"]
    assert model.requests[3].input[:2] == opening
    assert await statuses(any_manager, session.id) == ["completed", "completed"]
    await session.close()


async def test_what_was_said_meanwhile_comes_after_the_summary(manager: ThreadManager) -> None:
    pause = gate()
    script = [
        reply(ADD, usage=BIG),
        reply(pause, Say("In short.")),
        reply(Say("b")),
        reply(Say("c")),
    ]
    session, model = await started(manager, script, settings=LIMITED, tools=[add])
    turn = await session.start_turn("one")
    await reached(pause)
    await session.steer("also")
    pause.gate.set()
    await turn.result()
    # The model goes on with what its tools brought before it hears more (Codex 0.131).
    assert said(model.requests[2]) == ["one", SUMMARY]
    assert said(model.requests[3]) == ["one", SUMMARY, "b", "also"]
    await session.close()


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_a_resumed_thread_goes_on_with_the_summary(
    any_manager: ThreadManager, mode: str
) -> None:
    script = [reply(Say("a")), reply(Say("In short.")), reply(Say("b")), reply(Say("c"))]
    session, first = await started(any_manager, script, history_mode=mode)
    await say(session, "one")
    await (await session.compact()).result()
    await say(session, "two")
    await say(session, "three")
    await session.close()
    session, model = await resumed(any_manager, session.id, [reply(Say("d"))])
    await say(session, "four")
    sent = first.requests[3].input
    assert model.requests[0].input[: len(sent)] == sent
    assert said(model.requests[0]) == [
        *("one", SUMMARY, "two", "b", "three", "c", "four"),
    ]
    await session.close()


async def test_summaries_do_not_pile_up(manager: ThreadManager) -> None:
    replies = iter(["a", "In short.", "b", "Even shorter.", "c"])
    session, model = await started(manager, lambda _: reply(Say(next(replies))))
    await say(session, "one")
    await (await session.compact()).result()
    await say(session, "two")
    await (await session.compact()).result()
    await say(session, "three")
    assert said(model.requests[4]) == [
        *("one", "two", f"{SUMMARY_PREFIX}\nEven shorter.", "three"),
    ]
    await session.close()


async def test_of_very_much_the_newest_words_stay(manager: ThreadManager) -> None:
    session, model = await started(manager, lambda _: reply(Say("ok")))
    for letter in "abc":
        await say(session, letter * 50_000)
    await (await session.compact()).result()
    await say(session, "more")
    kept = said(model.requests[4])
    assert [text[:1] for text in kept[:2]] == ["b", "c"]
    assert (len(kept[0]), len(kept[1])) == (30_000, 50_000)
    await session.close()


async def test_a_context_that_does_not_fit_its_own_compaction_is_shortened(
    manager: ThreadManager,
) -> None:
    script = [
        reply(Say("a")),
        reply(Say("b")),
        Reply(Failed("context_length_exceeded")),
        Reply(Failed("context_length_exceeded")),
        reply(Say("In short.")),
        reply(Say("c")),
    ]
    session, model = await started(manager, script)
    await say(session, "one")
    await say(session, "two")
    assert (await (await session.compact()).result()).status == "completed"
    sizes = [len(request.input) for request in model.requests[2:5]]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[1] > sizes[2]
    await say(session, "three")
    assert said(model.requests[5]) == ["one", "two", SUMMARY, "three"]
    await session.close()


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        (Reply(error=ModelError("no", kind="bad_request", http_status=400)), "no"),
        (Reply(Say("  ")), "the model gave no summary"),
        (Reply(ADD), "the model gave no summary"),
    ],
)
async def test_without_a_summary_nothing_changes(
    manager: ThreadManager, ending: Reply, message: str
) -> None:
    endings = {"x": ending}
    session, model = await started(
        manager, lambda request: endings.get("now", reply(Say("a"))), tools=[add]
    )
    await say(session, "one")
    endings["now"] = endings.pop("x")
    result = await (await session.compact()).result()
    assert result.error is not None
    assert (result.status, result.error.message) == ("failed", message)
    assert "compacted" not in await outline(manager, session.id)
    del endings["now"]
    await say(session, "two")
    assert said(model.requests[-1]) == ["one", "a", "two"]
    assert await statuses(manager, session.id) == ["completed", "failed", "completed"]
    await session.close()


async def test_a_compaction_is_tried_again(manager: ThreadManager) -> None:
    script = [reply(Say("a")), Reply(Say("x", chunk=1), cut=True), reply(Say("In short."))]
    session, _ = await started(manager, script)
    await say(session, "one")
    assert (await (await session.compact()).result()).status == "completed"
    await session.close()


async def test_how_full_the_context_is_is_told_anew(manager: ThreadManager) -> None:
    script = [reply(Say("a"), usage=BIG), reply(Say("In short.")), reply(Say("b"))]
    session, _ = await started(manager, script)
    await say(session, "one")
    await (await session.compact()).result()
    infos = [payload["info"] for payload in counts(await history(manager, session.id))]
    last = [info["last_token_usage"]["total_tokens"] for info in infos]
    assert last[:2] == [2010, 120]
    assert 0 < last[2] < 200
    assert totals(await history(manager, session.id)) == [2010, 2130, 2130]
    await session.close()


async def test_nothing_is_no_context_to_compact(manager: ThreadManager) -> None:
    session, _ = await started(manager, [])
    with pytest.raises(InvalidRequest, match="nothing to compact"):
        await session.compact()
    await session.close()


async def test_a_compaction_is_a_turn_like_others(manager: ThreadManager) -> None:
    pause = gate()
    session, _ = await started(manager, [reply(Say("a")), reply(pause, Say("s")), reply(Say("b"))])
    await say(session, "one")
    turn = await session.compact()
    await reached(pause)
    refused: tuple[Any, ...] = (session.start_turn("x"), session.compact(), session.revert(turns=1))
    for call in refused:
        with pytest.raises(Conflict, match="is running"):
            await call
    session.enqueue("two")
    pause.gate.set()
    await turn.result()
    await session.wait_idle()
    assert await statuses(manager, session.id) == ["completed"] * 3
    await session.close()
