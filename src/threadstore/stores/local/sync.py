"""Keeping our list index in step with files, rows and names, whoever changes them.

The index holds for each thread what its file says (``Derived``), the result of merging that with
row and name, and the record that readers get: the same result plus what this program has written
since and no other place can hold (see :func:`~threadstore.stores.local.merge.rebase`).

Nothing here writes to a file of Codex. What cannot be read is kept in ``problems``, never raised.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

import msgspec

from threadstore.clock import Clock
from threadstore.errors import StoreUnavailable
from threadstore.metadata import StoredThread, ThreadMetadataPatch
from threadstore.queries import ThreadQuery
from threadstore.stores.local.derive import EMPTY, Derived, LogEnd, derive
from threadstore.stores.local.entry import Entry
from threadstore.stores.local.index_db import IndexDb, IndexedFile
from threadstore.stores.local.merge import adopt, merge, rebase, settle
from threadstore.stores.local.paths import (
    Home,
    RolloutFile,
    find_by_id,
    find_rollout,
    scan,
    stat_rollout,
)
from threadstore.stores.local.state_db import StateDb
from threadstore.stores.local.state_rows import StateRow
from threadstore.stores.local.watches import FolderWatch, NameWatch, RowWatch
from threadstore.stores.local.whereabouts import choose_file, file_now, files_now, refuse_references

__all__ = ["MISSING", "IndexSync", "choose_file"]

T = TypeVar("T")

MISSING: Final = "the file is missing"
"""``problem`` of a file that was there, and whose thread has a row or a name still."""
_BATCH: Final = 64
_MOVES: Final = 3
"""How often to look for a file that is moved (archived, unarchived) while it is looked for."""


class IndexSync:
    """Fills the index and keeps it right. Everything here blocks; safe from several threads.

    The records of threads for which *is_live* holds belong to their writer.
    """

    def __init__(
        self,
        home: Home,
        state: StateDb | None,
        index: IndexDb,
        *,
        default_provider: str,
        clock: Clock,
        refresh_interval: float = 1.0,
        is_live: Callable[[str], bool] = lambda _thread_id: False,
    ) -> None:
        self._home = home
        self._index = index
        self._default_provider = default_provider
        self.clock = clock
        self._interval = refresh_interval
        self._is_live = is_live
        self._names = NameWatch(home, index)
        self._rows = RowWatch(state, index)
        self._folders = FolderWatch()
        self._refreshing = threading.Lock()
        self._lock = threading.RLock()
        self._generation: int | None = None
        self._looked_at: float | None = None
        self._known: dict[str, IndexedFile] = {}
        self._owned: dict[str, set[str]] = {}
        self._rollouts: dict[str, str] | None = None
        self.problems: dict[str, str] = {}
        """Folders that could not be read, with the reason."""

    def beside(self, state: StateDb | None, index: IndexDb) -> IndexSync:
        """The same for another index of the same home."""
        return IndexSync(
            self._home,
            state,
            index,
            default_provider=self._default_provider,
            clock=self.clock,
        )

    # Asking

    def due(self) -> bool:
        """Whether a list would be out of date. Asks the system, but reads no file."""
        return (
            self._generation != self._index.current_generation()
            or self._overdue()
            or self._names.changed()
            or self._rows.changed()
            or self._folders.changed()
        )

    def refresh(
        self, *, force: bool = False, on_progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Bring the whole index up to date.

        New, moved and deleted files, names and rows are noticed at once; files that grew when
        *force*, or if the last look at all of them is *refresh_interval* seconds ago. *on_progress*
        is told how many of the changed files are done.
        """
        with self._refreshing:
            self._or_again(lambda: self._refresh(on_progress, force=force))

    def _refresh(self, on_progress: Callable[[int, int], None] | None, *, force: bool) -> None:
        self._load()
        every = force or self._overdue()
        self._names.update()
        self._rows.update(every=every)
        if every or self._folders.changed():
            self._look_at_files(on_progress)
            self._looked_at = self.clock.monotonic()
        self._merge_changed()

    def _or_again(self, look: Callable[[], T]) -> T:
        """*look*; once more if the index had to be made anew, in memory where the disk is full."""
        try:
            return look()
        except StoreUnavailable:
            if self._generation == self._index.current_generation():
                raise
            return look()

    def refresh_thread(self, thread_id: str) -> StoredThread | None:
        """One thread as it is at this moment; ``None`` if it has no file."""
        return self._or_again(lambda: self._refresh_thread(thread_id))

    def _refresh_thread(self, thread_id: str) -> StoredThread | None:
        for _ in range(_MOVES):
            with self._lock:
                self._load()
                if self._is_left_alone(thread_id):
                    return self._index.get(thread_id)
                self._names.update()
                file = self._locate(thread_id)
            if file is None:
                self.refresh()  # its file may have the name of another thread
            with self._lock:
                file = file or self._locate(thread_id)
                thread = self._index_thread(thread_id, file) if file is not None else None
                if thread is not None or not self._owned.get(thread_id):
                    break
        else:
            thread = None
        if thread is None:
            self._index.remove([thread_id])
        return thread

    def log_end(self, thread_id: str) -> LogEnd | None:
        """Where the thread's log ended when it was last read; ``None`` if nobody knows."""
        entry = self._entry(thread_id)
        return None if entry is None else entry.derived.log_end()

    def settle(self, thread: StoredThread) -> None:
        """A writer of ours has let *thread* go in this state: what its file says now is no news."""
        file = stat_rollout(self._home, thread.rollout_path or "")
        if file is None:
            return
        with self._lock:
            self._load()
            self._names.update()
            try:
                derived = self._derive(file, self._entry(thread.id))
            except FileNotFoundError:
                return
            self._note(derived)
            if derived.thread is not None and derived.thread.id == thread.id:
                row = self._rows.row(thread.id)
                merged = self._merge(derived, row)
                in_row = row is not None and thread.history_mode == "paginated"
                self._store(derived, merged, settle(thread, merged, in_row=in_row))

    def change(self, after: StoredThread, patch: ThreadMetadataPatch, *, explicit: bool) -> None:
        """A writer of this store has applied *patch*, with *after* as the result.

        Only the patch goes to the index: the writer need not know what other processes have said
        meanwhile. An *explicit* name, git fact or memory mode stands in file, row or names now.
        """
        said = ThreadMetadataPatch(name=patch.name, git=patch.git, memory_mode=patch.memory_mode)
        with self._lock, self._index.transaction():
            if (current := self._index.get(after.id)) is None:
                self._index.upsert(after)
                return
            if explicit and (entry := self._entry(after.id)) is not None:
                self._store(entry.derived, said.apply(entry.merged), patch.apply(current))
            else:
                self._index.upsert(patch.apply(current))

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """Around entering what is done already: if the index cannot follow now, that is no failure
        of the change, and everything is looked at again."""
        try:
            yield
        except StoreUnavailable as error:
            self._generation = None
            from logging import getLogger  # here: every start would pay for it

            log = getLogger(__name__)
            log.warning("the list index has to follow later: %s", error)

    def check_unreferenced(
        self,
        thread_ids: Collection[str],
        unwritten: Iterable[tuple[str, str]] = (),
        *,
        hint: str = "delete the fork first",
    ) -> None:
        """Conflict if the history of a thread outside *thread_ids* stands on one of them.

        *unwritten* are threads without a file, each with the rollout id that it stands on.
        """
        stands = [
            (thread.id, thread.rollout_path)
            for thread in self.threads()
            if thread.history_mode == "paginated"
        ]
        stands += ((thread_id, self._find_rollout(base)) for thread_id, base in unwritten)
        refuse_references(stands, thread_ids, self._find_rollout, hint)

    # Files

    def files_of(self, thread_id: str) -> list[RolloutFile]:
        """The files that are known to belong to a thread, as they are now."""
        return files_now(self._home, sorted(self._owned.get(thread_id, ())))

    def _load(self) -> None:
        """Start again from what the index says, if it is another one."""
        with self._lock:
            generation = self._index.current_generation()
            if generation == self._generation:
                return
            self._known = self._index.files()
            self._owned = {}
            for file in self._known.values():
                if file.thread_id is not None and file.problem != MISSING:
                    self._owned.setdefault(file.thread_id, set()).add(file.path)
            self._names.reset()
            self._rows.reset()
            self._looked_at = None
            self._generation = generation

    def _overdue(self) -> bool:
        last = self._looked_at
        return last is None or self.clock.monotonic() - last >= self._interval

    def _look_at_files(self, on_progress: Callable[[int, int], None] | None) -> None:
        found: dict[str, RolloutFile] = {}
        self.problems = {}
        self._folders.start()
        for file in scan(self._home, self._note_problem, self._folders.note):
            found[file.path] = file
        gone = [path for path in self._known if path not in found and not self._is_hidden(path)]
        for path in gone:  # or moved, while all were looked at, to where nobody looked any more
            now = file_now(self._home, path)
            if now is not None:
                found.setdefault(now.path, now)
        self._rollouts = {
            file.name.rollout_id: file.path for file in found.values() if file.name is not None
        }
        changed = [file for file in found.values() if self._is_news(file)]
        try:
            for done, batch in _batches(changed):
                self._index_files(batch)
                if on_progress is not None:
                    on_progress(done, len(changed))
            # Last, so that a thread whose file has moved is in the index all the time.
            self._forget([path for path in gone if path not in found])
        finally:
            self._rollouts = None

    def _note_problem(self, folder: str, error: OSError) -> None:
        self.problems[folder] = os.strerror(error.errno) if error.errno else str(error)

    def _is_hidden(self, path: str) -> bool:
        """Whether a file may well be there, in a folder that cannot be read just now."""
        return any(path.startswith(f"{folder}/") for folder in self.problems)

    def _is_news(self, file: RolloutFile) -> bool:
        known = self._known.get(file.path)
        if known is None or known.problem == MISSING:
            return True
        before = (known.size, known.mtime_ns, known.inode, known.archived)
        if before != (file.size, file.mtime_ns, file.inode, file.archived):
            return True
        return known.problem is not None and self._may_find_more(known)

    def _may_find_more(self, file: IndexedFile) -> bool:
        """Whether a file was not readable, or stands on one that was not there."""
        entry = self._entry(file.thread_id or "")
        return entry is not None and entry.derived.path == file.path and entry.derived.incomplete

    def _index_files(self, files: Iterable[RolloutFile]) -> None:
        read: list[Derived] = []
        for file in files:
            if file.name is not None and self._is_left_alone(file.name.thread_id):
                continue
            try:
                read.append(self._derive(file, self._entry_before(file)))
            except FileNotFoundError:
                continue
        if not read:  # a list need not wait for another program that is writing the index
            return
        with self._lock, self._index.transaction():
            for derived in read:
                previous = self._note(derived)
                if derived.thread is not None:
                    self._reindex(derived.thread.id, derived)
                if previous is not None and (
                    derived.thread is None or previous != derived.thread.id
                ):
                    self._reindex(previous, None)

    def _entry_before(self, file: RolloutFile) -> Entry | None:
        known = self._known.get(file.path)
        thread_id = known.thread_id if known else file.name and file.name.thread_id
        return self._entry(thread_id) if thread_id in self._owned else None

    def _derive(self, file: RolloutFile, before: Entry | None) -> Derived:
        """What *file* says; of a file that has only grown since *before* only the end is read."""
        return derive(file, self._find_rollout, None if before is None else before.derived)

    def _note(self, derived: Derived) -> str | None:
        """Enter a file; the thread it belonged to before."""
        known = self._known.get(derived.path)
        thread_id = derived.thread.id if derived.thread is not None else None
        file = IndexedFile(
            path=derived.path,
            thread_id=thread_id,
            size=derived.size,
            mtime_ns=derived.mtime_ns,
            inode=derived.inode,
            archived=derived.archived,
            problem=derived.problem,
        )
        if file != known:
            self._index.set_file(file)
            self._known[file.path] = file
        previous = known.thread_id if known is not None else None
        if previous is not None and previous != thread_id:
            self._owned.get(previous, set()).discard(file.path)
        if thread_id is not None:
            self._owned.setdefault(thread_id, set()).add(file.path)
        return previous

    def _forget(self, paths: Collection[str]) -> None:
        with self._lock, self._index.transaction() if paths else contextlib.nullcontext():
            for path in paths:
                known = self._known[path]
                owner, file = known.thread_id, file_now(self._home, path)
                if file is not None and file.path not in self._owned.get(owner or "", ()):
                    continue  # it is being moved at this moment
                if owner is not None and self._is_left_alone(owner):
                    continue
                if owner is not None:
                    self._owned.get(owner, set()).discard(path)
                if owner is None or self._owned.get(owner) or self._is_deleted(owner):
                    self._index.forget_file(path)
                    del self._known[path]
                elif known.problem != MISSING:
                    self._known[path] = msgspec.structs.replace(known, problem=MISSING)
                    self._index.set_file(self._known[path])
                if owner is not None:
                    self._reindex(owner, None)

    def _is_deleted(self, thread_id: str) -> bool:
        """Whether nobody speaks of a thread without files any more."""
        if self._names.names.get(thread_id):
            return False
        return self._rows.readable and self._rows.row(thread_id) is None

    def _locate(self, thread_id: str) -> RolloutFile | None:
        """The file that stands for a thread at this moment."""
        row = self._rows.row(thread_id)
        files = self.files_of(thread_id)
        wanted = os.path.basename(row.rollout_path) if row is not None else None
        if not files or (wanted and all(os.path.basename(f.path) != wanted for f in files)):
            known = {file.path for file in files}
            files += [file for file in find_by_id(self._home, thread_id) if file.path not in known]
        return choose_file(thread_id, files, row)

    def _find_rollout(self, rollout_id: str) -> str | None:
        if self._rollouts is not None:
            return self._rollouts.get(rollout_id)
        return find_rollout(self._home, rollout_id)

    # Threads

    def _is_left_alone(self, thread_id: str) -> bool:
        """Whether the thread's writer keeps its record; it cannot notice that the index is new."""
        return self._is_live(thread_id) and self._index.get(thread_id) is not None

    def threads(self) -> Iterator[StoredThread]:
        """Every thread in the index."""
        cursor: str | None = None
        while True:
            page = self._index.page(ThreadQuery(archived=None, limit=1000, cursor=cursor))
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def _reindex(self, thread_id: str, fresh: Derived | None) -> None:
        """Enter a thread after one of its files came, changed or went."""
        if self._is_left_alone(thread_id):
            return
        row = self._rows.row(thread_id)
        if fresh is not None and self._owned.get(thread_id) == {fresh.path}:
            self._enter(fresh, row)
            return
        file = choose_file(thread_id, self.files_of(thread_id), row)
        if file is None:
            self._index.remove([thread_id])
        elif fresh is not None and fresh.describes(file):
            self._enter(fresh, row)
        else:
            self._index_thread(thread_id, file)

    def _index_thread(self, thread_id: str, file: RolloutFile) -> StoredThread | None:
        """Enter a thread whose file is *file*, reading that only if it has changed."""
        entry = self._entry(thread_id)
        if entry is not None and entry.derived.describes(file) and not entry.derived.incomplete:
            derived = entry.derived
        else:
            try:
                derived = self._derive(file, entry)
            except FileNotFoundError:
                return None
            self._note(derived)
        if derived.thread is None or derived.thread.id != thread_id:
            return None
        return self._enter(derived, self._rows.row(thread_id), entry)

    def _enter(
        self, derived: Derived, row: StateRow | None, entry: Entry | None = None
    ) -> StoredThread | None:
        assert derived.thread is not None
        thread_id = derived.thread.id
        if derived.problem == EMPTY and row is None:
            self._index.remove([thread_id])  # nothing but an empty file: no history, no thread
            return None
        merged, record = self._combine(derived, row, entry)
        known = entry or self._entry(thread_id)
        if known == Entry(derived, merged) and record == self._index.get(thread_id):
            return record
        if self._index.in_transaction:
            return self._store(derived, merged, record)
        with self._index.transaction():  # what others have seen by now must stay: look once more
            merged, record = self._combine(derived, self._rows.row(thread_id), None)
            return self._store(derived, merged, record)

    def _combine(
        self, derived: Derived, row: StateRow | None, entry: Entry | None
    ) -> tuple[StoredThread, StoredThread]:
        """What file, row and name say together, and that with what the index has beyond them."""
        merged = self._merge(derived, row)
        if (ours := self._index.get(merged.id)) is None:
            return merged, merged
        entry = entry or self._entry(merged.id)
        return merged, adopt(ours, merged) if entry is None else rebase(entry.merged, ours, merged)

    def _merge(self, derived: Derived, row: StateRow | None) -> StoredThread:
        assert derived.thread is not None
        thread_id = derived.thread.id
        name = self._names.names.get(thread_id)
        merged = merge(derived, row, name, default_provider=self._default_provider)
        parent = self._rows.parents.get(thread_id)
        if parent is not None and merged.parent_thread_id is None:
            merged = msgspec.structs.replace(merged, parent_thread_id=parent)
        return merged

    def _store(self, derived: Derived, merged: StoredThread, record: StoredThread) -> StoredThread:
        self._index.upsert(record, derived=Entry(derived, merged).pack())
        return record

    def _entry(self, thread_id: str) -> Entry | None:
        return Entry.unpack(self._index.derived(thread_id))

    def _merge_changed(self) -> None:
        """Merge the threads again whose row or name has changed."""
        with self._lock:
            changed = self._rows.changed_ids | self._names.changed_ids
            self._rows.changed_ids, self._names.changed_ids = set(), set()
        for _, batch in _batches(sorted(changed & self._owned.keys())):
            with self._lock, self._index.transaction():
                for thread_id in batch:
                    self._reindex(thread_id, None)


def _batches(things: Collection[T]) -> Iterator[tuple[int, list[T]]]:
    """Portions, with the number of things done when the portion is."""
    rest = iter(things)
    done = 0
    while batch := list(islice(rest, _BATCH)):
        done += len(batch)
        yield done, batch
