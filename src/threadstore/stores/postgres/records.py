"""A thread as a row: the whole record, and copies of what lists filter or sort by."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from threadstore.errors import StoreUnavailable
from threadstore.metadata import StoredThread, source_kind
from threadstore.queries import git_origin, resolve_cwd, searchable_text
from threadstore.search.tokens import words

__all__ = ["columns", "decode_record", "plain_text", "vector"]

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(StoredThread).decode


def columns(thread: StoredThread) -> dict[str, Any]:
    """The values of a row, by the names that the statements use."""
    source = thread.source
    custom = source.get("custom") if isinstance(source, dict) else None
    return {
        "thread": thread.id,
        "created_at": thread.created_at,
        "updated_at": thread.updated_at,
        "recency_at": thread.recency_at,
        "archived_at": thread.archived_at,
        "parent": thread.parent_thread_id,
        "cwd": plain_text(resolve_cwd(thread.cwd)),
        "model_provider": plain_text(thread.model_provider),
        "model": _optional(thread.model),
        "git_origin": _optional(git_origin(thread)),
        "source_kind": plain_text(source_kind(source)),
        "source_custom": _optional(None if custom is None else str(custom)),
        "displayable": bool(thread.name or thread.preview),
        "name": _optional(thread.name),
        "search_text": plain_text(searchable_text(thread)),
        "record": _encode(thread).decode(),
    }


def decode_record(data: bytes) -> StoredThread:
    """The thread in a row."""
    try:
        return _decode(data)
    except msgspec.MsgspecError as error:
        raise StoreUnavailable(
            f"a record in the database cannot be read: {error}",
            hint="a newer threadstore may have written it; update this one",
        ) from error


def plain_text(text: str) -> str:
    """*text* as a column of PostgreSQL can hold it: without null characters and half ones. For
    comparing only; the record keeps what was said."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def vector(text: str) -> str:
    """The different words of a text, as the server reads a ``tsvector``. Words have no characters
    that would have to be quoted; their places are left out, for the server keeps only 16,383."""
    return " ".join(dict.fromkeys(words(text)))


def _optional(text: str | None) -> str | None:
    return None if text is None else plain_text(text)
