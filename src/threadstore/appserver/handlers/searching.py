"""Searching: threads by what was said in them, and the places in one thread."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from threadstore.appserver.handlers.reading import MISSING, thread_query
from threadstore.appserver.params import SearchOccurrencesParams, SearchParams, ThreadListParams
from threadstore.appserver.views import clamped, cursor_of, turns_of
from threadstore.errors import InvalidRequest, ThreadStoreError
from threadstore.paging import turn_cursor
from threadstore.protocol.codex_items import turn_items
from threadstore.queries import decode_cursor, encode_cursor, thread_cursor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from threadstore.appserver.server import AppServer
    from threadstore.history.turns import StoredTurn
    from threadstore.jsonrpc import Call
    from threadstore.metadata import StoredThread
    from threadstore.queries import ThreadQuery

__all__ = ["register"]

Json = dict[str, Any]

PATIENCE: Final = 2.0
"""Seconds after which a search of threads answers with what it has found, and where to go on."""
_PAGE: Final = 50
_AROUND: Final = 60
"""Characters of a snippet on either side of what was found."""


def register(server: AppServer) -> None:
    """Add the methods of this module."""
    server.method("thread/search", search, SearchParams)
    server.method(
        "thread/searchOccurrences", search_occurrences, SearchOccurrencesParams, missing=MISSING
    )


async def search(server: AppServer, _call: Call, params: SearchParams) -> Json:
    """Threads in whose name or messages the text is, whatever its case.

    Histories are read for it, so a page may hold less than its limit: what cannot be read within
    :data:`PATIENCE` is left to the next page.
    """
    wanted = _pattern(params.search_term)
    query = thread_query(
        ThreadListParams(
            cursor=params.cursor,
            limit=_PAGE,
            archived=params.archived,
            sort_key=params.sort_key,
            sort_direction=params.sort_direction,
            source_kinds=params.source_kinds,
        )
    )
    limit, until = clamped(params.limit), time.monotonic() + PATIENCE
    found: list[Json] = []
    next_cursor = None
    with cursor_of(params.cursor):
        async for thread, is_last in _threads(server, query):
            snippet = await _thread_snippet(server, thread, wanted)
            if snippet is not None:
                found.append({"thread": server.shown(thread), "snippet": snippet})
            if len(found) == limit or time.monotonic() > until:
                next_cursor = None if is_last else thread_cursor(query, thread)
                break
    return {"data": found, "nextCursor": next_cursor, "backwardsCursor": None}


async def _threads(
    server: AppServer, query: ThreadQuery
) -> AsyncIterator[tuple[StoredThread, bool]]:
    """The threads of *query* and all its following pages; whether it is the last one."""
    cursor = query.cursor
    while True:
        page = await server.manager.list_threads(msgspec.structs.replace(query, cursor=cursor))
        cursor = page.next_cursor
        for thread in page.items:
            yield thread, cursor is None and thread is page.items[-1]
        if cursor is None:
            return


async def _thread_snippet(
    server: AppServer, thread: StoredThread, wanted: re.Pattern[str]
) -> str | None:
    for text in (thread.name or "", thread.preview):
        if match := wanted.search(text):
            return _snippet(text, match)[0]
    try:
        turns = await turns_of(server, thread.id)
    except ThreadStoreError:  # deleted meanwhile, or damaged: the others are searched all the same
        return None
    return next((_snippet(text, match)[0] for *_, text, match in _matches(turns, wanted)), None)


async def search_occurrences(
    server: AppServer, _call: Call, params: SearchOccurrencesParams
) -> Json:
    """Where the messages of a thread have the text; letter case does not matter."""
    thread_id = server.thread_id(params.thread_id)
    wanted = _pattern(params.search_term)
    turns = await turns_of(server, thread_id)
    found = [
        _occurrence(thread_id, turn, item, text, match)
        for turn, item, text, match in _matches(turns, wanted)
    ]
    scope = f"{thread_id}/occurrences/{params.search_term}"
    first = 0 if params.cursor is None else _place(scope, params.cursor)
    last = first + clamped(params.limit, 50, 250)
    return {
        "data": found[first:last],
        "nextCursor": encode_cursor("items", scope, last) if last < len(found) else None,
    }


def _occurrence(
    thread_id: str, turn: StoredTurn, item: Json, text: str, match: re.Match[str]
) -> Json:
    snippet, place = _snippet(text, match)
    return {
        "itemId": item["id"],
        "turnId": turn.id,
        "snippet": snippet,
        "snippetMatchRange": place,
        "turnCursor": turn_cursor(thread_id, turn.listed_position, descending=True),
    }


def _place(scope: str, cursor: str) -> int:
    with cursor_of(cursor):
        place = decode_cursor("items", scope, cursor)
    if len(place) != 1 or not isinstance(place[0], int) or place[0] < 0:
        raise InvalidRequest(f"invalid cursor: {cursor}")
    return place[0]


def _pattern(term: str) -> re.Pattern[str]:
    if not term:
        raise InvalidRequest("searchTerm must not be empty")
    return re.compile(re.escape(term), re.IGNORECASE)


def _matches(
    turns: Iterable[StoredTurn], wanted: re.Pattern[str]
) -> Iterator[tuple[StoredTurn, Json, str, re.Match[str]]]:
    for turn in turns:
        for item in turn_items(turn):
            text = _message_text(item)
            for match in wanted.finditer(text):
                yield turn, item, text, match


def _message_text(item: Json) -> str:
    if item["type"] == "agentMessage":
        return str(item["text"])
    if item["type"] != "userMessage":
        return ""
    return "".join(part["text"] for part in item["content"] if part["type"] == "text")


def _snippet(text: str, match: re.Match[str]) -> tuple[str, Json]:
    """What is around *match*, and where it stands there in UTF-16 code units."""
    start = max(match.start() - _AROUND, 0)
    before = _units(text[start : match.start()])
    place = {"start": before, "end": before + _units(match[0])}
    return text[start : match.end() + _AROUND], place


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
