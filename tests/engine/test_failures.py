"""Whatever fails, the thread stays readable, the turn says so, and the session goes on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.engine.helpers import (
    SETTINGS,
    add,
    gate,
    going_on,
    history,
    managed,
    outline,
    reached,
    reply,
    resumed,
    said,
    say,
    started,
    statuses,
    told,
    turns,
    types,
    usage,
)
from tests.engine.moments import check_pairs

from threadstore.engine import ErrorEvent, Session, StreamError, TaskComplete, ThreadRolledBack
from threadstore.engine.model import ModelError, ModelEvent, ModelRequest, TextDelta
from threadstore.errors import InvalidRequest, StoreUnavailable
from threadstore.history.items import RolloutItem
from threadstore.metadata import NewThread, ThreadUsage
from threadstore.store import AppendReceipt, ThreadStore
from threadstore.stores.memory import MemoryThreadStore
from threadstore.testing import ManualClock
from threadstore.testing.faults import FaultyStore
from threadstore.testing.scripted_model import Call, Failed, Raw, Reply, Say, Think
from threadstore.testing.wrapper import ThreadStoreWrapper

if TYPE_CHECKING:
    from threadstore.manager import ThreadManager

OPENING = ["task_started", "ri:developer", "ri:user", "turn_context", "ri:user", "user_message"]
ADD = Call("add", {"a": 1, "b": 2})


# The model


@pytest.mark.parametrize(
    ("error", "info"),
    [
        (ModelError("m", kind="bad_request", http_status=400), "bad_request"),
        (ModelError("m", kind="unauthorized", http_status=401), "unauthorized"),
        (ModelError("m", kind="usage_limit_exceeded"), "usage_limit_exceeded"),
        (ModelError("m", retryable=True, retry_after=61), "other"),
        (
            ModelError("m", kind="response_too_many_failed_attempts", http_status=429),
            {"response_too_many_failed_attempts": {"http_status_code": 429}},
        ),
    ],
)
async def test_what_cannot_be_mended_fails_the_turn_at_once(
    any_manager: ThreadManager, error: ModelError, info: Any
) -> None:
    session, model = await started(any_manager, [Reply(error=error), reply(Say("ok"))])
    turn = await session.start_turn("hi")
    events = await told(turn)
    assert types(events)[-2:] == ["error", "task_complete"]
    result = await turn.result()
    assert (result.status, result.last_message) == ("failed", None)
    assert result.error is not None
    assert (result.error.message, result.error.info) == ("m", info)
    # A limit that is reached is news of the limits, also where nothing else is known of them.
    counted = ["token_count"] if info == "usage_limit_exceeded" else []
    assert await outline(any_manager, session.id) == [*OPENING, *counted, "task_complete"]
    (stored,) = await turns(any_manager, session.id)
    assert (stored.status, stored.error) == ("failed", result.error)
    assert (await say(session, "again")).status == "completed"
    assert said(model.requests[1]) == ["hi", "again"]
    await session.close()


async def test_a_stream_that_is_cut_is_tried_again_and_no_word_is_kept_twice(
    any_manager: ThreadManager,
) -> None:
    cut = Reply(Say("half a word", chunk=4), cut_after=1)
    session, model = await started(any_manager, [cut, cut, reply(Say("whole"))])
    turn = await session.start_turn("hi")
    errors = [event for event in await told(turn) if isinstance(event, StreamError)]
    assert [error.message for error in errors] == ["Reconnecting... 1/2", "Reconnecting... 2/2"]
    assert errors[0].codex_error_info == {
        "response_stream_disconnected": {"http_status_code": None}
    }
    assert (await turn.result()).last_message == "whole"
    assert model.requests[0] == model.requests[1] == model.requests[2]
    assert await outline(any_manager, session.id) == [
        *OPENING,
        *("agent_message", "ri:assistant", "token_count", "task_complete"),
    ]
    await session.close()


async def test_when_no_try_is_left_half_a_message_is_kept(manager: ThreadManager) -> None:
    cut = Reply(Say("half a word", chunk=4), cut_after=1)
    session, model = await started(manager, [cut] * 3 + [reply(Say("ok"))])
    result = await say(session, "hi")
    assert result.status == "failed"
    assert await outline(manager, session.id) == [
        *OPENING,
        *("agent_message", "ri:assistant", "task_complete"),
    ]
    await say(session, "go on")
    assert said(model.requests[3]) == ["hi", "half", "go on"]
    await session.close()


async def test_what_was_complete_before_a_cut_stays_and_its_calls_are_answered(
    manager: ThreadManager,
) -> None:
    script = [Reply(Think("**Hm**"), ADD, cut=True), reply(Say("three"))]
    session, model = await started(manager, script, tools=[add])
    assert (await say(session, "hi")).status == "completed"
    check_pairs(model.requests[1].input)
    assert said(model.requests[1]) == ["hi", "3"]
    assert (await outline(manager, session.id)).count("function_call") == 1
    await session.close()


async def test_the_tries_start_again_with_each_request(manager: ThreadManager) -> None:
    cut = Reply(cut=True)
    script = [cut, cut, reply(ADD), cut, cut, reply(Say("ok"))]
    session, _ = await started(manager, script, tools=[add])
    assert (await say(session, "hi")).status == "completed"
    await session.close()


async def test_an_overflow_fails_the_turn_and_the_next_compacts_first(
    any_manager: ThreadManager,
) -> None:
    script = [
        reply(Say("a")),
        Reply(Failed("context_length_exceeded")),
        reply(Say("summary")),
        reply(Say("ok")),
    ]
    session, model = await started(any_manager, script)
    session.configure(compact_at=None)
    await say(session, "one")
    result = await say(session, "two")
    assert result.error is not None
    assert (result.status, result.error.info) == ("failed", "context_window_exceeded")
    before = await outline(any_manager, session.id)
    assert before[-2:] == ["token_count", "task_complete"]
    await say(session, "three")
    assert (await outline(any_manager, session.id))[len(before) :] == [
        *("task_started", "token_count", "compacted", "token_count", "context_compacted"),
        *("ri:developer", "ri:user", "turn_context", "ri:user", "user_message"),
        *("agent_message", "ri:assistant", "token_count", "task_complete"),
    ]
    assert said(model.requests[3])[-1] == "three"
    assert await statuses(any_manager, session.id) == ["completed", "failed", "completed"]
    await session.close()


async def test_an_overflow_late_in_a_long_thread_is_compacted_too(manager: ThreadManager) -> None:
    """What was used in all is then more than the window already."""
    script = [
        reply(Say("a"), usage=usage(90)),
        reply(Say("b"), usage=usage(90)),
        Reply(Failed("context_length_exceeded")),
        reply(Say("summary")),
        reply(Say("ok")),
    ]
    settings = msgspec.structs.replace(SETTINGS, context_window=20_000, compact_at=None)
    session, model = await started(manager, script, settings=settings)
    for text in ("one", "two", "three"):
        await say(session, text)
    await session.close()
    session, model = await resumed(manager, session.id, script[3:], settings=going_on(settings))
    assert (await say(session, "four")).status == "completed"
    assert "compacted" in await outline(manager, session.id)
    assert len(model.requests) == 2
    await session.close()


class Broken:
    """A model whose client raises what it should not."""

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        yield TextDelta("msg_1", str(1 // len(request.tools)))


async def test_a_client_that_breaks_fails_the_turn(manager: ThreadManager) -> None:
    session = await Session.start(
        manager, NewThread(cwd="/a"), Broken(), settings=SETTINGS, clock=ManualClock()
    )
    result = await say(session, "hi")
    assert result.error is not None
    assert (result.status, result.error.message) == (
        "failed",
        "ZeroDivisionError: integer division or modulo by zero",
    )
    assert await statuses(manager, session.id) == ["failed"]
    await session.close()


ODD: list[dict[str, Any]] = [
    {},
    {"type": None},
    {"type": "message"},
    {"type": "message", "role": "assistant", "content": "text"},
    {"type": "message", "role": "assistant", "content": [None, {"type": "refusal"}]},
    {"type": "reasoning", "summary": "text", "content": [5]},
    {"type": "function_call"},
    {"type": "function_call", "call_id": 5, "name": "add"},
    {"type": "function_call", "call_id": "c", "name": None, "arguments": {"a": 1}},
    {"type": "function_call", "call_id": "c", "name": "add", "namespace": 5, "arguments": "{}"},
    {"type": "custom_tool_call", "call_id": "c", "name": "add", "input": None},
    {"type": "web_search_call", "action": "search"},
    {"type": "something_new", "id": "x"},
]


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
@pytest.mark.parametrize("item", ODD, ids=str)
async def test_an_output_item_of_an_odd_shape_does_no_harm(
    manager: ThreadManager, item: dict[str, Any], mode: str
) -> None:
    odd = {"now": True}

    def answers(_: ModelRequest) -> Reply:
        return reply(Raw(item)) if odd.pop("now", False) else reply(Say("ok"))

    session, model = await started(manager, answers, tools=[add], history_mode=mode)
    result = await say(session, "hi")
    assert result.status in ("completed", "failed")
    assert (await say(session, "more")).status == "completed"
    check_pairs(model.requests[-1].input)
    assert "hi" in said(model.requests[-1])
    live = session._state.request()
    await session.close()
    again, _ = await resumed(manager, session.id, [], tools=[add])
    assert again._state.request() == live
    await again.close()


# The store


class FailsOnce(ThreadStoreWrapper):
    """Fails one append, before or after its work, and those that follow as long as it is told."""

    def __init__(self, inner: ThreadStore, *, after: bool, times: int = 1) -> None:
        super().__init__(inner)
        self.countdown = -1
        self.failed = 0
        self._after = after
        self._times = times

    async def append_items(
        self,
        thread_id: str,
        items: Sequence[RolloutItem],
        *,
        idempotency_key: str | None = None,
        expected_position: int | None = None,
    ) -> AppendReceipt:
        fails = False
        if items and self.countdown >= 0:
            self.countdown -= 1
            fails = self.countdown < 0 or 0 < self.failed < self._times
            self.countdown = 0 if fails and self.failed + 1 < self._times else self.countdown
        self.failed += fails
        if fails and not self._after:
            raise StoreUnavailable("the disk is full")
        receipt = await super().append_items(
            thread_id, items, idempotency_key=idempotency_key, expected_position=expected_position
        )
        if fails:
            raise StoreUnavailable("the line was cut")
        return receipt


KEPT = {
    *("task_started", "task_complete", "turn_aborted", "token_count", "user_message"),
    *("agent_message", "agent_reasoning"),
}


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("after", [True, False])
async def test_wherever_the_store_fails_nothing_is_told_that_is_not_kept(
    *, after: bool, times: int
) -> None:
    for number in range(20):
        store = FailsOnce(MemoryThreadStore(), after=after, times=times)
        async with managed(store) as manager:
            script = [reply(Say("zero")), reply(Think("**Hm**"), ADD, ADD), reply(Say("ok"))]
            session, _ = await started(manager, script, tools=[add])
            await say(session, "hi")
            store.countdown = number
            turn = await session.start_turn("what is it?")
            events = await told(turn)
            result = await turn.result()
            failed = store.failed > 0
            store.countdown = -1
            stored = [item.payload for item in await history(manager, session.id)]
            for event in events:
                if event.payload()["type"] in KEPT:
                    assert event.payload() in stored
            assert result.status == ("failed" if failed else "completed")
            if failed:
                assert isinstance([e for e in events if isinstance(e, ErrorEvent)][-1], ErrorEvent)
            await _goes_on(session, manager)
        if not failed:
            break
    assert number > 5
    assert not failed


async def _goes_on(session: Session, manager: ThreadManager) -> None:
    """The session works, and a restart sends the same."""
    assert session.status == "idle"
    model = session._state.client
    model._script.replies = lambda _: reply(Say("again"))  # type: ignore[attr-defined]
    assert (await say(session, "more")).status == "completed"
    shown = await turns(manager, session.id)
    assert shown[-1].status == "completed"
    assert "completed" not in [turn.status for turn in shown[1:-1] if turn.error is not None]
    live = session._state.request()
    check_pairs(live.input)
    used = session.usage
    await session.close()
    again, _ = await resumed(manager, session.id, [reply(Say("b"))], tools=[add])
    assert again._state.request() == live
    assert again.usage == used
    await again.close()


async def test_a_turn_that_could_not_begin_fails_and_leaves_no_trace() -> None:
    store = FaultyStore(MemoryThreadStore())
    async with managed(store) as manager:
        session, model = await started(manager, [reply(Say("ok"))])
        store.fail("append_items")
        turn = await session.start_turn("hi")
        assert types(await told(turn)) == ["error"]
        assert (await turn.result()).status == "failed"
        store.heal("append_items")
        assert (await say(session, "again")).status == "completed"
        assert said(model.requests[0]) == ["again"]
        assert await statuses(manager, session.id) == ["completed"]
        await session.close()


async def test_metadata_that_cannot_be_written_does_not_fail_a_turn() -> None:
    store = FaultyStore(MemoryThreadStore())
    async with managed(store) as manager:
        session, _ = await started(manager, [reply(ADD), reply(Say("ok")), reply(Say("b"))])
        turn = await session.start_turn("hi")
        await turn.result()
        store.fail("update_thread_metadata")
        assert (await say(session, "more")).status == "completed"
        store.heal("update_thread_metadata")
        await session._state.journal.handle.flush()
        assert (await session.read()).usage == ThreadUsage(own={"m1": usage(3)})
        await session.close()


async def test_a_revert_that_could_not_be_kept_did_not_happen() -> None:
    store = FaultyStore(MemoryThreadStore())
    async with managed(store) as manager:
        session, model = await started(manager, lambda _: reply(Say("a")))
        events = session.follow()
        await say(session, "one")
        await say(session, "two")
        store.fail("append_items")
        with pytest.raises(StoreUnavailable):
            await session.revert(turns=1)
        store.heal("append_items")
        await say(session, "three")
        assert said(model.requests[2]) == ["one", "a", "two", "a", "three"]
        with pytest.raises(InvalidRequest, match="nothing to redo"):
            await session.redo()
        await session.close()
        assert not [event async for event in events if isinstance(event, ThreadRolledBack)]


@pytest.mark.parametrize("after", [True, False])
async def test_a_store_that_fails_while_a_turn_is_interrupted(*, after: bool) -> None:
    store = FaultyStore(MemoryThreadStore())
    async with managed(store) as manager:
        pause = gate()
        session, model = await started(manager, [reply(pause), reply(Say("ok"))])
        turn = await session.start_turn("hi")
        await reached(pause)
        store.fail("append_items", after=after)
        result = await session.interrupt()
        assert result.status == "failed"
        store.heal("append_items")
        assert await statuses(manager, session.id) == ["interrupted"]
        assert "turn_aborted" not in types(await told(turn))
        await say(session, "more")
        heard = [text.partition("\n")[0] for text in said(model.requests[1])]
        assert heard == ["hi", *(["<turn_aborted>"] if after else []), "more"]
        await session.close()


async def test_a_thread_that_is_shut_down_under_a_session_fails_its_turns(
    any_manager: ThreadManager,
) -> None:
    session, _ = await started(any_manager, lambda _: reply(Say("a")))
    await say(session, "one")
    await any_manager.archive(session.id)
    result = await say(session, "two")
    assert result.error is not None
    assert (result.status, result.error.info) == ("failed", "thread_not_found")
    await session.close()
    assert await statuses(any_manager, session.id) == ["completed"]


async def test_a_turn_that_was_killed_is_shown_as_interrupted(any_manager: ThreadManager) -> None:
    pause = gate()
    session, _ = await started(any_manager, [reply(ADD), reply(pause)], tools=[add])
    turn = await session.start_turn("hi")
    await reached(pause)
    assert await statuses(any_manager, session.id) == ["interrupted"]
    pause.gate.set()
    assert isinstance((await told(turn))[-1], TaskComplete)
    await session.close()
