"""The local store keeps the contract when its databases are deleted between calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from threadstore.testing import LocalHarness, StoreHarness, ThreadStoreTests


class TestLocalStoreLosingDatabases(ThreadStoreTests):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> StoreHarness:
        return LocalHarness(tmp_path, variant="lost_database")
