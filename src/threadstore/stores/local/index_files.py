"""What the list index remembers of files, folders and rows, and of threads whose file is gone."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import msgspec

from threadstore.metadata import StoredThread
from threadstore.stores.local.index_db import IndexDb, IndexedFile, decode_file

__all__ = ["MISSING", "IndexFiles", "MissingThread"]

MISSING: Final = "the file is missing"
"""``problem`` of a file that was there, and whose thread is kept."""
_REACHED: Final = "looked_down_to"
_REACHED_AT: Final = "looked_down_at"


class MissingThread(msgspec.Struct, frozen=True):
    """A thread whose file is gone, as it was."""

    since_ms: int
    """When that was noticed, as Unix time."""
    record: StoredThread
    derived: bytes | None


class IndexFiles:
    """The tables beside the threads. Whatever is not asked for stays in the database: a home may
    have a million files."""

    def __init__(self, index: IndexDb) -> None:
        self._index = index

    # The index as a whole

    def identity(self) -> str:
        """What tells this index from one that is made anew."""
        return self._index.meta("identity") or ""

    def complete(self) -> int | None:
        """About how many files there are; ``None`` if not all of them have been looked at yet."""
        size = self._index.meta("complete")
        return int(size) if size else None

    def set_complete(self, size: int, identity: str) -> None:
        """Every file has been looked at, if this is still the index in which they were entered."""
        sql = (
            "INSERT OR REPLACE INTO meta SELECT 'complete', ? FROM meta"
            " WHERE key = 'identity' AND value = ?"
        )
        self._index.rows(sql, (str(size), identity))

    # Files

    def get(self, path: str) -> IndexedFile | None:
        """A file by its plain path."""
        found = self._files("SELECT * FROM files WHERE path = ?", (os.fsencode(path),))
        return found[0] if found else None

    def some(self, paths: Collection[str]) -> dict[str, IndexedFile]:
        """The known ones among these files, by path."""
        sql = f"SELECT * FROM files WHERE path IN ({', '.join('?' * len(paths))})"
        return {file.path: file for file in self._files(sql, tuple(map(os.fsencode, paths)))}

    def known_threads(self, thread_ids: Collection[str]) -> set[str]:
        """Those of which there is, or was, anything: a record or a file."""
        ids = msgspec.json.encode(list(thread_ids)).decode()
        sql = " UNION ALL ".join(
            f"SELECT {column} FROM {table} WHERE {column} IN (SELECT value FROM json_each(?1))"
            for table, column in (("threads", "id"), ("missing", "id"), ("files", "thread_id"))
        )
        return {row[0] for row in self._index.rows(sql, (ids,))}

    def inside(self, folder: str) -> dict[str, IndexedFile]:
        """The files directly in a folder."""
        prefix = os.fsencode(f"{folder}/rollout-")
        found = self._files(
            "SELECT * FROM files WHERE path >= ? AND path < ?", (prefix, prefix[:-1] + b".")
        )
        return {file.path: file for file in found if os.path.dirname(file.path) == folder}

    def of_thread(self, thread_id: str) -> list[IndexedFile]:
        """The files of a thread that are not missing."""
        sql = "SELECT * FROM files WHERE thread_id = ? AND problem IS NOT ?"
        return self._files(sql, (thread_id, MISSING))

    def of_threads(self, thread_ids: Collection[str]) -> list[IndexedFile]:
        """The same of several threads."""
        ids = msgspec.json.encode(list(thread_ids)).decode()
        sql = (
            "SELECT * FROM files WHERE thread_id IN (SELECT value FROM json_each(?))"
            " AND problem IS NOT ?"
        )
        return self._files(sql, (ids, MISSING)) if thread_ids else []

    def missing_of(self, thread_id: str) -> list[IndexedFile]:
        """The files of a thread that are."""
        sql = "SELECT * FROM files WHERE thread_id = ? AND problem = ?"
        return self._files(sql, (thread_id, MISSING))

    def with_problem(self) -> list[IndexedFile]:
        """The files that are not completely a thread, but are there."""
        sql = "SELECT * FROM files WHERE problem IS NOT NULL AND problem <> ?"
        return self._files(sql, (MISSING,))

    def of_newest(self, threads: int) -> list[IndexedFile]:
        """The files of the active threads that were updated last: they are likely to grow."""
        sql = (
            "SELECT files.* FROM (SELECT id FROM threads WHERE archived = 0"
            " ORDER BY updated_ms DESC, id DESC LIMIT ?) AS newest"
            " CROSS JOIN files ON files.thread_id = newest.id"
        )
        return self._files(sql, (threads,))

    def behind(self, path: str | None, count: int) -> list[IndexedFile]:
        """Files on a walk through all, the newest first, from behind *path* on."""
        before = b"\xff" if path is None else os.fsencode(path)
        sql = "SELECT * FROM files WHERE path < ? ORDER BY path DESC LIMIT ?"
        return self._files(sql, (before, count))

    def reached(self) -> tuple[str | None, int | None]:
        """Where that walk has stopped, and when, as Unix time in milliseconds."""
        at_ms = self._index.meta(_REACHED_AT)
        return self._index.meta(_REACHED), None if at_ms is None else int(at_ms)

    def set_reached(self, reached: tuple[str, int] | None) -> None:
        """The same, if it has gone on."""
        if reached is not None:
            self._index.set_meta(_REACHED, reached[0])
            self._index.set_meta(_REACHED_AT, str(reached[1]))

    def count(self) -> int:
        """Number of files; a look at all of them."""
        return int(self._index.rows("SELECT count(*) FROM files")[0][0])

    def _files(self, sql: str, values: tuple[Any, ...]) -> list[IndexedFile]:
        return [decode_file(*row) for row in self._index.rows(sql, values)]

    # Folders

    def folders(self) -> dict[str, int | None]:
        """Every known folder with the time at which it was last read."""
        return {os.fsdecode(row[0]): row[1] for row in self._index.rows("SELECT * FROM folders")}

    def set_folders(self, marks: Mapping[str, int | None], gone: Iterable[str]) -> None:
        """Remember folders, with their times, and forget those that are gone."""
        for folder, mark in marks.items():
            values = (os.fsencode(folder), mark)
            self._index.rows("INSERT OR REPLACE INTO folders VALUES (?, ?)", values)
        for folder in gone:
            self._index.rows("DELETE FROM folders WHERE path = ?", (os.fsencode(folder),))

    def know_folder(self, folder: str) -> None:
        """Have a folder read some time, if nobody has read it yet."""
        self._index.rows("INSERT OR IGNORE INTO folders VALUES (?, -1)", (os.fsencode(folder),))

    # Rows of Codex's database

    def seen_row(self, thread_id: str) -> bytes | None:
        """What the row was like that a thread was merged with."""
        found = self._index.rows("SELECT digest FROM seen_rows WHERE id = ?", (thread_id,))
        return found[0][0] if found else None

    def seen_rows(self) -> dict[str, bytes]:
        """The same for all threads."""
        return {row[0]: row[1] for row in self._index.rows("SELECT * FROM seen_rows")}

    def seen_rows_of(self, thread_ids: Collection[str]) -> set[str]:
        """Those among them that had a row."""
        ids = msgspec.json.encode(list(thread_ids)).decode()
        sql = "SELECT id FROM seen_rows WHERE id IN (SELECT value FROM json_each(?))"
        return {row[0] for row in self._index.rows(sql, (ids,))}

    def seen_row_ids(self) -> set[str]:
        """The threads that had a row."""
        return {row[0] for row in self._index.rows("SELECT id FROM seen_rows")}

    def count_seen_rows(self) -> int:
        """How many there are."""
        return int(self._index.rows("SELECT count(*) FROM seen_rows")[0][0])

    def set_seen_row(self, thread_id: str, digest: bytes | None) -> None:
        """Remember what a row is like; ``None``: there is none."""
        if digest is None:
            self._index.rows("DELETE FROM seen_rows WHERE id = ?", (thread_id,))
        else:
            values = (thread_id, digest)
            self._index.rows("INSERT OR REPLACE INTO seen_rows VALUES (?, ?)", values)

    # Threads without a file

    def set_aside(self, thread_id: str, since_ms: int) -> None:
        """Keep a thread out of the lists, with all that is known of it, until its file is back."""
        with self._index.transaction():
            self._index.rows(
                "INSERT OR REPLACE INTO missing SELECT threads.id, ?, record, data"
                " FROM threads LEFT JOIN derived ON derived.id = threads.id WHERE threads.id = ?",
                (since_ms, thread_id),
            )
            self._index.remove([thread_id])

    def missing(self, thread_id: str) -> MissingThread | None:
        """A thread that was set aside."""
        sql = "SELECT since_ms, record, derived FROM missing WHERE id = ?"
        found = self._index.rows(sql, (thread_id,))
        if not found:
            return None
        since_ms, record, derived = found[0]
        return MissingThread(since_ms, self._index.decoded(record), derived)

    def missing_threads(self) -> list[MissingThread]:
        """All of them, those that went first first."""
        sql = "SELECT since_ms, record FROM missing ORDER BY since_ms, id"
        return [
            MissingThread(row[0], self._index.decoded(row[1]), None)
            for row in self._index.rows(sql)
        ]

    def missing_ids(self, thread_ids: Collection[str]) -> set[str]:
        """Which of *thread_ids* were set aside."""
        ids = msgspec.json.encode(list(thread_ids)).decode()
        sql = "SELECT id FROM missing WHERE id IN (SELECT value FROM json_each(?))"
        return {row[0] for row in self._index.rows(sql, (ids,))}

    def forget_missing(self, thread_id: str) -> None:
        """Forget one, and the files that it had."""
        self._index.rows("DELETE FROM missing WHERE id = ?", (thread_id,))
        values = (thread_id, MISSING)
        self._index.rows("DELETE FROM files WHERE thread_id = ? AND problem = ?", values)
