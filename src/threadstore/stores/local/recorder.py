"""The log writer of one thread: complete batches at the end of one file, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from threadstore.stores.local.locks import WriterLock

__all__ = ["Recorder"]


class Recorder:
    """Appends lines to one rollout. Decides nothing about what is in them.

    Not safe for concurrent appends; :meth:`sync` may run in another thread meanwhile. All paths
    are plain ``.jsonl`` paths. Every method raises StoreUnavailable when the disk fails.
    """

    path: str
    position: int
    """Lines of the thread's log so far, inherited ones included (*inherited* before the first)."""
    materialised: bool
    next_ordinal: int | None
    """Paginated threads: the ordinal that the next appended line must carry (the header that
    materialisation writes has the one before). ``None``: a legacy thread."""

    @classmethod
    def create(
        cls,
        path: str,
        header: bytes,
        *,
        lock: WriterLock | None,
        inherited: int = 0,
        header_ordinal: int | None = None,
    ) -> Self:
        """The recorder of a new thread; touches no file. *header* is its first line, without
        newline; *header_ordinal* is set for paginated threads only."""
        raise NotImplementedError

    @classmethod
    def open_existing(
        cls, path: str, *, lock: WriterLock | None, inherited: int = 0, paginated: bool = False
    ) -> Self:
        """The recorder of a thread with history; a compressed rollout is made plain first.

        Raises FileNotFoundError if there is no file, CorruptHistory if a paginated rollout's last
        record has no ordinal or the greatest one.
        """
        raise NotImplementedError

    def append(
        self,
        lines: Sequence[bytes],
        *,
        has_header: bool = False,
        expected_position: int | None = None,
    ) -> int:
        """Append *lines* (without newlines) in one write; the position after them.

        The first append creates the file and puts the header first, unless *has_header* says that
        ``lines[0]`` is the header. No lines: nothing happens. If it fails, the file is as
        before. Raises Conflict if the log is not at *expected_position*, or if the file of a new
        thread exists already; CorruptHistory when ordinals run out.
        """
        raise NotImplementedError

    def materialise(self) -> int:
        """Create the file with the header alone, if it does not exist; the position."""
        raise NotImplementedError

    def refresh(self) -> int:
        """Notice what other programs appended meanwhile; the position."""
        raise NotImplementedError

    def sync(self) -> None:
        """Return once everything appended survives power loss; nothing to do before the first
        append. The folders too, once after creation. May run in a worker thread."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the file; does not release the lock. Twice is once; never fails."""
        raise NotImplementedError
