"""Finding and reading threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from threadstore.appserver.params import (
    ItemsListParams,
    ItemsReadParams,
    ReadParams,
    SearchOccurrencesParams,
    SearchParams,
    ThreadListParams,
    TurnsListParams,
)
from threadstore.appserver.views import clamped, items_page, turns_of, turns_page
from threadstore.errors import InvalidRequest
from threadstore.paging import turn_cursor
from threadstore.protocol.codex_items import turn_items
from threadstore.protocol.codex_thread import protocol_items
from threadstore.queries import SortKey, ThreadQuery, thread_cursor

if TYPE_CHECKING:
    from threadstore.appserver.server import AppServer
    from threadstore.jsonrpc import Call

__all__ = ["register"]

Json = dict[str, Any]

_AROUND: Final = 60
"""Characters of a snippet on either side of what was found."""
MISSING = "thread not loaded: {id}"
INTERACTIVE: Final = ("cli", "vscode", "custom:atlas", "custom:chatgpt")
"""The kinds of source that are listed if none are named (Codex 0.131 to 0.169)."""
_SORT_KEYS: Final = {
    "created_at": SortKey.CREATED,
    "updated_at": SortKey.UPDATED,
    "recency_at": SortKey.RECENCY,
    "section_position": SortKey.RECENCY,
}
_SOURCES: Final = {
    "appServer": "mcp",
    "subAgent": "subagent",
    "subAgentReview": "subagent_review",
    "subAgentCompact": "subagent_compact",
    "subAgentThreadSpawn": "subagent_thread_spawn",
    "subAgentOther": "subagent_other",
}


def register(server: AppServer) -> None:
    """Add the methods of this module."""
    server.method("thread/list", list_threads, ThreadListParams)
    server.method("thread/read", read, ReadParams, missing=MISSING)
    server.method("thread/turns/list", list_turns, TurnsListParams, missing=MISSING)
    server.method("thread/items/list", list_items, ItemsListParams, missing=MISSING)
    server.method("thread/items/read", read_items, ItemsReadParams, missing=MISSING)
    server.method("thread/search", search, SearchParams)
    server.method(
        "thread/searchOccurrences", search_occurrences, SearchOccurrencesParams, missing=MISSING
    )


async def list_threads(server: AppServer, _call: Call, params: ThreadListParams) -> Json:
    """A page of threads that have something to show."""
    unknown = (params.section_id, params.project_id, params.attached_to_thread_id)
    if any(value is not None for value in unknown):  # Codex's own, which no store of ours fills
        return {"data": [], "nextCursor": None, "backwardsCursor": None}
    query = _query(params)
    page = await server.manager.list_threads(query)
    backwards = None
    if page.items:
        other_way = msgspec.structs.replace(query, descending=not query.descending, cursor=None)
        backwards = thread_cursor(other_way, page.items[0])
    return {
        "data": [server.shown(thread) for thread in page.items],
        "nextCursor": page.next_cursor,
        "backwardsCursor": backwards,
    }


async def read(server: AppServer, _call: Call, params: ReadParams) -> Json:
    """A thread, with all its turns if asked for."""
    thread_id = server.thread_id(params.thread_id)
    stored = await server.manager.read(thread_id)
    if not params.include_turns:
        return {"thread": server.shown(stored)}
    loaded = server.loaded.get(thread_id)
    if loaded is not None and loaded.ephemeral:
        raise InvalidRequest("ephemeral threads do not support includeTurns")
    if not stored.preview and not (turns := await turns_of(server, thread_id)):
        raise InvalidRequest(
            f"thread {thread_id} is not materialized yet; includeTurns is unavailable before "
            "first user message"
        )
    if stored.preview:
        turns = await turns_of(server, thread_id)
    return {"thread": server.shown(stored, turns)}


async def list_turns(server: AppServer, _call: Call, params: TurnsListParams) -> Json:
    """A page of a thread's turns."""
    thread_id = server.thread_id(params.thread_id)
    return await turns_page(server, thread_id, params, cursor=params.cursor)


