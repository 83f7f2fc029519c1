"""Every error a caller can meet, each with a stable code and a hint that says what to do next.

The tree is small on purpose, and each leaf is also the matching standard exception::

    ThreadStoreError
    ├── ThreadNotFound    (LookupError)          no such thread, or not live
    ├── InvalidRequest    (ValueError)           the call itself is wrong
    ├── Conflict          (RuntimeError)         somebody else is in the way
    ├── Unsupported       (NotImplementedError)  this store cannot do that
    ├── StoreUnavailable  (OSError)              disk, database or network failed
    └── CorruptHistory    (ValueError)           no line of a history can be served

No driver or operating-system error escapes a store.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "Conflict",
    "CorruptHistory",
    "InvalidRequest",
    "StoreUnavailable",
    "ThreadNotFound",
    "ThreadStoreError",
    "Unsupported",
]


class ThreadStoreError(Exception):
    """Base of all errors of this package.

    ``code`` is stable across releases and is what programs should compare; ``hint`` is a sentence
    for people that says what to do next (may be ``None``).
    """

    code: ClassVar[str] = "thread_store_error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class ThreadNotFound(ThreadStoreError, LookupError):
    """No thread with that id, or (for verbs that need a writer) the thread is not live here."""

    code = "thread_not_found"

    def __init__(
        self, thread_id: str, message: str | None = None, *, hint: str | None = None
    ) -> None:
        super().__init__(message or f"thread not found: {thread_id}", hint=hint)
        self.thread_id = thread_id

    @classmethod
    def not_live(cls, thread_id: str) -> ThreadNotFound:
        """The error of ``append_items``, ``persist_thread``, ``flush_thread`` without a writer."""
        return cls(
            thread_id,
            f"thread is not live: {thread_id}",
            hint="open it first with create_thread or resume_thread",
        )


class InvalidRequest(ThreadStoreError, ValueError):
    """The request can never succeed as it stands: wrong type, bad cursor, archived thread, …"""

    code = "invalid_request"

    @classmethod
    def archived(cls, thread_id: str, *, hint: str = "unarchive it first") -> InvalidRequest:
        """The error of verbs that need an active thread."""
        return cls(f"thread is archived: {thread_id}", hint=hint)


class Conflict(ThreadStoreError, RuntimeError):
    """Another writer, another position or another thread stands in the way.

    ``holder`` names who holds the thread where the system shows it.
    """

    code = "conflict"

    def __init__(self, message: str, *, holder: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.holder = holder

    @classmethod
    def exists(cls, thread_id: str) -> Conflict:
        """The error of ``create_thread`` for an id that is in use."""
        return cls(
            f"thread already exists: {thread_id}",
            hint="resume it, or leave the id out to get a new one",
        )

    @classmethod
    def live_here(cls, thread_id: str, *, hint: str | None = None) -> Conflict:
        """The error of opening a writer of which this store object has one."""
        return cls(f"thread is live here already: {thread_id}", holder="this store", hint=hint)

    @classmethod
    def live(cls, thread_id: str, *, holder: str = "this store") -> Conflict:
        """The error of verbs that need a thread without a writer."""
        return cls(f"thread is live: {thread_id}", holder=holder, hint="shut it down first")

    @classmethod
    def moved_on(cls, thread_id: str, position: int, expected: int) -> Conflict:
        """The error of an append that expected the log to be somewhere else."""
        return cls(
            f"thread {thread_id} is at position {position}, not {expected}",
            hint="read what was appended meanwhile and decide again",
        )

    @classmethod
    def stood_on(cls, thread_id: str, fork_id: str) -> Conflict:
        """The error of ``delete_thread`` for a thread that a fork outside its family refers to."""
        return cls(
            f"cannot delete thread {thread_id}: fork {fork_id} stands on it",
            holder=fork_id,
            hint="delete the fork first",
        )


class Unsupported(ThreadStoreError, NotImplementedError):
    """The store does not offer this operation; ``operation`` is the verb's name."""

    code = "unsupported"

    def __init__(
        self, operation: str, message: str | None = None, *, hint: str | None = None
    ) -> None:
        super().__init__(message or f"this store does not support {operation}", hint=hint)
        self.operation = operation


class StoreUnavailable(ThreadStoreError, OSError):
    """The store cannot do its work right now: disk full, no permission, database gone, closed."""

    code = "store_unavailable"

    @classmethod
    def not_open(cls) -> StoreUnavailable:
        """The error of every verb before the store is opened and after it is closed."""
        return cls("the store is not open", hint="use it within `async with`")


class CorruptHistory(ThreadStoreError, ValueError):
    """Not one line of a thread's history can be served."""

    code = "corrupt_history"
