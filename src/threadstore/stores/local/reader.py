"""Reading the history of a thread in batches, forwards and backwards, with bounded memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

from threadstore.errors import StoreUnavailable
from threadstore.history.items import DamagedLine, RolloutItem
from threadstore.history.lines import DAMAGE_SHOWN, Entry, parse_line, parse_lines, parse_telling
from threadstore.stores.local import lineage
from threadstore.stores.local.lineage import FindRollout, Segment
from threadstore.stores.local.lines import (
    Log,
    ends_with_newline,
    offset_after,
    split_backwards,
)
from threadstore.stores.local.paths import unavailable
from threadstore.stores.local.places import Places

__all__ = [
    "Batch",
    "FindRollout",
    "read_bytes",
    "read_file",
    "read_header",
    "read_history",
    "reading",
]

Batch: TypeAlias = list[Entry]

_BATCH: Final = 256


def read_history(
    path: str,
    find_rollout: FindRollout,
    *,
    after: int = 0,
    reverse: bool = False,
    is_held: Callable[[], bool] = lambda: False,
    places: Places | None = None,
    brief: bool = False,
) -> Iterator[Batch]:
    """Batches of the thread whose current rollout is *path*, inherited lines of its base first.

    Every entry has its position and only entries with a position above *after* come. The files
    are read as long as they were when they were opened. Inherited lines that cannot be read are
    reported as one DamagedLine in the place of all of them. The beginning of a line at the end is
    torn, unless somebody may be writing it (see :meth:`Log.is_being_written`, *is_held*): then it
    is left out, and a later read after the position so far has all of it. Where *places* know the
    files, nothing before *after* is read. *brief*: lines that are never shown are left out.

    Raises FileNotFoundError if *path* is gone (at the first step), StoreUnavailable for other
    trouble.
    """
    with reading(path), Log.open(path, places) as own:
        own.is_held = is_held
        segments = lineage.resolve_lineage(path, find_rollout).segments
        yield from _read_segments(segments, own, after, reverse=reverse, places=places, brief=brief)


def read_file(path: str, *, after: int = 0, reverse: bool = False) -> Iterator[Batch]:
    """The same for one file alone, without what it inherits: its first line has position 1."""
    segment = Segment(path=path, first_position=1, lines=None)
    with reading(path), Log.open(path) as own:
        yield from _read_segments((segment,), own, after, reverse=reverse)


def read_bytes(path: str) -> Iterator[bytes]:
    """The file's content as it stands, a compressed one decoded. Raises as :func:`read_history`."""
    with reading(path), Log.open(path) as log:
        yield from log.chunks()


def read_header(path: str) -> RolloutItem | None:
    """The first ``session_meta`` among the first lines of the file, which names its thread.

    ``None`` if there is none. Raises FileNotFoundError, and StoreUnavailable for other trouble.
    """
    with reading(path):
        return lineage.read_header(path)


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Turns trouble of the system into the contract's errors, except that *path* is gone."""
    try:
        yield
    except (FileNotFoundError, StoreUnavailable):
        raise
    except OSError as error:
        raise unavailable(error, f"cannot read {path}") from error


def _read_segments(
    segments: Sequence[Segment],
    own: Log,
    after: int,
    *,
    reverse: bool,
    places: Places | None = None,
    brief: bool = False,
) -> Iterator[Batch]:
    """The batches of *segments*, of which the last one is open already, as *own*."""
    for segment in reversed(segments) if reverse else segments:
        gap = _gap(segment, after)
        if gap and not reverse:
            yield [gap]
        log = own if segment is segments[-1] else _open_inherited(segment.path, places)
        try:
            if reverse:
                yield from _backwards(segment, log, after)
            else:
                yield from _forwards(segment, log, after, brief=brief)
        finally:
            if log is not own:
                log.close()
        if gap and reverse:
            yield [gap]


def _open_inherited(path: str, places: Places | None) -> Log:
    try:
        return Log.open(path, places)
    except OSError as error:
        raise unavailable(error, f"cannot read the inherited history in {path}") from error


def _gap(segment: Segment, after: int) -> DamagedLine | None:
    position = segment.first_position - 1
    if segment.missing is None or position <= after:
        return None
    return DamagedLine(position=position, raw=b"", reason=segment.missing)


def _forwards(segment: Segment, log: Log, after: int, *, brief: bool = False) -> Iterator[Batch]:
    base = position = segment.first_position - 1
    last = None if segment.lines is None else base + segment.lines
    for before, lines, terminated in log.lines_near(max(after - base, 0)):
        position = base + before
        if last is not None:
            if position >= last:
                return
            del lines[last - position :]
        skipped = min(max(after - position, 0), len(lines))
        position += skipped
        if brief and terminated:
            yield parse_telling(lines[skipped:], position + 1)
            position = base + before + len(lines)
            continue
        for start in range(skipped, len(lines), _BATCH):
            part = lines[start : start + _BATCH]
            if terminated:
                batch = parse_lines(part, position + 1, 1)
            else:
                batch = _last_line(part[0], position + 1, log)
            position += len(part)
            if batch:
                yield batch
        if not terminated:
            return
    if log.damage is not None and position >= after:
        yield [DamagedLine(position=position + 1, raw=b"", reason=log.damage)]


def _backwards(segment: Segment, log: Log, after: int) -> Iterator[Batch]:
    descriptor, size = log.plain()
    position = segment.first_position - 1
    if segment.lines is not None:
        size, count = offset_after(descriptor, size, segment.lines)
        position += count
    else:
        position += log.count_lines()
        if log.damage is not None and ends_with_newline(descriptor, size):
            yield [DamagedLine(position=position + 1, raw=b"", reason=log.damage)]
    for lines, terminated in split_backwards(descriptor, size):
        wanted = min(position - after, len(lines))
        for start in range(0, wanted, _BATCH):
            part = lines[start : min(start + _BATCH, wanted)]
            if terminated:
                batch = parse_lines(part, position, -1)
            else:
                batch = _last_line(part[0], position, log)[::-1]
            position -= len(part)
            if batch:
                yield batch
        if wanted < len(lines):
            return


def _last_line(line: bytes, position: int, log: Log) -> Batch:
    """A last line without newline, and what ended compressed data there, if anything did."""
    entry = parse_line(line, position, terminated=False)
    if log.damage is None:
        unfinished = isinstance(entry, DamagedLine) and log.is_being_written()
        return [] if entry is None or unfinished else [entry]
    damage = DamagedLine(position=position, raw=line[:DAMAGE_SHOWN], reason=log.damage)
    if isinstance(entry, RolloutItem):
        return [entry, DamagedLine(position=position + 1, raw=b"", reason=log.damage)]
    return [damage]
