"""Entering files and threads in the list index: file, row and name merged into one record.

The index holds for each thread what its file says (``Derived``), the result of merging that with
row and name, and the record that readers get: the same result plus what this program has written
since and no other place can hold (see :func:`~threadstore.stores.local.merge.rebase`).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec

from threadstore.clock import Clock, to_ms
from threadstore.metadata import StoredThread
from threadstore.stores.local.derive import EMPTY, Derived, derive
from threadstore.stores.local.entry import Entry
from threadstore.stores.local.index_db import IndexDb, IndexedFile
from threadstore.stores.local.index_files import MISSING, IndexFiles
from threadstore.stores.local.merge import adopt, merge, rebase, settle
from threadstore.stores.local.paths import (
    Home,
    RolloutFile,
    existing_path,
    find_by_id,
    find_rollout,
    parse_rollout_name,
    scan,
    stat_rollout,
)
from threadstore.stores.local.row_watch import RowWatch
from threadstore.stores.local.state_rows import StateRow
from threadstore.stores.local.watches import NameWatch
from threadstore.stores.local.whereabouts import choose_file, file_now, files_now

__all__ = ["Entering"]


class Entering:
    """What the index is told about files and threads. The caller sees to it that changes take
    turns, and that those of several things are in a transaction."""

    def __init__(
        self,
        home: Home,
        index: IndexDb,
        files: IndexFiles,
        names: NameWatch,
        rows: RowWatch,
        *,
        default_provider: str,
        clock: Clock,
        is_live: Callable[[str], bool],
    ) -> None:
        self._home = home
        self._index = index
        self._files = files
        self._names = names
        self._rows = rows
        self._default_provider = default_provider
        self._clock = clock
        self._is_live = is_live
        self._rollouts: dict[str, str] | None = None
        self._unpacked: tuple[bytes, Entry | None] = b"", None

    # Files

    def read(self, files: Iterable[RolloutFile]) -> list[Derived]:
        """What these files say, those left out that are being written here or are gone."""
        files = [f for f in files if f.name is None or not self.is_left_alone(f.name.thread_id)]
        known = self._files.some([file.path for file in files])
        read = (self._derive(file, known.get(file.path)) for file in files)
        return [derived for derived in read if derived is not None]

    def derive(self, file: RolloutFile) -> Derived | None:
        """What a file says, read from where the last reading stopped; ``None`` if it is gone."""
        return self._derive(file, self._files.get(file.path))

    def _derive(self, file: RolloutFile, known: IndexedFile | None) -> Derived | None:
        if existing_path(file.path) is None:  # opening it would wait for it, and a list for that
            return None
        entry = self.entry(known.thread_id) if known is not None and known.thread_id else None
        before = entry.derived if entry is not None and entry.derived.path == file.path else None
        try:
            return derive(file, self.find_rollout, before)
        except FileNotFoundError:
            return None

    def enter_files(self, read: Collection[Derived]) -> None:
        """Enter files that were read. In a transaction."""
        threads = Counter(derived.thread.id for derived in read if derived.thread is not None)
        known = self._files.some([derived.path for derived in read])
        known_threads = self._files.known_threads(threads)
        first: list[Derived] = []
        rest: list[Derived] = []
        for derived in read:
            thread_id = derived.thread.id if derived.thread is not None else None
            single = thread_id is not None and threads[thread_id] == 1
            unknown = thread_id not in known_threads and derived.path not in known
            plain = single and unknown and derived.problem != EMPTY
            (first if plain else rest).append(derived)
        if first:
            self._enter_first(first)
        for derived in rest:
            self.enter_file(derived)

    def _enter_first(self, read: Sequence[Derived]) -> None:
        """Enter files that nobody knows, of threads that nobody knows: there is nothing that has
        to be looked up. The first index of a home consists of such files."""
        ids = [derived.thread.id for derived in read if derived.thread is not None]
        rows, parents = self._rows.rows(ids), self._rows.parents(ids)
        merged = [
            self._merge(derived, rows.get(thread_id), parents.get)
            for derived, thread_id in zip(read, ids, strict=True)
        ]
        self._index.set_files(map(_indexed, read))
        for folder in {os.path.dirname(derived.path) for derived in read}:
            self._files.know_folder(folder)
        packed = (self._packed(*both) for both in zip(read, merged, strict=True))
        self._index.add(list(zip(merged, packed, strict=True)))
        self._rows.merged_first({thread_id: rows.get(thread_id) for thread_id in ids})

    def enter_file(self, derived: Derived) -> None:
        """Enter a file that was read, and the threads that it belongs to and belonged to."""
        previous = self.note(derived)
        now = derived.thread.id if derived.thread is not None else None
        if now is not None:
            self.reindex(now, derived)
        if previous is not None and previous != now:
            self.reindex(previous)

    def note(self, derived: Derived) -> str | None:
        """Enter a file alone; the thread it belonged to before."""
        known = self._files.get(derived.path)
        file = _indexed(derived)
        if file != known:
            self._index.set_file(file)
        if known is None:
            self._files.know_folder(os.path.dirname(file.path))
        return known.thread_id if known is not None else None

    def forget_file(self, path: str) -> None:
        """A file is gone: so is its thread, unless it has another one or somebody speaks of it."""
        known = self._files.get(path)
        if known is None:
            return
        owner, file = known.thread_id, file_now(self._home, path)
        if file is not None and self._files.get(file.path) is None:
            return  # it is being moved at this moment
        if owner is None:
            self._index.forget_file(path)
        elif not self.is_left_alone(owner):
            self._index.set_file(msgspec.structs.replace(known, problem=MISSING))
            if self._files.of_thread(owner):
                self._index.forget_file(path)
            self.reindex(owner)

    def files_of(self, thread_id: str) -> list[RolloutFile]:
        """The files that are known to belong to a thread, as they are now."""
        return files_now(self._home, sorted(f.path for f in self._files.of_thread(thread_id)))

    def locate(self, thread_id: str) -> tuple[RolloutFile | None, StateRow | None]:
        """The file that stands for a thread at this moment, and the thread's row."""
        row = self._rows.row(thread_id)
        files = self.files_of(thread_id)
        wanted = os.path.basename(row.rollout_path) if row is not None else None
        if not files or (wanted and all(os.path.basename(f.path) != wanted for f in files)):
            known = {file.path for file in files}
            files += [file for file in find_by_id(self._home, thread_id) if file.path not in known]
        return choose_file(thread_id, files, row), row

    def incomplete(self) -> list[RolloutFile]:
        """Files that could not be read, or stand on one that was not there."""
        found = []
        for known in self._files.with_problem():
            entry = self.entry(known.thread_id or "")
            if entry is not None and entry.derived.path == known.path and entry.derived.incomplete:
                found.append(stat_rollout(self._home, known.path))
        return [file for file in found if file is not None]

    # Rollouts that others stand on

    def start_look(self) -> None:
        """Files are going to be read, perhaps many: one look at the home serves all."""
        self._rollouts = {}

    def end_look(self) -> None:
        """They have been read."""
        self._rollouts = None

    def find_rollout(self, rollout_id: str) -> str | None:
        """The rollout with this id, wherever it is."""
        files = sorted(
            self._files.of_thread(rollout_id), key=lambda file: (file.archived, file.path)
        )
        for file in files:
            name = parse_rollout_name(os.path.basename(file.path))
            if name is not None and name.rollout_id == rollout_id and existing_path(file.path):
                return file.path
        if self._rollouts is None:
            return find_rollout(self._home, rollout_id)
        if not self._rollouts:
            for rollout in scan(self._home):
                if rollout.name is not None:
                    self._rollouts.setdefault(rollout.name.rollout_id, rollout.path)
        return self._rollouts.get(rollout_id)

    # Threads

    def is_left_alone(self, thread_id: str) -> bool:
        """Whether the thread's writer keeps its record; it cannot notice that the index is new."""
        return self._is_live(thread_id) and self._index.get(thread_id) is not None

    def merge_again(self, thread_id: str) -> None:
        """A thread's row or name has changed. In a transaction."""
        if self._files.of_thread(thread_id) or self._files.missing(thread_id) is not None:
            self.reindex(thread_id)
        else:
            self._rows.merged(thread_id, self._rows.row(thread_id))

    def reindex(self, thread_id: str, fresh: Derived | None = None) -> None:
        """Enter a thread after one of its files (*fresh*) came or changed, or anything else did."""
        if self.is_left_alone(thread_id):
            return
        row = self._rows.row(thread_id)
        known = [file.path for file in self._files.of_thread(thread_id)]
        if fresh is not None and known == [fresh.path]:
            self._enter(fresh, row)
            return
        file = choose_file(thread_id, files_now(self._home, sorted(known)), row)
        if file is None:
            self.lose(thread_id)
        elif fresh is not None and fresh.describes(file):
            self._enter(fresh, row)
        else:
            self.index_thread(thread_id, file, row)

    def lose_files(self, thread_id: str) -> None:
        """None of the files that a thread had is there."""
        for file in self._files.of_thread(thread_id):
            self.forget_file(file.path)
        if self._index.get(thread_id) is not None and not self.is_left_alone(thread_id):
            self.lose(thread_id)

    def lose(self, thread_id: str) -> None:
        """A thread has no file. It is kept out of the lists until that is back, with what only we
        know; it is forgotten if nobody speaks of it any more, for then somebody deleted it."""
        with self._index.transaction():
            row = self._rows.row(thread_id)
            if self._is_deleted(thread_id, row):
                self._index.remove([thread_id])
                self._files.forget_missing(thread_id)
            else:
                self._set_aside(thread_id)
            self._rows.merged(thread_id, row)

    def _set_aside(self, thread_id: str) -> None:
        if self._index.get(thread_id) is not None:
            self._files.set_aside(thread_id, to_ms(self._clock.now()))

    def _is_deleted(self, thread_id: str, row: StateRow | None) -> bool:
        """Whether nobody speaks of a thread without files. One whose folder went along says nothing
        about it: a disk may not be mounted."""
        if self._names.names.get(thread_id) or row is not None or not self._rows.readable:
            return False
        folders = {os.path.dirname(file.path) for file in self._files.missing_of(thread_id)}
        return all(os.path.isdir(folder) for folder in folders)

    def index_thread(
        self, thread_id: str, file: RolloutFile, row: StateRow | None
    ) -> StoredThread | None:
        """Enter a thread whose file is *file*, reading that only if it has changed."""
        entry = self.entry(thread_id)
        if entry is not None and entry.derived.describes(file) and not entry.derived.incomplete:
            return self._enter(entry.derived, row, entry)
        derived = self.derive(file)
        if derived is None:
            return None
        if entry is not None and derived == entry.derived:  # still incomplete
            self.note(derived)
            return self._enter(derived, self._rows.row(thread_id), entry)
        with self._index.transaction():
            self.note(derived)
            if derived.thread is None or derived.thread.id != thread_id:
                return None
            return self._enter(derived, self._rows.row(thread_id))

    def _enter(
        self, derived: Derived, row: StateRow | None, entry: Entry | None = None
    ) -> StoredThread | None:
        assert derived.thread is not None
        thread_id = derived.thread.id
        if derived.problem == EMPTY and row is None:
            self._set_aside(thread_id)  # nothing but an empty file: no history, no thread
            return None
        merged, record, listed = self._combine(derived, row, entry)
        known = entry or self.entry(thread_id)
        if known == Entry(derived, merged) and record == listed:
            if self._index.in_transaction:
                self._rows.merged(thread_id, row)
            return record
        if self._index.in_transaction:
            return self.store(derived, merged, record, row)
        with self._index.transaction():  # what others have seen by now must stay: look once more
            row = self._rows.row(thread_id)
            merged, record, _ = self._combine(derived, row, None)
            return self.store(derived, merged, record, row)

    def _combine(
        self, derived: Derived, row: StateRow | None, entry: Entry | None
    ) -> tuple[StoredThread, StoredThread, StoredThread | None]:
        """What file, row and name say together, that with what the index has beyond them, and what
        it has."""
        merged = self.merge(derived, row)
        listed = ours = self._index.get(merged.id)
        if ours is not None:
            entry = entry or self.entry(merged.id)
        elif (missing := self._files.missing(merged.id)) is not None:
            ours, entry = missing.record, Entry.unpack(missing.derived)
        else:
            return merged, merged, None
        record = adopt(ours, merged) if entry is None else rebase(entry.merged, ours, merged)
        return merged, record, listed

    def merge(self, derived: Derived, row: StateRow | None) -> StoredThread:
        """What file, row and name say together."""
        return self._merge(derived, row, self._rows.parent)

    def _merge(
        self, derived: Derived, row: StateRow | None, parent_of: Callable[[str], str | None]
    ) -> StoredThread:
        assert derived.thread is not None
        thread_id = derived.thread.id
        name = self._names.names.get(thread_id)
        merged = merge(derived, row, name, default_provider=self._default_provider)
        parent = parent_of(thread_id) if merged.parent_thread_id is None else None
        if parent is not None:
            merged = msgspec.structs.replace(merged, parent_thread_id=parent)
        return merged

    def settle(self, thread: StoredThread) -> None:
        """Enter what the file of *thread* says now as known: its writer has just let it go."""
        file = stat_rollout(self._home, thread.rollout_path or "")
        derived = self.derive(file) if file is not None else None
        if derived is None:
            return
        with self._index.transaction():
            self.note(derived)
            if derived.thread is not None and derived.thread.id == thread.id:
                row = self._rows.row(thread.id)
                merged = self.merge(derived, row)
                in_row = row is not None and thread.history_mode == "paginated"
                self.store(derived, merged, settle(thread, merged, in_row=in_row), row)

    def store(
        self, derived: Derived, merged: StoredThread, record: StoredThread, row: StateRow | None
    ) -> StoredThread:
        """Enter a thread as *record*. In a transaction."""
        self._index.upsert(record, derived=self._packed(derived, merged))
        self._files.forget_missing(record.id)
        self._rows.merged(record.id, row)
        return record

    def _packed(self, derived: Derived, merged: StoredThread) -> bytes:
        """The entry as the index keeps it; the marks of a long history go beside it."""
        if derived.marks:
            sql = "INSERT OR REPLACE INTO turn_marks VALUES (?, ?)"
            self._index.rows(sql, (merged.id, derived.marks))
            derived = msgspec.structs.replace(derived, marks=b"")
        return Entry(derived, merged).pack()

    def entry(self, thread_id: str) -> Entry | None:
        """What the index keeps with a thread. A change asks for it several times in a row."""
        data = self._index.derived(thread_id)
        if data is None:
            return None
        packed, entry = self._unpacked
        if packed != data:
            entry = Entry.unpack(data)
            self._unpacked = data, entry
        return entry


def _indexed(derived: Derived) -> IndexedFile:
    return IndexedFile(
        path=derived.path,
        thread_id=derived.thread.id if derived.thread is not None else None,
        size=derived.size,
        mtime_ns=derived.mtime_ns,
        inode=derived.inode,
        archived=derived.archived,
        problem=derived.problem,
    )
