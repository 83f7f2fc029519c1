"""Metadata from a rollout alone: one pass over its lines, and only over new ones when it has grown.

What Codex derives is described with :mod:`threadstore.history.facts`; this module adds what a file
as a whole says: which thread it is, since when, how damaged, and what earlier explicit edits have
left in the log. Nothing here raises for what a file contains: a thread whose head is damaged is
still a thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from threadstore.errors import StoreUnavailable
from threadstore.history.header import HeaderView, read_header
from threadstore.history.items import DamagedLine
from threadstore.history.lines import Entry, parse_line, parse_lines
from threadstore.metadata import StoredThread
from threadstore.stores.local import reader
from threadstore.stores.local.fold import RECORD_KEY, Damage, Fold, FoldState
from threadstore.stores.local.lineage import FindRollout, resolve_lineage
from threadstore.stores.local.lines import Log
from threadstore.stores.local.marking import LONG, KeptFile, Marking
from threadstore.stores.local.paths import RolloutFile

__all__ = ["EMPTY", "RECORD_KEY", "Damage", "Derived", "LogEnd", "derive"]

EMPTY: Final = "the file is empty"
"""``problem`` of a file that could be read and has no line."""

_FORKS_SHOW_THEIR_OWN: Final = frozenset((0, minor) for minor in range(150, 161))
"""Releases whose paginated forks show their own first message as soon as they have one; 0.169 goes
on showing that of the source."""
_MARKED: Final = 1024
"""Bytes at the beginning and before the end by which a file that has grown is recognised."""


class Derived(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What one rollout file says about its thread. JSON-encodable."""

    path: str
    size: int
    mtime_ns: int
    inode: int
    archived: bool
    thread: StoredThread | None
    """The facts of the file alone; ``model_provider`` is empty if it names none. ``None``: nothing
    tells which thread this is."""
    header: bool = False
    """Whether the thread's own ``session_meta`` could be read."""
    said: frozenset[str] = frozenset()
    """Fields that the log really says (the others hold defaults)."""
    git_edited: bool = False
    """Whether a later line says other git facts than the header: only then are edits logged.
    Codex up to 0.121 edits the row alone, and copies the header's facts into later lines."""
    lines: int = 0
    """Lines of the thread's log, inherited ones included."""
    damaged: int = 0
    damage: tuple[Damage, ...] = ()
    """The first damaged lines."""
    problem: str | None = None
    """Why it is not (completely) a thread, for people."""
    incomplete: bool = False
    """Whether it could not be read, or stands on a file that is missing: look again later."""
    progress: bytes = b""
    """How to go on when the file has grown; empty: from its beginning."""
    marks: bytes = b""
    """Where its turns can be read from (``marking.py``), if it was read from its beginning and is
    long. Kept in a place of its own."""

    def describes(self, file: RolloutFile) -> bool:
        """Whether it was derived from exactly this state of this file."""
        return (self.path, self.size, self.mtime_ns, self.inode, self.archived) == (
            file.path,
            file.size,
            file.mtime_ns,
            file.inode,
            file.archived,
        )

    def log_end(self) -> LogEnd | None:
        """Where the log ends; ``None`` if that has to be counted."""
        progress = _unpack(self.progress)
        if progress is None or progress.end > self.size:
            return None
        return LogEnd(
            size=self.size,
            mtime_ns=self.mtime_ns,
            inode=self.inode,
            position=progress.lines + (progress.end < self.size),
        )


class LogEnd(msgspec.Struct, frozen=True, kw_only=True):
    """Where a log ends, while the file is still in this state."""

    size: int
    mtime_ns: int
    inode: int
    position: int
    """Of the last line, whatever that is."""


class _Progress(msgspec.Struct, array_like=True, kw_only=True):
    """Where a pass stood after the last line that had its newline."""

    end: int
    """Bytes up to there."""
    lines: int
    """Lines of the thread's log up to there, inherited ones included."""
    mark: bytes
    """Digest of what stands at the beginning and before the end."""
    torn: bool
    """Whether half a line came after it, which was reported as damaged."""
    fold: FoldState


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Progress).decode


