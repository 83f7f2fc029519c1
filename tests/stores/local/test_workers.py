"""Threads of a store's own."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator

import pytest

from threadstore.stores.local.workers import Workers


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = Workers(3, "test-worker")
    yield workers
    workers.close()


def running() -> int:
    return sum(thread.name.startswith("test-worker") for thread in threading.enumerate())


async def test_as_many_work_at_once_as_there_may_be_threads(workers: Workers) -> None:
    loop, all_there, done = asyncio.get_running_loop(), threading.Barrier(3), list[int]()

    def work() -> None:
        all_there.wait(10)
        done.append(1)

    await asyncio.gather(*(workers.run(work, loop) for _ in range(9)))
    assert (len(done), running()) == (9, 3)


async def test_one_after_the_other_need_one_thread(workers: Workers) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(5):
        await workers.run(lambda: None, loop)
    assert running() == 1


async def test_whoever_waits_gets_the_error_and_the_thread_goes_on(workers: Workers) -> None:
    def work() -> None:
        raise OSError("no disk")

    for _ in range(2):
        with pytest.raises(OSError, match="no disk"):
            await workers.run(work, asyncio.get_running_loop())
    assert running() == 1


async def test_work_whose_waiter_is_cancelled_twice_is_waited_for(workers: Workers) -> None:
    loop, started, go_on = asyncio.get_running_loop(), threading.Event(), threading.Event()
    done: list[int] = []

    def work() -> None:
        started.set()
        go_on.wait(10)
        done.append(1)

    call = asyncio.create_task(workers.run(work, loop))
    await asyncio.to_thread(started.wait, 10)
    for _ in range(2):
        call.cancel()
        await asyncio.sleep(0)
    assert not call.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert done == [1]


async def test_a_cancelled_waiter_whose_work_fails_is_just_cancelled(workers: Workers) -> None:
    loop, started, go_on = asyncio.get_running_loop(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        go_on.wait(10)
        raise OSError("no disk")

    call = asyncio.create_task(workers.run(work, loop))
    await asyncio.to_thread(started.wait, 10)
    call.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await call


def test_threads_serve_one_event_loop_after_the_other(workers: Workers) -> None:
    async def work() -> None:
        await workers.run(lambda: None, asyncio.get_running_loop())

    for _ in range(3):
        asyncio.run(work())
    assert running() == 1


async def test_closing_ends_the_threads_and_twice_is_once() -> None:
    workers = Workers(3, "test-worker")
    await workers.run(lambda: None, asyncio.get_running_loop())
    workers.close()
    workers.close()
    assert running() == 0


async def test_threads_go_with_workers_that_nobody_closed() -> None:
    workers = Workers(3, "test-worker")
    await workers.run(lambda: None, asyncio.get_running_loop())
    threads = [t for t in threading.enumerate() if t.name.startswith("test-worker")]
    del workers
    gc.collect()
    for thread in threads:
        await asyncio.to_thread(thread.join, 10)
    assert running() == 0
