"""What stays known of files that were read: where lines begin in them, so that line 100,000 is
found without the others, and for a short while what was decoded."""

from __future__ import annotations

import bisect
import contextlib
import os
import threading
import time
import zlib
from typing import Final

import msgspec

__all__ = ["FilePlaces", "Places"]

SPACING: Final = 1 << 18
"""Bytes between two places, at least."""
_CHECKED: Final = 32
_KEPT: Final = 20.0


class FilePlaces(msgspec.Struct, array_like=True):
    """Places in the (plain) content of one file, from its beginning on."""

    lines: list[int] = []
    """How many lines there are before each place."""
    offsets: list[int] = []
    checks: list[int] = []
    """Checksums of the bytes right before each place: whether the lines are still the same."""

    def note(self, line: int, offset: int, before: bytes) -> None:
        """Remember that after *line* lines the next one begins at *offset*, right behind the bytes
        *before*, of which at least 32 are needed."""
        last = self.offsets[-1] if self.offsets else 0
        if offset >= last + SPACING and len(before) >= _CHECKED:
            self.lines.append(line)
            self.offsets.append(offset)
            self.checks.append(zlib.crc32(before[-_CHECKED:]))

    def before(self, line: int, descriptor: int, size: int) -> tuple[int, int]:
        """The last place that has at most *line* lines before it and lies in the first *size*
        bytes: its line and offset. The beginning of the file, if no place can be trusted."""
        number = bisect.bisect_right(self.lines, line)
        number = min(number, bisect.bisect_right(self.offsets, size))
        if number == 0:
            return 0, 0
        offset = self.offsets[number - 1]
        found = os.pread(descriptor, _CHECKED, offset - _CHECKED)
        if zlib.crc32(found) != self.checks[number - 1]:
            self.forget()
            return 0, 0
        return self.lines[number - 1], offset

    def forget(self) -> None:
        """Begin anew."""
        self.lines, self.offsets, self.checks = [], [], []


class Spools:
    """The decoded content of compressed files, for the next page: one at a time, in a nameless
    temporary file, and only for some seconds."""

    def __init__(self) -> None:
        self._key: tuple[int, ...] | None = None
        self._descriptor = -1
        self._damage: str | None = None
        self._until = 0.0
        self._lock = threading.Lock()

    def find(self, status: os.stat_result) -> tuple[int, str | None] | None:
        """A descriptor of what the compressed file with this status holds, for the caller to
        close, and what was wrong with it."""
        with self._lock:
            if self._key != _identity(status):
                return None
            self._until = time.monotonic() + _KEPT
            return os.dup(self._descriptor), self._damage

    def keep(self, status: os.stat_result, descriptor: int, damage: str | None) -> None:
        """Keep what was decoded."""
        self.close()
        with self._lock:
            self._key, self._damage = _identity(status), damage
            self._descriptor = os.dup(descriptor)
            self._until = time.monotonic() + _KEPT
        self._look_later()

    def close(self) -> None:
        """Let go of it."""
        with self._lock:
            descriptor, self._descriptor, self._key = self._descriptor, -1, None
        if descriptor >= 0:
            os.close(descriptor)

    def _look_later(self) -> None:
        import asyncio  # here: a list of threads needs no event loop

        with contextlib.suppress(RuntimeError):  # no loop here: it goes with the next one
            asyncio.get_running_loop().call_later(_KEPT, self._look)

    def _look(self) -> None:
        if self._key is None:
            return
        if time.monotonic() >= self._until:
            self.close()
        else:
            self._look_later()


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class Places:
    """The places of the files that were read last."""

    def __init__(self, files: int = 64) -> None:
        self.spools = Spools()
        self._most = files
        self._files: dict[tuple[int, int], FilePlaces] = {}

    def of(self, status: os.stat_result) -> FilePlaces:
        """Those of the file with this status."""
        key = status.st_dev, status.st_ino
        known = self._files.pop(key, None) or FilePlaces()
        self.put(status, known)
        return known

    def put(self, status: os.stat_result, places: FilePlaces) -> None:
        """Take over what was found earlier."""
        self._files[status.st_dev, status.st_ino] = places
        if len(self._files) > self._most:
            del self._files[next(iter(self._files))]
