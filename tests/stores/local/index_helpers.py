"""Threads for the tests of the list index."""

from __future__ import annotations

from typing import Any

import msgspec
from tests.stores.local.state_helpers import NOW

from threadstore.ids import new_thread_id
from threadstore.metadata import StoredThread
from threadstore.queries import ThreadQuery
from threadstore.stores.local.index_db import IndexDb


def thread(**changes: Any) -> StoredThread:
    values: dict[str, Any] = {
        "id": new_thread_id(),
        "created_at": NOW,
        "updated_at": NOW,
        "recency_at": NOW,
        "model_provider": "openai",
        "preview": "Fix it",
    }
    return StoredThread(**{**values, **changes})


def fill(index: IndexDb, threads: list[StoredThread]) -> None:
    with index.transaction():
        for each in threads:
            index.upsert(each)


def every_page(index: IndexDb, query: ThreadQuery) -> list[StoredThread]:
    found: list[StoredThread] = []
    while True:
        page = index.page(query)
        assert len(page.items) <= query.limit
        found += page.items
        if page.next_cursor is None:
            return found
        query = msgspec.structs.replace(query, cursor=page.next_cursor)
