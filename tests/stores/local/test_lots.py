"""Small writes of many threads, done together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from threadstore.stores.local.lots import Lots


class Worker:
    """Works on one lot at a time, when it is let."""

    def __init__(self) -> None:
        self.lots: list[list[int]] = []
        self.may = threading.Semaphore(0)
        self.done = threading.Event()

    def __call__(self, lot: Sequence[int]) -> list[Exception | None]:
        assert self.may.acquire(timeout=10)
        self.lots.append(list(lot))
        self.done.set()
        return [ValueError(str(thing)) if thing < 0 else None for thing in lot]


@pytest.fixture
def worker() -> Worker:
    return Worker()


async def begun(lots: Lots[int], *things: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.ensure_future(lots.add(thing)) for thing in things]
    await asyncio.sleep(0)
    return tasks


async def test_who_comes_during_a_lot_is_in_the_next_one(worker: Worker) -> None:
    lots = Lots(worker)
    first = await begun(lots, 1)
    rest = await begun(lots, 2, 3)
    worker.may.release(2)
    await asyncio.gather(*first, *rest)
    assert worker.lots == [[1], [2, 3]]


async def test_each_learns_what_became_of_its_own(worker: Worker) -> None:
    lots = Lots(worker)
    tasks = await begun(lots, 1) + await begun(lots, 2, -3)
    worker.may.release(2)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes[:2] == [None, None]
    assert isinstance(outcomes[2], ValueError)
    worker.may.release()
    await lots.add(4)


async def test_one_that_is_cancelled_waits_for_the_end(worker: Worker) -> None:
    lots = Lots(worker)
    first, second = await begun(lots, 1) + await begun(lots, -2)
    for _ in range(2):
        first.cancel()
        second.cancel()
        await asyncio.sleep(0)
    assert not first.done()
    assert not second.done()
    worker.may.release(2)
    await asyncio.wait((first, second))
    assert first.cancelled()
    assert second.cancelled()
    assert worker.lots == [[1], [-2]]


async def test_a_fault_in_the_work_reaches_everybody() -> None:
    def fail(_lot: Sequence[int]) -> list[Exception | None]:
        raise ZeroDivisionError

    lots = Lots(fail)
    for task in await begun(lots, 1, 2):
        with pytest.raises(ZeroDivisionError):
            await task


def test_without_an_event_loop_it_is_done_at_once(worker: Worker) -> None:
    worker.may.release(2)
    lots = Lots(worker)
    with pytest.raises(StopIteration):
        lots.add(1).send(None)
    with pytest.raises(ValueError, match="-2"):
        lots.add(-2).send(None)


def lots_and_missed(worker: Worker) -> tuple[Lots[int], list[int]]:
    missed: list[int] = []
    return Lots(worker, missed.append), missed


async def test_what_nobody_waits_for_is_done_all_the_same(worker: Worker) -> None:
    lots, _ = lots_and_missed(worker)
    lots.add_later("one", 1)
    lots.add_later("two", 2)
    worker.may.release()
    assert await asyncio.to_thread(worker.done.wait, 10)
    assert worker.lots == [[1, 2]]


async def test_only_the_newest_of_a_key_is_done(worker: Worker) -> None:
    lots, _ = lots_and_missed(worker)
    for thing in (1, 2, 3):
        lots.add_later("same", thing)
    worker.may.release()
    await lots.settle()
    assert worker.lots == [[3]]


async def test_the_next_lot_takes_along_what_nobody_waits_for_first_of_all(
    worker: Worker,
) -> None:
    lots, _ = lots_and_missed(worker)
    running = await begun(lots, 1)
    waiting = await begun(lots, 2)
    lots.add_later("three", 3)
    worker.may.release(2)
    await asyncio.gather(*running, *waiting)
    assert worker.lots == [[1], [3, 2]]


async def test_settling_waits_for_a_lot_that_is_under_way(worker: Worker) -> None:
    lots, _ = lots_and_missed(worker)
    lots.add_later("one", 1)
    first = asyncio.ensure_future(lots.settle())
    await asyncio.sleep(0)
    second = asyncio.ensure_future(lots.settle())
    await asyncio.sleep(0)
    assert not second.done()
    worker.may.release(2)
    await asyncio.gather(first, second)
    assert worker.lots[0] == [1]


async def test_settling_without_anything_costs_nothing(worker: Worker) -> None:
    lots, _ = lots_and_missed(worker)
    await lots.settle()
    assert worker.lots == []


async def test_what_nobody_waits_for_fails_quietly_and_is_told_of(worker: Worker) -> None:
    lots, missed = lots_and_missed(worker)
    lots.add_later("bad", -1)
    worker.may.release()
    await lots.add(2)
    assert (worker.lots, missed) == ([[-1, 2]], [-1])


def test_what_waited_when_an_event_loop_ended_is_done_on_the_next_one(worker: Worker) -> None:
    lots, _ = lots_and_missed(worker)

    async def later(thing: int) -> None:
        lots.add_later(str(thing), thing)

    asyncio.run(later(1))
    asyncio.run(later(2))
    worker.may.release()
    asyncio.run(lots.settle())
    assert worker.lots == [[1, 2]]


def test_without_an_event_loop_nothing_waits(worker: Worker) -> None:
    lots, missed = lots_and_missed(worker)
    worker.may.release(2)
    lots.add_later("one", 1)
    lots.add_later("two", -2)
    assert (worker.lots, missed) == ([[1], [-2]], [-2])
