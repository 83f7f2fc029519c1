"""Small writes of many threads, done together: one transaction serves all who wait for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from threadstore.stores.local.waiting import running_loop

if TYPE_CHECKING:
    import asyncio

__all__ = ["Lots"]

T = TypeVar("T")
Outcome = Exception | None


class Lots(Generic[T]):
    """Does *work* on lots of things. Who comes while a lot is being worked on is in the next one,
    so that nobody waits for company, and many at once cost little more than one.

    *work* blocks, runs in a thread, and says for each thing what became of it.
    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[Outcome]]) -> None:
        self._work = work
        self._waiting: list[tuple[T, asyncio.Future[None]]] = []
        self._loop: asyncio.AbstractEventLoop | None = None  # while a lot is being worked on

    async def add(self, thing: T) -> None:
        """Have it done. When cancelled, waits for the end before letting go, as ``in_worker``."""
        loop = running_loop()
        if loop is None:
            if (outcome := self._work([thing])[0]) is not None:
                raise outcome
            return
        import asyncio

        if self._loop is not loop:  # nothing is under way, or it was on a loop that has ended
            self._loop, self._waiting = None, []
        mine = loop.create_future()
        self._waiting.append((thing, mine))
        if self._loop is None:
            self._start(loop)
        try:
            await asyncio.shield(mine)
        except asyncio.CancelledError:
            while not mine.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait((mine,))
            mine.exception()  # nobody will ask
            raise

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        lot, self._waiting, self._loop = self._waiting, [], loop
        things = [thing for thing, _ in lot]
        done = loop.run_in_executor(None, self._work, things)
        done.add_done_callback(partial(self._finish, loop, [future for _, future in lot]))

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        lot: list[asyncio.Future[None]],
        done: asyncio.Future[Sequence[Outcome]],
    ) -> None:
        self._loop = None
        if self._waiting:
            self._start(loop)
        failure = done.exception()
        outcomes = [failure] * len(lot) if failure is not None else done.result()
        for future, outcome in zip(lot, outcomes, strict=True):
            if outcome is None:
                future.set_result(None)
            else:
                future.set_exception(outcome)
