"""Small writes of many threads, done together: one transaction serves all who wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from threadstore.stores.local.waiting import running_loop

if TYPE_CHECKING:
    import asyncio

__all__ = ["Lots"]

T = TypeVar("T")
Outcome = BaseException | None

_DELAY: Final = 0.1
"""Seconds within which a thing that nobody waits for is in a lot."""


class Lots(Generic[T]):
    """Does *work* on lots of things. Who comes while a lot is being worked on is in the next one,
    so that nobody waits for company, and many at once cost little more than one.

    *work* blocks, runs in a thread, and says for each thing what became of it. *missed* is told of
    things that nobody waits for and that could not be done.
    """

    def __init__(
        self,
        work: Callable[[Sequence[T]], Sequence[Outcome]],
        missed: Callable[[T], None] = lambda _thing: None,
    ) -> None:
        self._work = work
        self._missed = missed
        self._waiting: list[tuple[Sequence[T], asyncio.Future[None]]] = []
        self._later: dict[str, T] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # while a lot is being worked on
        self._timing: asyncio.AbstractEventLoop | None = None  # where the timer runs

    def add_later(self, key: str, thing: T) -> None:
        """Have it done soon, with the next lot; instead of what waits with the same *key*."""
        self._later[key] = thing
        loop = running_loop()
        if loop is None:
            self._miss([self._later.pop(key)], self._work([thing]))
        elif self._timer is None or self._timing is not loop:
            self._timer, self._timing = loop.call_later(_DELAY, self._take_up, loop), loop

    async def settle(self) -> None:
        """Return once everything that came before is done, or missed."""
        if self._later or self._loop is not None:
            await self.add()

    async def add(self, *things: T) -> None:
        """Have them done. When cancelled, waits for the end before letting go, as ``in_worker``."""
        loop = running_loop()
        if loop is None:
            later, self._later = list(self._later.values()), {}
            outcomes = self._work([*later, *things])
            self._miss(later, outcomes)
            _raise_first(outcomes[len(later) :])
            return
        import asyncio

        if self._loop is not loop:  # nothing is under way, or it was on a loop that has ended
            self._loop, self._waiting = None, []
        mine = loop.create_future()
        self._waiting.append((things, mine))
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
        # What nobody waited for came before: a thread's newest observation is the last one.
        later, self._later = list(self._later.values()), {}
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        things = [*later, *(thing for group, _ in lot for thing in group)]
        done = loop.run_in_executor(None, self._work, things)
        done.add_done_callback(partial(self._finish, loop, later, lot))

    def _take_up(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._loop is not loop:
            self._start(loop)

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        later: Sequence[T],
        lot: Sequence[tuple[Sequence[T], asyncio.Future[None]]],
        done: asyncio.Future[Sequence[Outcome]],
    ) -> None:
        self._loop = None
        failure = done.exception()
        count = len(later) + sum(len(group) for group, _ in lot)
        outcomes = iter([failure] * count if failure is not None else done.result())
        self._miss(later, islice(outcomes, len(later)))
        if self._waiting or (self._later and self._timer is None):
            self._start(loop)
        for group, future in lot:
            failures = [failure for failure in islice(outcomes, len(group)) if failure is not None]
            if failures:
                future.set_exception(failures[0])
            else:
                future.set_result(None)

    def _miss(self, things: Iterable[T], outcomes: Iterable[Outcome]) -> None:
        for thing, outcome in zip(things, outcomes, strict=False):
            if outcome is not None:
                self._missed(thing)


def _raise_first(outcomes: Iterable[Outcome]) -> None:
    for outcome in outcomes:
        if outcome is not None:
            raise outcome
