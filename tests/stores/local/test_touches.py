"""That a thread was used is known at once in its store, and written a little later."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.stores.local.conftest import Locked

from threadstore import LiveThread, NewThread, open_store
from threadstore.clock import from_ms
from threadstore.errors import StoreUnavailable
from threadstore.metadata import MetadataOrigin, StoredThread, ThreadMetadataPatch
from threadstore.queries import ThreadQuery
from threadstore.stores.local import LocalThreadStore
from threadstore.stores.local.state_db import StateDb
from threadstore.testing import items

LATER = dt.datetime(2040, 1, 1, tzinfo=dt.UTC)
OBSERVED = MetadataOrigin.OBSERVED


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
async def store(home: Path) -> AsyncIterator[LocalThreadStore]:
    async with open_store(f"local:{home}") as store:
        assert isinstance(store, LocalThreadStore)
        yield store


@pytest.fixture
async def live(store: LocalThreadStore) -> LiveThread:
    live = await LiveThread.create(store, NewThread(cwd=""))
    await live.append_items([items.user_message("hello")])
    return live


def row_time(home: Path, thread_id: str) -> dt.datetime | None:
    """What Codex would read."""
    state = StateDb(str(home / "state_5.sqlite"))
    state.open()
    try:
        row = state.read_row(thread_id)
        return None if row is None else from_ms(row.updated_at_ms)
    finally:
        state.close()


async def touch(
    store: LocalThreadStore, live: LiveThread, moment: dt.datetime = LATER
) -> StoredThread:
    patch = ThreadMetadataPatch(updated_at=moment)
    return await store.update_thread_metadata(live.id, patch, origin=OBSERVED)


async def test_a_touch_is_read_at_once(store: LocalThreadStore, live: LiveThread) -> None:
    assert (await touch(store, live)).updated_at == LATER
    assert (await store.read_thread(live.id)).updated_at == LATER


async def test_a_list_shows_it_at_once_and_others_do_from_then_on(
    store: LocalThreadStore, live: LiveThread, home: Path
) -> None:
    await touch(store, live)
    (listed,) = (await store.list_threads(ThreadQuery())).items
    assert listed.updated_at == LATER
    assert row_time(home, live.id) == LATER


@pytest.mark.parametrize("verb", ["shutdown_thread", "discard_thread"])
async def test_it_is_written_when_the_thread_is_let_go(
    store: LocalThreadStore, live: LiveThread, home: Path, verb: str
) -> None:
    await touch(store, live)
    await getattr(store, verb)(live.id)
    assert row_time(home, live.id) == LATER
    assert (await store.read_thread(live.id)).updated_at == LATER


async def test_it_is_written_when_the_store_is_closed(home: Path) -> None:
    async with open_store(f"local:{home}") as store:
        assert isinstance(store, LocalThreadStore)
        live = await LiveThread.create(store, NewThread(cwd=""))
        await live.append_items([items.user_message("hello")])
        await touch(store, live)
    assert row_time(home, live.id) == LATER


async def test_the_newest_of_many_is_written(
    store: LocalThreadStore, live: LiveThread, home: Path
) -> None:
    for second in range(10):
        await touch(store, live, LATER + dt.timedelta(seconds=second))
    await store.list_threads()
    assert row_time(home, live.id) == LATER + dt.timedelta(seconds=9)


async def test_what_somebody_says_after_it_wins(
    store: LocalThreadStore, live: LiveThread, home: Path
) -> None:
    await touch(store, live)
    said = ThreadMetadataPatch(updated_at=LATER - dt.timedelta(days=1))
    await store.update_thread_metadata(live.id, said, origin=MetadataOrigin.EXPLICIT)
    await store.list_threads()
    assert row_time(home, live.id) == said.updated_at


async def test_facts_after_it_win_and_take_it_along(
    store: LocalThreadStore, live: LiveThread, home: Path
) -> None:
    await touch(store, live)
    patch = ThreadMetadataPatch(model="gpt-5")
    await store.update_thread_metadata(live.id, patch, origin=OBSERVED)
    assert row_time(home, live.id) == LATER


async def test_one_that_cannot_be_written_stops_no_list_and_the_next_one_says_so(
    store: LocalThreadStore, live: LiveThread, home: Path, locked: Locked
) -> None:
    with locked(f"{home}/state_5.sqlite"):
        await touch(store, live)
        assert (await store.list_threads()).items[0].id == live.id
        with pytest.raises(StoreUnavailable, match="locked"):
            await touch(store, live, LATER + dt.timedelta(seconds=1))
    await touch(store, live, LATER + dt.timedelta(seconds=2))
    assert row_time(home, live.id) == LATER + dt.timedelta(seconds=2)


async def test_one_that_could_not_be_written_goes_out_when_the_thread_is_let_go(
    store: LocalThreadStore, live: LiveThread, home: Path, locked: Locked
) -> None:
    with locked(f"{home}/state_5.sqlite"):
        await touch(store, live)
        await store.list_threads()
    await store.shutdown_thread(live.id)
    assert row_time(home, live.id) == LATER


async def test_a_thread_is_let_go_though_it_cannot_be_written(
    store: LocalThreadStore, live: LiveThread, home: Path, locked: Locked
) -> None:
    with locked(f"{home}/state_5.sqlite"):
        await touch(store, live)
        await store.shutdown_thread(live.id)
        await store.shutdown_thread(live.id)
    await store.resume_thread(live.id)
