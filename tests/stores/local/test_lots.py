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

    def __call__(self, lot: Sequence[int]) -> list[Exception | None]:
        assert self.may.acquire(timeout=10)
        self.lots.append(list(lot))
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
