"""Our own list index, ``threadstore_1.sqlite``: complete, and disposable."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

import msgspec

from threadstore.metadata import StoredThread
from threadstore.queries import ThreadPage, ThreadQuery

__all__ = ["IndexDb", "IndexedFile"]


class IndexedFile(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A rollout file as it was when it was indexed."""

    path: str
    """The plain ``.jsonl`` path, also of a compressed file."""
    thread_id: str | None
    """``None`` for a file that is no thread."""
    size: int
    mtime_ns: int
    inode: int
    archived: bool
    problem: str | None = None
    """Why it is not (completely) a thread, for people."""


class IndexDb:
    """The index. Safe to use from several threads (calls take turns) and several processes.

    A file that is damaged, unreadable or of another schema version is made anew; where no file can
    be kept it lives in memory and ``degraded`` says why.
    """

    def __init__(self, path: str | None, *, busy_timeout: float = 5.0) -> None:
        self.path = path
        """``None``: in memory by choice."""
        self.degraded: str | None = None
        self.rebuilt: str | None = None
        """Why an existing file was thrown away when it was opened, for people."""

    def open(self) -> None:
        """Open or create the index. Twice is once."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the file. Twice is once."""
        raise NotImplementedError

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """One IMMEDIATE transaction around several writes. Nested use joins the outer one."""
        raise NotImplementedError
        yield

    # Threads

    def upsert(self, record: StoredThread, *, derived: bytes | None = None) -> None:
        """Add or replace a thread; *derived* ``None`` keeps what is stored with it."""
        raise NotImplementedError

    def get(self, thread_id: str) -> StoredThread | None:
        """The thread."""
        raise NotImplementedError

    def derived(self, thread_id: str) -> bytes | None:
        """The bytes that were stored with the thread."""
        raise NotImplementedError

    def remove(self, thread_ids: Collection[str]) -> None:
        """Forget threads (not their files)."""
        raise NotImplementedError

    def count(self) -> int:
        """Number of threads."""
        raise NotImplementedError

    def ids(self) -> set[str]:
        """Every thread id."""
        raise NotImplementedError

    def page(self, query: ThreadQuery, resolved_cwds: Collection[str] | None = None) -> ThreadPage:
        """A page. *resolved_cwds* stands in for ``query.cwds`` and is compared as text with the
        working directories of the threads, resolved when they were indexed."""
        raise NotImplementedError

    def ids_with_prefix(self, prefix: str, limit: int) -> list[str]:
        """Ids that begin with *prefix* (hyphens and letter case as in canonical ids)."""
        raise NotImplementedError

    def ids_with_name(self, name: str) -> list[str]:
        """Ids of threads with exactly this explicit name."""
        raise NotImplementedError

    def children(self, thread_id: str) -> list[str]:
        """Ids that the thread spawned."""
        raise NotImplementedError

    def descendants(self, thread_id: str) -> list[str]:
        """Children, their children, and so on; parents before children, the thread left out."""
        raise NotImplementedError

    # Files

    def files(self) -> dict[str, IndexedFile]:
        """Every known file by its plain path."""
        raise NotImplementedError

    def set_file(self, file: IndexedFile) -> None:
        """Add or replace a file."""
        raise NotImplementedError

    def forget_file(self, path: str) -> None:
        """Forget a file (not its thread)."""
        raise NotImplementedError

    # Marks

    def meta(self, key: str) -> str | None:
        """A remembered value."""
        raise NotImplementedError

    def set_meta(self, key: str, value: str | None) -> None:
        """Remember a value; ``None`` forgets it."""
        raise NotImplementedError
