"""The name index ``session_index.jsonl``: explicit thread names, append-only.

Codex (0.118 to 0.169) writes one line per naming, ``{"id", "thread_name", "updated_at"}``; the
last line of an id says its name, a blank name says it has none. Codex 0.131 appends without a lock.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import os
import stat
import zlib
from collections.abc import Callable, Collection, Iterator
from typing import Final

import msgspec

from threadstore.errors import StoreUnavailable
from threadstore.ids import try_thread_id
from threadstore.stores.local.locks import index_lock
from threadstore.stores.local.paths import (
    Home,
    make_folders,
    open_private,
    sync_folder,
    unavailable,
)

__all__ = [
    "Added",
    "Fingerprint",
    "NameIndex",
    "adding",
    "append",
    "fingerprint",
    "load",
    "remove",
    "with_added",
]


class Fingerprint(msgspec.Struct, frozen=True):
    """Changes whenever the index file changes."""

    size: int
    mtime_ns: int
    inode: int


class Added(msgspec.Struct, frozen=True):
    """An entry of ours, and the file before and after: so it need not be read to know it."""

    thread_id: str
    name: str
    data: bytes
    before: Fingerprint
    after: Fingerprint


Adder = Callable[[str, str | None, dt.datetime], Added | None]
"""``None``: somebody else has added something at the same moment."""


class NameIndex(msgspec.Struct, frozen=True, kw_only=True):
    """The newest entry of every id."""

    names: dict[str, str]
    """Trimmed name by canonical id, in the order of the newest entries; ``""``: cleared."""
    fingerprint: Fingerprint | None
    """Taken before reading; ``None``: there is no file."""
    skipped: int = 0
    """Lines that are no entry (blank ones not counted)."""
    size: int = 0
    """Bytes that were read."""
    checksum: int = 0
    """Of those bytes."""
    ends: bool = False
    """Whether the last line ends."""
    news: frozenset[str] | None = None
    """Whom the lines that came are about, where the rest was known; ``None``: all was read."""


class _Entry(msgspec.Struct):
    id: str
    thread_name: str
    updated_at: str


_decode: Final = msgspec.json.Decoder(_Entry).decode


def fingerprint(home: Home) -> Fingerprint | None:
    """The index file's fingerprint now; ``None`` if there is no file."""
    try:
        return _fingerprint(os.stat(home.name_index))
    except OSError:
        return None


def _fingerprint(info: os.stat_result) -> Fingerprint:
    return Fingerprint(info.st_size, info.st_mtime_ns, info.st_ino)


