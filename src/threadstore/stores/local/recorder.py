"""The log writer of one thread: complete batches at the end of one file, or nothing."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from typing import Any, Final, Self

import msgspec

from threadstore.errors import Conflict, InvalidRequest, StoreUnavailable, ThreadStoreError
from threadstore.stores.local.compression import materialise
from threadstore.stores.local.derive import LogEnd
from threadstore.stores.local.lines import count_newlines, ends_with_newline, split_backwards
from threadstore.stores.local.locks import WriterLock
from threadstore.stores.local.paths import (
    create_private,
    make_folders,
    plain_path,
    sync_folder,
    unavailable,
)

__all__ = ["Recorder"]

_LOOK_AGAIN: Final = 0.05
"""Seconds after which an append makes sure that the file still has a name."""
_MAX_ORDINAL: Final = (1 << 64) - 1
_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC


class Recorder:
    """Appends lines to one rollout. Decides nothing about what is in them.

    Not safe for concurrent appends; :meth:`sync` may run in another thread meanwhile, but not
    during :meth:`close`. Every method raises StoreUnavailable when the disk fails.
    """

    path: str
    """The plain ``.jsonl`` path, also while there is no file."""
    position: int
    """Lines of the thread's log so far; before the file exists, the inherited ones."""

    def __init__(self, path: str, lock: WriterLock | None, inherited: int) -> None:
        """Use :meth:`create` or :meth:`open_existing`."""
        self.path = plain_path(path)
        self.position = self._inherited = inherited
        self._ordinal: int | None = None  # of the next line of the file
        self._lock = lock
        self._guard = threading.Lock()  # sync must not meet a descriptor that is being closed
        self._descriptor = -1
        self._header: bytes | None = None
        self._size = 0
        self._size_before = 0  # the last append
        self._looked_at = 0.0
        self._torn = False  # the file does not end in a newline
        self._writes = 1  # whoever wrote what we found need not have synced it
        self._synced = 0
        self._unsynced_folders: list[str] = []  # innermost first

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
        recorder = cls(path, lock, inherited)
        recorder._header = header
        recorder._ordinal = header_ordinal
        return recorder

    @classmethod
    def open_existing(
        cls,
        path: str,
        *,
        lock: WriterLock | None,
        inherited: int = 0,
        paginated: bool = False,
        end: LogEnd | None = None,
    ) -> Self:
        """The recorder of a thread with history; a compressed rollout is made plain first.

        The lines are not counted if the file is as *end* knows it.
        Raises FileNotFoundError if there is no file, InvalidRequest if a compressed one is damaged
        or the last record of a paginated one has no ordinal.
        """
        recorder = cls(path, lock, inherited)
        recorder._ordinal = 0 if paginated else None
        try:
            recorder._open(end)
        except (FileNotFoundError, StoreUnavailable):
            raise
        except OSError as error:
            raise unavailable(error, f"cannot open {recorder.path} for appending") from error
        return recorder

    @property
    def materialised(self) -> bool:
        """Whether the thread has a file."""
        return self._header is None

    @property
    def next_ordinal(self) -> int | None:
        """Paginated threads: the ordinal that the next appended line must carry; the header that
        materialisation writes has the one before. ``None``: a legacy thread."""
        if self._ordinal is None or self._header is None:
            return self._ordinal
        return self._ordinal + 1

    def append(
        self,
        lines: Sequence[bytes],
        *,
        has_header: bool = False,
        expected_position: int | None = None,
        next_ordinal: int | None = None,
    ) -> int:
        """:meth:`append_block` of *lines*, which have no newline in them or after them; paginated
        threads go on with *next_ordinal*."""
        block = b"\n".join((*lines, b"")) if lines else b""
        position = self.append_block(
            block, len(lines), has_header=has_header, expected_position=expected_position
        )
        if self._ordinal is not None and next_ordinal is not None:
            self._ordinal = next_ordinal
        return position

    def append_block(
        self,
        block: bytes,
        count: int,
        *,
        has_header: bool = False,
        expected_position: int | None = None,
    ) -> int:
        """Append *count* lines in one write; the position after them.

        *block* is the lines, each with its newline; nobody checks that here. The first append
        creates the file and puts the header first, unless *has_header* says that the first line
        is the header. No lines: nothing is written. If it fails, the file is as before.

        Raises Conflict if the log is not at *expected_position*, or if the file of a new thread
        exists already; InvalidRequest when the ordinals run out.
        """
        self.refresh()
        if expected_position is not None and expected_position != self.position:
            raise Conflict(
                f"the log of {self.path} is at position {self.position}, not {expected_position}",
                hint="load what is new, then append again",
            )
        if not count:
            return self.position
        if self._header is None:
            self._write(block, count)
            return self.position
        if has_header:
            return self._append_first(block, count)
        return self._append_first(self._header + b"\n" + block, count + 1)

    def take_back(self) -> None:
        """Undo the last append, which was part of a change that failed.

        Not if somebody else has written since, or if it made the file. Never fails.
        """
        with contextlib.suppress(OSError):
            if (
                self._size_before
                and self._lock is not None
                and self._lock.held
                and os.fstat(self._descriptor).st_size == self._size
            ):
                os.ftruncate(self._descriptor, self._size_before)
                self._writes += 1
                self._recount()

    def materialise(self) -> int:
        """Create the file with the header alone, if it does not exist; the position."""
        if self._header is None:
            return self.position
        return self._append_first(self._header + b"\n", 1)

    def refresh(self) -> int:
        """Notice what other programs did to the file meanwhile; the position."""
        if self._header is not None:
            return self.position
        try:
            if os.lseek(self._descriptor, 0, os.SEEK_END) != self._size:
                self._recount()
            elif time.monotonic() - self._looked_at > _LOOK_AGAIN:
                # Codex 0.144 compresses files that have rested, without asking for locks.
                if not os.fstat(self._descriptor).st_nlink:
                    self._reopen()
                self._looked_at = time.monotonic()
        except StoreUnavailable:
            raise
        except OSError as error:
            raise unavailable(error, f"cannot append to {self.path}") from error
        return self.position

    def sync(self) -> None:
        """Return once everything appended survives power loss, the file's name in its folders too.

        Nothing to do while there is no file. May run in a worker thread.
        """
        with self._guard:
            writes = self._writes
            if self._descriptor < 0 or writes == self._synced:
                return
            try:
                os.fdatasync(self._descriptor)
                while self._unsynced_folders:
                    sync_folder(self._unsynced_folders[-1])
                    self._unsynced_folders.pop()
            except OSError as error:
                raise unavailable(error, f"cannot sync {self.path}") from error
            self._synced = writes

    def set_time(self, moment: float) -> None:
        """Date the file back to *moment* (seconds since 1970). Never fails."""
        with self._guard, contextlib.suppress(OSError):
            if self._descriptor >= 0:
                os.utime(self._descriptor, (moment, moment))

    def close(self) -> None:
        """Close the file; does not release the lock. Twice is once; never fails."""
        with self._guard:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                with contextlib.suppress(OSError):
                    os.close(descriptor)

    def _open(self, end: LogEnd | None = None) -> None:
        materialise(self.path)
        self._descriptor = os.open(self.path, _FLAGS)
        self._unsynced_folders = [os.path.dirname(self.path)]
        try:
            self._recount(end)
        except BaseException:
            self.close()
            raise

    def _reopen(self) -> None:
        self.close()
        self._writes += 1
        self._open()

    def _recount(self, end: LogEnd | None = None) -> None:
        """Find out where the log stands, from the file itself."""
        descriptor, info = self._descriptor, os.fstat(self._descriptor)
        size = info.st_size
        torn = not ends_with_newline(descriptor, size)
        if self._ordinal is not None:
            self._ordinal = _last_ordinal(descriptor, size, self.path) + 1
        now = (size, info.st_mtime_ns, info.st_ino)
        if end is not None and now == (end.size, end.mtime_ns, end.inode):
            self.position = end.position
        else:
            self.position = self._inherited + count_newlines(descriptor, size) + torn
        self._torn = torn
        self._size = size
        self._size_before = 0

    def _append_first(self, block: bytes, count: int) -> int:
        """Create the file with *block*, or leave nothing behind."""
        folder = os.path.dirname(self.path)
        made: list[str] = []
        try:
            made = make_folders(folder)
            self._descriptor = self._create()
            self._unsynced_folders = [folder, *map(os.path.dirname, made)]
            self._write(block, count)
        except ThreadStoreError:
            self._remove(made)
            raise
        except OSError as error:
            self._remove(made)
            raise unavailable(error, f"cannot create {self.path}") from error
        self._header = None
        return self.position

    def _create(self) -> int:
        with contextlib.suppress(FileExistsError):
            if not os.path.lexists(self.path + ".zst"):
                return create_private(self.path, _FLAGS)
        raise Conflict(f"{self.path} exists already", hint="resume that thread, or use another id")

    def _remove(self, folders: list[str]) -> None:
        """Remove what a first append that failed has made."""
        created = self._descriptor >= 0
        self.close()
        with contextlib.suppress(OSError):
            if created:
                os.unlink(self.path)
            for folder in reversed(folders):
                os.rmdir(folder)

    def _write(self, block: bytes, count: int) -> None:
        """One write of all lines, ending a torn line first; or the file stays as it was."""
        if self._ordinal is not None and self._ordinal + count - 1 > _MAX_ORDINAL:
            raise InvalidRequest(f"the ordinals of {self.path} have run out")
        data = b"\n" + block if self._torn else block
        written = 0
        try:
            written = os.write(self._descriptor, data)
            while written != len(data):  # a short write; the next one says why
                written += os.write(self._descriptor, data[written:])
        except OSError as error:
            self._undo(written)
            raise unavailable(error, f"cannot write {self.path}") from error
        self._torn = False
        self._size_before = self._size
        self._size += len(data)
        self._writes += 1
        self.position += count
        if self._ordinal is not None:
            self._ordinal += count

    def _undo(self, written: int) -> None:
        """Cut off what a failed write left, if it is certain that nobody else wrote.

        Otherwise the next append sees that the file has changed, and ends the torn line.
        """
        if self._lock is None or not self._lock.held:
            return
        with contextlib.suppress(OSError):
            if os.fstat(self._descriptor).st_size == self._size + written:
                os.ftruncate(self._descriptor, self._size)


def _last_ordinal(descriptor: int, size: int, path: str) -> int:
    """The ordinal of a paginated rollout's last record; lines that are none do not matter."""
    for lines, _ in split_backwards(descriptor, size):
        for line in lines:
            record = _decode(line)
            if record is None:
                continue
            ordinal = record.get("ordinal")
            if ordinal is None:
                raise InvalidRequest(
                    f"the last record of the paginated thread in {path} has no ordinal",
                    hint="another program has written to it that does not know such threads",
                )
            if type(ordinal) is int and 0 <= ordinal <= _MAX_ORDINAL:
                return ordinal
    raise InvalidRequest(f"no record of the paginated thread in {path} can be read")


def _decode(line: bytes) -> dict[str, Any] | None:
    """The line as an object, if it is a record as Codex 0.169 knows them."""
    try:
        value = msgspec.json.decode(line)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
    if not isinstance(value, dict) or "payload" not in value:
        return None
    texts = (value.get("type"), value.get("timestamp"))
    return value if all(isinstance(text, str) for text in texts) else None
