"""Following the log of one thread: a cheap look at its file, and only what is new is read.

The file may grow by any program, be archived, compressed and made plain again, or give its place to
another one (a revert). A line counts once it has its newline. One without may be half a line that
somebody writes just now; it waits, unless it is a whole item and stays as it is.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from threadstore.history.items import RolloutItem
from threadstore.history.lines import Entry, parse_line, parse_lines
from threadstore.store import check_position
from threadstore.stores.local.lineage import FindRollout, Segment, resolve_lineage
from threadstore.stores.local.lines import (
    CHUNK,
    ends_with_newline,
    offset_after,
    split_backwards,
    split_lines,
)
from threadstore.stores.local.paths import plain_path
from threadstore.stores.local.reader import Batch, read_history, reading
from threadstore.stores.local.reading import HistoryReading
from threadstore.stores.local.waiting import others_first

__all__ = ["LOOK", "Tail"]

LOOK: Final = 0.05
"""Seconds between two looks at a file: one ``stat`` each."""
_LOOK_FOR_REVERT: Final = 1.0
"""Seconds between two questions whether the thread's row names another file."""
_BATCH: Final = 256


class _Look(NamedTuple):
    """What ``stat`` says about a file."""

    path: str
    device: int
    inode: int
    size: int

    @classmethod
    def at(cls, plain: str) -> _Look | None:
        """The plain or the compressed file there, as reading would choose it."""
        for path in (plain, plain + ".zst"):
            with suppress(OSError):
                return cls.of(path, os.stat(path))
        return None

    @classmethod
    def of(cls, path: str, status: os.stat_result) -> _Look:
        return cls(path, status.st_dev, status.st_ino, status.st_size)


