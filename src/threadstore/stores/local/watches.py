"""Noticing what other programs change: names and folders. Cheap questions, exact answers.

What was last seen is remembered in the index, so that a new process neither reads nor merges what
another one has.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from threadstore.errors import StoreUnavailable
from threadstore.stores.local import name_index
from threadstore.stores.local.index_db import IndexDb
from threadstore.stores.local.index_files import IndexFiles
from threadstore.stores.local.paths import Home

__all__ = ["UNSURE", "FolderWatch", "NameWatch", "is_fresh"]

T = TypeVar("T")

UNSURE: Final = -1
"""The time of a folder that has to be read again."""
_Names = dict[str, str]
_decode_names: Final = msgspec.json.Decoder(_Names).decode
_decode_name_mark: Final = msgspec.json.Decoder(list[name_index.Fingerprint | None]).decode
_TICK_NS: Final = 20_000_000
"""File times are that coarse at most (4 ms on Linux at 250 Hz, 10 ms at 100 Hz)."""
_IN_USE: Final = 4
_NAMES_KEY: Final = "seen_names"
_NAME_MARK_KEY: Final = "names_mark"


class NameWatch:
    """The name index as it is now, and which ids it has changed for."""

    def __init__(self, home: Home, index: IndexDb) -> None:
        self._home = home
        self._index = index
        self._mark: name_index.Fingerprint | None = None
        self._loaded = False
        self._names: _Names | None = None
        self._read: name_index.NameIndex | None = None
        self.unsaved = False
        """Whether there is something to :meth:`settle`."""
        self.changed_ids: set[str] = set()
        self.problem: str | None = None

    def reset(self) -> None:
        """Start again from what the index remembers."""
        self.changed_ids.clear()
        self._names = self._read = None
        self.unsaved = False
        remembered = _remembered(self._index, _NAME_MARK_KEY, _decode_name_mark)
        self._loaded = remembered is not None
        self._mark = remembered[0] if remembered else None

    @property
    def names(self) -> dict[str, str]:
        """Name by id; ``""``: cleared."""
        if self._names is None:
            self._names = _remembered(self._index, _NAMES_KEY, _decode_names) or {}
        return self._names

    def changed(self) -> bool:
        """Whether the file is another one than the one last read."""
        return not self._loaded or name_index.fingerprint(self._home) != self._mark

    def update(self) -> None:
        """Read the file if it has changed."""
        if not self.changed():
            return
        try:
            loaded = name_index.load(self._home, self._read)
        except StoreUnavailable as error:
            self.problem = str(error)
            self._mark, self._loaded = name_index.fingerprint(self._home), True
            return
        before = self.names
        perhaps = before.keys() | loaded.names if loaded.news is None else loaded.news
        self.changed_ids |= {key for key in perhaps if before.get(key) != loaded.names.get(key)}
        self._names, self._read, self.problem = loaded.names, loaded, None
        self._mark, self._loaded = loaded.fingerprint, True
        self.unsaved = True

    def added(self, added: name_index.Added) -> None:
        """A writer of this store has added an entry, and the index has it: if nobody else has
        changed the file since it was last read, it need not be read again."""
        if self._read is None or not self._read.ends or self._mark != added.before:
            return
        self._read = name_index.with_added(self._read, added)
        self._names, self._mark, self.unsaved = self._read.names, self._read.fingerprint, True

    def settle(self) -> None:
        """Remember what was read: every thread has been merged with it."""
        if self.unsaved:
            _remember(self._index, _NAMES_KEY, self.names)
            _remember(self._index, _NAME_MARK_KEY, [self._mark])
            self.unsaved = False


class FolderWatch:
    """Folders whose entries matter: a new, moved or deleted file changes its folder's time.

    A question costs a system call a folder, and a home has one for each day. So a list asks those
    in use only: the ones that changed last and all above them, where new days, months and years
    appear. All of them are asked now and then: see :meth:`stale`.
    """

    def __init__(self, files: IndexFiles) -> None:
        self._files = files
        self._marks: dict[str, int | None] = {}
        self._in_use: dict[str, int | None] | None = None

    def reset(self) -> None:
        """Start again from what the index remembers."""
        self._marks, self._in_use = self._files.folders(), None

    @property
    def known(self) -> Collection[str]:
        """Every folder that is watched."""
        return self._marks.keys()

    def changed(self) -> bool:
        """Whether a folder in use has another time than when it was read."""
        if self._in_use is None:
            self._in_use = self._choose()
        return any(_folder_time(folder) != mark for folder, mark in self._in_use.items())

    def stale(self) -> list[str]:
        """The folders that have another time than when they were read."""
        return [folder for folder, mark in self._marks.items() if _folder_time(folder) != mark]

    @staticmethod
    def mark(folder: str) -> int | None:
        """The time of a folder that is going to be read now."""
        mark = _folder_time(folder)
        # A second change within one tick of the clock would not show: then read it once more.
        return UNSURE if is_fresh(mark) else mark

    def news(self, marks: Mapping[str, int | None], gone: Iterable[str]) -> bool:
        """Whether there is anything to remember of these folders."""
        missing = object()
        return any(self._marks.get(folder, missing) != mark for folder, mark in marks.items()) or (
            any(folder in self._marks for folder in gone)
        )

    def settle(self, marks: Mapping[str, int | None], gone: Collection[str]) -> None:
        """Remember that these folders were read, with their marks, and that others are gone."""
        self._files.set_folders(marks, gone)
        self._marks |= marks
        for folder in gone:
            self._marks.pop(folder, None)
        self._in_use = None

    def _choose(self) -> dict[str, int | None]:
        marks = self._marks
        folders = [folder for folder, mark in marks.items() if mark in (None, UNSURE)]
        folders += sorted(marks, key=lambda folder: marks[folder] or 0, reverse=True)[:_IN_USE]
        folders += [folder for folder in marks if os.path.dirname(folder) not in marks]
        for folder in folders:  # grows while it is walked
            if os.path.dirname(folder) in marks:
                folders.append(os.path.dirname(folder))
        return {folder: marks[folder] for folder in folders}


def is_fresh(mtime_ns: int | None) -> bool:
    """Whether something changed so shortly ago that it may change again without a new time."""
    return mtime_ns is not None and mtime_ns > time.time_ns() - _TICK_NS


def _folder_time(folder: str) -> int | None:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return None


def _remembered(index: IndexDb, key: str, decode: Callable[[str], T]) -> T | None:
    text = index.meta(key)
    try:
        return decode(text) if text else None
    except msgspec.MsgspecError:
        return None


def _remember(index: IndexDb, key: str, value: Any) -> None:
    index.set_meta(key, msgspec.json.encode(value).decode())
