"""Pages of a thread's items, in the order of the log, without reading what is far from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from threadstore.appserver.views import clamped, cursor_of, turn_of, turns_of
from threadstore.errors import InvalidRequest
from threadstore.live.ephemeral import EphemeralThread
from threadstore.paging import MarkedTurns
from threadstore.protocol.codex_thread import placed_entries
from threadstore.queries import decode_cursor, encode_cursor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from threadstore.appserver.params import ItemsListParams
    from threadstore.appserver.server import AppServer

__all__ = ["items_page"]

Json = dict[str, Any]


async def items_page(server: AppServer, params: ItemsListParams, thread_id: str) -> Json:
    """A page of the items that turns show, oldest first unless asked otherwise.

    A cursor is that of an earlier page, in either direction, or ``{"itemId": …}``; the page begins
    at that item.
    """
    items = _Items(server, thread_id, params.turn_id, descending=params.sort_direction == "desc")
    scope = f"{thread_id}/{params.turn_id or ''}"
    first = None if params.cursor is None else await _position(scope, params.cursor, items)
    limit = clamped(params.limit)
    page: list[tuple[int, Json]] = []
    async for entry in items.walk(first):
        page.append(entry)
        if len(page) > limit:
            break
    taken, rest = page[:limit], page[limit:]
    return {
        "data": [entry for _, entry in taken],
        "nextCursor": encode_cursor("items", scope, rest[0][0]) if rest else None,
        "backwardsCursor": encode_cursor("items", scope, taken[0][0]) if taken else None,
    }


class _Items:
    """The items of a thread, or of one of its turns, in one direction."""

    def __init__(
        self, server: AppServer, thread_id: str, turn_id: str | None, *, descending: bool
    ) -> None:
        self._server = server
        self._thread_id = thread_id
        self._turn_id = turn_id
        self._descending = descending

    async def walk(self, first: int | None = None) -> AsyncIterator[tuple[int, Json]]:
        """The items from the one at position *first* on, each with its position in the log."""
        async for stretch in self._stretches(first):
            for position, entry in reversed(stretch) if self._descending else stretch:
                if first is None or (position <= first if self._descending else position >= first):
                    yield position, entry

    async def _stretches(self, first: int | None) -> AsyncIterator[list[tuple[int, Json]]]:
        if self._turn_id is not None:
            turn = await turn_of(self._server, self._thread_id, self._turn_id)
            if turn is None:
                raise InvalidRequest(f"thread {self._thread_id} has no turn {self._turn_id}")
            yield placed_entries((turn,))
        elif isinstance(self._server.manager.get(self._thread_id), EphemeralThread):
            yield placed_entries(await turns_of(self._server, self._thread_id))
        else:
            marked = await MarkedTurns.of(self._server.manager.store, self._thread_id)
            async for turns in marked.stretches(first, descending=self._descending):
                yield placed_entries(turns)


async def _position(scope: str, cursor: Any, items: _Items) -> int:
    """Where a page begins: as a cursor of an earlier page says, or at an item by its id."""
    if isinstance(cursor, dict):
        wanted = cursor.get("itemId")
        async for position, entry in items.walk():
            if entry["item"]["id"] == wanted:
                return position
        raise InvalidRequest(f"invalid cursor: no item {wanted}")
    if isinstance(cursor, str):
        with cursor_of(cursor):
            parts = decode_cursor("items", scope, cursor)
        if len(parts) == 1 and isinstance(parts[0], int):
            return parts[0]
    raise InvalidRequest(f"invalid cursor: {cursor}")