class Tail:
    """Where one follower stands in a thread's log."""

    def __init__(
        self,
        reading: HistoryReading,
        find_rollout: FindRollout,
        named_file: Callable[[str], Awaitable[str | None]],
        check_open: Callable[[], None],
    ) -> None:
        """*named_file*: the file that the thread's row names, if there is a row."""
        self._reading = reading
        self._find_rollout = find_rollout
        self._named_file = named_file
        self._check_open = check_open
        self._after: int | None = None
        self._plain: str | None = None
        self._seen: _Look | None = None
        self._segments: tuple[Segment, ...] = ()
        self._name: str | None = None
        self._ask_for_name = 0.0
        self._offset = 0  # where the first line begins that has not been read
        self._line = 0  # its position, less one
        self._reached = 0  # how far the history went
        self._rest_seen = -1  # size of the file when a line without newline was left alone

    async def read(self, thread_id: str, *, after: int) -> AsyncIterator[Entry]:
        """What is new; at first behind *after*, then behind what was yielded. To be exhausted
        before it is called again."""
        self._check_open()
        if self._after is None:
            check_position(after, "after")
            self._after = after
        seen = _Look.at(self._plain) if self._plain is not None else None
        if seen is None or self._is_another(seen) or await self._has_another_name(thread_id):
            self._name = await self._named_file(thread_id)
            batches = await self._reading.portions(thread_id, self._from)
        elif seen == self._seen and self._rest_seen < 0:
            return
        else:
            batches = self._more(seen.path)
        with suppress(FileNotFoundError):  # just now: the next look finds out where it went
            for batch in batches:
                for entry in batch:
                    self._after = entry.position or self._after
                    yield entry
                await others_first()

    def _is_another(self, seen: _Look) -> bool:
        """Whether all has to be found anew: another file, a shorter one, a new compressed one, or
        one that had no whole line, so that nobody knows what it inherits."""
        known = self._seen
        if known is None or seen[:3] != known[:3] or seen.size < known.size:
            return True
        return seen != known and not self._offset

    async def _has_another_name(self, thread_id: str) -> bool:
        """Whether another file has taken the place of this one, which is still there."""
        now = time.monotonic()
        if now < self._ask_for_name:
            return False
        self._ask_for_name = now + _LOOK_FOR_REVERT
        return await self._named_file(thread_id) != self._name

    def _from(self, path: str) -> Iterator[Batch]:
        """What is new in the history whose current rollout is *path*."""
        assert self._after is not None
        self._plain = None
        seen = _Look.at(plain_path(path))
        if seen is None:
            raise FileNotFoundError(path)
        with reading(path):
            segments = resolve_lineage(path, self._find_rollout).segments
        if self._after <= self._reached:
            self._after = min(self._after, _in_common(self._segments, segments))
        self._segments = segments
        inherited = segments[-1].first_position - 1
        if seen.path == plain_path(path):
            if self._after < inherited:
                yield from self._inherited(path, inherited)
            with reading(path), open(seen.path, "rb", buffering=0) as file:
                self._find_place(file.fileno(), inherited)
            yield from self._more(seen.path)
        else:
            self._offset, self._rest_seen, self._seen = 0, -1, seen
            for batch in read_history(path, self._find_rollout, after=self._after):
                self._reached = batch[-1].position or 0
                yield batch
        self._plain = plain_path(path)

    def _inherited(self, path: str, last: int) -> Iterator[Batch]:
        """The inherited lines, up to position *last*."""
        assert self._after is not None
        for batch in read_history(path, self._find_rollout, after=self._after):
            part = [entry for entry in batch if (entry.position or 0) <= last]
            if part:
                yield part
            if len(part) < len(batch):
                return

    def _find_place(self, descriptor: int, inherited: int) -> None:
        """Go to where the first new line of the plain file begins."""
        assert self._after is not None
        wanted = max(self._after - inherited, 0)
        size = os.fstat(descriptor).st_size
        self._offset, lines = offset_after(descriptor, size, wanted)
        if lines < wanted and self._after <= self._reached:  # lines were taken back
            self._after = inherited + lines
        self._reached = inherited + lines
        if not ends_with_newline(descriptor, self._offset):
            rest = next(split_backwards(descriptor, self._offset))[0][0]
            self._offset, lines = self._offset - len(rest), lines - 1
        self._line = inherited + lines
        self._rest_seen = -1

    def _more(self, path: str) -> Iterator[Batch]:
        """What stands in the plain file behind the place that was reached."""
        assert self._after is not None
        with reading(path), open(path, "rb", buffering=0) as file:
            self._seen = seen = _Look.of(path, os.fstat(file.fileno()))
            for lines, ended in split_lines(_chunks(file.fileno(), self._offset, seen.size)):
                if not ended:
                    yield from self._rest(lines[0], seen.size)
                    return
                before = self._line
                self._line += len(lines)
                self._offset += sum(map(len, lines)) + len(lines)
                self._reached = max(self._reached, self._line)
                for start in range(max(self._after - before, 0), len(lines), _BATCH):
                    batch = parse_lines(lines[start : start + _BATCH], before + start + 1, 1)
                    if batch:
                        yield batch
            self._rest_seen = -1

    def _rest(self, line: bytes, size: int) -> Iterator[Batch]:
        """A last line without newline: looked at twice before it counts as whole."""
        assert self._after is not None
        if self._rest_seen != size:
            self._rest_seen = size
            return
        self._rest_seen = -1
        entry = parse_line(line, self._line + 1, terminated=False)
        if isinstance(entry, RolloutItem) and self._line >= self._after:
            self._reached = self._line + 1
            yield [entry]


def _chunks(descriptor: int, start: int, end: int) -> Iterator[bytes]:
    while start < end and (chunk := os.pread(descriptor, min(CHUNK, end - start), start)):
        start += len(chunk)
        yield chunk


def _in_common(before: tuple[Segment, ...], now: tuple[Segment, ...]) -> int:
    """Position of the last line that two histories of one thread share, as far as their segments
    tell."""
    common = 0 if before else sys.maxsize
    for old, new in zip(before, now, strict=False):
        if _name(old) != _name(new) or old.first_position != new.first_position:
            break
        ends = [part.first_position - 1 + part.lines for part in (old, new) if part.lines]
        if not ends:
            return sys.maxsize  # the same file of its own
        common = min(ends)
        if len(set(ends)) > 1:
            break
    return common


def _name(segment: Segment) -> str:
    return os.path.basename(plain_path(segment.path))
