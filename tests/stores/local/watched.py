"""A Codex home with an index that follows it, and what other programs do to both."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import apsw
import msgspec
from tests.stores.local.homes import CodexHome, encode

from threadstore.metadata import MetadataOrigin, StoredThread, ThreadMetadataPatch
from threadstore.queries import ThreadQuery
from threadstore.stores.local.index_db import IndexDb
from threadstore.stores.local.state_db import StateDb
from threadstore.stores.local.sync import EXACT, IndexSync
from threadstore.testing.clock import ManualClock


class Watched(CodexHome):
    """A home with an index that follows it."""

    exact = EXACT

    def __init__(self, folder: Path, *, use_state: bool = True, busy_timeout: float = 5.0) -> None:
        super().__init__(folder)
        self.clock = ManualClock()
        self.live: set[str] = set()
        self.state = StateDb(self.home.state_db) if use_state else None
        self.index = IndexDb(self.home.index_db, busy_timeout=busy_timeout)
        if self.state is not None:
            self.state.open()
        self.index.open()
        self.sync = self.new_sync()

    def new_sync(self) -> IndexSync:
        """What another process would have."""
        return IndexSync(
            self.home,
            self.state,
            self.index,
            default_provider=lambda: "default",
            clock=self.clock,
            exact=self.exact,
            is_live=self.live.__contains__,
        )

    def listed(self) -> dict[str, StoredThread]:
        """Every thread, after what a list does."""
        if self.sync.due():
            self.sync.refresh()
        page = self.index.page(ThreadQuery(archived=None, limit=1000))
        return {thread.id: thread for thread in page.items}

    def beside(self) -> set[str]:
        """Every thread, as a new index would list them."""
        index = IndexDb(None)
        index.open()
        fresh = self.sync.beside(self.state, index)
        fresh.refresh()
        ids = index.ids()
        index.close()
        return ids

    def age(self) -> None:
        """As if the folders had not been touched for long."""
        for folder, _, _ in os.walk(self.home.sessions):
            os.utime(folder, (0, 0))

    def append(self, path: str, *lines: Any) -> None:
        """What another program adds to a rollout."""
        with open(path, "ab") as file:
            file.write(encode(lines))

    def sql(self, statement: str, *values: Any) -> None:
        """What another program does to the database."""
        # Not the module of the standard library: two SQLites in one process undo their locks.
        with contextlib.closing(apsw.Connection(self.home.state_db)) as connection:
            connection.execute(statement, values)

    def add_row(self, thread_id: str, **fields: Any) -> None:
        """The row that Codex would have for a thread."""
        assert self.state is not None
        file = self.home.sessions
        thread = self.sync.refresh_thread(thread_id)
        assert thread is not None
        thread = msgspec.structs.replace(thread, **fields)
        path = thread.rollout_path or f"{file}/none.jsonl"
        self.state.write(thread, ThreadMetadataPatch(), origin=MetadataOrigin.OBSERVED, path=path)

    def close(self) -> None:
        self.index.close()
        if self.state is not None:
            self.state.close()
