"""What a fresh process of a release answers about a home, what we answer, and where they differ."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace
from tests.codex.app_server import RpcError
from tools.golden.answers import SOURCE_KINDS

from threadstore.errors import ThreadNotFound
from threadstore.factory import open_store
from threadstore.history.turns import StoredTurn, build_turns
from threadstore.protocol.codex_thread import protocol_items, protocol_thread, protocol_turn
from threadstore.queries import SortKey, ThreadQuery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from tests.codex.app_server import AppServer, Json

    from threadstore.metadata import StoredThread
    from threadstore.store import ThreadStore

SORT_KEYS = {
    "created_at": SortKey.CREATED,
    "updated_at": SortKey.UPDATED,
    "recency_at": SortKey.RECENCY,
}
NO_HISTORY = re.compile("not loaded|no rollout found|missing source rollout")
"""How releases say that a thread has only a row."""
Order = tuple[bool, str, bool]
"""Archived, sort key, descending."""


class Answers(NamedTuple):
    """Everything a store says about a home, in the protocol's form."""

    lists: dict[Order, list[Json]]
    threads: dict[str, Json]
    """``thread/read``, without turns."""
    turns: dict[str, list[Json]]
    """Of ``thread/read`` with ``includeTurns``."""
    turn_pages: dict[str, list[Json]]
    """``thread/turns/list``, page by page, oldest first."""
    items: dict[str, list[Json]]
    """``thread/items/list``, page by page, oldest first."""


class Difference(NamedTuple):
    """A member that is not equal."""

    thread_id: str
    where: str
    ours: Any
    theirs: Any


def codex_answers(server: AppServer, ids: Iterable[str]) -> Answers:
    """Ask for every list, and for every thread in all ways. What a release does not have is out."""
    answers = Answers({}, {}, {}, {}, {})
    for archived in (False, True):
        for key in SORT_KEYS:
            for descending in (False, True):
                direction = "desc" if descending else "asc"
                params = {"archived": archived, "sortKey": key, "sortDirection": direction}
                try:
                    answers.lists[archived, key, descending] = listed(server, **params)
                except RpcError as error:
                    if not error.unknown_method:
                        raise
    listed_ids = [thread["id"] for threads in answers.lists.values() for thread in threads]
    for thread_id in {**dict.fromkeys(ids), **dict.fromkeys(listed_ids)}:
        _ask_about(server, thread_id, answers)
    return answers


def listed(server: AppServer, **params: Any) -> list[Json]:
    """One list, whole: pages of some releases skip threads (see ``tests/bugs``)."""
    answer = server.call(
        "thread/list", limit=100, modelProviders=[], sourceKinds=SOURCE_KINDS, **params
    )
    assert answer.get("nextCursor") is None, "more than one page"
    return list(answer["data"])


def _ask_about(server: AppServer, thread_id: str, answers: Answers) -> None:
    try:
        thread = server.call("thread/read", threadId=thread_id)["thread"]
        read = server.call("thread/read", threadId=thread_id, includeTurns=True)
    except RpcError as error:
        if not NO_HISTORY.search(error.message):
            raise
        return
    answers.threads[thread_id] = {**thread, "turns": []}
    answers.turns[thread_id] = read["thread"]["turns"]
    full = {"threadId": thread_id, "sortDirection": "asc"}
    pages = pages_of(server, "thread/turns/list", itemsView="full", **full)
    if pages is not None:
        answers.turn_pages[thread_id] = pages
    pages = pages_of(server, "thread/items/list", **full)
    if pages is not None:
        answers.items[thread_id] = pages


def pages_of(server: AppServer, method: str, **params: Any) -> list[Json] | None:
    """The entries of all pages, two on each; ``None`` if the release cannot list them."""
    found: list[Json] = []
    cursor: Json = {}
    while True:
        try:
            page = server.call(method, limit=2, **params, **cursor)
        except RpcError as error:
            if error.unknown_method or "not supported" in error.message:
                return None
            raise
        found += page["data"]
        if page.get("nextCursor") is None:
            return found
        cursor = {"cursor": page["nextCursor"]}


async def our_answers(home: Path, theirs: Answers) -> Answers:
    """The same questions to our store."""
    answers = Answers({}, {}, {}, {}, {})
    async with open_store(f"local:{home}") as store:
        for archived, key, descending in theirs.lists:
            query = ThreadQuery(
                archived=archived, sort_key=SORT_KEYS[key], descending=descending, limit=7
            )
            answers.lists[archived, key, descending] = [
                protocol_thread(thread) for thread in await _whole_list(store, query)
            ]
        for thread_id in theirs.threads:
            thread = await store.read_thread(thread_id)
            answers.threads[thread_id] = protocol_thread(thread)
            turns = build_turns((await store.load_history(thread_id)).items)
            answers.turns[thread_id] = [protocol_turn(turn) for turn in turns]
            paged = await _turn_pages(store, thread_id)
            answers.turn_pages[thread_id] = [protocol_turn(turn) for turn in paged]
            answers.items[thread_id] = protocol_items(paged)
    return answers


async def _whole_list(store: ThreadStore, query: ThreadQuery) -> list[StoredThread]:
    found: list[StoredThread] = []
    while True:
        page = await store.list_threads(query)
        found += page.items
        if page.next_cursor is None:
            return found
        query = replace(query, cursor=page.next_cursor)


async def _turn_pages(store: ThreadStore, thread_id: str) -> list[StoredTurn]:
    found: list[StoredTurn] = []
    cursor = None
    while True:
        page = await store.list_turns(thread_id, cursor=cursor, limit=2, descending=False)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found


async def is_unknown(home: Path, thread_id: str) -> bool:
    """Whether we do not have the thread, as Codex does not."""
    async with open_store(f"local:{home}") as store:
        try:
            await store.read_thread(thread_id)
        except ThreadNotFound:
            return True
    return False


