"""A thread as a row of the list index, and what rows have in common."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import msgspec

from threadstore.clock import to_ms
from threadstore.metadata import StoredThread, source_kind
from threadstore.queries import (
    ThreadQuery,
    git_origin,
    resolve_cwd,
    searchable_text,
    source_matches,
)
from threadstore.stores.local.database import DatabaseDamaged

__all__ = ["COLUMNS", "Shelf", "Shelves", "decode", "row_of", "shelf_of", "touched"]

COLUMNS: Final = (
    *("id", "created_ms", "updated_ms", "recency_ms", "archived", "shelf", "cwd", "git_origin"),
    *("model", "parent_id", "name", "digest", "search", "record"),
)
"""In the order of :func:`row_of`."""


class Shelf(msgspec.Struct, frozen=True):
    """What many threads have in common. Each stands on one shelf, and there are few of them: a list
    that is filtered by these facts merges the ordered walks along the shelves that it wants."""

    archived: bool
    displayable: bool
    kind: str
    custom: str | None
    provider: str

    @property
    def key(self) -> int:
        """The same for the same facts, in every index."""
        return _key(self)

    @staticmethod
    def matter(query: ThreadQuery) -> bool:
        """Whether the query asks for more of these facts than whether they are archived."""
        return bool(
            query.only_displayable
            or query.model_providers is not None
            or query.sources is not None
            or query.exclude_sources
        )

    def matches(self, query: ThreadQuery) -> bool:
        """Whether the query wants its threads, as far as these facts say."""
        return (
            (query.archived is None or self.archived is query.archived)
            and (self.displayable or not query.only_displayable)
            and (query.model_providers is None or self.provider in query.model_providers)
            and (query.sources is None or source_matches(self.kind, self.custom, query.sources))
            and not source_matches(self.kind, self.custom, query.exclude_sources)
        )


Shelves: TypeAlias = Sequence[tuple[int, Shelf]]
"""Shelves, each behind its key."""


@functools.lru_cache(maxsize=1024)
def _key(shelf: Shelf) -> int:
    facts = msgspec.structs.astuple(shelf)
    return _digest(ascii(facts).encode())


def _digest(data: bytes) -> int:
    import hashlib  # here: it takes as long as a list, which makes no key

    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), signed=True)


def shelf_of(thread: StoredThread) -> Shelf:
    """Where the thread stands."""
    custom = thread.source.get("custom") if isinstance(thread.source, dict) else None
    return Shelf(
        thread.archived,
        bool(thread.name or thread.preview),
        source_kind(thread.source),
        None if custom is None else str(custom),
        thread.model_provider,
    )


def row_of(thread: StoredThread, shelf: Shelf) -> tuple[Any, ...]:
    """The values of ``COLUMNS``."""
    record = _record(thread)
    return (
        thread.id,
        to_ms(thread.created_at),
        to_ms(thread.updated_at),
        to_ms(thread.recency_at),
        thread.archived,
        shelf.key,
        _resolved(thread.cwd, int(time.monotonic())),
        git_origin(thread),
        thread.model,
        thread.parent_thread_id,
        thread.name,
        _digest(record),
        searchable_text(thread),
        record,
    )


def touched(thread: StoredThread) -> tuple[int, int, bytes]:
    """The values of ``updated_ms``, ``digest`` and ``record``."""
    record = _record(thread)
    return to_ms(thread.updated_at), _digest(record), record


@functools.lru_cache(maxsize=256)
def _resolved(cwd: str, _second: int) -> str:
    """Many threads have the same folder, and asking the system takes as long as writing a row."""
    return resolve_cwd(cwd)


class _Record(StoredThread, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A thread as it is stored: the defaults left out."""


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(StoredThread).decode


def decode(record: bytes) -> StoredThread:
    """The thread in a record. Raises DatabaseDamaged if there is none."""
    try:
        return _decode(record)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise DatabaseDamaged(
            f"a thread in the list index cannot be read: {error}",
            hint="run `threadstore doctor` for details",
        ) from error


def _record(thread: StoredThread) -> bytes:
    try:
        return _encode(_Record(**msgspec.structs.asdict(thread)))
    except UnicodeEncodeError:  # half a character, which JSON cannot hold
        import json

        text = json.dumps(msgspec.to_builtins(thread), ensure_ascii=False)
        return text.encode(errors="replace")
