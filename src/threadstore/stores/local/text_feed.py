"""Feeding the text index: what changed since, thread by thread, in small transactions.

The list index says which threads changed. Several processes may feed at once: whoever finds under
the lock that a thread is not as it was lets go of it. After a crash a thread is as far as its last
transaction.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from threadstore.errors import StoreUnavailable
from threadstore.metadata import StoredThread
from threadstore.search.texts import title_text
from threadstore.stores.local.database import Database
from threadstore.stores.local.index_db import IndexDb
from threadstore.stores.local.lineage import FindRollout
from threadstore.stores.local.text_db import LAST, TextDb, doc_id
from threadstore.stores.local.text_source import (
    Place,
    Said,
    portion,
    time_us,
    title_mark,
    unchanged,
)
from threadstore.stores.local.text_words import indexable

__all__ = ["INCOMPLETE", "TextFeed"]

INCOMPLETE: Final = "inherited lines are missing"
"""``problem`` of a thread that is searched as far as it is there."""
_LOOKED_AT: Final = 256
"""Threads of one step, at most."""
_NOTICED: Final = 2_000
"""Changes that are taken over in one transaction."""
_KEPT: Final = 8
"""List indexes of one home that are remembered; there is one, as a rule."""
_FRESH: Final = (
    "INSERT INTO threads (thread_id, stale, version) VALUES (?1, ?2, 0)"
    " ON CONFLICT (thread_id) DO UPDATE SET stale = max(stale, ?2), version = version + 1"
)
_ROLES: Final = ("tool", "assistant", "user", "title")
_ADD_TEXT: Final = f"INSERT INTO texts (rowid, {', '.join(_ROLES)}) VALUES (?, ?, ?, ?, ?)"
_COLUMN: Final = {role: number for number, role in enumerate(_ROLES, 1)}
_encode: Final = msgspec.json.Encoder().encode
_decoder: Final = msgspec.json.Decoder(Place)


class _Row(NamedTuple):
    """A thread that is to be looked at."""

    no: int
    thread_id: str
    version: int
    place: bytes | None


class _Entries(NamedTuple):
    """Texts, as rows of the two tables."""

    docs: list[tuple[Any, ...]]
    texts: list[list[Any]]


class _Step(NamedTuple):
    """What is to be written about a thread."""

    row: _Row
    thread: StoredThread | None
    """``None``: it is gone."""
    entries: _Entries | None
    """``None``: nothing is new."""
    place: Place | None
    problem: str | None
    said_before: int
    """Position up to which the texts stay."""


class TextFeed:
    """Keeps the index in step. Everything here blocks; safe from several threads."""

    def __init__(
        self,
        db: TextDb,
        index: IndexDb,
        find_rollout: FindRollout,
        is_complete: Callable[[], bool],
    ) -> None:
        """*is_complete*: whether the list index has all threads; one that is just being made anew
        must not pass for a home without them."""
        self._is_complete = is_complete
        self._db = db
        self._index = index
        self._find_rollout = find_rollout
        self._turn = threading.Lock()

    # What is to be done

    def notice(self) -> None:
        """Take over which threads changed."""
        if not self._is_complete():
            return
        identity = self._index.meta("identity") or ""
        rows = self._db.rows("SELECT number FROM sources WHERE identity = ?", (identity,))
        if not rows:
            self._notice_all(identity)
            return
        number = rows[0][0]
        sql = (
            "SELECT threads.id, number FROM changes LEFT JOIN threads USING (key)"
            f" WHERE number > ? ORDER BY number LIMIT {_NOTICED}"
        )
        while changes := self._index.rows(sql, (number,)):
            ids = [change[0] for change in changes if change[0] is not None]
            gone = self._gone() if len(ids) < len(changes) else []
            number = changes[-1][1]
            with self._db.writing() as database:
                _mark(database, [*ids, *gone], 1)
                database.run("UPDATE sources SET number = ? WHERE identity = ?", (number, identity))

    def _notice_all(self, identity: str) -> None:
        rows = self._index.rows("SELECT coalesce(max(number), 0) FROM changes")
        ids = [row[0] for row in self._index.rows("SELECT id FROM threads ORDER BY created_ms, id")]
        gone = self._gone()
        for start in range(0, len(ids), _NOTICED):
            with self._db.writing() as database:
                _mark(database, ids[start : start + _NOTICED], 1)
        with self._db.writing() as database:
            _mark(database, gone, 1)
            if database.value("SELECT count(*) FROM sources") >= _KEPT:
                database.run("DELETE FROM sources")
            database.run("INSERT OR REPLACE INTO sources VALUES (?, ?)", (identity, rows[0][0]))

    def _gone(self) -> list[str]:
        """Threads that the list index does not know any more."""
        known = self._index.ids()
        if not self._is_complete():
            return []
        every = self._db.rows("SELECT thread_id FROM threads")
        return [row[0] for row in every if row[0] not in known]

    def notice_live(self, paths: dict[str, str]) -> None:
        """Look first at those of these threads whose files have changed; nobody else says so."""
        behind = [
            thread_id for thread_id, path in paths.items() if self._is_behind(thread_id, path)
        ]
        if behind:
            self.look_at(behind)

    def _is_behind(self, thread_id: str, path: str) -> bool:
        rows = self._db.rows("SELECT stale, place FROM threads WHERE thread_id = ?", (thread_id,))
        if not rows or rows[0][1] is None:
            return True
        if rows[0][0] > 1:
            return False
        try:
            place = _decode(rows[0][1])
            return place is None or not unchanged(place, os.stat(path))
        except FileNotFoundError:
            return False

    def look_at(self, thread_ids: Sequence[str]) -> None:
        """Look at these threads before all others."""
        with self._db.writing() as database:
            _mark(database, thread_ids, 2)

    def read_anew(self, thread_id: str) -> None:
        """Forget what is known of a thread: it is not what its file says."""
        with self._db.writing() as database:
            sql = "UPDATE threads SET stale = 2, version = version + 1, place = NULL"
            database.run(f"{sql} WHERE thread_id = ?", (thread_id,))

    def forget(self, thread_ids: Sequence[str]) -> None:
        """Remove threads, if they were ever read."""
        for thread_id in thread_ids:
            rows = self._db.rows("SELECT no FROM threads WHERE thread_id = ?", (thread_id,))
            if rows:
                with self._db.writing() as database:
                    _remove(database, rows[0][0])

    def look_again(self) -> None:
        """Look once more at the threads that could not be read."""
        where = "problem IS NOT NULL AND problem <> ? AND stale = 0"
        if self._db.rows(f"SELECT 1 FROM threads WHERE {where} LIMIT 1", (INCOMPLETE,)):
            with self._db.writing() as database:
                database.run(f"UPDATE threads SET stale = 1 WHERE {where}", (INCOMPLETE,))

    def unread(self) -> int:
        """How many threads could not be read."""
        sql = "SELECT count(*) FROM threads WHERE problem IS NOT NULL AND problem <> ?"
        return int(self._db.rows(sql, (INCOMPLETE,))[0][0])

    def is_current(self, thread_id: str) -> bool:
        """Whether nothing is known that is to be done about a thread."""
        rows = self._db.rows("SELECT stale FROM threads WHERE thread_id = ?", (thread_id,))
        return rows == [(0,)]

    def left(self) -> int:
        """How many threads are to be looked at."""
        return int(self._db.rows("SELECT count(*) FROM threads WHERE stale > 0")[0][0])

    # Doing it

    def step(self, limit: int) -> bool:
        """Look at some threads, and write about *limit* characters of texts, in one transaction;
        whether there was something to do."""
        with self._turn:
            sql = (
                "SELECT no, thread_id, version, place FROM threads WHERE stale > 0"
                f" ORDER BY stale DESC, no DESC LIMIT {_LOOKED_AT}"
            )
            rows = [_Row(*row) for row in self._db.rows(sql)]
            if not rows:
                return False
            steps = []
            for row in rows:
                step, size = self._look(row, limit)
                steps.append(step)
                limit -= size
                if limit <= 0:
                    break
            # FTS5 begins a segment anew wherever the ids do not ascend.
            steps.sort(key=lambda step: step.row.no)
            with self._db.writing() as database:
                for step in steps:
                    _write(database, step)
            return True

    def _look(self, row: _Row, limit: int) -> tuple[_Step, int]:
        """What is new in a thread, and how many characters that are."""
        thread = self._index.get(row.thread_id)
        place = _decode(row.place)
        if thread is None and not self._is_complete():
            raise StoreUnavailable("the list index is being made anew")
        if thread is None or thread.rollout_path is None:
            return _Step(row, None, None, None, None, 0), 0
        before, title = (0, "") if place is None else (place.position, place.title)
        try:
            found = portion(thread, place, self._find_rollout, limit)
        except FileNotFoundError:  # the list will notice it, too
            return _Step(row, thread, None, place, None, 0), 0
        except StoreUnavailable as error:
            return _Step(row, thread, None, place, str(error), 0), 0
        if found is None:
            return _Step(row, thread, None, place, None, 0), 0
        place = found.place
        place.title = title
        problem = INCOMPLETE if place.incomplete else None
        entries = _entries(row.no, found.said)
        size = sum(len(said.document.text) for said in found.said)
        return _Step(row, thread, entries, place, problem, 0 if found.afresh else before), size


def _decode(place: bytes | None) -> Place | None:
    """A place as it was stored; ``None`` if it was not, or is damaged."""
    if place is None:
        return None
    try:
        return _decoder.decode(place)
    except msgspec.MsgspecError:
        return None


def _mark(database: Database, thread_ids: Iterable[str], stale: int) -> None:
    database.run_many(_FRESH, [(thread_id, stale) for thread_id in thread_ids])


def _write(database: Database, step: _Step) -> None:
    row = step.row
    if database.rows("SELECT version FROM threads WHERE no = ?", (row.no,)) != [(row.version,)]:
        return  # somebody else was here, or it changed meanwhile
    if step.thread is None:
        _remove(database, row.no)
        return
    place = step.place
    if place is not None and place.title != (mark := title_mark(step.thread)):
        _forget(database, row.no, 0, 0)
        title = title_text(step.thread)
        if title is not None:
            _add(database, _entries(row.no, [Said(title, None)]))
        place.title = mark
    if step.entries is not None:
        _forget(database, row.no, step.said_before + 1, LAST)
        _add(database, step.entries)
    stale = place is not None and step.entries is not None and not place.done
    database.run(
        "UPDATE threads SET stale = ?, version = version + 1, problem = ?, place = ? WHERE no = ?",
        (stale, step.problem, None if place is None else _encode(place), row.no),
    )


def _remove(database: Database, no: int) -> None:
    _forget(database, no, 0, LAST)
    database.run("DELETE FROM threads WHERE no = ?", (no,))


def _forget(database: Database, no: int, first: int, last: int) -> None:
    ends = (doc_id(no, first), doc_id(no, last))
    if database.rows("SELECT 1 FROM docs WHERE id BETWEEN ? AND ? LIMIT 1", ends):
        of_docs = "IN (SELECT id FROM docs WHERE id BETWEEN ? AND ?)"
        database.run(f"DELETE FROM texts WHERE rowid {of_docs}", ends)
        database.run("DELETE FROM docs WHERE id BETWEEN ? AND ?", ends)


def _add(database: Database, entries: _Entries) -> None:
    database.run_many("INSERT INTO docs VALUES (?, ?, ?, ?)", entries.docs)
    database.run_many(_ADD_TEXT, entries.texts)


def _entries(no: int, every: Sequence[Said]) -> _Entries:
    docs: list[tuple[Any, ...]] = []
    texts: list[list[Any]] = []
    for document, offset in every:
        key = doc_id(no, document.position)
        docs.append((key, offset, time_us(document.said_at), document.tool))
        row: list[Any] = [key, None, None, None, None]
        row[_COLUMN[document.role]] = indexable(document.text)
        texts.append(row)
    return _Entries(docs, texts)
