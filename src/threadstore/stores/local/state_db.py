"""Codex's state database, ``state_5.sqlite``: read at any level, written by Codex's rules."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from threadstore.clock import to_ms
from threadstore.errors import StoreUnavailable
from threadstore.ids import try_thread_id
from threadstore.metadata import (
    MetadataOrigin,
    Section,
    StoredThread,
    ThreadMetadataPatch,
    source_parent,
)
from threadstore.stores.local import state_values
from threadstore.stores.local.database import Database, TextDamaged
from threadstore.stores.local.state_file import StateFile
from threadstore.stores.local.state_rows import StateRow, column_list, decode_row
from threadstore.stores.local.state_schema import Schema

__all__ = ["ArchiveChange", "StateDb"]

_PORTION: Final = 1000  # rows per query, so that no reading transaction lasts
_TOUCH: Final = (
    "UPDATE threads SET updated_at = ?, updated_at_ms = ?"
    " WHERE id = ? AND rollout_path = ? AND archived = ?"
)
_NEXT_FREE: Final = (
    "SELECT updated_at_ms + 1 FROM threads AS taken WHERE updated_at_ms >= ? AND id <> ?"
    " AND NOT EXISTS (SELECT 1 FROM threads AS next"
    " WHERE next.updated_at_ms = taken.updated_at_ms + 1 AND next.id <> ?)"
    " ORDER BY updated_at_ms LIMIT 1"
)
"""The first millisecond after one that is taken which no other thread has."""
_KEYED_TABLES: Final = (
    "thread_dynamic_tools",
    "thread_goals",
    "thread_attachments",
    "thread_artifacts",
    "thread_read_receipts",
    "guardian_review_feedback",
    "stage1_outputs",
)
"""Tables with a ``thread_id`` at one level or another (32 to 62)."""


class ArchiveChange(msgspec.Struct, frozen=True):
    """Where a thread's rollout is now, and since when it is archived (``None``: active)."""

    thread_id: str
    rollout_path: str
    archived_at: dt.datetime | None