def _unpack(progress: bytes) -> _Progress | None:
    with contextlib.suppress(msgspec.MsgspecError):
        return _decode(progress)
    return None


def derive(file: RolloutFile, find_rollout: FindRollout, before: Derived | None = None) -> Derived:
    """Read *file* (and what it inherits, found by *find_rollout*) once.

    If *before* was derived from an earlier state of the same file, which has only grown since, only
    what is new is read. Raises FileNotFoundError if the file is gone. A file that cannot be read is
    still a thread if its name says which; ``problem`` says why the rest is missing.
    """
    derived = None if before is None else _go_on(file, before)
    if derived is not None:
        return derived
    fold = Fold(file)
    progress = b""
    try:
        with reader.reading(file.actual_path), Log.open(file.actual_path) as log:
            progress = _fold_file(fold, log)
            if (header := _base_header(fold)) is not None:
                fold = Fold(file)
                progress = _fold_lineage(fold, header, log, find_rollout)
    except StoreUnavailable as error:
        fold.problem, fold.incomplete = str(error), True
    return _finish(fold, progress)


def _go_on(file: RolloutFile, before: Derived) -> Derived | None:
    """What *file* says, read from where *before* has stopped; ``None`` if it has changed since in
    another way than by growing."""
    grown = file.size > before.size
    same = (file.size, file.mtime_ns) == (before.size, before.mtime_ns)
    if not (grown or same) or file.inode != before.inode or file.actual_path != file.path:
        return None
    if os.path.basename(file.path) != os.path.basename(before.path) or before.thread is None:
        return None
    progress = _unpack(before.progress)
    if progress is None:
        return None
    try:
        with reader.reading(file.path), Log.open(file.path) as log:
            if log.compressed or not _has_only_grown(log, file.inode, progress):
                return None
            fold = _restore(file, before, before.thread, progress)
            return _finish(fold, _fold_plain(fold, log, progress.end, progress.lines))
    except StoreUnavailable:
        return None


def _restore(file: RolloutFile, before: Derived, thread: StoredThread, progress: _Progress) -> Fold:
    facts = {field: getattr(thread, field) for field in before.said}
    fold = Fold.restore(file, progress.fold, facts, header=before.header)
    fold.git_edited = before.git_edited
    fold.damaged = before.damaged - progress.torn
    fold.damage = [damage for damage in before.damage if damage.position <= progress.lines]
    return fold


def _has_only_grown(log: Log, inode: int, progress: _Progress) -> bool:
    descriptor, size = log.plain()
    return (
        size >= progress.end
        and os.fstat(descriptor).st_ino == inode
        and _mark(descriptor, progress.end) == progress.mark
    )


def _mark(descriptor: int, end: int) -> bytes:
    size = min(end, _MARKED)
    data = os.pread(descriptor, size, 0) + os.pread(descriptor, size, end - size)
    return hashlib.blake2b(data, digest_size=8).digest()


def _fold_file(fold: Fold, log: Log) -> bytes:
    """Fold a file alone, only to its header if that stands on others; how to go on."""
    if not log.compressed:
        return _fold_plain(fold, log, alone=True)
    for batch in reader.read_file(fold.file.actual_path):
        fold.add(batch)
        if _base_header(fold) is not None:
            break
    return b""


def _fold_plain(
    fold: Fold, log: Log, end: int = 0, lines: int = 0, *, alone: bool = False
) -> bytes:
    """Fold what comes after the first *end* bytes and *lines* lines; how to go on after that.

    *alone*: only as far as it turns out that the file stands on others.
    """
    rest: Entry | None = None
    marking = None
    if alone and fold.file.size >= LONG:
        file = fold.file
        marking = Marking(KeptFile(file.inode, file.size, file.mtime_ns))
    for part, whole in log.lines(end):
        if not whole:
            rest = parse_line(part[0], lines + 1, terminated=False)
            break
        entries = parse_lines(part, lines + 1, 1)
        fold.add(entries)
        lines += len(part)
        end += sum(map(len, part))
        if marking is not None:
            marking.add(entries, lines, end, part[-1])
        if alone and _base_header(fold) is not None:
            return b""
    torn = isinstance(rest, DamagedLine)
    if torn and log.is_being_written():
        torn, rest = False, None
    descriptor, _ = log.plain()
    mark = _mark(descriptor, end)
    progress = _Progress(end=end, lines=lines, mark=mark, torn=torn, fold=fold.state())
    fold.marks = b"" if marking is None else marking.packed()
    encoded = _encode(progress)  # now: what it shares with the fold goes on changing
    if rest is not None:
        fold.add([rest])
    return encoded if rest is None or torn else b""


