"""From what a person types to a thread: full id, unique prefix of one, or exact name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from threadstore.cli.text import clean, cut, one_line
from threadstore.errors import InvalidRequest, ThreadNotFound
from threadstore.ids import try_thread_id
from threadstore.metadata import StoredThread
from threadstore.queries import MAX_LIMIT, ThreadQuery
from threadstore.store import ThreadStore

__all__ = ["ID_HELP", "find_thread"]

ID_HELP: Final = "thread id, unique beginning of one (4 characters or more), or exact name"
_WHAT_THERE_IS: Final = (
    "`threadstore list --all` and `threadstore list --archived` show what there is"
)
_HOW_TO_FIND: Final = f"{_WHAT_THERE_IS}; the beginning of an id needs 4 characters"
_SHORTEST_PREFIX: Final = 4
_SHOWN: Final = 10
_NAME_COLUMNS: Final = 60
_HEX: Final = frozenset("0123456789abcdef")


async def find_thread(
    store: ThreadStore, text: str, *, archived: bool | None = None
) -> StoredThread:
    """The one thread, archived ones included, that *text* means.

    Where several fit, *archived* decides if it leaves one. Raises :class:`ThreadNotFound` for none
    and :class:`InvalidRequest` for several, naming them.
    """
    if not text.strip():
        raise InvalidRequest("an empty thread id", hint=f"give a {ID_HELP}")
    thread_id = try_thread_id(text)
    if thread_id is not None:
        try:
            return await store.read_thread(thread_id)
        except ThreadNotFound as error:
            raise ThreadNotFound(thread_id, error.message, hint=_WHAT_THERE_IS) from error
    found = await _candidates(store, text)
    if len(found) > 1 and archived is not None:
        found = [thread for thread in found if thread.archived is archived] or found
    if not found:
        raise ThreadNotFound(
            text,
            f"no thread has the id or name {one_line(text)!r}",
            hint=_HOW_TO_FIND,
        )
    if len(found) > 1:
        raise InvalidRequest(
            f"{one_line(text)!r} fits {len(found)} threads", hint=f"say which one:{_names(found)}"
        )
    return found[0]


async def _candidates(store: ThreadStore, text: str) -> list[StoredThread]:
    """Threads with that name, else with one that lists show so, and those whose id begins so."""
    named = [
        thread
        async for thread in _all_threads(store, _might_be_named(text))
        if thread.name is not None and one_line(thread.name) == one_line(text)
    ]
    exact = [thread for thread in named if thread.name == text.strip()]
    found = {thread.id: thread for thread in exact or named}
    prefix = text.lower().replace("-", "")
    if len(prefix) >= _SHORTEST_PREFIX and _HEX.issuperset(prefix):
        async for thread in _all_threads(store, ThreadQuery(archived=None)):
            if thread.id.replace("-", "").startswith(prefix):
                found[thread.id] = thread
    return list(found.values())


def _might_be_named(text: str) -> ThreadQuery:
    """Finds every thread that lists show with the name *text*, and few others."""
    word = clean(text.split(maxsplit=1)[0])
    replaced = "\N{REPLACEMENT CHARACTER}" in word
    return ThreadQuery(archived=None, search_term=None if replaced else word)


async def _all_threads(store: ThreadStore, query: ThreadQuery) -> AsyncIterator[StoredThread]:
    import msgspec

    query = msgspec.structs.replace(query, limit=MAX_LIMIT)
    while True:
        page = await store.list_threads(query)
        for thread in page.items:
            yield thread
        if page.next_cursor is None:
            return
        query = msgspec.structs.replace(query, cursor=page.next_cursor)


def _names(threads: list[StoredThread]) -> str:
    """A line for each of the first few."""
    shown = [
        f"\n  {thread.id}  {cut(one_line(thread.display_name), _NAME_COLUMNS)}".rstrip()
        for thread in threads[:_SHOWN]
    ]
    return "".join(shown) + ("\n  …" if len(threads) > _SHOWN else "")
