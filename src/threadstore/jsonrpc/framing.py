"""Lines out of chunks: one JSON message per line, with a limit."""

from __future__ import annotations

from typing import Final

__all__ = ["DEFAULT_LIMIT", "LineSplitter", "TooLarge"]

DEFAULT_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of a message, unless said otherwise. Codex 0.169 takes 16 MiB over a WebSocket."""


class TooLarge:
    """Stands where a message above the limit was; what followed it is intact."""

    def __init__(self, limit: int) -> None:
        self.limit = limit


class LineSplitter:
    """Cuts a stream of bytes into lines. A line above *limit* bytes is passed over unkept."""

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes | TooLarge]:
        """The lines that *chunk* completes, without their ends, blank ones left out."""
        *ends, rest = chunk.split(b"\n")
        lines = []
        for end in ends:
            self._keep(end)
            lines += self.finish()
        self._keep(rest)
        return lines

    def finish(self) -> list[bytes | TooLarge]:
        """What has come of a line so far, as the last line of a stream may lack its end."""
        size, parts = self._size, self._parts
        self._size, self._parts = 0, []
        if size > self._limit:
            return [TooLarge(self._limit)]
        line = b"".join(parts)
        return [line] if line.strip() else []

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._limit:
            self._parts.clear()
        elif part:
            self._parts.append(part)