def _base_header(fold: Fold) -> HeaderView | None:
    """The header of a thread whose history begins in another file."""
    header = fold.first
    return header if header is not None and header.history_base is not None else None


def _fold_lineage(fold: Fold, header: HeaderView, log: Log, find_rollout: FindRollout) -> bytes:
    """Fold a rollout that continues others: the thread's own earlier segments count like its own
    lines (a revert), of another thread's (a fork) only the preview, as Codex 0.169 shows them, and
    the usage. Codex 0.155 and 0.160 show the fork's own first message there, once it has one."""
    path = fold.file.path
    lineage = resolve_lineage(path, find_rollout)
    missing = next((s.missing for s in lineage.segments if s.missing is not None), None)
    if missing is not None:
        fold.problem, fold.incomplete = missing, True
    own_start = lineage.segments[-1].first_position
    for segment in reversed(lineage.segments[:-1]):
        if _thread_of(segment.path) != header.id:
            break
        own_start = segment.first_position
    if own_start > 1:
        inherited = _until(own_start, reader.read_history(path, find_rollout))
        fold.inherit(inherited, complete=missing is None)
        shows_own = _release(header) in _FORKS_SHOW_THEIR_OWN
        fold.observer.preview_seen = "preview" in fold.facts and not shows_own
    own = reader.read_history(path, find_rollout, after=own_start - 1)
    if log.compressed:
        for batch in own:
            fold.add(batch)
        return b""
    if lineage.inherited >= own_start:
        for batch in _until(lineage.inherited + 1, own):
            fold.add(batch)
    progress = _fold_plain(fold, log, lines=lineage.inherited)
    return b"" if fold.incomplete else progress


def _until(end: int, batches: Iterator[list[Entry]]) -> Iterator[list[Entry]]:
    """The entries before position *end*."""
    for batch in batches:
        wanted = [entry for entry in batch if (entry.position or 0) < end]
        yield wanted
        if len(wanted) < len(batch) or (wanted and wanted[-1].position == end - 1):
            return


def _release(header: HeaderView) -> tuple[int, ...]:
    numbers = re.match(r"(\d+)\.(\d+)", header.cli_version or "")
    return tuple(map(int, numbers.groups())) if numbers else ()


def _thread_of(path: str) -> str | None:
    try:
        item = reader.read_header(path)
    except (FileNotFoundError, StoreUnavailable):
        return None
    view = read_header(item) if item is not None else None
    return view.id if view is not None else None


def _finish(fold: Fold, progress: bytes) -> Derived:
    file = fold.file
    thread_id = fold.thread_id or fold.name_id
    if thread_id is None:
        problem = "neither its name nor a header says which thread it is"
    elif not fold.position:
        problem = EMPTY
    elif fold.first is None:
        problem = "the file has no readable header of its thread"
    else:
        problem = None
    return Derived(
        path=file.path,
        size=file.size,
        mtime_ns=file.mtime_ns,
        inode=file.inode,
        archived=file.archived,
        thread=None if thread_id is None else fold.thread(thread_id),
        header=fold.first is not None,
        said=frozenset(fold.facts),
        git_edited=fold.git_edited,
        lines=fold.position,
        damaged=fold.damaged,
        damage=tuple(fold.damage),
        problem=fold.problem or problem,
        incomplete=fold.incomplete,
        progress=progress,
        marks=fold.marks,
    )
