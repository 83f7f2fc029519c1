"""Lineage of paginated threads: which files, and how much of each, make up a history.

A fork or a revert of a paginated thread (Codex 0.150 to 0.169) copies nothing: its header names a
``history_base``, the rollout it stands on and how much of that. Ordinals run on through the whole
lineage, so the end of the inherited part is known even if its file is lost.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TypeAlias

import msgspec

from threadstore.errors import InvalidRequest, Unsupported
from threadstore.history.header import SegmentBase
from threadstore.history.items import RolloutItem
from threadstore.stores.local.lines import (
    Log,
    count_newlines,
    ends_with_newline,
    offset_after,
    split_backwards,
    split_lines,
)
from threadstore.stores.local.paths import RolloutFile, parse_rollout_name, plain_path

__all__ = [
    "Base",
    "FindRollout",
    "Lineage",
    "Segment",
    "base_at",
    "current_rollout",
    "read_header",
    "resolve_lineage",
]

FindRollout: TypeAlias = Callable[[str], str | None]
"""Maps a rollout id to the plain path of its file; ``None`` if there is none."""

_HEADER_LINES = 210
"""As far as Codex (all releases seen) looks for the beginning of a thread."""
_HEADER_CHUNK = 1 << 16


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """The part of one rollout file that belongs to a history."""

    path: str
    first_position: int
    """Position of the file's first line in the history."""
    lines: int | None
    """How many lines belong; ``None``: all there are."""
    missing: str | None = None
    """Why lines right before this segment are missing; one damaged line stands for all of them, at
    the position before ``first_position``."""


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """The segments of a history, root first; the thread's own file is the last one."""

    segments: tuple[Segment, ...]

    @property
    def inherited(self) -> int:
        """Position before the first line of the thread's own file."""
        return self.segments[-1].first_position - 1


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """Where a new thread stands on another one."""

    segment: SegmentBase
    """As its header says it."""
    position: int
    """Lines of history that it inherits."""


class _Base(msgspec.Struct):
    """``history_base`` of a header."""

    thread_id: str
    """Despite its name the id of a rollout, which is another one after a revert."""
    end_ordinal_exclusive: int
    end_byte_offset: int = -1


def read_header(path: str) -> RolloutItem | None:
    """The first ``session_meta`` among the first lines of the file, which names its thread.

    ``None`` if there is none. Raises FileNotFoundError and OSError.
    """
    seen = 0
    with Log.open(path) as log:
        for lines, _ in split_lines(log.chunks(_HEADER_CHUNK)):
            for line in lines:
                item = _parse(line.removeprefix(b"\xef\xbb\xbf"))
                if (
                    item is not None
                    and item.type == "session_meta"
                    and isinstance(item.payload, dict)
                ):
                    return item
            seen += len(lines)
            if seen >= _HEADER_LINES:
                break
    return None


def resolve_lineage(path: str, find_rollout: FindRollout) -> Lineage:
    """Follow ``history_base`` from the thread's current rollout *path* to the root.

    Trouble with an inherited file never raises: it is said in ``Segment.missing``. Raises
    FileNotFoundError and OSError for *path* itself.
    """
    chain: list[tuple[str, _Base | None]] = []  # each file, and how much of it the next one uses
    used: _Base | None = None
    problem: str | None = None
    header = read_header(path)
    while True:
        chain.append((path, used))
        used, problem = _base(header)
        if used is None:
            break
        source = find_rollout(used.thread_id)
        if source is None:
            problem = f"the inherited history is missing: no rollout {used.thread_id}"
            break
        if any(source == known for known, _ in chain):
            problem = f"the inherited history is missing: {used.thread_id} inherits from itself"
            break
        try:
            header = read_header(source)
        except OSError as error:
            problem = f"the inherited history is missing: {source}: {error.strerror or error}"
            break
        path = source
    chain.reverse()
    position = 0
    if problem is not None:
        position = max(used.end_ordinal_exclusive if used else 0, 1)
    return Lineage(segments=tuple(_place(chain, position, problem)))


def base_at(path: str, find_rollout: FindRollout, position: int) -> Base:
    """What a fork has to say that takes over *position* lines (at least one) of the history whose
    current rollout is *path*.

    A torn last line stays behind: Codex 0.169 counts on a base of whole lines. Raises
    InvalidRequest if the history is shorter, Unsupported where no header could say it (inherited
    lines are missing, a line without newline is whole, no ordinals), OSError.
    """
    lineage = resolve_lineage(path, find_rollout)
    segments = [part for part in lineage.segments if part.first_position <= position]
    if not segments or any(part.missing for part in segments):
        raise Unsupported("history_base", "inherited lines of the source are missing")
    segment = segments[-1]
    name = parse_rollout_name(os.path.basename(segment.path))
    if name is None:
        raise Unsupported("history_base", f"the name of {segment.path} says no rollout id")
    wanted = position - segment.first_position + 1
    with Log.open(segment.path) as log:
        descriptor, size = log.plain()
        offset, lines = offset_after(descriptor, size, wanted)
        if lines < wanted:
            there = segment.first_position - 1 + lines
            raise InvalidRequest(f"the history has {there} lines, not {position}")
        if not ends_with_newline(descriptor, offset):
            offset, lines = _without_torn_line(descriptor, offset), lines - 1
        end = _end_ordinal(descriptor, offset)
    return Base(
        segment=SegmentBase(
            thread_id=name.rollout_id, end_ordinal_exclusive=end, end_byte_offset=offset
        ),
        position=segment.first_position - 1 + lines,
    )


