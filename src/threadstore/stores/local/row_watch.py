"""Noticing which rows of Codex's database have changed, without reading all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from typing import Final, TypeVar

import msgspec

from threadstore.errors import StoreUnavailable
from threadstore.stores.local.index_db import IndexDb
from threadstore.stores.local.index_files import IndexFiles
from threadstore.stores.local.state_db import StateDb
from threadstore.stores.local.state_rows import StateRow
from threadstore.stores.local.watches import is_fresh

__all__ = ["RowWatch"]

T = TypeVar("T")

_MARK_KEY: Final = "rows_mark"
_AT_ONCE: Final = 1000
"""Rows that a list takes notice of by itself; more of them are left to a comparison."""


_Fingerprints = list[tuple[int, int, int] | None] | None
"""Size, time and inode of the database and of its write-ahead log, where there is one."""


class _Mark(msgspec.Struct, frozen=True):
    """The database when its rows were last read."""

    files: _Fingerprints
    """``None``: it has changed so shortly before that it cannot be recognised."""
    newest: int
    """The newest time of update, in milliseconds."""
    complete: bool
    """Whether every row was compared."""


class Comparison(msgspec.Struct, frozen=True):
    """What every row was like at some moment."""

    version: int
    mark: _Mark
    changed: set[str]
    """Threads that have to be merged again."""


_decode: Final = msgspec.json.Decoder(_Mark).decode


class RowWatch:
    """Which rows threads have to be merged with again.

    What a row was like is remembered when its thread is merged with it. A list asks for rows with a
    new time of update and counts them; comparing all of them is for those who have the time.
    """

    def __init__(self, state: StateDb | None, index: IndexDb, files: IndexFiles) -> None:
        self._state = state
        self._index = index
        self._files = files
        self._version: int | None = None
        self._mark: _Mark | None = None
        self._newest = 0
        self._complete = False
        self._unsaved: _Mark | None = None
        self.changed_ids: set[str] = set()
        self.problem: str | None = None

    def reset(self) -> None:
        """Start again from what the index remembers."""
        self.changed_ids.clear()
        text = self._index.meta(_MARK_KEY)
        try:
            self._mark = _decode(text) if text else None
        except msgspec.MsgspecError:
            self._mark = None
        self._newest = self._mark.newest if self._mark else 0
        self._version, self._complete, self._unsaved = None, False, None

    def changed(self) -> bool:
        """Whether anybody else has committed since rows were last read."""
        if self._state is None:
            return False
        try:
            version = self._state.data_version()
        except StoreUnavailable as error:
            self.problem = str(error)
            return False
        if self._version is None and self._mark is not None:
            # Nobody has looked at it in this process, but another one may have read all there is.
            files = self._mark.files
            if files is not None and files == _fingerprints(self._state):
                self._version, self._complete = version, self._mark.complete
        return version != self._version

    @property
    def complete(self) -> bool:
        """Whether every row was compared since anybody else has committed."""
        return self._state is None or (self._complete and not self.changed())

    def update(self, *, every: bool) -> None:
        """Read rows if somebody has committed: those that were updated since, or *every* one
        (Codex edits some columns without a new time)."""
        if self._state is None or not (self.changed() or (every and not self._complete)):
            return
        if every:
            comparison = self.compare()
            self.changed_ids |= comparison.changed if comparison else set()
            self.take(comparison)
            return
        try:
            version, files = self._state.data_version(), _fingerprints(self._state)
            changed = self._since(self._state)
        except StoreUnavailable as error:
            self.problem = str(error)
            return
        self.problem, self._version, self._complete = None, version, False
        if changed is not None:
            self.changed_ids |= changed
            self._unsaved = _Mark(files, self._newest, complete=False)

    def compare(self) -> Comparison | None:
        """Compare every row with what its thread was merged with: to be taken later."""
        if self._state is None:
            return None
        try:
            version, files = self._state.data_version(), _fingerprints(self._state)
            seen = self._files.seen_rows()
            newest, changed = 0, set()
            for row in self._state.read_rows():
                newest = max(newest, row.updated_at_ms)
                if seen.pop(row.id, None) != _digest(row):
                    changed.add(row.id)
        except StoreUnavailable as error:
            self.problem = str(error)
            return None
        return Comparison(version, _Mark(files, newest, complete=True), changed | seen.keys())

    def take(self, comparison: Comparison | None) -> None:
        """Note that threads have been, or will be, merged with what a comparison has found."""
        if comparison is not None:
            self.problem, self._version, self._complete = None, comparison.version, True
            self._newest = max(self._newest, comparison.mark.newest)
            self._unsaved = comparison.mark

    def _since(self, state: StateDb) -> set[str] | None:
        """Rows with a new time, those that came with an old one, and those that went; ``None`` if
        that are too many for now."""
        if not self._newest:  # what is there has been merged just now, or will be compared
            self._newest = state.max_updated_ms()
        changed = set()
        for row in state.read_rows(since_updated_ms=self._newest):
            self._newest = max(self._newest, row.updated_at_ms)
            if self._files.seen_row(row.id) != _digest(row):
                changed.add(row.id)
                if len(changed) > _AT_ONCE:
                    return None
        seen = self._files.count_seen_rows()
        if seen + sum(self._files.seen_row(thread_id) is None for thread_id in changed) != (
            state.count()
        ):
            strangers = state.ids() ^ self._files.seen_row_ids()
            if len(strangers) > _AT_ONCE:
                return None
            changed |= strangers
        return changed

    def row(self, thread_id: str) -> StateRow | None:
        """The thread's row as it is now; ``None`` also while rows cannot be read."""
        return self._ask(lambda state: state.read_row(thread_id), None)

    def rows(self, thread_ids: Collection[str]) -> dict[str, StateRow]:
        """The same for many threads, of those that have one."""
        return self._ask(lambda state: state.read_rows_of(thread_ids), {})

    def parent(self, thread_id: str) -> str | None:
        """The thread that spawned another one, as far as Codex has noted that."""
        if self.problem is not None:
            return None
        return self._ask(lambda state: state.spawn_parent(thread_id), None)

    def parents(self, thread_ids: Collection[str]) -> dict[str, str]:
        """The same for many threads, of those of which it is noted."""
        if self.problem is not None:
            return {}
        return self._ask(lambda state: state.spawn_parents(thread_ids), {})

    def _ask(self, ask: Callable[[StateDb], T], unknown: T) -> T:
        if self._state is None:
            return unknown
        try:
            return ask(self._state)
        except StoreUnavailable as error:
            self.problem = str(error)
            return unknown

    def merged(self, thread_id: str, row: StateRow | None) -> None:
        """A thread is merged with this row: it is no news any more. In a transaction."""
        self.changed_ids.discard(thread_id)
        before = self._files.seen_row(thread_id)
        if row is not None:
            after: bytes | None = _digest(row)
        elif self.readable or self._state is None:
            after = None
        else:
            after = b"" if before is not None else None  # has to be merged again some time
            self._complete, self._version = False, None
            self._index.set_meta(_MARK_KEY, None)
        if before != after:
            self._files.set_seen_row(thread_id, after)

    def merged_first(self, rows: Mapping[str, StateRow | None]) -> None:
        """The same for threads that nobody knew, by id: most homes have far more of them than
        rows."""
        known = self._files.seen_rows_of(rows)
        for thread_id, row in rows.items():
            if row is None and thread_id not in known and (self._state is None or self.readable):
                self.changed_ids.discard(thread_id)
            else:
                self.merged(thread_id, row)

    def settle(self) -> None:
        """Remember where reading has got to: every thread has been merged with what was read."""
        if self.unsaved:
            self._index.set_meta(_MARK_KEY, msgspec.json.encode(self._unsaved).decode())
            self._mark = self._unsaved

    @property
    def unsaved(self) -> bool:
        """Whether there is something to :meth:`settle`."""
        return self._unsaved not in (None, self._mark)

    @property
    def readable(self) -> bool:
        """Whether a missing row means that there is none."""
        return self._state is not None and self._state.readable and self.problem is None


def _fingerprints(state: StateDb) -> _Fingerprints:
    found: list[tuple[int, int, int] | None] = []
    for path in (state.path, f"{state.path}-wal"):
        try:
            info = os.stat(path)
        except OSError:
            found.append(None)
            continue
        if is_fresh(info.st_mtime_ns):
            return None
        found.append((info.st_size, info.st_mtime_ns, info.st_ino))
    return found


def _digest(row: StateRow) -> bytes:
    import hashlib  # here: it takes as long as a list that finds no news

    return hashlib.blake2b(msgspec.json.encode(row), digest_size=8).digest()
