"""A store that cannot be followed or searched says so, and keeps the rest of the contract."""

from __future__ import annotations

import pytest

from threadstore.errors import Unsupported
from threadstore.store import Capabilities, Durability, ThreadStore
from threadstore.stores.memory import MemoryThreadStore
from threadstore.testing import MemoryHarness
from threadstore.testing.cases.capabilities import CapabilityTests
from threadstore.testing.cases.following import FollowingTests
from threadstore.testing.cases.search_pages import SearchFilterTests


class Unwatchable(MemoryThreadStore):
    """The memory store without these capabilities."""

    watch_thread = ThreadStore.watch_thread
    search_threads = ThreadStore.search_threads
    search_occurrences = ThreadStore.search_occurrences

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(durability=Durability.NONE, fork_by_reference=True)


class UnwatchableHarness(MemoryHarness):
    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(durability=Durability.NONE, fork_by_reference=True)

    def make_store(self) -> MemoryThreadStore:
        return Unwatchable(clock=self.clock)


class TestUnwatchableStore(FollowingTests, SearchFilterTests, CapabilityTests):
    """Cases of what a store cannot do keep no other cases from it."""

    @pytest.fixture
    def harness(self) -> UnwatchableHarness:
        return UnwatchableHarness()


def test_nothing_has_to_be_awaited_to_know_it() -> None:
    with pytest.raises(Unsupported, match="watch_thread"):
        Unwatchable().watch_thread("any")
