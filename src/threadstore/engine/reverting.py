"""Going back to an earlier turn, and forward again, both by appending only."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from threadstore.engine.events import ThreadRolledBack
from threadstore.engine.journal import folded
from threadstore.engine.state import estimated_tokens
from threadstore.errors import InvalidRequest
from threadstore.history.rollback import removed_by_last_revert
from threadstore.history.turns import build_turns

if TYPE_CHECKING:
    from threadstore.engine.state import SessionState
    from threadstore.history.items import RolloutItem

__all__ = ["redo", "revert"]


async def revert(
    state: SessionState, *, before_turn: str | None, turns: int | None
) -> tuple[str, ...]:
    """Append the marker that takes the last turns back; their ids. See ``Session.revert``."""
    items = await _history(state)
    shown = [turn.id for turn in await asyncio.to_thread(build_turns, items)]
    count = _count(shown, before_turn, turns)
    removed = tuple(shown[-count:])
    marker = ThreadRolledBack(turn_id=removed[0], num_turns=count)
    # All of the history: a revert may reach behind what was read when the session was opened.
    fold = await asyncio.to_thread(folded, [*items, marker.as_item()])
    if state.tokens.total is None:
        await state.journal.record(marker)
    else:  # how full the context is now comes before the marker (Codex 0.131)
        state.tokens.estimate(estimated_tokens(state.request(context=fold.items).input))
        await state.journal.record(state.tokens.event(removed[0]), marker)
    state.journal.fold = fold
    await state.journal.handle.flush()
    return removed


async def redo(state: SessionState) -> tuple[str, ...]:
    """Append what the last revert took back; the ids of its turns. See ``Session.redo``."""
    items = await _history(state)
    removed = await asyncio.to_thread(removed_by_last_revert, items)
    if not removed:
        raise InvalidRequest(
            f"thread {state.thread_id} has nothing to redo",
            hint="a revert can be taken back until the next turn begins",
        )
    before = {turn.id for turn in await asyncio.to_thread(build_turns, items)}
    await state.journal.repeat(removed)
    turns = await asyncio.to_thread(build_turns, await _history(state))
    again = tuple(turn.id for turn in turns if turn.id not in before)
    if state.tokens.total is not None and again:  # the last line that says it is the revert's
        state.tokens.estimate(estimated_tokens(state.request().input))
        await state.journal.record(state.tokens.event(again[-1]))
    await state.journal.handle.flush()
    return again


def _count(shown: list[str], before_turn: str | None, turns: int | None) -> int:
    if (before_turn is None) == (turns is None):
        raise InvalidRequest("say before_turn or turns, one of the two")
    if before_turn is not None:
        if before_turn not in shown:
            raise InvalidRequest(f"no such turn: {before_turn}", hint="list the thread's turns")
        return len(shown) - shown.index(before_turn)
    assert turns is not None
    if not 1 <= turns <= len(shown):
        raise InvalidRequest(f"turns must be from 1 to {len(shown)}, the turns that there are")
    return turns


async def _history(state: SessionState) -> tuple[RolloutItem, ...]:
    return (await state.journal.handle.load_history()).items
