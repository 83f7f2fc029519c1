"""What all cases share: the fixtures and a few words to say things with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import msgspec
import pytest
import pytest_asyncio

from threadstore.errors import ThreadStoreError
from threadstore.history.items import RolloutItem
from threadstore.ids import new_thread_id
from threadstore.metadata import MetadataOrigin, StoredThread, ThreadMetadataPatch
from threadstore.queries import ThreadQuery
from threadstore.store import Durability, ThreadStore
from threadstore.testing.clock import ManualClock
from threadstore.testing.harness import StoreHarness

EXPLICIT = MetadataOrigin.EXPLICIT
OBSERVED = MetadataOrigin.OBSERVED


@pytest.mark.asyncio
class Cases:
    """Base of all cases. A test class overrides ``harness``."""

    @pytest.fixture
    def harness(self) -> StoreHarness:
        """A new harness on new data."""
        raise NotImplementedError("override the `harness` fixture")

    @pytest_asyncio.fixture
    async def store(self, harness: StoreHarness) -> AsyncIterator[ThreadStore]:
        """An open store."""
        async with harness.open() as store:
            yield store

    @pytest.fixture
    def clock(self, harness: StoreHarness) -> ManualClock:
        """The clock of the store."""
        return harness.clock

    @pytest.fixture
    def durable_harness(self, harness: StoreHarness) -> StoreHarness:
        """A harness whose data outlives a store object."""
        if harness.capabilities.durability is Durability.NONE:
            pytest.skip("the store declares durability `none`")
        return harness

    @pytest.fixture
    def _follows(self, harness: StoreHarness) -> None:
        if not harness.capabilities.watch_thread:
            pytest.skip("the store declares no watch_thread")

    @pytest.fixture
    def _searches(self, harness: StoreHarness) -> None:
        if not harness.capabilities.search_threads:
            pytest.skip("the store declares no search_threads")


C = TypeVar("C", bound=type[Cases])


def where(fixture: str) -> Callable[[C], C]:
    """The cases of a class need a fixture, and no others of the class that has them all: unlike
    ``autouse`` and marks of a class, which its subclasses take over."""

    def mark(cases: C) -> C:
        for name, case in vars(cases).items():
            if name.startswith("test_"):
                pytest.mark.usefixtures(fixture)(case)
        return cases

    return mark


def check_error(error: ThreadStoreError) -> None:
    """An error of the contract: exact class, stable code, a text for people."""
    assert type(error).__module__ == "threadstore.errors"
    assert error.code
    assert error.code == type(error).code
    assert str(error)


def unknown_id() -> str:
    """An id that no store knows."""
    return new_thread_id()


def own_items(entries: Any) -> list[RolloutItem]:
    """The items without headers and other ``session_meta`` records, which stores may add."""
    return [item for item in entries if item.type != "session_meta"]


def bodies(entries: Any) -> list[tuple[str, Any]]:
    """Type and payload of the items that are no metadata records."""
    return [(item.type, item.payload) for item in own_items(entries)]


async def history_bodies(store: ThreadStore, thread_id: str) -> list[tuple[str, Any]]:
    """The same of a whole history."""
    return bodies((await store.load_history(thread_id)).items)


async def listed(store: ThreadStore, **query: Any) -> list[str]:
    """The ids of all pages of a query."""
    ids: list[str] = []
    page = await store.list_threads(ThreadQuery(**query))
    ids += (thread.id for thread in page.items)
    while page.next_cursor is not None:
        page = await store.list_threads(ThreadQuery(**query, cursor=page.next_cursor))
        ids += (thread.id for thread in page.items)
    return ids


async def explicit(store: ThreadStore, thread_id: str, **fields: Any) -> StoredThread:
    """An EXPLICIT patch of these fields."""
    patch = ThreadMetadataPatch(**fields)
    return await store.update_thread_metadata(thread_id, patch, origin=EXPLICIT)


async def observed(store: ThreadStore, thread_id: str, **fields: Any) -> StoredThread:
    """An OBSERVED patch of these fields."""
    patch = ThreadMetadataPatch(**fields)
    return await store.update_thread_metadata(thread_id, patch, origin=OBSERVED)


def facts(thread: StoredThread, *without: str) -> dict[str, Any]:
    """The fields of a thread, some left out."""
    fields = msgspec.structs.asdict(thread)
    return {field: value for field, value in fields.items() if field not in without}


def stable_facts(harness: StoreHarness, thread: StoredThread, *without: str) -> dict[str, Any]:
    """The fields that the harness's store must keep; of ``archived_at`` at least whether."""
    volatile = harness.volatile_facts(thread.history_mode)
    return {"archived": thread.archived, **facts(thread, *volatile, *without)}
