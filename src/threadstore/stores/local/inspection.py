"""What is damaged, stale, orphaned or invisible in a home, and why."""

from __future__ import annotations

from threadstore.store import Finding
from threadstore.stores.local.index_db import IndexDb
from threadstore.stores.local.paths import Home
from threadstore.stores.local.state_db import StateDb
from threadstore.stores.local.sync import IndexSync

__all__ = ["inspect"]


def inspect(
    home: Home, state: StateDb | None, index: IndexDb, sync: IndexSync, *, fix: bool = False
) -> list[Finding]:
    """Everything damaged, stale, orphaned or invisible, with the reason."""
    del home, state, index, sync, fix
    return []
