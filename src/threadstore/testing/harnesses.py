"""The harnesses of the stores that ship with this package."""

from __future__ import annotations

import glob
import json
import os
import shutil
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager, closing
from typing import Any, Final, Literal, TypeVar

import apsw
import msgspec

from threadstore.config import LocalStoreConfig
from threadstore.store import Capabilities, Durability, ThreadStore
from threadstore.stores.memory import MemoryThreadStore
from threadstore.testing.harness import Corruption, StoreHarness
from threadstore.testing.wrapper import ThreadStoreWrapper

__all__ = ["LocalHarness", "MemoryHarness", "damage"]

T = TypeVar("T")
Variant = Literal["plain", "without_sqlite", "lost_database"]

_LOG_FACTS: Final = frozenset(
    {
        "agent_nickname",
        "agent_path",
        "agent_role",
        "cli_version",
        "created_at",
        "creator_account_id",
        "creator_user_id",
        "cwd",
        "first_user_message",
        "model_provider",
        "originator",
        "preview",
        "source",
        "thread_source",
        "title",
        "token_usage",
    }
)
"""What a legacy log can say about its thread, and then says for good."""
_ROW_FACTS: Final = frozenset(
    {
        "approval_mode",
        "archived_at",
        "model",
        "permission_profile",
        "reasoning_effort",
        "recency_at",
        "sandbox_policy",
        "updated_at",
        "usage",
    }
)
"""What has no other home than a database row; from the log it is only approximated."""


class MemoryHarness(StoreHarness):
    """Every store has its own data, so the back doors look at the store opened last."""

    def __init__(self) -> None:
        super().__init__()
        self._store = MemoryThreadStore(clock=self.clock)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            durability=Durability.NONE,
            fork_by_reference=True,
            search_threads=True,
            watch_thread=True,
        )

    def make_store(self) -> MemoryThreadStore:
        """The store that :meth:`open` opens."""
        return MemoryThreadStore(clock=self.clock)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[ThreadStore]:
        self._store = self.make_store()
        async with self._store as store:
            yield store

    def raw_history(self, thread_id: str) -> list[bytes]:
        log = self._store._logs.get(thread_id)
        return list(log.lines) if log else []

    def raw_metadata(self, thread_id: str) -> dict[str, Any] | None:
        log = self._store._logs.get(thread_id)
        return msgspec.structs.asdict(log.thread) if log else None

    def corrupt(self, thread_id: str, how: Corruption) -> None:
        lines = self._store._logs[thread_id].lines
        if how is Corruption.EVERY_LINE:
            lines[:] = [self.GARBAGE] * len(lines)
        else:
            lines.append(damage(how))

    def crash(self) -> None:
        self._store = MemoryThreadStore(clock=self.clock)


