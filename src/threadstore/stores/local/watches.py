"""Noticing what other programs change: names, rows and folders. Cheap questions, exact answers.

What was last seen of names and rows is remembered in the index, so that a new process does not
merge every thread again.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import time
from typing import Final

import msgspec

from threadstore.errors import StoreUnavailable
from threadstore.stores.local import name_index
from threadstore.stores.local.index_db import IndexDb
from threadstore.stores.local.paths import Home
from threadstore.stores.local.state_db import StateDb
from threadstore.stores.local.state_rows import StateRow

__all__ = ["FolderWatch", "NameWatch", "RowWatch"]

_Marks = dict[str, str]
_decode_marks: Final = msgspec.json.Decoder(_Marks).decode
_TICK_NS: Final = 20_000_000
"""File times are that coarse at most (4 ms on Linux at 250 Hz, 10 ms at 100 Hz)."""
_IN_USE: Final = 4
_NAMES_KEY: Final = "seen_names"
_ROWS_KEY: Final = "seen_rows"


class NameWatch:
    """The name index as it is now, and which ids it has changed for."""

    def __init__(self, home: Home, index: IndexDb) -> None:
        self._home = home
        self._index = index
        self._mark: name_index.Fingerprint | None = None
        self._loaded = False
        self.names: dict[str, str] = {}
        self.changed_ids: set[str] = set()
        self.problem: str | None = None

    def reset(self) -> None:
        """Start again from what the index remembers."""
        self.names = _remembered(self._index, _NAMES_KEY)
        self.changed_ids.clear()
        self._loaded = False

    def changed(self) -> bool:
        """Whether the file is another one than the one last read."""
        return not self._loaded or name_index.fingerprint(self._home) != self._mark

    def update(self) -> None:
        """Read the file if it has changed."""
        if not self.changed():
            return
        try:
            loaded = name_index.load(self._home)
        except StoreUnavailable as error:
            self.problem = str(error)
            self._mark, self._loaded = name_index.fingerprint(self._home), True
            return
        changed = _changes(self.names, loaded.names)
        self.changed_ids |= changed
        self.names, self.problem = loaded.names, None
        self._mark, self._loaded = loaded.fingerprint, True
        if changed:
            _remember(self._index, _NAMES_KEY, self.names)


class RowWatch:
    """Which rows of Codex's database have changed."""

    def __init__(self, state: StateDb | None, index: IndexDb) -> None:
        self._state = state
        self._index = index
        self._version: int | None = None
        self._newest = 0
        self._complete = False
        self._digests: _Marks = {}
        self.changed_ids: set[str] = set()
        self.parents: dict[str, str] = {}
        self.problem: str | None = None

    def reset(self) -> None:
        """Start again from what the index remembers."""
        self._digests = _remembered(self._index, _ROWS_KEY)
        self.changed_ids.clear()
        self._version, self._complete = None, False

    def changed(self) -> bool:
        """Whether anybody else has committed since rows were last read."""
        if self._state is None:
            return False
        try:
            return self._state.data_version() != self._version
        except StoreUnavailable as error:
            self.problem = str(error)
            return False

    def update(self, *, every: bool) -> None:
        """Read rows if somebody has committed: those that were updated since, or *every* one
        (Codex edits some columns without a new time)."""
        if self._state is None or not (self.changed() or (every and not self._complete)):
            return
        every = every or self._version is None
        try:
            self._version = self._state.data_version()
            self._read(self._state, every=every)
            self.parents = self._state.spawn_parents()
        except StoreUnavailable as error:
            self.problem = str(error)
        else:
            self._complete, self.problem = every, None

    def _read(self, state: StateDb, *, every: bool) -> None:
        rows = state.read_rows(since_updated_ms=None if every else self._newest)
        found: _Marks = {}
        for row in rows:
            found[row.id] = _digest(row)
            self._newest = max(self._newest, row.updated_at_ms)
        if not every:
            every = len(self._digests.keys() | found.keys()) != state.count()
            if every:  # rows came in with an old time, or went
                self._read(state, every=True)
                return
            found = self._digests | found
        changed = _changes(self._digests, found)
        self.changed_ids |= changed
        self._digests = found
        if changed:
            _remember(self._index, _ROWS_KEY, found)

    def row(self, thread_id: str) -> StateRow | None:
        """The thread's row as it is now; ``None`` also while rows cannot be read."""
        if self._state is None:
            return None
        try:
            return self._state.read_row(thread_id)
        except StoreUnavailable as error:
            self.problem = str(error)
            if self._digests:  # what is merged without its row now must be merged again some time
                self._digests = {}
                _remember(self._index, _ROWS_KEY, {})
            return None

    @property
    def readable(self) -> bool:
        """Whether a missing row means that there is none."""
        return self._state is not None and self._state.readable and self.problem is None


class FolderWatch:
    """Folders whose entries matter: a new, moved or deleted file changes its folder's time.

    A question costs a system call a folder, and a home has one for each day. So only those in use
    are asked: the ones that changed last and all above them, where new days, months and years
    appear. What happens in old folders is seen with the next look at all files.
    """

    def __init__(self) -> None:
        self._marks: dict[str, int | None] = {}
        self._in_use: dict[str, int | None] | None = None

    def changed(self) -> bool:
        """Whether a folder in use has another time than when it was noted."""
        if self._in_use is None:
            self._in_use = self._choose()
        return any(_folder_time(folder) != mark for folder, mark in self._in_use.items())

    def start(self) -> None:
        """Begin to look at all of them; each is then told to :meth:`note`."""
        self._marks = {}
        self._in_use = None

    def note(self, folder: str) -> None:
        """Watch a folder that is going to be read now, empty ones too: files may come to them."""
        mark = _folder_time(folder)
        # A second change within one tick of the clock would not show: then look once more.
        fresh = mark is not None and mark > time.time_ns() - _TICK_NS
        self._marks[folder] = -1 if fresh else mark

    def _choose(self) -> dict[str, int | None]:
        marks = self._marks
        folders = [folder for folder, mark in marks.items() if mark in (None, -1)]
        folders += heapq.nlargest(_IN_USE, marks, key=lambda folder: marks[folder] or 0)
        folders += [folder for folder in marks if os.path.dirname(folder) not in marks]
        for folder in folders:  # grows while it is walked
            if os.path.dirname(folder) in marks:
                folders.append(os.path.dirname(folder))
        return {folder: marks[folder] for folder in folders}


def _folder_time(folder: str) -> int | None:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return None


def _digest(row: StateRow) -> str:
    return hashlib.blake2b(msgspec.json.encode(row), digest_size=8).hexdigest()


def _changes(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def _remembered(index: IndexDb, key: str) -> _Marks:
    text = index.meta(key)
    try:
        return _decode_marks(text) if text else {}
    except msgspec.MsgspecError:
        return {}


def _remember(index: IndexDb, key: str, marks: _Marks) -> None:
    index.set_meta(key, msgspec.json.encode(marks).decode())
