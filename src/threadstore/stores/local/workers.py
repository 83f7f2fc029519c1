"""Threads of a store's own, for short work that is done very often: waiting for the disk."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

__all__ = ["Workers"]


class Workers:
    """Up to *limit* threads, started as they are needed.

    There and back costs some 35 us, of which most is the system's; an Executor takes twice that
    for one, and eight times as long for each of a hundred at once.
    """

    def __init__(self, limit: int, name: str) -> None:
        self._limit = limit
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._finished: _Finished | None = None
        self._pending = 0
        self._end = weakref.finalize(self, _dismiss, self._jobs, self._threads)

    async def run(self, work: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        """Do *work* in a thread. When cancelled, waits for its end before letting go."""
        import asyncio

        if self._finished is None or self._finished.loop is not loop:
            self._finished = _Finished(loop)
        job = _Job(work, self._finished)
        self._pending += 1
        try:
            if len(self._threads) < min(self._pending, self._limit):
                self._start()
            self._jobs.put(job)
            try:
                await job.waiter
            except asyncio.CancelledError:
                while not job.done:
                    job.waiter = loop.create_future()
                    with suppress(asyncio.CancelledError):
                        await job.waiter
                raise
        finally:
            self._pending -= 1
        if job.failure is not None:
            raise job.failure

    def _start(self) -> None:
        name = f"{self._name}_{len(self._threads)}"
        # It must not keep a program from ending whose store nobody has closed.
        thread = threading.Thread(target=_work, args=(self._jobs,), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def close(self) -> None:
        """Wait for what is being done, and end the threads. Twice is once."""
        self._end()
        for thread in self._threads:
            thread.join()


class _Finished:
    """Jobs that are done, on their way to the event loop: one wake-up serves all until it comes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._jobs: deque[_Job] = deque()
        self._called = False

    def add(self, job: _Job) -> None:
        """Called by the thread that has done it."""
        self._jobs.append(job)  # before it asks, so that a call that is on its way sees it
        if not self._called:
            self._called = True
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                self.loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._called = False
        while self._jobs:
            self._jobs.popleft().finish()


class _Job:
    """Work to do, and who waits for it on the event loop. Entered by the thread that does it."""

    def __init__(self, work: Callable[[], None], finished: _Finished) -> None:
        self.work = work
        self.waiter: asyncio.Future[None] = finished.loop.create_future()
        self.failure: BaseException | None = None
        self.done = False
        self._finished = finished

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """The work is done; what it raised is the waiter's business, not the thread's."""
        self.failure = failure
        self._finished.add(self)
        return True

    def finish(self) -> None:
        """Wake who waits."""
        self.done = True
        if not self.waiter.done():
            self.waiter.set_result(None)


def _work(jobs: SimpleQueue[_Job | None]) -> None:
    """What each thread does. It knows no store, so that one that nobody closed can go."""
    while (job := jobs.get()) is not None:
        with job:
            job.work()
        del job  # or it would be kept until the next one


def _dismiss(jobs: SimpleQueue[_Job | None], threads: list[threading.Thread]) -> None:
    for _ in threads:
        jobs.put(None)
