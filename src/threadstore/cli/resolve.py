"""From what a person types to a thread: full id, unique prefix of one, or exact name."""

from __future__ import annotations

from typing import Any, Final

from threadstore.cli.text import clean, cut, one_line
from threadstore.errors import InvalidRequest, ThreadNotFound
from threadstore.ids import try_thread_id
from threadstore.metadata import StoredThread
from threadstore.queries import ThreadQuery
from threadstore.store import ThreadStore

__all__ = ["ID_HELP", "find_thread"]

ID_HELP: Final = "thread id, unique beginning of one (4 characters or more), or exact name"
_WHAT_THERE_IS: Final = (
    "`threadstore list --all` and `threadstore list --archived` show what there is"
)
_HOW_TO_FIND: Final = f"{_WHAT_THERE_IS}; the beginning of an id needs 4 characters"
_SHORTEST_PREFIX: Final = 4
_SHOWN: Final = 10
_COUNTED: Final = 100
_LOOKED_AT: Final = 1000
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
        every = len(found) < _COUNTED
        wanted = found if every else await _candidates(store, text, archived=archived)
        found = [thread for thread in wanted if thread.archived is archived] or found
    if not found:
        raise ThreadNotFound(
            text,
            f"no thread has the id or name {one_line(text)!r}",
            hint=_HOW_TO_FIND,
        )
    if len(found) > 1:
        number = f"{len(found)}" if len(found) < _COUNTED else f"{_COUNTED} or more"
        raise InvalidRequest(
            f"{one_line(text)!r} fits {number} threads", hint=f"say which one:{_names(found)}"
        )
    return found[0]


async def _candidates(
    store: ThreadStore, text: str, *, archived: bool | None = None
) -> list[StoredThread]:
    """Threads with that name, else with one that lists show so, and those whose id begins so; a
    page of each, so that it takes no longer where there are many threads."""
    query = ThreadQuery(archived=archived, limit=_COUNTED)
    named = await _page(store, query, name=text.strip()) or await _shown_as(store, query, text)
    prefix = text.replace("-", "")
    begin = []
    if len(prefix) >= _SHORTEST_PREFIX and _HEX.issuperset(prefix.lower()):
        begin = await _page(store, query, id_prefix=prefix)
    return list({thread.id: thread for thread in (*named, *begin)}.values())


async def _shown_as(store: ThreadStore, query: ThreadQuery, text: str) -> list[StoredThread]:
    """Threads that lists show with the name *text*: of those in use last, where all its words are
    in many names and messages."""
    words = [word for word in clean(text).split() if "\N{REPLACEMENT CHARACTER}" not in word]
    term = max(words, key=len, default=None)
    likely = await _page(store, query, search_term=term, limit=_LOOKED_AT)
    shown = one_line(text)
    return [each for each in likely if each.name is not None and one_line(each.name) == shown]


async def _page(store: ThreadStore, query: ThreadQuery, **filters: Any) -> list[StoredThread]:
    import msgspec

    return list((await store.list_threads(msgspec.structs.replace(query, **filters))).items)


def _names(threads: list[StoredThread]) -> str:
    """A line for each of the first few."""
    shown = [
        f"\n  {thread.id}  {cut(one_line(thread.display_name), _NAME_COLUMNS)}".rstrip()
        for thread in threads[:_SHOWN]
    ]
    return "".join(shown) + ("\n  …" if len(threads) > _SHOWN else "")
