"""What is said while a turn runs is never lost; what waits gets a turn of its own, in order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.engine.helpers import (
    Gated,
    gate,
    outline,
    reached,
    reply,
    said,
    say,
    started,
    statuses,
    turns,
)

from threadstore.engine import TaskComplete, TaskStarted, TokenCount
from threadstore.engine.model import ModelError
from threadstore.errors import Conflict, InvalidRequest
from threadstore.testing.scripted_model import Call, Reply, Say

if TYPE_CHECKING:
    from threadstore.manager import ThreadManager

OPENING = ["task_started", "ri:developer", "ri:user", "turn_context", "ri:user", "user_message"]
NO = ModelError("no", kind="bad_request", http_status=400)


async def test_more_input_goes_into_the_turn_with_the_next_request(
    any_manager: ThreadManager,
) -> None:
    slow = Gated()
    script = [reply(Call("slow")), reply(Say("ok"))]
    session, model = await started(any_manager, script, tools=[slow.tool])
    turn = await session.start_turn("hi")
    await slow.begun.wait()
    assert await session.steer("also", expected_turn=turn.id) == turn.id
    assert await session.steer("and this") == turn.id
    slow.go_on.set()
    await turn.result()
    assert said(model.requests[1]) == ["hi", "slow is done", "also", "and this"]
    assert await outline(any_manager, session.id) == [
        *OPENING,
        *("function_call", "function_call_output", "token_count"),
        *["ri:user", "user_message"] * 2,
        *("agent_message", "ri:assistant", "token_count", "task_complete"),
    ]
    assert len(await turns(any_manager, session.id)) == 1
    await session.close()


async def test_what_is_said_at_the_very_last_moment_gets_an_answer(manager: ThreadManager) -> None:
    session, model = await started(manager, [reply(Say("one")), reply(Say("two"))])
    turn = await session.start_turn("hi")
    async for event in turn:
        if isinstance(event, TokenCount) and len(model.requests) == 1:
            await session.steer("late")
    assert said(model.requests[1]) == ["hi", "one", "late"]
    assert (await turn.result()).last_message == "two"
    await session.close()


async def test_steering_is_accepted_and_answered_or_refused_at_every_moment(
    manager: ThreadManager,
) -> None:
    """Whatever step of the loop it falls on: there is no moment at which it is lost."""
    for steps in range(60):
        session, model = await started(manager, lambda _: reply(Say("ok")))
        turn = await session.start_turn("hi")
        for _ in range(steps):
            await asyncio.sleep(0)
        try:
            await session.steer("late")
        except InvalidRequest:
            accepted = False
        else:
            accepted = True
        await turn.result()
        assert ("late" in said(model.requests[-1])) is accepted
        await session.close()
    assert not accepted  # the last one came when all was over


async def test_what_was_said_before_a_failure_is_kept(manager: ThreadManager) -> None:
    pause = gate()
    session, model = await started(manager, [Reply(pause, error=NO), reply(Say("ok"))])
    turn = await session.start_turn("hi")
    await reached(pause)
    await session.steer("also")
    pause.gate.set()
    assert (await turn.result()).status == "failed"
    assert (await outline(manager, session.id))[6:] == ["ri:user", "user_message", "task_complete"]
    await say(session, "again")
    assert said(model.requests[1]) == ["hi", "also", "again"]
    await session.close()


async def test_what_was_said_before_an_interruption_is_kept(any_manager: ThreadManager) -> None:
    pause = gate()
    session, model = await started(any_manager, [reply(pause), reply(Say("ok"))])
    await session.start_turn("hi")
    await reached(pause)
    await session.steer("also")
    await session.interrupt()
    assert (await outline(any_manager, session.id))[6:] == [
        *("ri:user", "user_message"),
        *("ri:user", "turn_aborted"),
    ]
    await say(session, "again")
    heard = [text.partition("\n")[0] for text in said(model.requests[1])]
    assert heard == ["hi", "also", "<turn_aborted>", "again"]
    await session.close()


async def test_steering_needs_the_turn_that_is_meant(manager: ThreadManager) -> None:
    pause = gate()
    session, _ = await started(manager, [reply(pause, Say("ok"))])
    with pytest.raises(InvalidRequest, match="no active turn to steer"):
        await session.steer("also")
    turn = await session.start_turn("hi")
    await reached(pause)
    with pytest.raises(InvalidRequest, match=f"expected active turn id x but found {turn.id}"):
        await session.steer("also", expected_turn="x")
    with pytest.raises(InvalidRequest, match="empty"):
        await session.steer(" \n")
    with pytest.raises(Conflict, match="is running"):
        await session.start_turn("more")
    pause.gate.set()
    await turn.result()
    await session.close()


async def test_a_turn_that_compacts_takes_no_input(manager: ThreadManager) -> None:
    pause = gate()
    session, _ = await started(manager, [reply(Say("ok")), reply(pause, Say("summary"))])
    await say(session, "hi")
    turn = await session.compact()
    await reached(pause)
    with pytest.raises(InvalidRequest, match="takes no more input"):
        await session.steer("also")
    pause.gate.set()
    assert (await turn.result()).status == "completed"
    await session.close()


async def test_an_interrupted_turn_takes_no_input(manager: ThreadManager) -> None:
    pause = gate()
    session, _ = await started(manager, [reply(pause)])
    await session.start_turn("hi")
    await reached(pause)
    ending = asyncio.create_task(session.interrupt())
    await asyncio.sleep(0)
    with pytest.raises(InvalidRequest, match="takes no more input"):
        await session.steer("also")
    await ending
    await session.close()


# The queue


async def test_queued_inputs_get_turns_of_their_own_in_order(any_manager: ThreadManager) -> None:
    pause = gate()
    script = [reply(pause, Say("a")), reply(Say("b")), reply(Say("c"))]
    session, model = await started(any_manager, script)
    events = session.follow()
    await session.start_turn("one")
    await reached(pause)
    ids = [session.enqueue("two"), session.enqueue("three")]
    assert session.queued == tuple(ids)
    pause.gate.set()
    await session.wait_idle()
    assert (session.status, session.queued) == ("idle", ())
    assert said(model.requests[2]) == ["one", "a", "two", "b", "three"]
    assert await statuses(any_manager, session.id) == ["completed"] * 3
    await session.close()
    ends = [event async for event in events if isinstance(event, TaskStarted | TaskComplete)]
    assert [event.payload()["type"] for event in ends] == ["task_started", "task_complete"] * 3


async def test_what_is_queued_while_nothing_runs_starts_at_once(manager: ThreadManager) -> None:
    session, model = await started(manager, [reply(Say("a"))])
    session.enqueue("one")
    assert session.status == "active"
    await session.wait_idle()
    assert said(model.requests[0]) == ["one"]
    await session.close()


async def test_a_queued_input_can_be_withdrawn(manager: ThreadManager) -> None:
    pause = gate()
    session, model = await started(manager, [reply(pause, Say("a")), reply(Say("b"))])
    await session.start_turn("one")
    await reached(pause)
    two = session.enqueue("two")
    session.enqueue("three")
    session.withdraw(two)
    with pytest.raises(InvalidRequest, match="no such input"):
        session.withdraw(two)
    with pytest.raises(InvalidRequest, match="empty"):
        session.enqueue("")
    pause.gate.set()
    await session.wait_idle()
    assert said(model.requests[1]) == ["one", "a", "three"]
    await session.close()


@pytest.mark.parametrize("how", ["failed", "interrupted"])
async def test_the_queue_waits_after_a_turn_that_did_not_complete(
    manager: ThreadManager, how: str
) -> None:
    pause = gate()
    first = Reply(pause, error=NO)
    script = [first, reply(Say("b")), reply(Say("c")), reply(Say("d"))]
    session, model = await started(manager, script)
    turn = await session.start_turn("one")
    await reached(pause)
    session.enqueue("two")
    if how == "failed":
        pause.gate.set()
        await turn.result()
    else:
        await session.interrupt()
    await session.wait_idle()
    assert (session.status, len(session.queued)) == ("idle", 1)
    session.enqueue("three")
    assert (session.status, len(session.queued)) == ("idle", 2)
    await say(session, "now")
    await session.wait_idle()
    heard = [text for text in said(model.requests[3]) if not text.startswith("<")]
    assert heard == ["one", "now", "b", "two", "c", "three"]
    await session.close()


async def test_taking_turns_back_does_not_start_a_queue_that_waits(manager: ThreadManager) -> None:
    pause = gate()
    session, _ = await started(manager, [reply(Say("a")), reply(pause)])
    await say(session, "one")
    await session.start_turn("two")
    await reached(pause)
    session.enqueue("three")
    await session.interrupt()
    await session.revert(turns=1)
    assert (session.status, len(session.queued)) == ("idle", 1)
    await session.close()


async def test_a_queue_that_was_emptied_waits_for_nothing(manager: ThreadManager) -> None:
    session, _ = await started(manager, [Reply(error=NO), reply(Say("a"))])
    await say(session, "one")
    session.enqueue("two")
    await session.wait_idle()
    assert await statuses(manager, session.id) == ["failed", "completed"]
    await session.close()
