"""Finding and reading threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec

from threadstore.appserver.errors import INVALID_PARAMS
from threadstore.appserver.item_pages import items_page
from threadstore.appserver.params import (
    ItemsListParams,
    ItemsReadParams,
    ReadParams,
    ThreadListParams,
    TurnsListParams,
)
from threadstore.appserver.views import (
    clamped,
    cursor_of,
    shown_turns_of,
    turn_of,
    turns_page,
)
from threadstore.errors import InvalidRequest
from threadstore.jsonrpc import RpcError
from threadstore.protocol.codex_thread import ListedThread, listed_thread, protocol_items
from threadstore.queries import SortKey, ThreadQuery, thread_cursor

if TYPE_CHECKING:
    from threadstore.appserver.server import AppServer
    from threadstore.jsonrpc import Call
    from threadstore.metadata import StoredThread

__all__ = ["MISSING", "backwards_cursor", "register", "thread_query"]

Json = dict[str, Any]

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


async def list_threads(server: AppServer, _call: Call, params: ThreadListParams) -> Json:
    """A page of threads that have something to show."""
    unknown = (params.section_id, params.project_id, params.attached_to_thread_id)
    if any(value is not None for value in unknown):  # Codex's own, which no store of ours fills
        return {"data": [], "readStates": {}, "nextCursor": None, "backwardsCursor": None}
    if params.originators:
        raise RpcError(
            "originator filtering is not supported by the local app-server", code=INVALID_PARAMS
        )
    query = thread_query(params)
    with cursor_of(params.cursor):
        page = await server.manager.list_threads(query)
    excluded = set(params.excluded_thread_ids or ())
    return {
        "data": [_listed(server, item) for item in page.items if item.id not in excluded],
        "readStates": {},
        "nextCursor": page.next_cursor,
        "backwardsCursor": backwards_cursor(query, page.items[0]) if page.items else None,
    }


def _listed(server: AppServer, thread: StoredThread) -> ListedThread | Json:
    """A thread in a list, which does not say whether it takes input (Codex 0.169)."""
    if thread.id in server.loaded:
        return {**server.shown(thread), "canAcceptDirectInput": None}
    return listed_thread(thread)


def backwards_cursor(query: ThreadQuery, first: StoredThread) -> str:
    """The cursor of a page in the other direction; it begins with *first* again (Codex 0.169)."""
    other_way = msgspec.structs.replace(query, descending=not query.descending, cursor=None)
    before = UUID(int=(1 << 128) - 1 if other_way.descending else 0)
    return thread_cursor(other_way, msgspec.structs.replace(first, id=str(before)))


async def read(server: AppServer, _call: Call, params: ReadParams) -> Json:
    """A thread, with all its turns if asked for."""
    thread_id = server.thread_id(params.thread_id)
    stored = await server.manager.read(thread_id)
    if not params.include_turns:
        return {"thread": server.shown(stored), "readState": None}
    loaded = server.loaded.get(thread_id)
    if loaded is not None and loaded.ephemeral:
        raise InvalidRequest("ephemeral threads do not support includeTurns")
    shown = await shown_turns_of(server, thread_id)
    if not stored.preview and not shown.turns:
        raise InvalidRequest(
            f"thread {thread_id} is not materialized yet; includeTurns is unavailable before "
            "first user message"
        )
    return {"thread": {**server.shown(stored), "turns": shown.turns}, "readState": None}


async def list_turns(server: AppServer, _call: Call, params: TurnsListParams) -> Json:
    """A page of a thread's turns."""
    thread_id = server.thread_id(params.thread_id)
    loaded = server.loaded.get(thread_id)
    if loaded is not None and loaded.ephemeral:
        raise InvalidRequest("ephemeral threads do not support thread/turns/list")
    return await turns_page(server, thread_id, params, cursor=params.cursor)


async def list_items(server: AppServer, _call: Call, params: ItemsListParams) -> Json:
    """A page of a thread's items, or of one turn's."""
    return await items_page(server, params, server.thread_id(params.thread_id))


async def read_items(server: AppServer, _call: Call, params: ItemsReadParams) -> Json:
    """Items of one turn by their ids; those that are not there are left out."""
    turn = await turn_of(server, server.thread_id(params.thread_id), params.turn_id)
    entries = [] if turn is None else protocol_items([turn])
    wanted = set(params.item_ids)
    return {"data": [entry for entry in entries if entry["item"]["id"] in wanted]}


def thread_query(params: ThreadListParams) -> ThreadQuery:
    """The query that a list or a search asks for."""
    kinds = params.source_kinds
    cwd = params.cwd
    key = _SORT_KEYS.get(params.sort_key or "created_at")
    if key is None:
        raise InvalidRequest(f"unknown sort key: {params.sort_key}")
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
