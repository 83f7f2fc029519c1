"""Searching: threads by what was said in them, and the places in one thread.

What searches are made of is imported by the first one: it takes longer than a first list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from threadstore.appserver.handlers.reading import MISSING, backwards_cursor, thread_query
from threadstore.appserver.params import SearchOccurrencesParams, SearchParams, ThreadListParams
from threadstore.appserver.views import clamped, cursor_of
from threadstore.errors import InvalidRequest
from threadstore.history.shown import ShownItems
from threadstore.paging import turn_cursor
from threadstore.protocol.codex_items import turn_items
from threadstore.queries import ThreadQuery, decode_cursor, encode_cursor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from threadstore.appserver.server import AppServer
    from threadstore.history.turns import StoredTurn
    from threadstore.jsonrpc import Call
    from threadstore.pages import TurnPage
    from threadstore.search import Occurrence, SearchQuery
    from threadstore.store import ThreadStore

__all__ = ["register"]

Json = dict[str, Any]

_TURNS_AT_ONCE: Final = 8
"""Turns that may be open at once, more than Codex has."""


def register(server: AppServer) -> None:
    """Add the methods of this module."""
    server.method("thread/search", search, SearchParams)
    server.method(
        "thread/searchOccurrences", search_occurrences, SearchOccurrencesParams, missing=MISSING
    )


async def search(server: AppServer, call: Call, params: SearchParams) -> Json:
    """Threads in whose name or messages the text is, whatever its letter case. It begins where a
    word begins (Codex 0.169 finds it anywhere, and does not look at names)."""
    threads = thread_query(
        ThreadListParams(
            cursor=params.cursor,
            limit=params.limit,
            archived=params.archived,
            sort_key=params.sort_key,
            sort_direction=params.sort_direction,
            source_kinds=params.source_kinds,
        )
    )
    query = _query(params.search_term, threads)
    await server.searching.ready()
    with cursor_of(params.cursor):
        page = await server.manager.search_threads(query)
    if page.degraded is not None:
        message = f"the search may have missed threads: {page.degraded}"
        server.peer(call).tell("warning", {"message": message, "threadId": None})
    return {
        "data": [
            {"thread": server.shown(hit.thread), "snippet": hit.found.snippet} for hit in page.items
        ],
        "nextCursor": page.next_cursor,
        "backwardsCursor": backwards_cursor(threads, page.items[0].thread) if page.items else None,
    }


async def search_occurrences(
    server: AppServer, _call: Call, params: SearchOccurrencesParams
) -> Json:
    """Where the messages of a thread have the text, in their order."""
    thread_id = server.thread_id(params.thread_id)
    query = _query(params.search_term)
    scope = f"{thread_id} {query.fingerprint()}"
    limit, first = clamped(params.limit, 50, 250), _place(scope, params.cursor)
    found: list[Json] = []
    async for position, number, place in _places(server, thread_id, query, first[0]):
        if (position, number) < first:
            continue
        if len(found) == limit:
            cursor = encode_cursor("occurrences", scope, position, number)
            return {"data": found, "nextCursor": cursor}
        found.append(place)
    return {"data": found, "nextCursor": None}


async def _places(
    server: AppServer, thread_id: str, query: SearchQuery, position: int
) -> AsyncIterator[tuple[int, int, Json]]:
    """The matches from a *position* on, each with the position of its message and its number
    there."""
    from threadstore.search.queries import occurrence_cursor

    store = server.manager.store
    cursor: str | None = occurrence_cursor(thread_id, query, max(position - 1, 0), descending=False)
    while cursor is not None:
        page = await server.manager.search_occurrences(thread_id, query, cursor=cursor, limit=100)
        for found in page.items:
            turn = await _turn_of(store, found)
            for number, place in enumerate(_matches(turn, found, query) if turn else ()):
                yield found.position, number, place
        cursor = page.next_cursor


async def _turn_of(store: ThreadStore, found: Occurrence) -> StoredTurn | None:
    """The turn of a message: that of its cursor, or a later one, which was opened again behind the
    message, as the turn is in which a review runs (Codex 0.169)."""
    turns = await store.list_turns(found.thread_id, cursor=found.turn_cursor, limit=1)
    turn = _with_position(turns, found.position)
    if turn is None:
        cursor = turn_cursor(found.thread_id, found.position, descending=False)
        turns = await store.list_turns(
            found.thread_id, cursor=cursor, limit=_TURNS_AT_ONCE, descending=False
        )
        turn = _with_position(turns, found.position)
    return turn


def _with_position(turns: TurnPage, position: int) -> StoredTurn | None:
    """The turn that has the line at *position*."""
    for turn in turns.items:
        if any(item.position == position for item in turn.items):
            return turn
    return None


def _matches(turn: StoredTurn, found: Occurrence, query: SearchQuery) -> list[Json]:
    """The matches in one message, as the protocol has them."""
    from threadstore.search.snippets import snippet
    from threadstore.search.tokens import composed

    item_id = _item_id(turn, found.position)
    text = next((_message_text(i) for i in turn_items(turn) if i["id"] == item_id), "")
    text = composed(text)
    return [
        {
            "itemId": item_id,
            "turnId": turn.id,
            "snippet": line,
            "snippetMatchRange": {
                "start": _units(line[: marks[0].start]),
                "end": _units(line[: marks[0].end]),
            },
            "turnCursor": turn_cursor(found.thread_id, turn.listed_position, descending=True),
        }
        for span in query.wanted().spans(text)
        for line, marks in [snippet(text, [span])]
    ]


def _item_id(turn: StoredTurn, position: int) -> str | None:
    """The id of the item of which the line at *position* is a part."""
    shown = ShownItems(turn.first_item_number)
    for item in turn.items:
        item_id = shown.take(item)
        if item.position == position:
            return item_id
    return None


def _query(term: str, threads: ThreadQuery | None = None) -> SearchQuery:
    """Of messages; where *threads* are searched, of their names as well."""
    from threadstore.search import SearchQuery, TextRole

    if not term:
        raise InvalidRequest("searchTerm must not be empty")
    messages = (TextRole.USER, TextRole.ASSISTANT)
    if threads is None:
        return SearchQuery(text=term, literal=True, roles=messages)
    roles = (*messages, TextRole.TITLE)
    return SearchQuery(text=term, literal=True, roles=roles, threads=threads)


def _place(scope: str, cursor: str | None) -> tuple[int, int]:
    if cursor is None:
        return (0, 0)
    with cursor_of(cursor):
        place = decode_cursor("occurrences", scope, cursor)
    match place:
        case [int(position), int(number)] if 0 <= position < 2**62:
            return position, number
    raise InvalidRequest(f"invalid cursor: {cursor}")


def _message_text(item: Json) -> str:
    if item["type"] == "agentMessage":
        return str(item["text"])
    if item["type"] != "userMessage":
        return ""
    return "".join(part["text"] for part in item["content"] if part["type"] == "text")


def _units(text: str) -> int:
    """How long a text is in UTF-16, as the protocol counts (Codex 0.169)."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