async def list_items(server: AppServer, _call: Call, params: ItemsListParams) -> Json:
    """A page of a thread's items, or of one turn's."""
    return await items_page(server, params, server.thread_id(params.thread_id))


async def read_items(server: AppServer, _call: Call, params: ItemsReadParams) -> Json:
    """Items of one turn by their ids; those that are not there are left out."""
    turns = await turns_of(server, server.thread_id(params.thread_id))
    entries = protocol_items(turn for turn in turns if turn.id == params.turn_id)
    wanted = set(params.item_ids)
    return {"data": [entry for entry in entries if entry["item"]["id"] in wanted]}


async def search(server: AppServer, _call: Call, params: SearchParams) -> Json:
    """Threads whose name, title or preview has the text."""
    query = _query(
        ThreadListParams(
            cursor=params.cursor,
            limit=params.limit,
            archived=params.archived,
            sort_key="updated_at",
            sort_direction=params.sort_direction,
            source_kinds=params.source_kinds,
            search_term=params.search_term,
        )
    )
    page = await server.manager.list_threads(query)
    found = [
        {"thread": server.shown(thread), "snippet": thread.display_name} for thread in page.items
    ]
    return {"data": found, "nextCursor": page.next_cursor, "backwardsCursor": None}


async def search_occurrences(
    server: AppServer, _call: Call, params: SearchOccurrencesParams
) -> Json:
    """Where the messages of a thread have the text; letter case does not matter."""
    thread_id = server.thread_id(params.thread_id)
    wanted = params.search_term.casefold()
    if not wanted:
        raise InvalidRequest("searchTerm must not be empty")
    found: list[Json] = []
    for turn in await turns_of(server, thread_id):
        for item in turn_items(turn):
            text = _message_text(item)
            at = text.casefold().find(wanted)
            if at < 0:
                continue
            start = max(at - _AROUND, 0)
            snippet = text[start : at + len(wanted) + _AROUND]
            found.append(
                {
                    "itemId": item["id"],
                    "turnId": turn.id,
                    "snippet": snippet,
                    "snippetMatchRange": _utf16_range(snippet, at - start, len(wanted)),
                    "turnCursor": turn_cursor(thread_id, turn.listed_position, descending=True),
                }
            )
    first = int(params.cursor) if params.cursor and params.cursor.isdecimal() else 0
    limit = clamped(params.limit, 50, 250)
    rest = first + limit < len(found)
    return {
        "data": found[first : first + limit],
        "nextCursor": str(first + limit) if rest else None,
    }


def _message_text(item: Json) -> str:
    if item["type"] == "agentMessage":
        return str(item["text"])
    if item["type"] != "userMessage":
        return ""
    return "".join(part["text"] for part in item["content"] if part["type"] == "text")


def _utf16_range(text: str, start: int, length: int) -> Json:
    """A range of *text* in UTF-16 code units."""
    before = len(text[:start].encode("utf-16-le")) // 2
    inside = len(text[start : start + length].encode("utf-16-le")) // 2
    return {"start": before, "end": before + inside}


def _query(params: ThreadListParams) -> ThreadQuery:
    kinds = params.source_kinds
    cwd = params.cwd
    key = _SORT_KEYS.get(params.sort_key or "created_at")
    if key is None:
        raise InvalidRequest(f"unknown sort key: {params.sort_key}")
    try:
        return ThreadQuery(
            limit=clamped(params.limit),
            cursor=params.cursor,
            sort_key=key,
            descending=params.sort_direction != "asc",
            archived=bool(params.archived),
            cwds=None if cwd is None else ((cwd,) if isinstance(cwd, str) else tuple(cwd)),
            model_providers=tuple(params.model_providers) if params.model_providers else None,
            sources=tuple(_SOURCES.get(kind, kind) for kind in kinds) if kinds else INTERACTIVE,
            parent_id=params.parent_thread_id,
            ancestor_id=params.ancestor_thread_id,
            search_term=params.search_term or None,
            only_displayable=True,
        )
    except InvalidRequest as error:
        if "cursor" in error.message:
            raise InvalidRequest(f"invalid cursor: {params.cursor}") from error
        raise
