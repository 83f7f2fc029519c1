"""Keeping our list index in step with files, rows and names, whoever changes them.

Lists are served from the index alone. Before one, a *quick look* sees to what other programs
usually do: new, moved and deleted files (their folder has another time then), new rows and names,
growth of the threads in use. Everything else, such as an old file that grew where it lies, takes a
*full look*: at once in a home of up to ``EXACT`` files, where it takes some milliseconds; in the
background in a larger one, and at once for whoever asks with *force*.

Nothing here writes to a file of Codex. What cannot be read is kept in ``problems``, never raised.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from threadstore.clock import Clock, to_ms
from threadstore.errors import StoreUnavailable, ThreadNotFound
from threadstore.metadata import StoredThread, ThreadMetadataPatch
from threadstore.queries import ThreadPage, ThreadQuery
from threadstore.stores.local import filling, looking
from threadstore.stores.local.database import LOCKED
from threadstore.stores.local.index_db import IndexDb
from threadstore.stores.local.index_files import MISSING, IndexFiles, MissingThread
from threadstore.stores.local.looking import Findings, batches, look_into, warn
from threadstore.stores.local.name_index import Added
from threadstore.stores.local.pace import Pace
from threadstore.stores.local.paths import Home, RolloutFile
from threadstore.stores.local.row_watch import RowWatch
from threadstore.stores.local.state_db import StateDb
from threadstore.stores.local.watches import FolderWatch, NameWatch
from threadstore.stores.local.whereabouts import file_now, refuse_references

if TYPE_CHECKING:
    from threadstore.stores.local.derive import LogEnd
    from threadstore.stores.local.entering import Entering

__all__ = ["EXACT", "MISSING", "IndexSync"]

T = TypeVar("T")

EXACT: Final = 2000
"""Files up to which each look is a full one: some 10 ms for 1,000."""
_BATCH: Final = 128
_PORTION: Final = 16
"""Folders that the background looks at in one go."""
_MOVES: Final = 3
"""How often to look for a file that is moved (archived, unarchived) while it is looked for."""
_PATIENCE: Final = 0.5
"""Seconds that a list waits for another program that keeps our index locked."""
_REST: Final = 20
"""How many times as long as it waited a list does not wait again."""


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
        default_provider: Callable[[], str],
        clock: Clock,
        refresh_interval: float = 1.0,
        exact: int = EXACT,
        is_live: Callable[[str], bool] = lambda _thread_id: False,
    ) -> None:
        self._home = home
        self._index = index
        self._default_provider = default_provider
        self.clock = clock
        self.interval = refresh_interval
        self._exact = exact
        self._files = IndexFiles(index)
        self._names = NameWatch(home, index)
        self._rows = RowWatch(state, index, self._files)
        self._folders = FolderWatch(self._files)
        self._is_live = is_live
        self._refreshing = threading.Lock()
        self._lock = threading.RLock()
        self._generation: int | None = None
        self._identity = ""
        self._size: int | None = None
        self._looked_at: float | None = None
        self._hurried = False
        self._blocked_until: float | None = None
        self.problems: dict[str, str] = {}
        """Folders that could not be read, with the reason."""

    @cached_property
    def _entering(self) -> Entering:
        """Who finds nothing new need not import what reads files: that takes longer than a list."""
        from threadstore.stores.local.entering import Entering

        return Entering(
            self._home,
            self._index,
            self._files,
            self._names,
            self._rows,
            default_provider=self._default_provider(),
            clock=self.clock,
            is_live=self._is_live,
        )

    def beside(self, state: StateDb | None, index: IndexDb) -> IndexSync:
        """The same for another index of the same home."""
        return IndexSync(
            self._home, state, index, default_provider=self._default_provider, clock=self.clock
        )

    # Asking

    def due(self) -> bool:
        """Whether a list would be out of date. Asks the system, but reads no file."""
        if self._blocked_until is not None and self.clock.monotonic() < self._blocked_until:
            return not self.serves()
        return (
            not self.serves()
            or self._hurried
            or self._overdue()
            or self._names.changed()
            or self._rows.changed()
            or self._folders.changed()
            or bool(self._rows.changed_ids or self._names.changed_ids)
        )

    def serves(self) -> bool:
        """Whether the index has been complete: it was not made anew since the last look."""
        return self._size is not None and self._generation == self._index.current_generation()

    @property
    def is_large(self) -> bool:
        """Whether full looks are left to the background."""
        return self._size is not None and self._size > self._exact

    def follow(self) -> None:
        """:meth:`refresh` for a list. While another program keeps the index locked, it is served as
        it is, and follows later."""
        try:
            self._refresh_or_again(patience=_PATIENCE)
        except StoreUnavailable as error:
            if not isinstance(error.__cause__, LOCKED) or not self.serves():
                raise
            self._blocked_until = self.clock.monotonic() + _PATIENCE * _REST
            warn(error)

    def look_again(self) -> None:
        """Have the next list look at files that are likely to have grown, however soon it is."""
        self._hurried = True

    def refresh(
        self, *, force: bool = False, on_progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Bring the whole index up to date; with *force* whatever the last look was.

        *on_progress* is told how many of the changed files are done.
        """
        self._refresh_or_again(on_progress, force=force)

    def _refresh_or_again(
        self,
        on_progress: Callable[[int, int], None] | None = None,
        *,
        force: bool = False,
        patience: float | None = None,
    ) -> None:
        with self._refreshing:
            self._or_again(lambda: self._refresh(on_progress, patience, force=force))

    def _refresh(
        self,
        on_progress: Callable[[int, int], None] | None,
        patience: float | None,
        *,
        force: bool,
    ) -> None:
        self._load()
        first = self._size is None
        patience = None if first else patience  # nothing could be served instead
        overdue, hurried, self._hurried = self._overdue(), self._hurried, False
        full = force or first or (overdue and not self.is_large)
        self._names.update()
        if not first:
            self._rows.update(every=full)
        moved = full or overdue or self._folders.changed()
        if moved or hurried:
            full = full or (moved and not self.is_large)
            found = self._look(full=full, moved=moved)
            self._apply(found, on_progress, patience, full=full)
            if full:
                self._note_complete()
            if moved:
                self._looked_at = self.clock.monotonic()
        if first:  # rows of the threads have been merged just now
            self._rows.update(every=False)
        self._merge_changed(patience)
        self._blocked_until = None

    def heal(self, stopped: Callable[[float], bool] = lambda _seconds: False) -> bool:
        """A full look in portions, for the background, with a rest after each that leaves the core
        to others.

        *stopped* waits some seconds and says whether to stop. Whether it came to its end.
        """
        last = Findings()
        for _, portion in batches(self._every_folder(), _PORTION):
            found, pace = Findings(problems=last.problems), Pace()
            look_into(self._home, self._files, portion, self._folders, found, thorough=True)
            rest = pace.rest()
            found.put_off(last)
            with self._refreshing:
                self._apply(found)
            if stopped(rest):
                return False
        with self._refreshing:
            self._apply(last, full=True)
        pace = Pace()
        compared = None if self._rows.complete else self._rows.compare()
        if compared is not None and stopped(pace.rest()):
            return False
        for _, batch in batches(sorted(compared.changed) if compared else (), _BATCH):
            with self._refreshing:
                self._merge(batch)
            if stopped(0.001):
                return False
        with self._refreshing:
            self._rows.take(compared)
            self._merge_changed()
            self.problems = last.problems
            self._note_complete()
        return True

    def page(self, query: ThreadQuery, cwds: Collection[str] | None) -> ThreadPage | None:
        """A page of the index; ``None`` if that was made anew meanwhile and has to be filled."""
        generation = self._generation  # somebody else may fill another one before we have looked
        if not self.serves():
            return None
        try:
            page = self._index.page(query, cwds)
        except StoreUnavailable:
            if self.serves():
                raise
            return None
        return page if self.serves() and self._generation == generation else None

    # Looking

    def _every_folder(self) -> list[str]:
        home = self._home
        return list(dict.fromkeys((home.sessions, home.archived, *sorted(self._folders.known))))

    def _look(self, *, full: bool, moved: bool) -> Findings:
        found = Findings()
        folders = self._every_folder() if full else self._folders.stale() if moved else ()
        look_into(self._home, self._files, folders, self._folders, found, thorough=full)
        if not full:
            looking.look_at_likely(self._home, self._files, self._rows.changed_ids, found)
        if not full and self._looked_at is None:
            looking.look_further(self._home, self._files, found, to_ms(self.clock.now()))
        self.problems = found.problems if full else self.problems | found.problems
        return found

    def _apply(
        self,
        found: Findings,
        on_progress: Callable[[int, int], None] | None = None,
        patience: float | None = None,
        *,
        full: bool = False,
    ) -> None:
        """Bring the index in line with what was found."""
        news = found.news
        for path in found.gone:  # or moved, while all were looked at, to where nobody looked
            if (now := file_now(self._home, path)) is not None:
                news.setdefault(now.path, now)
        if (full or found.came) and self._files.with_problem():
            news.update((file.path, file) for file in self._entering.incomplete())
        if self._size is None and len(news) >= filling.MANY:
            with self._lock:
                filling.start(self._index, self._files)
        if news:
            self._enter(list(news.values()), on_progress, patience)
        # Last, so that a thread whose file has moved is in the index all the time.
        gone = [path for path in found.gone if path not in news]
        if gone or found.reached or self._folders.news(found.marks, found.lost):
            with self._lock, self._index.transaction(patience=patience):
                self._files.set_reached(found.reached)
                for path in gone:
                    self._entering.forget_file(path)
                self._folders.settle(found.marks, found.lost)

    def _enter(
        self,
        news: list[RolloutFile],
        on_progress: Callable[[int, int], None] | None,
        patience: float | None,
    ) -> None:
        self._entering.start_look()
        try:
            for done, batch in batches(news, _BATCH):
                self._enter_files(batch, patience)
                if on_progress is not None:
                    on_progress(done, len(news))
        finally:
            self._entering.end_look()

    def _enter_files(self, files: Iterable[RolloutFile], patience: float | None) -> None:
        read = self._entering.read(files)
        if not read:  # a list need not wait for another program that is writing the index
            return
        with self._lock, self._index.transaction(patience=patience):
            self._entering.enter_files(read)

    def _merge_changed(self, patience: float | None = None) -> None:
        """Merge the threads again whose row or name has changed."""
        with self._lock:
            changed = self._rows.changed_ids | self._names.changed_ids
        for _, batch in batches(sorted(changed), _BATCH):
            self._merge(batch, patience)
            self._rows.changed_ids.difference_update(batch)
            self._names.changed_ids.difference_update(batch)
        if self._rows.unsaved or self._names.unsaved:
            with self._lock, self._index.transaction(patience=patience):
                self._rows.settle()
                self._names.settle()

    def _merge(self, thread_ids: Iterable[str], patience: float | None = None) -> None:
        with self._lock, self._index.transaction(patience=patience):
            for thread_id in thread_ids:
                self._entering.merge_again(thread_id)

    def _load(self) -> None:
        """Start again from what the index says, if it is another one."""
        with self._lock:
            generation = self._index.current_generation()
            if generation == self._generation:
                return
            self._identity, self._size = self._files.identity(), self._files.complete()
            self._names.reset()
            self._rows.reset()
            self._folders.reset()
            if self._home.sessions not in self._folders.known:
                self._size = None  # it was copied or moved with its home: nobody has looked here
            self._looked_at = None
            self._generation = generation

    def _note_complete(self) -> None:
        """Every file has been looked at. How many there are need not be known exactly."""
        size, before = self._files.count(), self._size
        if before is None or (size > self._exact) != self.is_large:
            with self._lock:
                filling.finish(self._index, self._files, size, self._identity)
        self._size = size

    def _overdue(self) -> bool:
        last = self._looked_at
        return last is None or self.clock.monotonic() - last >= self.interval

    def _or_again(self, look: Callable[[], T]) -> T:
        """*look*; once more if the index had to be made anew, in memory where the disk is full."""
        try:
            return look()
        except StoreUnavailable:
            if self._generation == self._index.current_generation():
                raise
            return look()

    # Single threads

    def refresh_thread(self, thread_id: str) -> StoredThread | None:
        """One thread as it is at this moment; ``None`` if it has no file."""
        return self._or_again(lambda: self._refresh_thread(thread_id))

    def _refresh_thread(self, thread_id: str) -> StoredThread | None:
        for _ in range(_MOVES):
            with self._lock:
                self._load()
                if self._entering.is_left_alone(thread_id):
                    return self._index.get(thread_id)
                self._names.update()
                file, row = self._entering.locate(thread_id)
            if file is None:
                self.refresh()  # its file may have the name of another thread
            with self._lock:
                if file is None:
                    file, row = self._entering.locate(thread_id)
                thread = self._entering.index_thread(thread_id, file, row) if file else None
                if thread is not None or not self._files.of_thread(thread_id):
                    break
        if thread is None:
            with self._lock:
                self._entering.lose_files(thread_id)
        return thread

    def not_found(self, thread_id: str) -> ThreadNotFound:
        """Why there is no such thread."""
        if (missing := self._files.missing(thread_id)) is None:
            return ThreadNotFound(thread_id)
        return ThreadNotFound(
            thread_id,
            f"the file of thread {thread_id} is missing: {missing.record.rollout_path}",
            hint="bring the file back, and the thread is back with all that was known of it",
        )

    def log_end(self, thread_id: str) -> LogEnd | None:
        """Where the thread's log ended when it was last read; ``None`` if nobody knows."""
        entry = self._entering.entry(thread_id)
        return None if entry is None else entry.derived.log_end()

    def settle(self, thread: StoredThread) -> None:
        """A writer of ours has let *thread* go in this state: what its file says now is no news."""
        with self._lock:
            self._load()
            self._names.update()
            self._entering.settle(thread)

    def observed(self, lot: Iterable[tuple[StoredThread, ThreadMetadataPatch]]) -> None:
        """:meth:`change` for what writers of this store have observed of several threads."""
        with self._lock, self._index.transaction():
            for after, patch in lot:
                if patch.only_touches() and (current := self._index.get(after.id)) is not None:
                    self._index.touch(patch.apply(current))
                else:
                    self.change(after, patch, explicit=False)

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
            entry = self._entering.entry(after.id) if explicit else None
            entry = entry and msgspec.structs.replace(entry, merged=said.apply(entry.merged))
            self._index.upsert(patch.apply(current), derived=entry.pack() if entry else None)

    def named(self, added: Added) -> None:
        """:meth:`change` has entered the name of an entry that was added to the name index."""
        with self._lock:
            self._names.added(added)

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """Around entering what is done already: if the index cannot follow now, that is no failure
        of the change, and everything is looked at again."""
        try:
            yield
        except StoreUnavailable as error:
            self._generation = None
            warn(error)

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
        find = self._entering.find_rollout
        stands = [
            (thread.id, thread.rollout_path)
            for thread in self.threads()
            if thread.history_mode == "paginated"
        ]
        stands += ((thread_id, find(base)) for thread_id, base in unwritten)
        refuse_references(stands, thread_ids, find, hint)

    # What the index has

    def files_of(self, thread_id: str) -> list[RolloutFile]:
        """The files that are known to belong to a thread, as they are now."""
        return self._entering.files_of(thread_id)

    def threads(self) -> Iterator[StoredThread]:
        """Every thread in the index."""
        return self._index.threads()

    def missing_threads(self) -> list[MissingThread]:
        """Threads that are kept though their file is gone."""
        return self._files.missing_threads()
