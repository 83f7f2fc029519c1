"""Pages of turns and items, for every store, over ``iter_history``.

A cursor holds a position in the thread's log. Positions never change when lines are appended, so
that paging skips and repeats nothing while a thread grows.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, Self, TypeVar

from threadstore.errors import InvalidRequest
from threadstore.history.growing import Keep, OpenStatus, StoredTurn
from threadstore.history.items import DamagedLine, History, RolloutItem
from threadstore.history.marks import SPACING, MarkFinder, ReachesBack, TurnMarks
from threadstore.history.turns import NeedsEveryLine, TurnBuilder
from threadstore.history.written import WrittenTurns
from threadstore.ids import parse_thread_id
from threadstore.pages import ItemPage, TurnPage
from threadstore.queries import check_limit, decode_cursor, encode_cursor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from threadstore.history.lines import Entry
    from threadstore.history.plain import PlainTurn

__all__ = [
    "HistorySource",
    "MarkedTurns",
    "Marks",
    "RecentMarks",
    "list_items",
    "list_turns",
    "shown_turns",
    "turn_cursor",
]

_T = TypeVar("_T")
_POSITIONS: Final = 1 << 62


async def list_turns(
    store: HistorySource,
    thread_id: str,
    cursor: str | None,
    limit: int,
    *,
    descending: bool,
    open_status: OpenStatus = "interrupted",
) -> TurnPage:
    """A page of turns after rollback. Reads the whole history where no marks are known of it.

    *open_status* is the status of a last turn without an end: only who holds the thread live knows
    that it is still in progress.
    """
    window = _Window.of("turns", parse_thread_id(thread_id), cursor, limit, descending=descending)
    turns = await MarkedTurns.of(store, window.scope, open_status)
    page: list[StoredTurn] = []
    more = False
    async for turn in turns.walk(window.anchor, descending=descending):
        if window.shows(turn.listed_position):
            more = len(page) == limit
            if more:
                break
            page.append(turn)
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
        turns = await MarkedTurns.of(store, parse_thread_id(thread_id))
        turn = await turns.find(turn_id)
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


async def shown_turns(
    store: HistorySource,
    thread_id: str,
    write: Callable[[StoredTurn], _T],
    write_plain: Callable[[PlainTurn], _T],
    *,
    open_status: OpenStatus = "interrupted",
) -> list[_T]:
    """All turns as *write* makes them, who is given of their items those that are shown, and
    *write_plain* the plain ones among them. Neither the rest nor the lines are held, and as little
    as possible of what is written already."""
    brief = WrittenTurns(write, write_plain, open_status=open_status)
    with contextlib.suppress(NeedsEveryLine):
        if await _feed(brief, store.history_batches(thread_id, brief=True)):
            return brief.written()
    builder = TurnBuilder(open_status=open_status, keep="shown")
    if not await _feed(builder, store.history_batches(thread_id)):
        await store.load_history(thread_id)  # says whether there is nothing or it is damaged
    return [write(turn) for turn in builder.turns()]


async def _feed(builder: TurnBuilder, batches: AsyncIterator[Sequence[Entry]]) -> bool:
    """Feed the items; whether there are any."""
    found = False
    async with closing(batches):
        async for batch in batches:
            items = [entry for entry in batch if isinstance(entry, RolloutItem)]
            found = found or bool(items)
            builder.feed_all(items)
    return found


class HistorySource(Protocol):
    """What paging needs of a store."""

    @property
    def turn_marks(self) -> Marks | None:
        """See :class:`threadstore.store.ThreadStore`."""
        ...

    def iter_history(
        self, thread_id: str, *, after: int = 0, reverse: bool = False
    ) -> AsyncIterator[RolloutItem | DamagedLine]:
        """See :meth:`threadstore.store.ThreadStore.iter_history`."""
        ...

    async def load_history(self, thread_id: str) -> History:
        """See :meth:`threadstore.store.ThreadStore.load_history`."""
        ...

    def history_batches(
        self, thread_id: str, *, after: int = 0, reverse: bool = False, brief: bool = False
    ) -> AsyncIterator[Sequence[Entry]]:
        """See :meth:`threadstore.store.ThreadStore.history_batches`."""
        ...


class Marks(Protocol):
    """Keeps the marks of histories (see :mod:`threadstore.history.marks`). They may get lost."""

    @property
    def spacing(self) -> int:
        """Bytes between two marks, at least."""
        ...

    async def get(self, thread_id: str) -> TurnMarks:
        """What is known of the thread's history; nothing is known of a new one."""
        ...

    async def set(self, thread_id: str, marks: TurnMarks) -> None:
        """Keep this for the next page."""
        ...


class RecentMarks:
    """Marks in memory, of the threads that were paged last."""

    def __init__(self, *, spacing: int = SPACING, threads: int = 64) -> None:
        self.spacing = spacing
        self._threads = threads
        self._marks: dict[str, TurnMarks] = {}

    async def get(self, thread_id: str) -> TurnMarks:
        return self._marks.get(thread_id) or TurnMarks()

    async def set(self, thread_id: str, marks: TurnMarks) -> None:
        self._marks.pop(thread_id, None)
        self._marks[thread_id] = marks
        if len(self._marks) > self._threads:
            del self._marks[next(iter(self._marks))]


