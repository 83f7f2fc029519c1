"""The local store keeps the contract without any database."""

from __future__ import annotations

from pathlib import Path

import pytest

from threadstore.testing import LocalHarness, StoreHarness, ThreadStoreTests


class TestLocalStoreWithoutSqlite(ThreadStoreTests):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> StoreHarness:
        return LocalHarness(tmp_path, variant="without_sqlite")
