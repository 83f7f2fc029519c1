"""Reading a thread's history for people."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from threadstore.cli.text import plural
from threadstore.errors import InvalidRequest, StoreUnavailable
from threadstore.history.items import DamagedLine
from threadstore.queries import MAX_LIMIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from threadstore.cli.console import Console
    from threadstore.history.turns import StoredTurn
    from threadstore.store import ThreadStore

__all__ = ["all_turns", "check_readable", "readable", "report_damage"]


@contextmanager
def readable() -> Iterator[None]:
    """A file that this user may not read is bad input, not a store that is out of order."""
    try:
        yield
    except StoreUnavailable as error:
        if isinstance(error.__cause__, PermissionError):
            raise InvalidRequest(error.message, hint="make it readable for this user") from error
        raise


async def check_readable(store: ThreadStore, thread_id: str) -> None:
    """Of a thread that shows nothing: :class:`CorruptHistory` if there was nothing to be read."""
    await store.load_history(thread_id)


async def report_damage(
    console: Console, store: ThreadStore, thread_id: str, *, after: int = 0
) -> None:
    """Say how many lines a conversation goes without *after* a position; nothing if it has all."""
    entries = store.iter_history(thread_id, after=after, reverse=True)
    damaged = [entry.position async for entry in entries if isinstance(entry, DamagedLine)]
    if damaged:
        lines = plural(len(damaged), "damaged line")
        console.remark(f"{lines} left out; `threadstore doctor` says where and why")


async def all_turns(store: ThreadStore, thread_id: str) -> AsyncIterator[StoredTurn]:
    """Every turn of a thread, oldest first."""
    cursor = None
    while True:
        page = await store.list_turns(thread_id, cursor=cursor, limit=MAX_LIMIT, descending=False)
        if cursor is None and not page.items:
            await check_readable(store, thread_id)
        for turn in page.items:
            yield turn
        cursor = page.next_cursor
        if cursor is None:
            return