class MarkedTurns:
    """The turns of one history as it is now, from any of them on, without reading the rest."""

    def __init__(
        self,
        store: HistorySource,
        thread_id: str,
        marks: TurnMarks,
        newest: tuple[StoredTurn, ...] | None,
        end: int,
        open_status: OpenStatus,
    ) -> None:
        """*newest*: the turns behind the last mark, if they are at hand; *end* is where the
        history ended when the marks were looked for. See :meth:`of`."""
        self._store = store
        self._thread_id = thread_id
        self._marks = marks
        self._newest = newest
        self._end = end
        self._open_status: OpenStatus = open_status

    @classmethod
    async def of(
        cls, store: HistorySource, thread_id: str, open_status: OpenStatus = "interrupted"
    ) -> Self:
        """Look through what is behind the last known mark, and remember what is found."""
        shelf = store.turn_marks
        known = TurnMarks() if shelf is None else await shelf.get(thread_id)
        dropped = 1
        while True:
            finder = MarkFinder(
                known,
                open_status=open_status,
                keep="all" if known.marks or shelf is None else "nothing",
                spacing=sys.maxsize if shelf is None else shelf.spacing,
            )
            try:
                await _look_through(store, thread_id, known, finder)
                marks = finder.finish()
                break
            except ReachesBack:
                known, dropped = known.without(dropped), 2 * dropped
        if shelf is not None:
            await shelf.set(thread_id, marks)
        newest = finder.turns() if finder.whole else None
        return cls(store, thread_id, marks, newest, finder.position, open_status)

    async def walk(
        self, anchor: int | None = None, *, descending: bool, keep: Keep = "all"
    ) -> AsyncIterator[StoredTurn]:
        """The turns, beginning near the one with this ``listed_position``: none before it in this
        direction is left out, but others may come first."""
        async for turns in self.stretches(anchor, descending=descending, keep=keep):
            for turn in reversed(turns) if descending else turns:
                yield turn

    async def stretches(
        self, anchor: int | None = None, *, descending: bool, keep: Keep = "all"
    ) -> AsyncIterator[tuple[StoredTurn, ...]]:
        """The turns between each two marks, in the order of the log, beginning with the stretch
        that holds the line at *anchor*. No line of one stretch stands in another."""
        last = len(self._marks.marks)
        if anchor is None:
            first = last if descending else 0
        else:
            first = self._marks.before(anchor)
        for number in range(first, -1, -1) if descending else range(first, last + 1):
            yield await self._between(number, keep)

    async def find(self, turn_id: str) -> StoredTurn | None:
        """The turn with this id, the first if there are several."""
        for number in range(len(self._marks.marks) + 1):
            if self._marks.may_hold(number, turn_id):
                for turn in await self._between(number, "all"):
                    if turn.id == turn_id:
                        return turn
        return None

    async def _between(self, number: int, keep: Keep) -> tuple[StoredTurn, ...]:
        """The turns between this mark and the next."""
        marks = self._marks.marks
        newest = number == len(marks)
        if newest and self._newest is not None:
            return self._newest
        builder = TurnBuilder(
            open_status=self._open_status if newest else "interrupted",
            start=self._marks.start(number),
            keep=keep,
        )
        after = marks[number - 1].start.position if number else 0
        end = self._end if newest else marks[number].start.position
        batches = self._store.history_batches(self._thread_id, after=after)
        async with closing(batches):
            async for batch in batches:
                for entry in batch:
                    if (entry.position or 0) > end:
                        return builder.turns()
                    if isinstance(entry, RolloutItem):
                        builder.feed(entry)
        return builder.turns()


async def _look_through(
    store: HistorySource, thread_id: str, known: TurnMarks, finder: MarkFinder
) -> None:
    """Feed what stands behind the last known mark, if the history is still the same one."""
    mark = known.marks[-1] if known.marks else None
    batches = store.history_batches(thread_id, after=mark.start.position if mark else 0)
    async with closing(batches):
        async for batch in batches:
            for entry in batch:
                if isinstance(entry, RolloutItem):
                    if mark is not None and not mark.stands_before(entry):
                        raise ReachesBack
                    mark = None
                    finder.feed(entry)
    if mark is not None:
        raise ReachesBack


@contextlib.asynccontextmanager
async def closing(iterator: AsyncIterator[object]) -> AsyncIterator[None]:
    """Release what an iterator holds when it is left, not when it is collected."""
    try:
        yield
    finally:
        if isinstance(iterator, AsyncGenerator):
            await iterator.aclose()


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
            case [int(anchor), bool(inclusive)] if 0 <= anchor < _POSITIONS:
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


async def _items(
    store: HistorySource, thread_id: str, window: _Window
) -> tuple[list[RolloutItem], bool]:
    """The items of a page, and whether more follow; reads no further than the page needs."""
    if window.anchor is None or not window.descending:
        after = 0 if window.anchor is None else window.anchor - window.inclusive
        history = store.iter_history(thread_id, after=max(after, 0), reverse=window.descending)
    else:
        first = window.anchor + window.inclusive
        history = _backwards(store, thread_id, first, portion=window.limit + 1)
    page: list[RolloutItem] = []
    async with closing(history):
        async for entry in history:
            if isinstance(entry, RolloutItem):
                if len(page) == window.limit:
                    return page, True
                page.append(entry)
    return page, False


async def _backwards(
    store: HistorySource, thread_id: str, before: int, portion: int
) -> AsyncIterator[Entry]:
    """The lines before position *before*, newest first. They are read forwards, by portions:
    stores find a position faster than they come to it from the end."""
    while before > 1:
        after = max(before - 1 - portion, 0)
        lines: list[Entry] = []
        batches = store.history_batches(thread_id, after=after)
        async with closing(batches):
            async for batch in batches:
                lines += (entry for entry in batch if (entry.position or 0) < before)
                if (batch[-1].position or 0) >= before - 1:
                    break
        if not lines:  # a gap of unknown length, or the end of the log is before
            break
        for entry in reversed(lines):
            yield entry
        before = after + 1
    else:
        return
    history = store.iter_history(thread_id, reverse=True)
    async with closing(history):
        async for entry in history:
            if (entry.position or 0) < before:
                yield entry
