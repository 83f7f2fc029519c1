"""The name index ``session_index.jsonl``: explicit thread names, append-only."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection

import msgspec

from threadstore.stores.local.paths import Home

__all__ = ["Fingerprint", "NameIndex", "append", "fingerprint", "load", "remove"]


class Fingerprint(msgspec.Struct, frozen=True):
    """Changes whenever the index file changes."""

    size: int
    mtime_ns: int
    inode: int


class NameIndex(msgspec.Struct, frozen=True, kw_only=True):
    """The newest entry of every id."""

    names: dict[str, str]
    """Trimmed name by canonical id, in the order of the entries; ``""``: cleared."""
    fingerprint: Fingerprint | None
    """Taken before reading; ``None``: there is no file."""
    skipped: int = 0
    """Lines that are no entry (blank ones not counted)."""


def fingerprint(home: Home) -> Fingerprint | None:
    """The index file's fingerprint now."""
    raise NotImplementedError


def load(home: Home) -> NameIndex:
    """Read the whole index. Raises StoreUnavailable if it exists and cannot be read."""
    raise NotImplementedError


def append(home: Home, thread_id: str, name: str | None, now: dt.datetime) -> None:
    """Add an entry, durable on return; ``None`` clears the name."""
    raise NotImplementedError


def remove(home: Home, thread_ids: Collection[str]) -> bool:
    """Drop all entries of these threads, durable on return; every other byte stays. Whether there
    were any."""
    raise NotImplementedError
