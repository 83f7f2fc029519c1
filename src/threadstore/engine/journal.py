"""Where everything that happens in a session passes: kept first, then told.

One order for all: a line is in the history, in the model's context and in the hands of those who
follow before the next one starts. An interruption never comes between.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

from threadstore.engine.events import Event
from threadstore.history.context import ContextFold
from threadstore.history.items import RolloutItem
from threadstore.history.policy import canonical

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence

    from threadstore.manager import ThreadHandle

__all__ = ["Entry", "Journal", "folded", "uninterrupted"]

Entry: TypeAlias = RolloutItem | Event


class Journal:
    """Writes what happens into the thread and the model's context, and tells those who follow."""

    def __init__(
        self,
        handle: ThreadHandle,
        fold: ContextFold,
        tell: Callable[[Event], None],
        fold_again: Callable[[], Awaitable[ContextFold]],
    ) -> None:
        """*fold_again* folds the history as it is, where *fold* is stale."""
        self.handle = handle
        self.fold = fold
        self._tell = tell
        self._fold_again = fold_again
        self._lock = asyncio.Lock()
        # Whether an append failed, so that nobody knows whether its lines are in the history.
        self._unsure = False

    async def record(self, *entries: Entry) -> None:
        """Keep *entries*, all or none, then tell the events among them.

        Goes through to its end if the caller is cancelled. Raises what ``append_items`` raises;
        then nothing is told.
        """
        await uninterrupted(self._record(entries))

    async def repeat(self, items: Sequence[RolloutItem]) -> None:
        """Append lines of the history once more, as they stand there."""
        await uninterrupted(self._repeat(items))

    def tell(self, *events: Event) -> None:
        """Tell what is never kept."""
        for event in events:
            self._tell(event)

    async def catch_up(self) -> None:
        """Have the model's context as the history has it; what is recorded next does that, too."""
        async with self._lock:
            await self._catch_up()

    async def _catch_up(self) -> None:
        if self._unsure or self.fold.stale:
            self.fold = await self._fold_again()

    async def _record(self, entries: Sequence[Entry]) -> None:
        items = [entry if isinstance(entry, RolloutItem) else entry.as_item() for entry in entries]
        async with self._lock:
            await self._append(items)
            for item in canonical(items, self.handle.history_mode):
                self.fold.feed(item)
            for entry in entries:
                if not isinstance(entry, RolloutItem):
                    self._tell(entry)

    async def _repeat(self, items: Sequence[RolloutItem]) -> None:
        async with self._lock:
            await self._append(items, verbatim=True)
            for item in items:
                self.fold.feed(item)

    async def _append(self, items: Sequence[RolloutItem], *, verbatim: bool = False) -> None:
        await self._catch_up()
        self._unsure = True
        await self.handle.append_items(items, verbatim=verbatim)
        self._unsure = False


def folded(items: Iterable[RolloutItem]) -> ContextFold:
    """The model's context after all of a history."""
    fold = ContextFold()
    for item in items:
        fold.feed(item)
    return fold


async def uninterrupted(work: Coroutine[Any, Any, None]) -> None:
    """Await *work* to its end; if the caller is cancelled meanwhile, that comes after."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled() and task.exception() is not None:
            raise cancelled from task.exception()
        raise cancelled
    task.result()
