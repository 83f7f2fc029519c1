"""The texts of a thread, from where the last reading stopped.

A reading goes in portions; between two of them everything may stop, and go on in another process.
A log that only grew is read from its end. One that is another file now, or whose end is not as it
was, is read anew, and so is one in which a rollback takes back what was said.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from threadstore.history.items import RolloutItem
from threadstore.history.lines import parse_line, parse_lines
from threadstore.history.rollback import Removal, Rollbacks, is_rollback
from threadstore.metadata import StoredThread
from threadstore.search.texts import FoldState, TextDocument, TextFold, title_text
from threadstore.stores.local.lineage import FindRollout, resolve_lineage
from threadstore.stores.local.lines import CHUNK, Log, split_lines
from threadstore.stores.local.paths import existing_path
from threadstore.stores.local.reader import read_history, reading

__all__ = ["Place", "Portion", "Said", "portion", "said_at", "time_us", "title_mark", "unchanged"]

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_HEAD: Final = 512
_TAIL: Final = 64
_PORTION: Final = 1 << 20
"""Characters of a portion, roughly."""


class Place(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How far a thread has been read. JSON-encodable."""

    size: int = -1
    mtime_ns: int = 0
    inode: int = 0
    """The file when it was read to its end; before that, what it was at the beginning."""
    offset: int = 0
    """Where the first line begins that was not read, in the plain file."""
    position: int = 0
    """Position of the last line that was read."""
    inherited: int = 0
    """Lines that come from a base."""
    mark: str = ""
    """What the file is known again by, up to the offset."""
    loose: bool = False
    """Whether a line behind *offset* was read that has no newline yet."""
    fold: FoldState
    removed: list[int] | None = None
    """Positions of lines that were rolled back, as long as there are some ahead."""
    incomplete: bool = False
    """Whether lines of a base were not there."""
    done: bool = False
    """Whether the end was reached."""
    title: str = ""
    """See :func:`title_mark`."""


class Said(NamedTuple):
    """A text, and where its line begins in the thread's own file (``None``: not in it)."""

    document: TextDocument
    offset: int | None


class Portion(NamedTuple):
    """Some of a thread's texts, in order."""

    said: list[Said]
    place: Place
    """The place behind them."""
    afresh: bool
    """Whether all that is known of the thread is void, but for its title."""


def unchanged(place: Place, status: os.stat_result) -> bool:
    """Whether there is nothing to be read."""
    same = (place.size, place.mtime_ns, place.inode)
    return (
        place.done
        and not place.incomplete
        and same == (status.st_size, status.st_mtime_ns, status.st_ino)
    )


def title_mark(thread: StoredThread) -> str:
    """Tells one title from another."""
    title = title_text(thread)
    if title is None:
        return ""
    data = f"{title.said_at.isoformat()} {title.text}".encode(errors="replace")
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def portion(
    thread: StoredThread, place: Place | None, find_rollout: FindRollout, limit: int = _PORTION
) -> Portion | None:
    """The next texts, some *limit* characters of them; ``None``: nothing is new. *place* is used
    up: the portion has the next one.

    Raises FileNotFoundError if the file is gone, StoreUnavailable if it cannot be read.
    """
    assert thread.rollout_path is not None
    path = existing_path(thread.rollout_path)
    if path is None:
        raise FileNotFoundError(thread.rollout_path)
    with reading(path):
        status = os.stat(path)
        if place is not None and unchanged(place, status):
            return None
        with Log.open(path) as log:
            descriptor, size = log.plain()
            source = _Source(thread, descriptor, size, find_rollout, limit)
            known = place if place is not None and _goes_on(place, status, source) else None
            return source.read(known, status)


def _goes_on(place: Place, status: os.stat_result, source: _Source) -> bool:
    """Whether what was read is still there, and all of it counts."""
    if place.incomplete or place.inode != status.st_ino or place.offset > source.size:
        return False
    if place.size == status.st_size:
        if place.done:  # and yet something was written
            return False
    elif place.removed is not None and not place.done:  # another rollback may have come
        return False
    return place.mark == source.mark(place.offset)


class _RolledBack(Exception):
    """There is a marker: what stands before it has to be read in another way."""


