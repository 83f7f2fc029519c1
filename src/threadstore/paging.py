"""Pages of turns and items, for every store, over ``iter_history``.

A cursor holds a position in the thread's log. Positions never change when lines are appended, so
that paging skips and repeats nothing while a thread grows.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeVar

from threadstore.errors import InvalidRequest
from threadstore.history.items import DamagedLine, RolloutItem
from threadstore.history.turns import OpenStatus, StoredTurn, TurnBuilder
from threadstore.ids import parse_thread_id
from threadstore.queries import ItemPage, TurnPage, check_limit, decode_cursor, encode_cursor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

__all__ = ["HistorySource", "list_items", "list_turns", "turn_cursor"]

_T = TypeVar("_T")


async def list_turns(
    store: HistorySource,
    thread_id: str,
    cursor: str | None,
    limit: int,
    *,
    descending: bool,
    open_status: OpenStatus = "interrupted",
) -> TurnPage:
    """A page of turns after rollback. Reads the whole history; stores with an index override it.

    *open_status* is the status of a last turn without an end: only who holds the thread live knows
    that it is still in progress.
    """
    window = _Window.of("turns", parse_thread_id(thread_id), cursor, limit, descending=descending)
    turns = await _turns(store, thread_id, open_status)
    ordered = reversed(turns) if descending else iter(turns)
    page, more = window.take(ordered, lambda turn: turn.listed_position)
    if not page:
        return TurnPage(())
    return TurnPage(
        tuple(page),
        window.next(page[-1].listed_position) if more else None,
        window.backwards(page[0].listed_position),
    )


def turn_cursor(thread_id: str, listed_position: int, *, descending: bool) -> str:
    """The cursor of the page of turns that begins at the turn with this ``listed_position``."""
    window = _Window("turns", thread_id, 1, not descending, anchor=None, inclusive=True)
    return window.backwards(listed_position)


async def list_items(
    store: HistorySource,
    thread_id: str,
    turn_id: str | None,
    cursor: str | None,
    limit: int,
    *,
    descending: bool,
) -> ItemPage:
    """A page of items, of one turn if *turn_id* is given (:class:`InvalidRequest` if unknown)."""
    scope = f"{parse_thread_id(thread_id)}/{turn_id or ''}"
    window = _Window.of("items", scope, cursor, limit, descending=descending)
    if turn_id is None:
        page, more = await _items(store, thread_id, window)
    else:
        turn = next((t for t in await _turns(store, thread_id) if t.id == turn_id), None)
        if turn is None:
            raise InvalidRequest(
                f"thread {thread_id} has no turn {turn_id}", hint="list_turns names the turns"
            )
        page, more = window.take(reversed(turn.items) if descending else turn.items, _position)
    if not page:
        return ItemPage(())
    return ItemPage(
        tuple(page),
        window.next(_position(page[-1])) if more else None,
        window.backwards(_position(page[0])),
    )


class HistorySource(Protocol):
    """The one verb of a store that paging needs."""

    def iter_history(
        self, thread_id: str, *, after: int = 0, reverse: bool = False
    ) -> AsyncIterator[RolloutItem | DamagedLine]:
        """See :meth:`threadstore.store.ThreadStore.iter_history`."""
        ...


class _Window(NamedTuple):
    """Which part of an ordered listing a page shows."""

    kind: Literal["turns", "items"]
    scope: str
    limit: int
    descending: bool
    anchor: int | None
    """Position to continue from; ``None``: from the start."""
    inclusive: bool
    """Whether what stands at the anchor belongs to the page."""

    @classmethod
    def of(
        cls,
        kind: Literal["turns", "items"],
        scope: str,
        cursor: str | None,
        limit: int,
        *,
        descending: bool,
    ) -> _Window:
        check_limit(limit)
        if cursor is None:
            return cls(kind, scope, limit, descending, anchor=None, inclusive=False)
        match decode_cursor(kind, _query(scope, descending=descending), cursor):
            case [int(anchor), bool(inclusive)]:
                return cls(kind, scope, limit, descending, anchor, inclusive)
        raise InvalidRequest(f"invalid cursor: {cursor!r}", hint="pass a page's cursor unchanged")

    def shows(self, position: int) -> bool:
        """Whether *position* comes after the anchor, in the listing's direction."""
        if self.anchor is None or (self.inclusive and position == self.anchor):
            return True
        return position < self.anchor if self.descending else position > self.anchor

    def take(self, ordered: Iterable[_T], position: Callable[[_T], int]) -> tuple[list[_T], bool]:
        """The entries of this page, and whether more follow."""
        page: list[_T] = []
        for entry in ordered:
            if self.shows(position(entry)):
                if len(page) == self.limit:
                    return page, True
                page.append(entry)
        return page, False

    def next(self, last: int) -> str:
        """The cursor of the page after the entry at *last*."""
        return self._cursor(last, inclusive=False, descending=self.descending)

    def backwards(self, first: int) -> str:
        """The cursor of the page in the other direction that begins at *first*."""
        return self._cursor(first, inclusive=True, descending=not self.descending)

    def _cursor(self, place: int, *, inclusive: bool, descending: bool) -> str:
        query = _query(self.scope, descending=descending)
        return encode_cursor(self.kind, query, place, inclusive)


def _query(scope: str, *, descending: bool) -> str:
    return f"{scope} {'desc' if descending else 'asc'}"


def _position(item: RolloutItem) -> int:
    assert item.position is not None  # items that a store yields have one
    return item.position


async def _turns(
    store: HistorySource, thread_id: str, open_status: OpenStatus = "interrupted"
) -> tuple[StoredTurn, ...]:
    builder = TurnBuilder(open_status=open_status)
    async for entry in store.iter_history(thread_id):
        if isinstance(entry, RolloutItem):
            builder.feed(entry)
    return builder.turns()


async def _items(
    store: HistorySource, thread_id: str, window: _Window
) -> tuple[list[RolloutItem], bool]:
    """The items of a page, and whether more follow; reads no further than the page needs."""
    after = 0
    if window.anchor is not None and not window.descending:
        after = window.anchor - 1 if window.inclusive else window.anchor
    page: list[RolloutItem] = []
    history = store.iter_history(thread_id, after=max(after, 0), reverse=window.descending)
    try:
        async for entry in history:
            if isinstance(entry, RolloutItem) and window.shows(_position(entry)):
                if len(page) == window.limit:
                    return page, True
                page.append(entry)
    finally:
        if isinstance(history, AsyncGenerator):  # release the file now, not at collection
            await history.aclose()
    return page, False
