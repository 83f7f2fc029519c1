"""Forks: a new thread that continues the history of another, by reference or by copy."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Final, cast

import msgspec

from threadstore.errors import InvalidRequest, ThreadNotFound, ThreadStoreError, Unsupported
from threadstore.history.facts import fold
from threadstore.history.header import read_header
from threadstore.history.items import RolloutItem
from threadstore.history.turns import build_turns
from threadstore.live.thread import LiveThread
from threadstore.metadata import HistoryBase, NewThread, ThreadMetadataPatch, is_subagent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from threadstore.clock import Clock
    from threadstore.history.turns import OpenStatus
    from threadstore.metadata import HistoryMode, StoredThread
    from threadstore.store import ThreadStore

__all__ = ["ForkPoint", "fork_thread"]

_SHOWN: Final = ("preview", "title", "first_user_message")


class ForkPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where the fork leaves its source; the end of the history if neither is given."""

    through_turn: str | None = None
    """Id of the last turn that it takes over."""
    before_turn: str | None = None
    """Id of the first turn that it does not take over."""


async def fork_thread(
    store: ThreadStore,
    source_id: str,
    new: NewThread | None,
    point: ForkPoint,
    *,
    new_id: str,
    cwd: str | None,
    clock: Clock,
    running: bool,
) -> LiveThread:
    """Fork a thread; see ``ThreadManager.fork``. *running* says that its last turn may go on."""
    with suppress(ThreadNotFound):  # if it is not live its shutdown has flushed it
        await store.flush_thread(source_id)
    stored = await store.read_thread(source_id)
    entries = [entry async for entry in store.iter_history(source_id)]
    items = [entry for entry in entries if isinstance(entry, RolloutItem)]
    if not items:
        raise InvalidRequest(f"thread {source_id} has no history to fork")
    open_status: OpenStatus = "in_progress" if running else "interrupted"
    end = _end(items, entries[-1].position or 0, point, open_status)
    items = [item for item in items if (item.position or 0) <= end]
    new = msgspec.structs.replace(
        new or _like(stored, items),
        id=new_id,
        forked_from_id=source_id,
        history_mode=cast("HistoryMode", stored.history_mode),
    )
    if cwd is not None:
        new = msgspec.structs.replace(new, cwd=cwd)
    observed = _observed(stored, items, whole=point == ForkPoint())
    async with AsyncExitStack() as undo:
        base = HistoryBase(thread_id=source_id, position=end)
        fork = await _referring(store, new, base, clock, observed)
        copied = fork is None
        if fork is None:
            fork = await LiveThread.create(store, new, clock=clock, observed=observed)
        undo.push_async_callback(_remove, store, fork)
        if copied:
            await fork.append_items(items, verbatim=True)
        await fork.persist()
        if stored.name is not None:
            await fork.update_metadata(ThreadMetadataPatch(name=stored.name))
        await fork.flush()
        undo.pop_all()
    return fork


async def _referring(
    store: ThreadStore,
    new: NewThread,
    base: HistoryBase,
    clock: Clock,
    observed: ThreadMetadataPatch,
) -> LiveThread | None:
    """A fork that refers to its source; ``None`` where the history has to be copied."""
    if not store.capabilities.fork_by_reference:
        return None
    new = msgspec.structs.replace(new, history_base=base)
    try:
        return await LiveThread.create(store, new, clock=clock, observed=observed)
    except Unsupported:  # of this history: legacy threads on some stores, or damage in it
        return None


def _end(
    items: Sequence[RolloutItem], position: int, point: ForkPoint, open_status: OpenStatus
) -> int:
    """The position of the last line that the fork takes over."""
    wanted = point.through_turn if point.before_turn is None else point.before_turn
    if wanted is None:
        return position
    if point.through_turn is not None and point.before_turn is not None:
        raise InvalidRequest("a fork ends after one turn or before one, not both")
    turns = build_turns(items, open_status=open_status)
    turn = next((turn for turn in turns if turn.id == wanted), None)
    if turn is None:
        raise InvalidRequest(f"no such turn: {wanted}", hint="turns that were rolled back are gone")
    if point.before_turn is not None:
        return turn.first_position - 1
    if turn.status == "in_progress":
        raise InvalidRequest(f"turn is in progress: {wanted}", hint="fork when it has ended")
    return turn.last_position


def _observed(
    stored: StoredThread, items: Sequence[RolloutItem], *, whole: bool
) -> ThreadMetadataPatch:
    """What the fork's history implies; the *whole* of it is shown as the source is shown."""
    observed = fold(stored.id, items)
    if not whole:
        return observed
    shown = {field: getattr(stored, field) for field in _SHOWN}
    return observed.merge(ThreadMetadataPatch(**{k: text for k, text in shown.items() if text}))


def _like(stored: StoredThread, items: Sequence[RolloutItem]) -> NewThread:
    """What the fork shares with its source if nothing else is said."""
    header = read_header(items[0])
    return NewThread(
        cwd=stored.cwd,
        source="cli" if is_subagent(stored.source) else stored.source,
        model_provider=stored.model_provider,
        memory_mode=stored.memory_mode,
        base_instructions=None if header is None else header.base_instructions,
        dynamic_tools=() if header is None else header.dynamic_tools,
    )


async def _remove(store: ThreadStore, fork: LiveThread) -> None:
    """Nothing of a fork that failed half-way shall remain."""
    await fork.discard()
    with suppress(ThreadStoreError):
        await store.delete_thread(fork.id)