class _Source:
    """A thread's log, open for reading."""

    def __init__(
        self,
        thread: StoredThread,
        descriptor: int,
        size: int,
        find_rollout: FindRollout,
        limit: int,
    ) -> None:
        self.size = size
        self._thread = thread
        self._descriptor = descriptor
        self._find = find_rollout
        self._limit = limit

    def mark(self, offset: int) -> str:
        """What the file is known again by, up to *offset*."""
        head = os.pread(self._descriptor, min(_HEAD, offset), 0)
        tail = os.pread(self._descriptor, min(_TAIL, offset), max(offset - _TAIL, 0))
        return hashlib.blake2b(head + tail, digest_size=8).hexdigest()

    def read(self, known: Place | None, status: os.stat_result) -> Portion:
        """A portion behind *known*, or from the beginning."""
        try:
            place = known or self._begin()
            if place.done:
                place.removed, place.done = None, False
            return self._portion(place, status, afresh=known is None)
        except _RolledBack:
            place = self._begin()
            place.removed = sorted(self._removed())
            return self._portion(place, status, afresh=True)

    def _begin(self) -> Place:
        return Place(fold=FoldState(said_at=self._thread.created_at))

    def _portion(self, place: Place, status: os.stat_result, *, afresh: bool) -> Portion:
        place.size, place.mtime_ns, place.inode = (
            status.st_size,
            status.st_mtime_ns,
            status.st_ino,
        )
        place.loose = False
        if place.position == 0:
            self._look_at_base(place)
        said: list[Said] = []
        room = self._limit
        removed = None if place.removed is None else frozenset(place.removed)
        fold = TextFold(place.fold)
        if place.position < place.inherited:
            room = self._read_base(place, fold, removed, said, room)
        if room > 0 and place.position >= place.inherited:
            self._read_own(place, fold, removed, said, room)
        place.mark = self.mark(place.offset)
        return Portion(said, place, afresh)

    def _look_at_base(self, place: Place) -> None:
        """How much of the history is another file's."""
        path = self._thread.rollout_path
        assert path is not None
        if not _may_have_base(self._descriptor):
            return
        lineage = resolve_lineage(path, self._find)
        place.inherited = lineage.inherited
        place.incomplete = any(segment.missing for segment in lineage.segments)

    def _read_base(
        self,
        place: Place,
        fold: TextFold,
        removed: frozenset[int] | None,
        said: list[Said],
        room: int,
    ) -> int:
        assert self._thread.rollout_path is not None
        for batch in read_history(self._thread.rollout_path, self._find, after=place.position):
            for entry in batch:
                position = entry.position or 0
                if position > place.inherited:
                    place.position = place.inherited
                    return room
                document = _feed(fold, entry, removed)
                place.position = position
                if document is not None:
                    said.append(Said(document, None))
                    room -= len(document.text)
            if room <= 0:
                return room
        place.position = place.inherited
        return room

    def _read_own(
        self,
        place: Place,
        fold: TextFold,
        removed: frozenset[int] | None,
        said: list[Said],
        room: int,
    ) -> None:
        for lines, ended in split_lines(_chunks(self._descriptor, place.offset, self.size)):
            if not ended:  # half a line, or a whole one that lacks its newline only
                entry = parse_line(lines[0], place.position + 1, terminated=False)
                if isinstance(entry, RolloutItem):
                    state = msgspec.convert(msgspec.to_builtins(fold.state), FoldState)
                    document = _feed(TextFold(state), entry, removed)
                    place.loose = True
                    if document is not None:
                        said.append(Said(document, place.offset))
                break
            starts = _starts(lines, place.offset)
            first = place.position + 1
            for entry in parse_lines(lines, first, 1):
                document = _feed(fold, entry, removed)
                if document is not None:
                    said.append(Said(document, starts[document.position - first]))
                    room -= len(document.text)
            place.position += len(lines)
            place.offset = starts[-1]
            if room <= 0:
                return
        place.done = True

    def _removed(self) -> Iterator[int]:
        """Positions of what rollbacks took back. Keeps no texts."""
        assert self._thread.rollout_path is not None
        rollbacks = Rollbacks()
        alive: list[tuple[int, int]] = []
        for batch in read_history(self._thread.rollout_path, self._find):
            for entry in batch:
                if not isinstance(entry, RolloutItem):
                    continue
                removal = rollbacks.feed(entry)
                if removal is not None:
                    yield from _taken_back(removal, alive)
                    alive = [pair for pair in alive if removal.keeps(pair[0])]
                elif not is_rollback(entry) and entry.type != "session_meta":
                    alive.append((rollbacks.place, entry.position or 0))


def _taken_back(removal: Removal, alive: list[tuple[int, int]]) -> Iterator[int]:
    return (position for place, position in alive if not removal.keeps(place))


def _feed(fold: TextFold, entry: object, removed: frozenset[int] | None) -> TextDocument | None:
    if not isinstance(entry, RolloutItem):
        return None
    if is_rollback(entry):
        if removed is None:
            raise _RolledBack
        return None
    if removed is not None and entry.position in removed:
        return None
    return fold.feed(entry)


def _may_have_base(descriptor: int) -> bool:
    """Whether the header may name a base; most do not, and are not decoded for it."""
    head = os.pread(descriptor, CHUNK, 0)
    return b'"history_base"' in head or b"\n" not in head


def _starts(lines: list[bytes], offset: int) -> list[int]:
    """Where the lines begin, and where the last one ends."""
    starts = [offset]
    for line in lines:
        offset += len(line) + 1
        starts.append(offset)
    return starts


def _chunks(descriptor: int, start: int, end: int) -> Iterator[bytes]:
    while start < end and (chunk := os.pread(descriptor, min(CHUNK, end - start), start)):
        start += len(chunk)
        yield chunk


def time_us(moment: dt.datetime) -> int:
    """A time as the index keeps it: microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def said_at(us: int) -> dt.datetime:
    """The time of a text, from what the index keeps."""
    try:
        return _EPOCH + us * _MICROSECOND
    except OverflowError:  # the index is damaged
        return _EPOCH
