"""A store that cannot be followed says so."""

from __future__ import annotations

import pytest

from threadstore.errors import Unsupported
from threadstore.store import Capabilities, Durability, ThreadStore
from threadstore.stores.memory import MemoryThreadStore
from threadstore.testing import MemoryHarness
from threadstore.testing.cases.capabilities import CapabilityTests


class Unwatchable(MemoryThreadStore):
    """The memory store without the capability."""

    watch_thread = ThreadStore.watch_thread

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(durability=Durability.NONE, fork_by_reference=True)


class UnwatchableHarness(MemoryHarness):
    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(durability=Durability.NONE, fork_by_reference=True)

    def make_store(self) -> MemoryThreadStore:
        return Unwatchable(clock=self.clock)


class TestUnwatchableStore(CapabilityTests):
    @pytest.fixture
    def harness(self) -> UnwatchableHarness:
        return UnwatchableHarness()


def test_nothing_has_to_be_awaited_to_know_it() -> None:
    with pytest.raises(Unsupported, match="watch_thread"):
        Unwatchable().watch_thread("any")
