"""Codex's state database, ``state_5.sqlite``: read at any level, written by Codex's rules."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Collection, Iterable, Iterator

import msgspec

from threadstore.metadata import MetadataOrigin, StoredThread, ThreadMetadataPatch
from threadstore.stores.local.state_rows import StateRow

__all__ = ["ArchiveChange", "StateDb"]


class ArchiveChange(msgspec.Struct, frozen=True):
    """Where a thread's rollout is now, and since when it is archived (``None``: active)."""

    thread_id: str
    rollout_path: str
    archived_at: dt.datetime | None


class StateDb:
    """One ``state_5.sqlite``. Safe to use from several threads (calls take turns).

    Reading methods answer "nothing" while the file is missing and raise
    :class:`~threadstore.errors.StoreUnavailable` when it is unusable, locked or broken.
    """

    def __init__(self, path: str, *, busy_timeout: float = 5.0) -> None:
        self.path = path
        self.reason: str | None = None
        """Why it is not writable or not readable, for people; ``None`` while all is well."""
        self.level = 0
        """Highest migration applied; 0 while there is no database."""

    @property
    def exists(self) -> bool:
        """Whether there was a database when it was last looked at."""
        raise NotImplementedError

    @property
    def readable(self) -> bool:
        """Whether rows can be read (so also while the file is missing: there are none)."""
        raise NotImplementedError

    @property
    def writable(self) -> bool:
        """Whether rows may be written (so also while the file is missing: ``ensure`` makes it)."""
        raise NotImplementedError

    def open(self) -> None:
        """Look at the file and connect if there is one. Never creates, never raises for what the
        file is like: see ``readable``, ``writable`` and ``reason``. Call it again to look again."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the file. Twice is once."""
        raise NotImplementedError

    def ensure(self) -> None:
        """Make the database if it is missing or empty and get ready to write.

        Raises StoreUnavailable if it is not writable, saying why.
        """
        raise NotImplementedError

    # Reading

    def read_row(self, thread_id: str) -> StateRow | None:
        """The thread's row."""
        raise NotImplementedError

    def read_rows(self, *, since_updated_ms: int | None = None) -> Iterator[StateRow]:
        """Every row, or those updated at or after a time; read in short portions."""
        raise NotImplementedError

    def data_version(self) -> int:
        """Another number whenever somebody else has committed since (our own writes do not count);
        also after ``open`` and the first ``ensure``, which reconnect. 0 without a database."""
        raise NotImplementedError

    def count(self) -> int:
        """Number of rows."""
        raise NotImplementedError

    def max_updated_ms(self) -> int:
        """The newest ``updated_at``; 0 without rows."""
        raise NotImplementedError

    def spawn_parents(self) -> dict[str, str]:
        """Child id to parent id, of every spawn edge."""
        raise NotImplementedError

    def children(self, parent_ids: Collection[str]) -> list[str]:
        """Ids that these threads spawned, by edge or by ``source``; direct children only."""
        raise NotImplementedError

    # Writing: each call is a transaction of its own unless one is open

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """One IMMEDIATE transaction; *durable*: it survives power loss. Calls ``ensure``.

        Nested use joins the outer transaction.
        """
        raise NotImplementedError
        yield

    def write(
        self,
        thread: StoredThread,
        patch: ThreadMetadataPatch,
        *,
        origin: MetadataOrigin,
        path: str,
        durable: bool = False,
    ) -> StateRow:
        """Bring the thread's row in line with *patch*; the row as it is afterwards.

        *thread* is the thread after the patch: a missing row is made from it. In an existing row
        only what the patch says changes, plus the rollout path and what the row lacks.
        """
        raise NotImplementedError

    def insert_if_absent(self, thread: StoredThread, *, path: str) -> bool:
        """Make a row for a thread that has none; whether it did. An existing row is untouched."""
        raise NotImplementedError

    def set_archived(self, changes: Iterable[ArchiveChange]) -> list[str]:
        """Archive or unarchive; the ids that have a row."""
        raise NotImplementedError

    def set_rollout_path(self, thread_id: str, *, old: str, new: str) -> bool:
        """Point a row elsewhere if it still says *old*; whether it did."""
        raise NotImplementedError

    def delete(self, thread_ids: Collection[str]) -> None:
        """Remove the threads from every table that is keyed on them."""
        raise NotImplementedError
