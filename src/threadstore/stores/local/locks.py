"""Codex's file locks, taken as Codex takes them (0.144 to 0.169)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from threadstore.stores.local.paths import Home

__all__ = ["WriterLock", "index_lock", "open_by_other_process", "writer_holder"]


class WriterLock:
    """The right to write one thread, held until :meth:`release` or the end of the process."""

    thread_id: str

    @classmethod
    def acquire(cls, home: Home, thread_id: str) -> Self:
        """Take the lock at once. Raises Conflict, naming the holder where the system shows it (also
        if this very process holds it), or StoreUnavailable."""
        raise NotImplementedError

    @property
    def held(self) -> bool:
        """Whether it was not released yet."""
        raise NotImplementedError

    def release(self) -> None:
        """Give the lock back and remove its file. Twice is once; never fails."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def writer_holder(home: Home, thread_id: str) -> str | None:
    """Who holds a thread's writer lock now, for people (``"process 4711 (codex)"``); ``None`` if
    nobody. Changes nothing on disk."""
    raise NotImplementedError


def open_by_other_process(path: str) -> str | None:
    """Another process that has *path* open for writing, as far as the system shows it.

    Codex up to 0.150 takes no writer lock; this is the only sign of it. ``None`` if none is seen.
    """
    raise NotImplementedError


@contextlib.contextmanager
def index_lock(home: Home) -> Iterator[None]:
    """Hold ``session_index.jsonl.lock`` (waits, as Codex 0.169 does)."""
    raise NotImplementedError
    yield