class StateDb:
    """One ``state_5.sqlite``. Safe to use from several threads (calls take turns).

    Reading methods answer "nothing" while the file is missing and raise
    :class:`~threadstore.errors.StoreUnavailable` when it is unusable, locked or broken. A file
    that appears, goes or is replaced while this object is open is noticed at the next call.
    """

    def __init__(self, path: str, *, busy_timeout: float = 5.0) -> None:
        self.path = path
        self._file = StateFile(path, busy_timeout=busy_timeout)

    @property
    def level(self) -> int:
        """Highest migration applied; 0 while there is no database."""
        return self._file.schema.level

    @property
    def exists(self) -> bool:
        """Whether there is a file."""
        self._file.look_again()
        return self._file.exists

    @property
    def readable(self) -> bool:
        """Whether rows can be read (so also while the file is missing: there are none)."""
        self._file.look_again()
        return self._file.readable

    @property
    def writable(self) -> bool:
        """Whether rows may be written (so also while the file is missing: ``ensure`` makes it)."""
        self._file.look_again()
        return self._file.writable

    @property
    def busy_timeout(self) -> float:
        """Seconds to wait for a locked database."""
        return self._file.busy_timeout

    @property
    def locked(self) -> bool:
        """Whether another program keeps it from being opened: that goes away, and with it any
        change that was made past the database."""
        self._file.look_again()
        return self._file.locked

    @property
    def reason(self) -> str | None:
        """Why it is not writable or not readable, for people; ``None`` while all is well."""
        return self._file.reason

    def open(self) -> None:
        """Look at the file and connect if there is one. Never creates, never raises for what the
        file is like: see ``readable``, ``writable`` and ``reason``. Call it again to look again."""
        self._file.open()

    def close(self) -> None:
        """Let go of the file; a later call opens it again. Twice is once."""
        self._file.close()

    def ensure(self) -> None:
        """Make the database if it is missing or empty and get ready to write.

        Raises StoreUnavailable if it is not writable, saying why.
        """
        self._file.ensure()

    # Reading

    def read_row(self, thread_id: str) -> StateRow | None:
        """The thread's row."""
        rows = self._select("WHERE id = ?", [thread_id])
        return rows[0][1] if rows else None

    def read_rows_of(self, thread_ids: Collection[str]) -> dict[str, StateRow]:
        """The rows of those among *thread_ids* that have one."""
        ids = msgspec.json.encode(list(thread_ids)).decode()
        found = self._select("WHERE id IN (SELECT value FROM json_each(?))", [ids])
        return {row.id: row for _, row in found}

    def named_file(self, thread_id: str) -> str | None:
        """The name of the file that the thread's row says; ``None`` if no row can be read."""
        with contextlib.suppress(StoreUnavailable):
            row = self.read_row(thread_id)
            return None if row is None else os.path.basename(row.rollout_path)
        return None

    def read_rows(self, *, since_updated_ms: int | None = None) -> Iterator[StateRow]:
        """Every row, or those updated at or after a time; read in short portions."""
        since, values = "", []
        if since_updated_ms is not None:
            column = (
                "updated_at_ms"
                if "updated_at_ms" in self._file.current_schema().columns
                else "updated_at * 1000"
            )
            since = f" AND rowid IN (SELECT rowid FROM threads WHERE {column} >= ?)"
            values = [since_updated_ms]
        where = f"WHERE rowid > ?{since} ORDER BY rowid LIMIT {_PORTION}"
        last = -1 << 63
        while portion := self._select(where, [last, *values]):
            for _, row in portion:
                yield row
            last = portion[-1][0]

    def _select(self, where: str, values: Sequence[Any]) -> list[tuple[int, StateRow]]:
        def query(schema: Schema, *, as_bytes: bool = False) -> str:
            columns = column_list(schema.columns, as_bytes=as_bytes)
            return f"SELECT rowid, {columns} FROM threads {where}"

        try:
            found = self._file.rows(query, values)
        except TextDamaged:
            found = self._file.rows(partial(query, as_bytes=True), values)
        sections = self._sections() if found else {}
        return [(row[0], decode_row(row[1:], sections)) for row in found]

    def _sections(self) -> dict[str, Section]:
        if "thread_sections" not in self._file.schema.tables:
            return {}
        names = [row[1] for row in self._file.rows("PRAGMA table_info(thread_sections)")]
        appearance = "appearance" if "appearance" in names else "NULL"
        rows = self._file.rows(f"SELECT id, name, {appearance} FROM thread_sections")
        return {row[0]: Section(id=row[0], name=row[1], appearance=row[2]) for row in rows}

    def data_version(self) -> int:
        """Another number whenever somebody else has committed since (our own writes do not count);
        also after ``open`` and the first ``ensure``, which reconnect. 0 without a database."""
        rows = self._file.rows("PRAGMA data_version")
        return (self._file.connections << 32) + int(rows[0][0]) if rows else 0

    def count(self) -> int:
        """Number of rows."""
        rows = self._file.rows("SELECT count(*) FROM threads")
        return int(rows[0][0]) if rows else 0

    def ids(self) -> set[str]:
        """The threads that have a row."""
        return {row[0] for row in self._file.rows("SELECT id FROM threads")}

    def max_updated_ms(self) -> int:
        """The newest ``updated_at``; 0 without rows."""
        column = (
            "updated_at_ms"
            if "updated_at_ms" in self._file.current_schema().columns
            else "updated_at * 1000"
        )
        rows = self._file.rows(f"SELECT max({column}) FROM threads")
        return int(rows[0][0] or 0) if rows else 0

    def spawn_parent(self, thread_id: str) -> str | None:
        """The thread at the other end of a thread's spawn edge."""
        found = self._edges(
            "SELECT parent_thread_id FROM thread_spawn_edges WHERE child_thread_id = ?", [thread_id]
        )
        return found[0][0] if found else None

    def spawn_parents(self, thread_ids: Collection[str]) -> dict[str, str]:
        """The same for many threads, by their ids."""
        ids = msgspec.json.encode(list(thread_ids)).decode()
        sql = (
            "SELECT child_thread_id, parent_thread_id FROM thread_spawn_edges"
            " WHERE child_thread_id IN (SELECT value FROM json_each(?))"
        )
        return dict(reversed(self._edges(sql, [ids])))

    def children(self, parent_ids: Collection[str]) -> list[str]:
        """Ids that these threads spawned, by edge or by ``source``; direct children only."""
        parents = msgspec.json.encode(list(parent_ids)).decode()
        edges = self._edges(
            "SELECT child_thread_id FROM thread_spawn_edges"
            " WHERE parent_thread_id IN (SELECT value FROM json_each(?))",
            [parents],
        )
        sources = self._file.rows(
            "SELECT id FROM threads WHERE source LIKE '{\"subagent\":%' AND CASE json_valid(source)"
            " WHEN 1 THEN json_extract(source, '$.subagent.thread_spawn.parent_thread_id') END"
            " IN (SELECT value FROM json_each(?))",
            [parents],
        )
        return list(dict.fromkeys(row[0] for row in [*edges, *sources]))

    def _edges(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._file.rows(
            lambda schema: sql if "thread_spawn_edges" in schema.tables else "", values
        )

    # Writing: each call is a transaction of its own unless one is open

    @contextlib.contextmanager
    def transaction(
        self, *, durable: bool = False, patience: float | None = None
    ) -> Iterator[None]:
        """One IMMEDIATE transaction; *durable*: it survives power loss. Calls ``ensure``.

        Waits for other programs as long as the busy timeout says, or *patience* seconds. Nested
        use joins the outer transaction.
        """
        with self._file.writing(durable=durable, patience=patience):
            yield

    def write(
        self,
        thread: StoredThread,
        patch: ThreadMetadataPatch,
        *,
        origin: MetadataOrigin,
        path: str,
        durable: bool = False,
    ) -> None:
        """Bring the thread's row in line with *patch*.

        *thread* is the thread after the patch: a missing row is made from it. In an existing row
        only what the patch says changes, plus the rollout path and what the row lacks.
        """
        with self._file.writing(durable=durable) as database:
            row = self.read_row(thread.id)
            if row is None:
                self._insert(database, thread, path)
            else:
                schema = self._file.schema
                values = state_values.changes(
                    thread, patch, row, origin=origin, path=path, schema=schema
                )
                self._update(database, thread.id, values)
            self._add_spawn_edge(database, thread)

    def touch(self, threads: Iterable[StoredThread]) -> set[str]:
        """Give the rows of these threads their ``updated_at`` and nothing else. For which of them
        that was not all there is to do: they have no row, or one that says another place."""
        rest = set()
        with self._file.writing() as database:
            known = "updated_at_ms" in self._file.schema.columns
            for thread in threads:
                ms = to_ms(thread.updated_at)
                values = {"updated_at": ms // 1000, "updated_at_ms": ms}
                self._make_unique(database, thread.id, values)
                place = thread.id, thread.rollout_path, thread.archived
                if not known or not database.run(_TOUCH, [*values.values(), *place]):
                    rest.add(thread.id)
        return rest

    def insert_if_absent(self, thread: StoredThread, *, path: str) -> bool:
        """Make a row for a thread that has none; whether it did. An existing row is untouched."""
        with self._file.writing() as database:
            if database.value("SELECT 1 FROM threads WHERE id = ?", [thread.id]):
                return False
            self._insert(database, thread, path)
            self._add_spawn_edge(database, thread)
            return True

    def _insert(self, database: Database, thread: StoredThread, path: str) -> None:
        values = state_values.new_row(thread, path=path, schema=self._file.schema)
        self._make_unique(database, thread.id, values)
        places = ", ".join("?" * len(values))
        sql = f"INSERT INTO threads ({', '.join(values)}) VALUES ({places})"
        database.run(sql, list(values.values()))

    def _update(self, database: Database, thread_id: str, values: dict[str, Any]) -> None:
        columns = [name for name in values if name in self._file.schema.columns]
        names = ", ".join(columns)
        old = database.rows(f"SELECT {names} FROM threads WHERE id = ?", [thread_id])[0]
        current = dict(zip(columns, old, strict=True))
        if values.get("updated_at_ms") != current.get("updated_at_ms"):
            self._make_unique(database, thread_id, values)
        changed = [name for name in columns if values[name] != current[name]]
        # Seconds and milliseconds go together: a trigger would derive the one from the other.
        changed += [n for n in columns if f"{n}_ms" in changed and n not in changed]
        changed += [n for n in columns if n.removesuffix("_ms") in changed and n not in changed]
        if changed:
            places = ", ".join(f"{name} = ?" for name in changed)
            new = [values[name] for name in changed]
            database.run(f"UPDATE threads SET {places} WHERE id = ?", [*new, thread_id])

    def _make_unique(self, database: Database, thread_id: str, values: dict[str, Any]) -> None:
        """Move ``updated_at`` to the next free millisecond: Codex 0.131 pages by it alone and
        skips threads that share one."""
        if "updated_at_ms" not in self._file.schema.columns:
            return
        wanted = values["updated_at_ms"]
        taken_by = "SELECT id FROM threads WHERE updated_at_ms = ? AND id <> ? LIMIT 1"
        if not database.rows(taken_by, [wanted, thread_id]):  # nearly always
            return
        free = database.value(_NEXT_FREE, [wanted, thread_id, thread_id])
        values.update(updated_at=free // 1000, updated_at_ms=free)

    def _add_spawn_edge(self, database: Database, thread: StoredThread) -> None:
        parent = try_thread_id(source_parent(thread.source) or "")
        if parent is not None and "thread_spawn_edges" in self._file.schema.tables:
            database.run(
                "INSERT OR IGNORE INTO thread_spawn_edges"
                " (parent_thread_id, child_thread_id, status) VALUES (?, ?, 'open')",
                [parent, thread.id],
            )

    def set_archived(self, changes: Iterable[ArchiveChange], *, durable: bool = False) -> list[str]:
        """Archive or unarchive; the ids that have a row."""
        with self._file.writing(durable=durable) as database:
            return [change.thread_id for change in changes if _set_archived(database, change)]

    def set_rollout_path(self, thread_id: str, *, old: str, new: str) -> bool:
        """Point a row elsewhere if it still says *old*; whether it did."""
        sql = "UPDATE threads SET rollout_path = ? WHERE id = ? AND rollout_path = ?"
        with self._file.writing() as database:
            return database.run(sql, [new, thread_id, old]) > 0

    def correct(self, thread: StoredThread, columns: Collection[str], *, path: str) -> None:
        """Give these columns of the thread's row the values that *thread* has; a time is a pair of
        columns, in seconds and in milliseconds."""
        with self._file.writing() as database:
            values = state_values.new_row(thread, path=path, schema=self._file.schema)
            chosen = {
                name: value
                for name, value in values.items()
                if {name, name.removesuffix("_ms"), f"{name}_ms"} & set(columns)
            }
            if "updated_at_ms" in chosen:
                self._make_unique(database, thread.id, chosen)
            places = ", ".join(f"{name} = ?" for name in chosen)
            if places:
                sql = f"UPDATE threads SET {places} WHERE id = ?"
                database.run(sql, [*chosen.values(), thread.id])

    def release_backfill(self) -> None:
        """Let the next Codex that starts fill the database, instead of waiting for one that does
        so no more (30 seconds, then it ends; for 15 minutes: Codex 0.131 and 0.169)."""
        sql = "UPDATE backfill_state SET status = 'pending' WHERE status = 'running'"
        with self._file.writing() as database:
            database.run(sql)

    def delete(self, thread_ids: Collection[str], *, durable: bool = False) -> None:
        """Remove the threads from every table that is keyed on them."""
        keys = [(thread_id,) for thread_id in thread_ids]
        if not self.exists:
            return
        with self._file.writing(durable=durable) as database:
            for table in _KEYED_TABLES:
                if table in self._file.schema.tables:
                    database.run_many(f"DELETE FROM {table} WHERE thread_id = ?", keys)
            if "thread_spawn_edges" in self._file.schema.tables:
                database.run_many(
                    "DELETE FROM thread_spawn_edges"
                    " WHERE ?1 IN (parent_thread_id, child_thread_id)",
                    keys,
                )
            database.run_many("DELETE FROM threads WHERE id = ?", keys)


def _set_archived(database: Database, change: ArchiveChange) -> bool:
    moment = change.archived_at
    values = [
        change.rollout_path,
        int(moment is not None),
        None if moment is None else to_ms(moment) // 1000,
        change.thread_id,
    ]
    sql = "UPDATE threads SET rollout_path = ?, archived = ?, archived_at = ? WHERE id = ?"
    return database.run(sql, values) > 0
