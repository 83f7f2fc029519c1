"""Running foreign code: in turns, in threads of its own, without waiting for what never ends."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

__all__ = ["GRACE", "SharedLock", "ended", "in_thread"]

T = TypeVar("T")

GRACE: Final = 0.5
"""Seconds that a cancelled tool has to end before it is left alone."""

# The loop keeps weak references only: a task that was left alone must not vanish while it waits.
_tasks: set[asyncio.Task[Any]] = set()


class SharedLock:
    """First come, first served, for those who share it and those who want it alone."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[bool, asyncio.Future[None]]] = deque()
        self._running = 0
        self._alone = False

    @contextlib.asynccontextmanager
    async def held(self, *, alone: bool) -> AsyncIterator[None]:
        """Hold it, after everybody who came before and cannot share it."""
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((alone, admitted))
        self._admit()
        try:
            await admitted
            yield
        finally:
            if not admitted.cancel() and not admitted.cancelled():
                self._running -= 1
            self._admit()

    def _admit(self) -> None:
        while self._waiting:
            alone, admitted = self._waiting[0]
            if not admitted.cancelled():
                if self._running and (alone or self._alone):
                    return
                self._running += 1
                self._alone = alone
                admitted.set_result(None)
            self._waiting.popleft()


async def ended(work: Coroutine[Any, Any, T], timeout: float | None) -> asyncio.Task[T] | None:
    """The task that ran *work* to its end, however it ended; ``None``: it took over *timeout*
    seconds. Work that is cut off, by that or because the caller is cancelled, gets
    :data:`GRACE` seconds to clean up; after that it goes on without anybody listening."""
    task = asyncio.create_task(work)
    _tasks.add(task)
    task.add_done_callback(_forget)
    try:
        done, _ = await asyncio.wait({task}, timeout=timeout)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=GRACE)
    return task if done else None


def _forget(task: asyncio.Task[Any]) -> None:
    _tasks.discard(task)
    if not task.cancelled():
        task.exception()  # somebody looked: the loop need not complain


async def in_thread(work: Callable[[], T]) -> T:
    """The result of *work*, called in a thread of its own.

    Not one of the loop's pool: a call that never ends would keep its place there for ever, and
    hold up the end of the program.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[tuple[list[T], BaseException | None]] = loop.create_future()
    context = contextvars.copy_context()

    def settle(results: list[T], error: BaseException | None) -> None:
        if not ended.done():
            ended.set_result((results, error))

    def call() -> None:
        results: list[T] = []
        problem: BaseException | None = None
        try:
            results.append(context.run(work))
        except BaseException as error:  # noqa: BLE001 - foreign code; raised again in the loop
            problem = error
        with contextlib.suppress(RuntimeError):  # the loop is gone
            loop.call_soon_threadsafe(settle, results, problem)

    thread = threading.Thread(target=call, name="threadstore-tool", daemon=True)
    thread.start()
    results, problem = await ended
    thread.join()  # it has nothing left to do; whoever counts threads need not see it
    if problem is not None:
        raise problem
    return results[0]