def load(home: Home, known: NameIndex | None = None) -> NameIndex:
    """Read the index; only the lines that came, if it begins with all of *known*: it has a line for
    each naming there ever was. Raises StoreUnavailable if it exists and cannot be read."""
    taken = fingerprint(home)
    try:
        with open(home.name_index, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return NameIndex(names={}, fingerprint=None)
    except OSError as error:
        raise unavailable(error, f"cannot read {home.name_index}") from error
    start = _known_part(data, known)
    before = known if known is not None and start else NameIndex(names={}, fingerprint=None)
    names, skipped, news = dict(before.names), before.skipped, set()
    for line in data[start:].split(b"\n"):
        entry = _parse(line)
        if entry is not None:
            names.pop(entry.id, None)
            names[entry.id] = entry.thread_name.strip()
            news.add(entry.id)
        elif line.strip():
            skipped += 1
    return NameIndex(
        names=names,
        fingerprint=taken,
        skipped=skipped,
        size=len(data),
        checksum=zlib.crc32(data[start:], before.checksum),
        ends=data.endswith(b"\n"),
        news=frozenset(news) if start else None,
    )


def with_added(known: NameIndex, added: Added) -> NameIndex:
    """What :func:`load` would say now, if *known* was the file before an entry was added."""
    names = dict(known.names)
    names.pop(added.thread_id, None)
    names[added.thread_id] = added.name
    return msgspec.structs.replace(
        known,
        names=names,
        fingerprint=added.after,
        size=added.after.size,
        checksum=zlib.crc32(added.data, known.checksum),
        ends=True,
        news=frozenset((added.thread_id,)),
    )


def _known_part(data: bytes, known: NameIndex | None) -> int:
    """How many bytes of *data* are those that *known* was read from; 0 if any of them differs."""
    if known is None or not known.ends or len(data) < known.size:
        return 0
    with memoryview(data) as view:
        return known.size if zlib.crc32(view[: known.size]) == known.checksum else 0


def append(home: Home, thread_id: str, name: str | None, now: dt.datetime) -> None:
    """Add an entry, durable on return; ``None`` clears the name. *now* is aware.

    A last line without newline is ended first. Raises StoreUnavailable; then nothing was added.
    """
    with adding(home) as add:
        add(thread_id, name, now)


@contextlib.contextmanager
def adding(home: Home) -> Iterator[Adder]:
    """Lock the index and open it; yields :func:`append` for it. If the block raises, what was
    added goes again. Raises StoreUnavailable, on entering before anything is changed."""
    with _changing(home):
        descriptor = open_private(home.name_index, os.O_RDWR | os.O_APPEND)
        file = _fingerprint(os.fstat(descriptor))
        before = after = file.size

        def add(thread_id: str, name: str | None, now: dt.datetime) -> Added | None:
            nonlocal after
            entry = _Entry(id=thread_id, thread_name=name or "", updated_at=_rfc3339(now))
            data = _append_line(descriptor, msgspec.json.encode(entry) + b"\n")
            after += len(data)
            os.fdatasync(descriptor)
            sync_folder(home.home)
            then = _fingerprint(os.fstat(descriptor))
            if then.size != before + len(data):
                return None
            return Added(thread_id, entry.thread_name.strip(), data, file, then)

        try:
            yield add
        except BaseException:
            if after != before and os.fstat(descriptor).st_size == after:  # nobody added more
                os.ftruncate(descriptor, before)
            raise
        finally:
            os.close(descriptor)


def remove(home: Home, thread_ids: Collection[str]) -> bool:
    """Drop all entries of these threads, durable on return; every other byte stays. Whether there
    were any. Raises StoreUnavailable; then nothing was removed."""
    gone = frozenset(thread_ids)
    try:
        with open(home.name_index, "rb") as file:  # most threads have no name: then no lock either
            if not any(_names(line, gone) for line in file):
                return False
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unavailable(error, f"cannot read {home.name_index}") from error
    with _changing(home), open(home.name_index, "rb") as file:
        _rewrite(home, file.fileno(), gone)
    return True


def _rewrite(home: Home, source: int, gone: frozenset[str]) -> None:
    """Replace the open index by one without the lines of *gone*."""
    import tempfile

    target, temporary = tempfile.mkstemp(prefix="session-index-", dir=home.home)
    try:
        copied = _copy(source, 0, target, gone)
        os.fchmod(target, stat.S_IMODE(os.fstat(source).st_mode))
        os.fsync(target)
        copied = _copy(source, copied, target, gone)
        os.rename(temporary, home.name_index)
        # Codex 0.131 appends without a lock: what it just added to the old file comes along.
        if _copy(source, copied, target, gone) != copied:
            os.fsync(target)
        sync_folder(home.home)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    finally:
        os.close(target)


def _copy(source: int, offset: int, target: int, gone: frozenset[str]) -> int:
    """Copy the lines from *offset* on, but not those of *gone*; the new offset."""
    size = os.fstat(source).st_size
    data = os.pread(source, size - offset, offset) if size > offset else b""
    kept = b"".join(line for line in io.BytesIO(data) if not _names(line, gone))
    while kept:
        kept = kept[os.write(target, kept) :]
    return offset + len(data)


def _append_line(descriptor: int, line: bytes) -> bytes:
    """The bytes that were added."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        line = b"\n" + line
    written = 0
    try:
        while written < len(line):
            written += os.write(descriptor, line[written:])
    except OSError:
        if os.fstat(descriptor).st_size == size + written:
            os.ftruncate(descriptor, size)
        raise
    return line


@contextlib.contextmanager
def _changing(home: Home) -> Iterator[None]:
    """Hold the index's lock, in a home that exists."""
    try:
        make_folders(home.home)
        with index_lock(home):
            yield
    except StoreUnavailable:
        raise
    except OSError as error:
        raise unavailable(error, f"cannot write {home.name_index}") from error


def _parse(line: bytes) -> _Entry | None:
    try:
        entry = _decode(line)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
    thread_id = try_thread_id(entry.id)
    if thread_id is None:
        return None
    entry.id = thread_id
    return entry


def _names(line: bytes, thread_ids: frozenset[str]) -> bool:
    entry = _parse(line)
    return entry is not None and entry.id in thread_ids


def _rfc3339(moment: dt.datetime) -> str:
    """Codex's form in this file: nanoseconds with their trailing zeros left out."""
    text = moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return text.rstrip("0").rstrip(".") + "Z"
