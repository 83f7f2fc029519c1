"""The history of a thread whose file may be moved while somebody begins to read it."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

from threadstore.errors import ThreadNotFound
from threadstore.stores.local.lineage import FindRollout
from threadstore.stores.local.places import Places
from threadstore.stores.local.reader import Batch, read_bytes, read_history

__all__ = ["HistoryReading"]

T = TypeVar("T")

_MOVES: Final = 3
"""How often to look for a file that is archived or unarchived before it is open."""


class HistoryReading:
    """Reads what is where *locate* says (``None``: no history yet). Raises ThreadNotFound."""

    def __init__(
        self,
        locate: Callable[[str], Awaitable[str | None]],
        find_rollout: FindRollout,
        is_held: Callable[[str, str], bool],
        places: Places,
    ) -> None:
        """*is_held*: whether another process may be writing that thread, in that file."""
        self._locate = locate
        self._find_rollout = find_rollout
        self._is_held = is_held
        self._places = places

    async def batches(
        self, thread_id: str, *, after: int = 0, reverse: bool = False, brief: bool = False
    ) -> Iterator[Batch]:
        """See :func:`~threadstore.stores.local.reader.read_history`."""

        def read(path: str) -> Iterator[Batch]:
            return read_history(
                path,
                self._find_rollout,
                after=after,
                reverse=reverse,
                is_held=lambda: self._is_held(thread_id, path),
                places=self._places,
                brief=brief,
            )

        return await self.portions(thread_id, read)

    async def raw(self, thread_id: str) -> Iterator[bytes]:
        """The bytes of the thread's own file."""
        return await self.portions(thread_id, read_bytes)

    async def portions(self, thread_id: str, read: Callable[[str], Iterator[T]]) -> Iterator[T]:
        """The first portion is read at once: then the file is open, and may go where it likes."""
        for _ in range(_MOVES):
            path = await self._locate(thread_id)
            if path is None:
                return iter(())
            portions = read(path)
            try:
                first = list(itertools.islice(portions, 1))
            except FileNotFoundError:
                continue
            return itertools.chain(first, portions)
        raise ThreadNotFound(thread_id)
