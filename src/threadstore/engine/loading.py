"""The context of a thread that is taken up again, read out of its history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from threadstore.errors import Unsupported
from threadstore.history.context import ContextFold, is_replacement
from threadstore.history.header import HeaderView, read_header
from threadstore.history.items import RolloutItem
from threadstore.history.rollback import is_rollback

if TYPE_CHECKING:
    from threadstore.store import ThreadStore

__all__ = ["LoadedContext", "glance", "load_context"]


class LoadedContext(msgspec.Struct, frozen=True, kw_only=True):
    """Where a thread stands."""

    fold: ContextFold
    """Equal to one that was fed the whole history, if it is not ``stale``; further items can be
    fed."""
    header: HeaderView
    """The thread's own header; empty if it cannot be read."""


async def load_context(store: ThreadStore, thread_id: str) -> LoadedContext:
    """Where the thread stands, as its history says.

    Reads backwards and no further than the turn in which the context was compacted last (and the
    last ``token_count`` with counters and ``turn_context``, which stand near it). Only where a
    rollback stands behind that, the whole history is read. Damaged lines are passed over. Raises
    :class:`ThreadNotFound`.
    """
    header = await _header(store, thread_id)
    tail = _Tail()
    async for entry in store.iter_history(thread_id, reverse=True):
        if isinstance(entry, RolloutItem) and not tail.take(entry):
            break
    if not tail.rolled_back:
        return LoadedContext(fold=tail.fold(), header=header)
    fold = ContextFold()
    async for entry in store.iter_history(thread_id):
        if isinstance(entry, RolloutItem):
            fold.feed(entry)
    return LoadedContext(fold=fold, header=header)


async def glance(store: ThreadStore, thread_id: str) -> LoadedContext:
    """What counts of a thread that nobody continues yet: its settings and counters.

    The fold is ``stale``, without the items of the context, which may be as long as the history.
    Raises as :func:`load_context`.
    """
    header = await _header(store, thread_id)
    facts: list[RolloutItem] = []
    counted = settled = False
    async for entry in store.iter_history(thread_id, reverse=True):
        if not isinstance(entry, RolloutItem):
            continue
        if _settles(entry):
            if not settled:
                facts.append(entry)
            settled = True
        elif _counts(entry):
            facts.append(entry)
            counted = counted or _has_counters(entry)
        if counted and settled:
            break
    fold = ContextFold(complete=False)
    for item in reversed(facts):
        fold.feed(item)
    fold.stale = True
    return LoadedContext(fold=fold, header=header)


async def _header(store: ThreadStore, thread_id: str) -> HeaderView:
    try:
        base = await store.history_base(thread_id)
    except Unsupported:  # it stands on lines that only the store can find
        base = None
    after = base.position if base else 0
    async for entry in store.iter_history(thread_id, after=after):
        header = read_header(entry) if isinstance(entry, RolloutItem) else None
        return header or HeaderView()
    return HeaderView()


class _Tail:
    """The end of a history, taken backwards."""

    def __init__(self) -> None:
        self.rolled_back = False
        """Whether a rollback may reach behind what was read."""
        self._items: list[RolloutItem] = []
        self._compacted = False
        self._whole_turns = False
        self._counted = False
        self._settled = False

    def take(self, item: RolloutItem) -> bool:
        """Take the item before; whether more is wanted."""
        kind = item.kind if item.type == "event_msg" else None
        settles, counts = _settles(item), _counts(item)
        # Beyond the compaction only what is true of the whole thread counts.
        if not self._whole_turns or counts or settles:
            self._items.append(item)
        if not self._whole_turns and is_rollback(item):
            self.rolled_back = True
        elif is_replacement(item):
            self._compacted = True
        elif kind in ("task_started", "turn_started"):
            self._whole_turns = self._compacted
        elif kind == "token_count":
            self._counted = self._counted or _has_counters(item)
        self._settled = self._settled or settles
        return not (self.rolled_back or (self._whole_turns and self._counted and self._settled))

    def fold(self) -> ContextFold:
        """The context at the end."""
        fold = ContextFold(complete=not self._whole_turns)
        for item in reversed(self._items):
            fold.feed(item)
        return fold


def _settles(item: RolloutItem) -> bool:
    return item.type == "turn_context" and isinstance(item.payload, dict)


def _counts(item: RolloutItem) -> bool:
    if item.type == "event_msg":
        return item.kind == "token_count"
    return item.type == "token_usage_record"


def _has_counters(item: RolloutItem) -> bool:
    return (
        item.type == "event_msg"
        and isinstance(item.payload, dict)
        and isinstance(item.payload.get("info"), dict)
    )