class LocalHarness(StoreHarness):
    """A Codex home below *folder*, looked at as files and with plain SQLite.

    ``without_sqlite`` uses no database at all; ``lost_database`` deletes both databases before
    every call that runs alone.
    """

    def __init__(self, folder: str | os.PathLike[str], *, variant: Variant = "plain") -> None:
        super().__init__()
        self.variant = variant
        self._folder = os.fspath(folder)
        self._generation = 0

    @property
    def home(self) -> str:
        """The Codex home; another folder after each crash."""
        return os.path.join(self._folder, f"home-{self._generation}")

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            durability=Durability.PROCESS,
            rollout_paths=True,
            exclusive_writers=True,
            fork_by_reference=True,
            search_threads=True,
            watch_thread=True,
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[ThreadStore]:
        from threadstore.stores.local.store import LocalThreadStore

        config = LocalStoreConfig(
            home=self.home,
            use_state_db=self.variant != "without_sqlite",
            use_index_file=self.variant != "without_sqlite",
        )
        store: ThreadStore = LocalThreadStore(config, clock=self.clock)
        if self.variant == "lost_database":
            store = _LosesDatabases(store, self.home)
        async with store:
            yield store

    def raw_history(self, thread_id: str) -> list[bytes]:
        path = self._rollout(thread_id)
        if path is None:
            return []
        with open(path, "rb") as file:
            return file.read().removesuffix(b"\n").split(b"\n")

    def raw_metadata(self, thread_id: str) -> dict[str, Any] | None:
        path = self._rollout(thread_id)
        rows = self._rows("state_5.sqlite", "threads", thread_id)
        found = {
            "folder": path and os.path.dirname(path).removeprefix(self.home),
            "rows": rows if self.variant == "plain" else [],  # else they come and go
            "names": list(self._names(thread_id)),
        }
        return found if any(found.values()) else None

    def traces(self, thread_id: str) -> list[str]:
        places = super().traces(thread_id)
        places += (
            path
            for path in glob.glob(f"{self.home}/**/*{thread_id}*", recursive=True)
            if "/thread-writer-locks/" not in path
        )
        for name in ("state_5.sqlite", "threadstore_1.sqlite"):
            places += (
                f"{name}: {table}"
                for table in self._tables(name)
                for _ in self._rows(name, table, thread_id)
            )
        return places

    def corrupt(self, thread_id: str, how: Corruption) -> None:
        path = self._rollout(thread_id)
        assert path is not None
        if how is Corruption.EVERY_LINE:
            lines = self.raw_history(thread_id)
            with open(path, "wb") as file:
                file.writelines(self.GARBAGE + b"\n" for _ in lines)
            return
        with open(path, "ab") as file:
            file.write(damage(how) + (b"" if how is Corruption.TORN_TAIL else b"\n"))

    def crash(self) -> None:
        # What another process finds after `kill -9` is what is in the files now, without the locks.
        before = self.home
        self._generation += 1
        if os.path.isdir(before):
            shutil.copytree(before, self.home, ignore=shutil.ignore_patterns("*-shm"))

    def log_facts(self, history_mode: str) -> frozenset[str]:
        return _LOG_FACTS

    def volatile_facts(self, history_mode: str) -> frozenset[str]:
        if self.variant == "plain":
            return frozenset()
        # A paginated log holds no record of these; for a legacy thread it does.
        return _ROW_FACTS | (frozenset() if history_mode == "legacy" else {"git", "memory_mode"})

    def _rollout(self, thread_id: str) -> str | None:
        for root in ("sessions/**", "archived_sessions"):
            pattern = f"{self.home}/{root}/rollout-*-{thread_id}.jsonl"
            for path in glob.glob(pattern, recursive=True):
                return path
        return None

    def _names(self, thread_id: str) -> Iterable[str]:
        path = os.path.join(self.home, "session_index.jsonl")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                yield from (line for line in file if json.loads(line)["id"] == thread_id)

    def _tables(self, name: str) -> list[str]:
        sql = "SELECT name FROM sqlite_schema WHERE type = 'table'"
        return [table for (table,) in self._select(name, sql)]

    def _rows(self, name: str, table: str, thread_id: str) -> list[dict[str, Any]]:
        """The rows of a table that hold the id in any column."""
        columns = [row[1] for row in self._select(name, f"PRAGMA table_info({table})")]
        if not columns:
            return []
        where = " OR ".join(f'"{column}" = ?1' for column in columns)
        rows = self._select(name, f"SELECT * FROM {table} WHERE {where}", thread_id)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def _select(self, name: str, sql: str, *values: str) -> list[tuple[Any, ...]]:
        path = os.path.join(self.home, name)
        if not os.path.exists(path):
            return []
        # The same SQLite as the store's: two copies of the library in one process drop each other's
        # locks on a file, and what was committed is lost.
        with closing(apsw.Connection(path)) as connection:
            return list(connection.execute(sql, values))


class _LosesDatabases(ThreadStoreWrapper):
    """Deletes the databases of a home before each call, unless another one still runs."""

    def __init__(self, inner: ThreadStore, home: str) -> None:
        super().__init__(inner)
        self._home = home
        self._running = 0

    async def run(self, verb: str, call: Coroutine[Any, Any, T]) -> T:
        if not self._running:
            for name in ("state_5.sqlite", "threadstore_1.sqlite"):
                for path in glob.glob(os.path.join(self._home, f"{name}*")):
                    os.unlink(path)
        self._running += 1
        try:
            return await call
        finally:
            self._running -= 1


def damage(how: Corruption) -> bytes:
    """The line that stands for a kind of damage."""
    return {
        Corruption.GARBAGE_LINE: StoreHarness.GARBAGE,
        Corruption.TORN_TAIL: StoreHarness.GARBAGE[:-7],
        Corruption.INVALID_UTF8: StoreHarness.INVALID_UTF8_LINE,
        Corruption.BLANK_LINE: b"",
    }[how]
