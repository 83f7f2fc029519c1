"""A thread that another process writes: what appears in its log is told as if it ran here."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from threadstore.appserver.audience import OpenThread
from threadstore.appserver.narration import Narrator
from threadstore.appserver.retelling import Retelling
from threadstore.engine import TaskStarted
from threadstore.errors import ThreadStoreError
from threadstore.history.items import RolloutItem
from threadstore.history.turns import build_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from threadstore.engine import Event, SessionSettings
    from threadstore.history.lines import Entry
    from threadstore.manager import ThreadManager
    from threadstore.metadata import StoredThread

__all__ = ["FollowedThread"]

Json = dict[str, Any]

SILENCE: Final = 5.0
"""Seconds without a line in a turn after which it is worth to see whether its writer is there."""


class FollowedThread(OpenThread):
    """Tells its peers what the writer of the thread tells its own, except what is never stored.

    Nothing can be changed here but by taking the thread over, once its writer has gone: open a
    session, then :meth:`finish`, and let its peers hear of that session.
    """

    def __init__(
        self,
        manager: ThreadManager,
        stored: StoredThread,
        items: Sequence[RolloutItem],
        wanted: SessionSettings,
        *,
        released: Callable[[OpenThread], None],
        silent: Callable[[FollowedThread], None],
        lost: Callable[[FollowedThread], None],
    ) -> None:
        """*items* are the history so far. *wanted* is what the client said of settings; it counts
        when the thread is taken over. *silent* is called when a turn says nothing for long,
        *lost* when the thread cannot be followed any more."""
        super().__init__(stored.id, released=released)
        self.wanted = wanted
        self._stored = stored
        self._manager = manager
        self._silent, self._lost = silent, lost
        self._narrator = Narrator(stored.id)
        self._position = (items[-1].position or 0) if items else 0
        self._retelling = self._after(items)
        self._news = asyncio.Event()
        self._tasks = (
            asyncio.create_task(self._follow()),
            asyncio.create_task(self._listen()),
        )

    @classmethod
    async def open(cls, manager: ThreadManager, thread_id: str, *args: Any, **kwargs: Any) -> Self:
        """Follow from now on; the other arguments are those of the class."""
        stored = await manager.read(thread_id)
        history = await manager.store.load_history(thread_id)
        return cls(manager, stored, history.items, *args, **kwargs)

    @property
    def settings(self) -> SessionSettings:
        """What the client wants; where it says nothing, what the thread last had."""
        return msgspec.structs.replace(
            self.wanted,
            model=self.wanted.model or self._stored.model or "",
            reasoning_effort=self.wanted.reasoning_effort or self._stored.reasoning_effort,
        )

    @property
    def turn_id(self) -> str | None:
        """The turn that its writer runs."""
        return self._retelling.turn_id

    @property
    def failed(self) -> bool:
        """Whether the last turn that was heard of failed."""
        return self._narrator.failed

    async def read(self) -> StoredThread:
        """Its metadata as it is now."""
        return await self._manager.read(self.id)

    async def wait_idle(self) -> None:
        """Nothing runs here."""

    async def close(self) -> None:
        """Follow no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def finish(self) -> None:
        """Follow no more, since its writer has gone: tell the rest, and the end of its turn."""
        await self.close()
        entries = self._manager.store.iter_history(self.id, after=self._position)
        async for entry in entries:
            await self._take(entry)
        self._tell(self._retelling.cut())

    async def _follow(self) -> None:
        store = self._manager.store
        try:
            async with aclosing(store.watch_thread(self.id, after=self._position)) as entries:
                async for entry in entries:
                    await self._take(entry)
        except ThreadStoreError:
            self._lost(self)

    async def _listen(self) -> None:
        """Call *silent* from time to time while a turn runs of which nothing is heard."""
        while True:
            try:
                async with asyncio.timeout(None if self.turn_id is None else SILENCE):
                    await self._news.wait()
            except TimeoutError:
                self._silent(self)
            self._news.clear()

    async def _take(self, entry: Entry) -> None:
        position = entry.position or self._position + 1
        replaced, self._position = position <= self._position, position
        self._news.set()
        if not isinstance(entry, RolloutItem):
            return
        if replaced:
            await self._revert(position - 1)
        elif entry.kind == "thread_rolled_back":
            await self._revert(position)
        self._tell(self._retelling.events(entry))

    async def _revert(self, position: int) -> None:
        """Begin anew from what the history up to *position* is by now."""
        self._tell(self._retelling.cut())
        history = await self._manager.store.load_history(self.id)
        self._retelling = self._after(
            [item for item in history.items if (item.position or 0) <= position]
        )
        self.tell("thread/reverted", {"threadId": self.id})

    def _after(self, items: Sequence[RolloutItem]) -> Retelling:
        retelling = Retelling(self.id, build_turns(items, open_status="in_progress"))
        if retelling.turn_id is not None:
            began: Any = retelling.started_at
            self._narrator.tell(TaskStarted(turn_id=retelling.turn_id, started_at=began))
        return retelling

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            for notice in self._narrator.tell(event):
                self.tell(notice.method, notice.params)