def _without_torn_line(descriptor: int, size: int) -> int:
    """Where the last line begins, which is torn."""
    line = next(split_backwards(descriptor, size))[0][0]
    if _parse(line) is not None:
        raise Unsupported("history_base", "the last line of the source lacks its newline only")
    return size - len(line)


def _end_ordinal(descriptor: int, size: int) -> int:
    """The ordinal after the last one among the first *size* bytes."""
    for lines, _ in split_backwards(descriptor, size):
        for line in lines:
            item = _parse(line)
            if item is not None and item.ordinal is not None:
                return item.ordinal + 1
    raise Unsupported("history_base", "the lines of the source have no ordinals")


def current_rollout(
    files: Iterable[RolloutFile], preferred_path: str | None = None
) -> RolloutFile | None:
    """The file that stands for a thread now, among all *files* of that thread.

    *preferred_path* (what the thread's row says) if it is one of them. Else the newest one, by
    name, on which no other one stands; an active file before an archived one. Files that cannot be
    read count as if they inherited nothing.
    """
    found = list(files)
    if preferred_path is not None:
        for file in found:
            if file.path == plain_path(preferred_path):
                return file
    if len(found) > 1:
        superseded = {base for file in found if (base := _base_id(file)) is not None}
        found = [file for file in found if _rollout_id(file) not in superseded] or found
    return max(found, key=_age_order, default=None)


def _age_order(file: RolloutFile) -> tuple[bool, str, str]:
    stamp = file.name.stamp if file.name else None
    return (not file.archived, stamp.isoformat() if stamp else "", os.path.basename(file.path))


def _rollout_id(file: RolloutFile) -> str | None:
    return file.name.rollout_id if file.name else None


def _base_id(file: RolloutFile) -> str | None:
    """The rollout on which a file stands, unless that is itself."""
    try:
        base, _ = _base(read_header(file.path))
    except OSError:
        return None
    return base.thread_id if base and base.thread_id != _rollout_id(file) else None


def _base(header: RolloutItem | None) -> tuple[_Base | None, str | None]:
    """What a header says about inheritance, and what is wrong with that."""
    value = header.payload.get("history_base") if header else None
    if value is None:
        return None, None
    try:
        base = msgspec.convert(value, _Base)
    except msgspec.ValidationError as error:
        return None, f"the inherited history is missing: history_base cannot be read: {error}"
    return base, None


def _place(
    chain: list[tuple[str, _Base | None]], position: int, missing: str | None
) -> Iterable[Segment]:
    """The segments of *chain* (root first), the first one after *position*."""
    for path, used in chain:
        if used is None:
            yield Segment(path=path, first_position=position + 1, lines=None, missing=missing)
            return
        lines, complete = _cut(path, used)
        yield Segment(path=path, first_position=position + 1, lines=lines, missing=missing)
        position += lines
        missing = None
        if not complete:
            missing = f"inherited lines are missing: {path} ends before its ordinal says"
            missing = f"{missing} {used.end_ordinal_exclusive}"
            position = max(used.end_ordinal_exclusive, position + 1)


def _cut(path: str, used: _Base) -> tuple[int, bool]:
    """How many lines of a source are inherited, and whether they are all there."""
    try:
        with Log.open(path) as log:
            if not log.compressed:
                lines = _cut_at_offset(*log.plain(), used)
                if lines is not None:
                    return lines, True
            return _cut_at_ordinal(log, used.end_ordinal_exclusive)
    except OSError:
        return 0, False


def _cut_at_offset(descriptor: int, size: int, used: _Base) -> int | None:
    """The lines before the byte offset, if the ordinals around it confirm that it is the cut."""
    offset, end = used.end_byte_offset, used.end_ordinal_exclusive
    if not 0 < offset <= size or os.pread(descriptor, 1, offset - 1) != b"\n":
        return None
    for lines, _ in split_backwards(descriptor, offset):
        before = _parse(lines[0])
        if before is None or before.ordinal is None or before.ordinal >= end:
            return None
        if offset == size and before.ordinal != end - 1:
            return None
        break
    if offset < size:
        after = _parse(os.pread(descriptor, 1 << 16, offset).partition(b"\n")[0])
        if after is not None and after.ordinal is not None and after.ordinal < end:
            return None
    return count_newlines(descriptor, offset)


def _cut_at_ordinal(log: Log, end: int) -> tuple[int, bool]:
    """The lines before the first one that has the ordinal *end* or a greater one."""
    count, last = 0, -1
    for lines, _ in split_lines(log.chunks()):
        for line in lines:
            item = _parse(line)
            if item is not None and item.ordinal is not None:
                if item.ordinal >= end:
                    return count, True
                last = item.ordinal
            count += 1
    return count, last == end - 1


def _parse(line: bytes) -> RolloutItem | None:
    try:
        return RolloutItem.parse(line)
    except InvalidRequest:
        return None
