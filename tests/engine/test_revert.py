"""Going back and forth between turns only ever adds to the history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.helpers import (
    add,
    forked,
    gate,
    outline,
    reached,
    reply,
    resumed,
    said,
    say,
    started,
    statuses,
    turns,
)

from threadstore.engine import ThreadRolledBack, TokenCount
from threadstore.errors import Conflict, InvalidRequest
from threadstore.testing.scripted_model import Call, Reply, Say

if TYPE_CHECKING:
    from threadstore.engine import Session
    from threadstore.manager import ThreadManager

MODES = pytest.mark.parametrize("mode", ["legacy", "paginated"])


async def _three(manager: ThreadManager, mode: str = "legacy") -> tuple[Session, Any, list[str]]:
    session, model = await started(
        manager, lambda request: reply(Say(f"to {said(request)[-1]}")), history_mode=mode
    )
    ids = [(await say(session, text)).turn_id for text in ("one", "two", "three")]
    return session, model, ids


@MODES
async def test_turns_are_taken_back_by_a_marker_and_forth_by_their_lines(
    any_manager: ThreadManager, mode: str
) -> None:
    session, model, ids = await _three(any_manager, mode)
    events = session.follow()
    raw = await _raw(any_manager, session.id)
    assert await session.revert(turns=2) == tuple(ids[1:])
    assert (await outline(any_manager, session.id))[-2:] == ["token_count", "thread_rolled_back"]
    assert [turn.id for turn in await turns(any_manager, session.id)] == ids[:1]
    assert await session.redo() == tuple(ids[1:])
    assert [turn.id for turn in await turns(any_manager, session.id)] == ids
    assert (await _raw(any_manager, session.id)).startswith(raw)
    await say(session, "four")
    assert said(model.requests[3]) == [
        *("one", "to one", "two", "to two", "three", "to three", "four")
    ]
    assert await statuses(any_manager, session.id) == ["completed"] * 4
    await session.close()
    told = [event async for event in events]
    assert isinstance(told[0], TokenCount)
    assert told[1] == ThreadRolledBack(turn_id=ids[1], num_turns=2)


@MODES
async def test_the_conversation_goes_another_way_after_a_revert(
    any_manager: ThreadManager, mode: str
) -> None:
    session, model, ids = await _three(any_manager, mode)
    assert await session.revert(before_turn=ids[1]) == tuple(ids[1:])
    await say(session, "else")
    assert said(model.requests[3]) == ["one", "to one", "else"]
    with pytest.raises(InvalidRequest, match="nothing to redo"):
        await session.redo()
    await session.close()
    session, model = await resumed(any_manager, session.id, [reply(Say("b"))])
    await say(session, "more")
    assert said(model.requests[0]) == ["one", "to one", "else", "to else", "more"]
    await session.close()


@MODES
async def test_a_restart_between_changes_nothing(any_manager: ThreadManager, mode: str) -> None:
    session, _, ids = await _three(any_manager, mode)
    await session.revert(turns=2)
    await session.close()
    session, _ = await resumed(any_manager, session.id, [])
    assert await session.redo() == tuple(ids[1:])
    await session.close()
    session, model = await resumed(any_manager, session.id, [reply(Say("x"))])
    with pytest.raises(InvalidRequest, match="nothing to redo"):
        await session.redo()
    await say(session, "four")
    assert len(said(model.requests[0])) == 7
    await session.close()


async def test_all_turns_can_be_taken_back(manager: ThreadManager) -> None:
    session, model, ids = await _three(manager)
    assert await session.revert(before_turn=ids[0]) == tuple(ids)
    await say(session, "anew")
    assert said(model.requests[3]) == ["anew"]
    assert model.requests[3].input[:2] == model.requests[0].input[:2]
    await session.close()


async def test_one_after_the_other_can_be_taken_back_and_only_the_last_comes_again(
    manager: ThreadManager,
) -> None:
    session, model, ids = await _three(manager)
    assert await session.revert(turns=1) == (ids[2],)
    assert await session.revert(turns=1) == (ids[1],)
    assert await session.redo() == (ids[1],)
    await say(session, "four")
    assert said(model.requests[3]) == ["one", "to one", "two", "to two", "four"]
    await session.close()


@MODES
async def test_a_revert_reaches_behind_a_compaction(any_manager: ThreadManager, mode: str) -> None:
    session, model, ids = await _three(any_manager, mode)
    await (await session.compact()).result()
    await say(session, "four")
    await session.close()
    session, model = await resumed(any_manager, session.id, lambda _: reply(Say("x")))
    await session.revert(before_turn=ids[2])
    await say(session, "five")
    assert said(model.requests[0]) == ["one", "to one", "two", "to two", "five"]
    await session.close()


@MODES
async def test_a_compaction_comes_again_with_its_turn(
    any_manager: ThreadManager, mode: str
) -> None:
    session, _, _ = await _three(any_manager, mode)
    await (await session.compact()).result()
    await say(session, "four")
    expected = session._state.request()
    await session.revert(turns=2)
    await session.redo()
    assert session._state.request() == expected
    await session.close()
    again, _ = await resumed(any_manager, session.id, [])
    assert again._state.request() == expected
    await again.close()


@MODES
async def test_a_fork_may_go_back_behind_where_it_began(
    any_manager: ThreadManager, mode: str
) -> None:
    session, _, ids = await _three(any_manager, mode)
    fork = await forked(any_manager, session.id)
    await say(fork, "four")
    assert (await fork.revert(before_turn=ids[1]))[:2] == tuple(ids[1:])
    await say(fork, "five")
    assert len(await statuses(any_manager, fork.id)) == 2
    assert [turn.id for turn in await turns(any_manager, session.id)] == ids
    for each in (fork, session):
        await each.close()


async def test_turns_of_every_end_can_be_taken_back(manager: ThreadManager) -> None:
    pause = gate()
    script = [
        reply(Say("a")),
        Reply(Call("add", "{broken"), cut=True),
        *[Reply(cut=True)] * 2,
        reply(pause),
        reply(Say("b")),
    ]
    session, model = await started(manager, script, tools=[add])
    await say(session, "one")
    assert (await say(session, "two")).status == "failed"
    await session.start_turn("three")
    await reached(pause)
    await session.interrupt()
    assert await statuses(manager, session.id) == ["completed", "failed", "interrupted"]
    await session.revert(turns=2)
    assert await statuses(manager, session.id) == ["completed"]
    await session.redo()
    assert await statuses(manager, session.id) == ["completed", "failed", "interrupted"]
    await session.revert(turns=2)
    await say(session, "four")
    assert said(model.requests[-1]) == ["one", "a", "four"]
    await session.close()


async def test_what_cannot_be_taken_back_is_said_so(manager: ThreadManager) -> None:
    session, _, ids = await _three(manager)
    before = await _raw(manager, session.id)
    wrong: tuple[dict[str, Any], ...] = (
        {"turns": 0},
        {"turns": -1},
        {"turns": 4},
        {"before_turn": "nobody"},
        {},
        {"turns": 1, "before_turn": ids[0]},
    )
    for options in wrong:
        with pytest.raises(InvalidRequest):
            await session.revert(**options)
    with pytest.raises(InvalidRequest, match="nothing to redo"):
        await session.redo()
    assert await _raw(manager, session.id) == before
    assert session.status == "idle"
    await session.close()


async def test_nothing_is_taken_back_while_a_turn_runs(manager: ThreadManager) -> None:
    pause = gate()
    session, _ = await started(manager, [reply(pause, Say("a"))])
    turn = await session.start_turn("one")
    await reached(pause)
    for call in (session.revert(turns=1), session.redo()):
        with pytest.raises(Conflict, match="is running"):
            await call
    pause.gate.set()
    await turn.result()
    await session.close()


async def _raw(manager: ThreadManager, thread_id: str) -> bytes:
    return b"".join([chunk async for chunk in manager.store.raw_history(thread_id)])
