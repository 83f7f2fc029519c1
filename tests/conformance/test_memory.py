"""The memory store keeps the contract."""

from __future__ import annotations

import pytest

from threadstore.testing import MemoryHarness, StoreHarness, ThreadStoreTests


class TestMemoryStore(ThreadStoreTests):
    @pytest.fixture
    def harness(self) -> StoreHarness:
        return MemoryHarness()
