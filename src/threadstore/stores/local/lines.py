"""Lines of rollout files: forwards and backwards, and counted.

A line is what stands before a newline, or what remains after the last one. Blank lines are lines.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Self

from threadstore.stores.local.compression import DecodingError, decoded_chunks
from threadstore.stores.local.paths import plain_path
from threadstore.stores.local.places import FilePlaces, Places

__all__ = [
    "CHUNK",
    "Log",
    "count_newlines",
    "ends_with_newline",
    "offset_after",
    "split_backwards",
    "split_lines",
]

CHUNK: Final = 1 << 18
"""Bytes per read; larger ones are no faster and hold more lines in memory."""
_STEP: Final = 1 << 14
_OPEN_TRIES: Final = 3
_OPEN_PAUSE: Final = 0.05


class Log:
    """One rollout file, open for reading: a snapshot as long as it was when it was opened.

    ``damage`` says after reading what was wrong with compressed data, if anything was.
    """

    def __init__(self, descriptor: int, *, compressed: bool, places: Places | None = None) -> None:
        self._descriptor = descriptor
        self._status = os.fstat(descriptor)
        self._size = self._status.st_size
        self._places = FilePlaces() if places is None else places.of(self._status)
        self._spools = None if places is None else places.spools
        self.compressed = self._was_compressed = compressed
        self.damage: str | None = None
        self.is_held: Callable[[], bool] = lambda: False
        """Whether another process has the right to write the file."""

    @classmethod
    def open(cls, path: str, places: Places | None = None) -> Self:
        """Open the plain or compressed file of *path*, whichever there is. Of *places* those are
        used that are known, and more come to be known.

        Tries three times, 50 ms apart, because the worker of Codex 0.144 and later may just be
        turning one into the other. Raises FileNotFoundError if there is neither, and OSError.
        """
        plain = plain_path(path)
        for attempt in range(_OPEN_TRIES):
            if attempt:
                time.sleep(_OPEN_PAUSE)
            for actual in (plain, plain + ".zst"):
                with contextlib.suppress(FileNotFoundError):
                    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe holds up nobody
                    descriptor = os.open(actual, flags)
                    return cls(descriptor, compressed=actual != plain, places=places)
        raise FileNotFoundError(f"no rollout at {plain}")

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """The content from its beginning, in pieces of about *size* bytes."""
        if not self.compressed:
            yield from _read_chunks(self._descriptor, 0, self._size, size)
            return
        try:
            yield from decoded_chunks(self._descriptor)
        except DecodingError as error:
            self.damage = str(error)

    def lines(self, start: int = 0) -> Iterator[tuple[list[bytes], bool]]:
        """Lists of lines from the beginning; those of plain files still have their newlines, and
        may begin at byte *start*, where a line does.

        The flag is false for a last line that had none.
        """
        if self.compressed:
            return split_lines(self.chunks())
        return _read_lines(self._descriptor, start, self._size)

    def lines_near(self, after: int) -> Iterator[tuple[int, list[bytes], bool]]:
        """The same, each list with the number of lines before it. They begin at the first line,
        or anywhere before the one behind the first *after* lines."""
        if self.compressed and not after:
            before = 0
            for lines, terminated in self.lines():
                count = len(lines)
                yield before, lines, terminated
                before += count
            return
        descriptor, size = self.plain()
        before, offset = self._places.before(after, descriptor, size)
        for lines, terminated in self.lines(offset):
            count = len(lines)
            offset += sum(map(len, lines))
            if terminated:
                self._places.note(before + count, offset, lines[-1])
            yield before, lines, terminated
            before += count

    def count_lines(self) -> int:
        """How many lines there are; one without newline counts."""
        descriptor, size = self.plain()
        count, offset = self._places.before(sys.maxsize, descriptor, size)
        for chunk in _read_chunks(descriptor, offset, size, CHUNK):
            end = chunk.rfind(b"\n") + 1
            if end:
                count += chunk.count(b"\n")
                self._places.note(count, offset + end, chunk[max(end - 32, 0) : end])
            offset += len(chunk)
        return count + (not ends_with_newline(descriptor, size))

    def plain(self) -> tuple[int, int]:
        """A descriptor with the plain content, and its size, for reading from the end.

        A compressed rollout is decoded into a nameless temporary file for that; a frame can only
        be read forwards.
        """
        if self.compressed:
            spooled, self.damage = self._spool()
            os.close(self._descriptor)
            self._descriptor, self.compressed = spooled, False
            self._size = os.fstat(spooled).st_size
        return self._descriptor, self._size

    def _spool(self) -> tuple[int, str | None]:
        known = self._spools.find(self._status) if self._spools is not None else None
        if known is not None:
            return known
        import tempfile

        with tempfile.TemporaryFile(buffering=0) as file:
            for chunk in self.chunks():
                file.write(chunk)
            spooled = os.dup(file.fileno())
        if self._spools is not None:
            self._spools.keep(self._status, spooled, self.damage)
        return spooled, self.damage

    def is_being_written(self) -> bool:
        """Whether more may come, or has: then a last line without newline need not be torn."""
        if self._was_compressed:
            return False
        # In this order: whoever has let go meanwhile has finished the line.
        return self.is_held() or os.fstat(self._descriptor).st_size != self._size

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def split_lines(chunks: Iterable[bytes]) -> Iterator[tuple[list[bytes], bool]]:
    """Lists of lines without their newlines; the flag is false for a last line that had none."""
    rest = io.BytesIO()  # grows in place: a line of 500 MB costs 500 MB, not twice that
    for chunk in chunks:
        lines = chunk.split(b"\n")
        if rest.tell():
            rest.write(lines[0])
            if len(lines) == 1:
                continue
            lines[0] = rest.getvalue()
            rest = io.BytesIO()
        rest.write(lines.pop())
        if lines:
            yield lines, True
    if rest.tell():
        yield [rest.getvalue()], False


def _read_lines(descriptor: int, start: int, end: int) -> Iterator[tuple[list[bytes], bool]]:
    """The lines between two offsets. The standard library's reader copies once where splitting
    chunks copies twice."""
    size = end - start
    if size <= CHUNK:
        lines = io.BytesIO(_read_exactly(descriptor, start, end)).readlines()
        torn = [lines.pop()] if lines and not lines[-1].endswith(b"\n") else []
        if lines:
            yield lines, True
        if torn:
            yield torn, False
        return
    with open(descriptor, "rb", buffering=CHUNK, closefd=False) as file:
        file.seek(start)
        while size > 0 and (lines := file.readlines(min(CHUNK, size))):
            size -= sum(map(len, lines))
            while size < 0:  # the file has grown since it was opened
                last = lines.pop()
                size += len(last)
                if size > 0:
                    lines.append(last[:size])
                    size = 0
            if lines[-1].endswith(b"\n"):
                yield lines, True
                continue
            if lines[:-1]:
                yield lines[:-1], True
            yield lines[-1:], False
            return


def split_backwards(
    descriptor: int, size: int, chunk: int = CHUNK
) -> Iterator[tuple[list[bytes], bool]]:
    """The lines of the first *size* bytes from the last to the first, in lists in that order.

    The flag is false for a last line that has no newline. Reads as far as it is asked.
    """
    if size == 0:
        return
    if ends_with_newline(descriptor, size):
        size -= 1
    else:
        start = _line_start(descriptor, size)
        yield [_read_exactly(descriptor, start, size)], False
        size = start - 1
    while size >= 0:
        start = _line_start(descriptor, max(size - chunk, 0))
        lines = _read_exactly(descriptor, start, size).split(b"\n")
        lines.reverse()
        yield lines, True
        size = start - 1


def count_newlines(descriptor: int, size: int) -> int:
    """Newlines among the first *size* bytes."""
    return sum(chunk.count(b"\n") for chunk in _read_chunks(descriptor, 0, size, CHUNK))


def ends_with_newline(descriptor: int, size: int) -> bool:
    """Whether the first *size* bytes end in a newline; nothing at all does, too."""
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"


def offset_after(descriptor: int, size: int, lines: int) -> tuple[int, int]:
    """Where the first *lines* lines end, and how many there are up to there (maybe fewer)."""
    offset = seen = 0
    for chunk in _read_chunks(descriptor, 0, size, CHUNK):
        found = chunk.count(b"\n")
        if seen + found < lines:
            seen += found
            offset += len(chunk)
            continue
        end = 0
        while seen < lines:
            end = chunk.index(b"\n", end) + 1
            seen += 1
        return offset + end, seen
    return offset, seen + (not ends_with_newline(descriptor, offset))


def _read_chunks(descriptor: int, offset: int, end: int, size: int) -> Iterator[bytes]:
    while offset < end:
        chunk = os.pread(descriptor, min(size, end - offset), offset)
        if not chunk:  # it became shorter
            return
        offset += len(chunk)
        yield chunk


def _read_exactly(descriptor: int, start: int, end: int) -> bytes:
    data = os.pread(descriptor, end - start, start)
    if len(data) == end - start or not data:
        return data
    return b"".join([data, *_read_rest(descriptor, start + len(data), end)])


def _read_rest(descriptor: int, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        data = os.pread(descriptor, end - start, start)
        if not data:
            return
        start += len(data)
        yield data


def _line_start(descriptor: int, offset: int) -> int:
    """Where the line begins to which *offset* belongs, if it is not a beginning itself."""
    while offset > 0:
        start = max(offset - _STEP, 0)
        found = _read_exactly(descriptor, start, offset).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        offset = start
    return 0
