"""Archive, unarchive and delete: all or nothing over files, rows and index."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import msgspec

from threadstore.errors import InvalidRequest
from threadstore.metadata import StoredThread
from threadstore.stores.local import name_index
from threadstore.stores.local.index_db import IndexDb
from threadstore.stores.local.locks import WriterLock, check_unused
from threadstore.stores.local.paths import (
    Home,
    RolloutFile,
    active_path,
    archived_path,
    find_by_id,
    make_folders,
    plain_path,
    stat_rollout,
    unavailable,
)
from threadstore.stores.local.state_db import ArchiveChange, StateDb

__all__ = ["Archiver"]

_DELETED_SUFFIX = ".deleted.tmp"


class _Move(msgspec.Struct, frozen=True):
    """One file and where it goes."""

    old: str
    new: str


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
        with self._locked(threads) as files:
            moves = [
                _Move(file.actual_path, target(file.actual_path))
                for owned in files.values()
                for file in owned
                if file.archived is not archived
            ]
            changes = [
                ArchiveChange(thread.id, target(thread.rollout_path or ""), archived_at)
                for thread in threads
            ]
            with _moved(moves), self._row_transaction() as state:
                if state is not None:
                    state.set_archived(changes)
        with self._following(), self._index.transaction():
            for thread, change in zip(threads, changes, strict=True):
                self._index.upsert(
                    msgspec.structs.replace(
                        thread, archived_at=archived_at, rollout_path=change.rollout_path
                    )
                )

    def delete(self, threads: Sequence[StoredThread]) -> None:
        """Remove their files, rows, names and index entries.

        The files step aside first and go for good only when everything else is gone, so that a
        failure on the way brings all of them back.
        """
        ids = [thread.id for thread in threads]
        with self._locked(threads) as files:
            doomed = [file.actual_path for owned in files.values() for file in owned]
            aside = [_Move(path, path + _DELETED_SUFFIX) for path in doomed]
            with _moved(aside), self._row_transaction() as state:
                if state is not None:
                    state.delete(ids)
                name_index.remove(self._home, ids)
            for move in aside:
                os.unlink(move.new)
        with self._following(), self._index.transaction():
            self._index.remove(ids)
            for path in doomed:
                self._index.forget_file(plain_path(path))

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
    except BaseException:
        for move in reversed(done):
            os.rename(move.new, move.old)
        raise


def _move(move: _Move) -> None:
    if os.path.lexists(move.new):
        raise InvalidRequest(
            f"cannot move {move.old}: {move.new} exists",
            hint="two copies of one thread; run `threadstore doctor`",
        )
    try:
        make_folders(os.path.dirname(move.new))
        os.rename(move.old, move.new)
    except OSError as error:
        raise unavailable(error, f"cannot move {move.old}") from error


def _sync_folders(folders: set[str]) -> None:
    for folder in folders:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise unavailable(error, f"cannot flush {folder}") from error
        finally:
            os.close(descriptor)
