"""Archive, unarchive and delete: all or nothing over files, rows and index.

Files that are to go step aside first, under a name that nobody reads, and go for good only when
everything else is done. A crash in between leaves them there, for ``doctor`` to report.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager

import msgspec

from threadstore.errors import InvalidRequest, StoreUnavailable
from threadstore.metadata import StoredThread
from threadstore.stores.local import name_index
from threadstore.stores.local.copies import forms, without_copies
from threadstore.stores.local.index_db import IndexDb
from threadstore.stores.local.locks import WriterLock, check_unused
from threadstore.stores.local.paths import (
    ASIDE,
    Home,
    RolloutFile,
    active_path,
    archived_path,
    find_by_id,
    make_folders,
    plain_path,
    stat_rollout,
    sync_folder,
    unavailable,
)
from threadstore.stores.local.side_databases import without_threads
from threadstore.stores.local.state_db import ArchiveChange, StateDb

__all__ = ["Archiver", "move_back"]


class _Move(msgspec.Struct, frozen=True):
    """One file and where it goes."""

    old: str
    new: str

    @property
    def is_aside(self) -> bool:
        """Whether the file is to go for good in the end."""
        return self.new.endswith(ASIDE)


class Archiver:
    """Moves and removes whole families of cold threads. Everything here blocks."""

    def __init__(
        self,
        home: Home,
        state: StateDb | None,
        index: IndexDb,
        following: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._home = home
        self._following = following
        self._state = state
        self._index = index

    def archive(self, threads: Sequence[StoredThread], now: dt.datetime) -> None:
        """Move the files of *threads* to the archive and mark their rows."""
        self._relocate(threads, now, lambda path: archived_path(self._home, path))

    def unarchive(self, threads: Sequence[StoredThread]) -> None:
        """Move them back to the date folders that their names say."""
        self._relocate(threads, None, lambda path: active_path(self._home, path))

    def _relocate(
        self,
        threads: Sequence[StoredThread],
        archived_at: dt.datetime | None,
        target: Callable[[str], str],
    ) -> None:
        archived = archived_at is not None
        moves: list[_Move] = []
        changes = []
        with self._locked(threads) as files:
            for thread in threads:
                planned, path = _plan(thread, files[thread.id], target, archived=archived)
                moves += planned
                changes.append(ArchiveChange(thread.id, path, archived_at))
            with _moved(moves), self._row_transaction() as state:
                if state is not None:
                    state.set_archived(changes)
            for error in _remove_aside(moves):
                from logging import getLogger  # here: every start would pay for it

                log = getLogger(__name__)
                log.warning("a copy of an archived or unarchived thread is left: %s", error)
        with self._following(), self._index.transaction():
            for thread, change in zip(threads, changes, strict=True):
                self._index.upsert(
                    msgspec.structs.replace(
                        thread, archived_at=archived_at, rollout_path=change.rollout_path
                    )
                )

    def delete(self, threads: Sequence[StoredThread]) -> None:
        """Remove their files, rows, names and index entries, also from Codex's other databases.

        A failure on the way brings all of them back. Raises StoreUnavailable also if all of it is
        done but for a file that stepped aside and cannot be removed.
        """
        ids = [thread.id for thread in threads]
        with self._locked(threads) as files:
            doomed = [form for owned in files.values() for file in owned for form in forms(file)]
            aside = [_Move(path, path + ASIDE) for path in doomed]
            with _moved(aside), self._row_transaction() as state, contextlib.ExitStack() as others:
                if state is not None:
                    state.delete(ids)
                    patience = state.busy_timeout
                    others.enter_context(without_threads(self._home, ids, busy_timeout=patience))
                name_index.remove(self._home, ids)
            failed = _remove_aside(aside)
        with self._following(), self._index.transaction():
            self._index.remove(ids)
            for path in doomed:
                self._index.forget_file(plain_path(path))
        for error in failed:
            raise error

    @contextlib.contextmanager
    def _row_transaction(self) -> Iterator[StateDb | None]:
        """A durable transaction where there is a database to write; a missing one is not made.
        One that is only locked fails the call: its rows would go stale for no reason."""
        state = self._state
        if state is None or not state.exists or not (state.writable or state.locked):
            yield None
            return
        with state.transaction(durable=True):
            yield state

    @contextlib.contextmanager
    def _locked(self, threads: Sequence[StoredThread]) -> Iterator[dict[str, list[RolloutFile]]]:
        """All writer locks of the family, and the files each member owns."""
        with contextlib.ExitStack() as stack:
            for thread in sorted(threads, key=lambda thread: thread.id):
                stack.enter_context(WriterLock.acquire(self._home, thread.id))
            files = {thread.id: self._files_of(thread) for thread in threads}
            for thread_id, owned in files.items():
                for file in owned:
                    check_unused(thread_id, file.actual_path)
            yield files

    def _files_of(self, thread: StoredThread) -> list[RolloutFile]:
        """Every rollout of the thread, segments of reverts and oddly named ones too."""
        known = {file.path: file for file in find_by_id(self._home, thread.id)}
        if thread.rollout_path is not None and thread.rollout_path not in known:
            odd = stat_rollout(self._home, thread.rollout_path)
            if odd is not None:
                known[odd.path] = odd
        return list(known.values())


def _plan(
    thread: StoredThread,
    files: Sequence[RolloutFile],
    target: Callable[[str], str],
    *,
    archived: bool,
) -> tuple[list[_Move], str]:
    """What to move so that a thread is *archived* or not, and where its file will be."""
    kept, spare = without_copies(files, thread)
    moves = [_Move(path, path + ASIDE) for path in spare]
    path = thread.rollout_path or ""
    place = target(path)
    for file in kept:
        if file.archived is not archived:
            moves += (_Move(form, target(form)) for form in forms(file))
        elif os.path.basename(file.path) == os.path.basename(path):
            place = file.path
    return moves, place


@contextlib.contextmanager
def _moved(moves: Sequence[_Move]) -> Iterator[None]:
    """Files moved, durably; moved back if the body fails."""
    done: list[_Move] = []
    try:
        for move in moves:
            _move(move)
            done.append(move)
        _sync_folders({os.path.dirname(path) for move in moves for path in (move.old, move.new)})
        yield
    except BaseException as error:
        stuck = [failure for move in reversed(done) if (failure := _undo(move)) is not None]
        if stuck and isinstance(error, Exception):
            raise StoreUnavailable(
                f"{error}; and on the way back: {'; '.join(stuck)}",
                hint="run `threadstore doctor` once the disk works again",
            ) from error
        raise


def _move(move: _Move) -> None:
    if os.path.lexists(move.new):
        raise InvalidRequest(
            f"cannot move {move.old}: {move.new} exists",
            hint="run `threadstore doctor`, or move one of the two out of the home",
        )
    try:
        make_folders(os.path.dirname(move.new))
        os.rename(move.old, move.new)
    except OSError as error:
        raise unavailable(error, f"cannot move {move.old}") from error


def _undo(move: _Move) -> str | None:
    """Move a file back; why not, if that fails."""
    try:
        os.rename(move.new, move.old)
    except OSError as error:
        return str(unavailable(error, f"cannot move {move.new} back to {move.old}"))
    return None


def _sync_folders(folders: Iterable[str]) -> None:
    for folder in folders:
        try:
            sync_folder(folder)
        except OSError as error:
            raise unavailable(error, f"cannot flush {folder}") from error


def _remove_aside(moves: Sequence[_Move]) -> list[StoreUnavailable]:
    """Remove the files that stepped aside, all that can be; what failed."""
    failed = []
    for move in moves:
        if move.is_aside:
            try:
                os.unlink(move.new)
            except FileNotFoundError:
                continue
            except OSError as error:
                failed.append(unavailable(error, f"all is done, but cannot remove {move.new}"))
    return failed


def move_back(home: Home, thread_id: str, aside: str) -> None:
    """Give a file that stepped aside its name back, durably; never over another one.

    Raises Conflict if somebody works on the thread, InvalidRequest if its name is taken.
    """
    with WriterLock.acquire(home, thread_id):
        _move(_Move(aside, aside.removesuffix(ASIDE)))
        _sync_folders([os.path.dirname(aside)])