def differences(ours: Answers, theirs: Answers) -> list[Difference]:
    """Every member that is not equal; the order and completeness of lists is another question."""
    found: list[Difference] = []
    for order, threads in theirs.lists.items():
        mine = {thread["id"]: thread for thread in ours.lists[order]}
        for thread in threads:
            found += _compare(thread["id"], "list", mine[thread["id"]], thread)
    for where in ("threads", "turns", "turn_pages", "items"):
        for thread_id, answer in getattr(theirs, where).items():
            name = where.rstrip("s") if where == "threads" else where
            found += _compare(thread_id, name, getattr(ours, where)[thread_id], answer)
    return found


def _compare(thread_id: str, where: str, ours: Any, theirs: Any) -> Iterator[Difference]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in theirs:
            inner = ours.get(key, MISSING)
            yield from _compare(thread_id, f"{where}.{key}", inner, theirs[key])
        for key in ours.keys() - theirs.keys():
            yield Difference(thread_id, f"{where}.{key}", ours[key], MISSING)
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for mine, other in zip(ours, theirs, strict=True):
            yield from _compare(thread_id, f"{where}[]", mine, other)
    elif ours != theirs or type(ours) is not type(theirs):
        yield Difference(thread_id, where, ours, theirs)


MISSING = "<missing>"
"""In place of a member that one side does not have."""


class Known(NamedTuple):
    """A difference that is as it should be."""

    row: str
    """Of the compatibility page."""
    what: str
    holds: Callable[[Difference, Answers, Answers], bool]
    """Whether a difference is this one: it looks at both values."""
    by_chance: bool = False
    """Whether it is there in one run and not in the next, so that no cell can say it."""


def _newer_member(found: Difference, ours: Answers, theirs: Answers) -> bool:
    return bool(found.theirs == MISSING)


def _brief_list(found: Difference, ours: Answers, theirs: Answers) -> bool:
    member = found.where.removeprefix("list.")
    thread = theirs.threads[found.thread_id]
    if member == "sessionId":
        return bool(found.theirs == found.thread_id)
    brief = ("forkedFromId", "parentThreadId", "threadSource", "originator", "historyMode")
    return member in brief and found.theirs is None and member in thread


def _sub_agent_session(found: Difference, ours: Answers, theirs: Answers) -> bool:
    parent = ours.threads[found.thread_id]["parentThreadId"]
    return found.where == "thread.sessionId" and found.ours == parent is not None


def _silent_source(found: Difference, ours: Answers, theirs: Answers) -> bool:
    return found.where == "thread.threadSource" and found.theirs is None


def _read_updated(found: Difference, ours: Answers, theirs: Answers) -> bool:
    thread = theirs.threads[found.thread_id]
    return (
        found.where == "thread.updatedAt"
        and found.theirs == thread["createdAt"]
        and found.ours == _in_lists(theirs, found.thread_id).get("updatedAt")
    )


def _read_created(found: Difference, ours: Answers, theirs: Answers) -> bool:
    if found.where != "thread.createdAt":
        return False
    listed_at = _in_lists(theirs, found.thread_id).get("createdAt")
    return bool(found.ours == listed_at == found.theirs - 1)


def _read_cwd(found: Difference, ours: Answers, theirs: Answers) -> bool:
    if found.where != "thread.cwd":
        return False
    return bool(found.ours == _in_lists(theirs, found.thread_id).get("cwd") != found.theirs)


def _in_lists(theirs: Answers, thread_id: str) -> Json:
    listed_threads = (thread for threads in theirs.lists.values() for thread in threads)
    return next((thread for thread in listed_threads if thread["id"] == thread_id), {})


def _password(found: Difference, ours: Answers, theirs: Answers) -> bool:
    return found.where.endswith("gitInfo.originUrl") and bool(
        found.theirs == found.ours.replace("https://", "https://ann:secret@")
    )


def _name_like_message(found: Difference, ours: Answers, theirs: Answers) -> bool:
    thread = theirs.threads[found.thread_id]
    same = found.ours == thread["name"] == thread["preview"]
    return found.where == "list.name" and bool(same)


def _fork_preview(found: Difference, ours: Answers, theirs: Answers) -> bool:
    source = ours.threads.get(ours.threads[found.thread_id]["forkedFromId"] or "", {})
    same = source.get("preview") == found.ours
    return found.where == "thread.preview" and found.theirs == "" and same


KNOWN = (
    Known("thread/list field by field", "its list leaves out forkedFromId, parentThreadId, "
          "threadSource, originator and sessionId, which its read has", _brief_list),
    Known("thread/read field by field", "it tells the creation time as updatedAt of a legacy "
          "thread, its list tells the right one", _read_updated),
    Known("thread/read field by field", "it tells a createdAt up to a second after its list's, "
          "ours is the list's", _read_created, by_chance=True),
    Known("thread/read field by field", "it tells the directory of the start, its list that of the "
          "latest settings, as we do", _read_cwd),
    Known("sub-agent tree", "a sub-agent has its own id for a session, not its parent's",
          _sub_agent_session),
    Known("thread/read field by field", "it does not tell every threadSource that it has",
          _silent_source),
    Known("credentials in the remote's URL", "it tells the password, we never do", _password),
    Known("named as the first message", "its list has no such name, its read and we do",
          _name_like_message),
    Known("forks", "a fork without a turn of its own has no preview and is in no list, ours has its"
          " source's", _fork_preview),
)  # fmt: skip
"""What Codex gets wrong about its own threads, or does not say; ours is right."""

OLDER_MEMBERS = Known(
    "members that this release does not know", "we tell them as 0.169 does", _newer_member
)
