"""Finding a thread by what somebody types reads a page or two, however many threads there are."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from threadstore.cli.resolve import find_thread
from threadstore.errors import InvalidRequest, ThreadNotFound
from threadstore.queries import ThreadPage, ThreadQuery
from threadstore.stores.memory import MemoryThreadStore
from threadstore.testing.clock import ManualClock
from threadstore.testing.seeds import record_thread

MANY = 130


class Counting(MemoryThreadStore):
    """A store that counts its pages and the threads on them."""

    pages = 0
    threads = 0

    async def list_threads(self, query: ThreadQuery | None = None) -> ThreadPage:
        page = await super().list_threads(query)
        self.pages += 1
        self.threads += len(page.items)
        return page


def number(place: int) -> str:
    return f"0aa0bb00-cc00-7000-8000-{place:012}"


@pytest.fixture
async def store() -> AsyncIterator[Counting]:
    clock = ManualClock()
    async with Counting(clock=clock) as store:
        for place in range(MANY):
            await record_thread(store, clock, "fix it", id=number(place), name=None)
            clock.advance()
        yield store


async def test_a_beginning_of_many_ids_is_refused_after_a_page(store: Counting) -> None:
    with pytest.raises(InvalidRequest, match="'0AA0-bb' fits 100 or more threads") as caught:
        await find_thread(store, "0AA0-bb")
    assert caught.value.hint is not None
    assert caught.value.hint.count("\n  ") == 11
    assert store.pages <= 3
    assert store.threads <= 100


async def test_a_beginning_of_one_id_is_enough(store: Counting) -> None:
    only = await record_thread(store, ManualClock(), id="0aa0bb01-cc00-7000-8000-000000000000")
    assert (await find_thread(store, "0aa0bb01")).id == only.id
    assert store.threads == 1
    with pytest.raises(InvalidRequest, match="fits 10 threads"):
        await find_thread(store, number(70)[:-1])


async def test_the_archived_one_of_many_is_found(store: Counting) -> None:
    await store.archive_thread(number(0))
    assert (await find_thread(store, "0aa0bb00", archived=True)).id == number(0)
    with pytest.raises(InvalidRequest, match="fits 100 or more threads"):
        await find_thread(store, "0aa0bb00", archived=False)


async def test_a_name_is_found_behind_all_messages_that_have_it(store: Counting) -> None:
    clock = ManualClock()
    named = await record_thread(store, clock, name="fix")
    assert (await find_thread(store, "fix")).id == named.id
    with pytest.raises(ThreadNotFound):
        await find_thread(store, "fix it all")
