"""What lists are asked and what they answer: queries, pages of threads, opaque cursors."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import functools
import os
import zlib
from enum import StrEnum
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from threadstore.clock import from_ms, to_ms
from threadstore.errors import InvalidRequest
from threadstore.git_url import strip_credentials
from threadstore.ids import parse_id_prefix, parse_thread_id
from threadstore.metadata import StoredThread, source_kind

__all__ = [
    "SortKey",
    "ThreadPage",
    "ThreadQuery",
    "check_limit",
    "decode_cursor",
    "encode_cursor",
    "git_origin",
    "matches_source",
    "resolve_cwd",
    "searchable_text",
    "source_matches",
    "thread_cursor",
    "thread_place",
]

MAX_LIMIT: Final = 10_000
_BOUNDARY: Final = "\x1f"  # between searchable texts, so that no term matches across two of them


def check_limit(limit: object) -> None:
    """Refuse a page size that is not a whole number from 1 to ``MAX_LIMIT``."""
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InvalidRequest(f"limit must be at least 1, not {limit!r}")
    if limit > MAX_LIMIT:
        raise InvalidRequest(
            f"limit must be at most {MAX_LIMIT}", hint="page through with next_cursor"
        )


class SortKey(StrEnum):
    """What a list is ordered by; equal times are ordered by id in the same direction."""

    CREATED = "created"
    UPDATED = "updated"
    RECENCY = "recency"

    def of(self, thread: StoredThread) -> int:
        """The thread's sort value, in milliseconds since the epoch."""
        moment: dt.datetime = getattr(thread, f"{self.value}_at")
        return to_ms(moment)


class ThreadQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which threads, in which order. The default is every active thread, newest use first.

    Checked when it is made: a bad value is :class:`InvalidRequest`.
    """

    limit: int = 25
    """Rows of a page, 1 to 10,000."""
    cursor: str | None = None
    """``next_cursor`` of a page of the *same* query (the limit may differ)."""
    sort_key: SortKey = SortKey.RECENCY
    descending: bool = True
    archived: bool | None = False
    """``False``: active ones, ``True``: archived ones, ``None``: both."""
    cwds: tuple[str, ...] | None = None
    """Threads of these working directories, compared after resolving links and ``..``;
    empty: none."""
    model_providers: tuple[str, ...] | None = None
    """Threads of these providers; empty: none."""
    models: tuple[str, ...] | None = None
    """Threads whose last model is one of these; empty: none."""
    git_origins: tuple[str, ...] | None = None
    """Threads of these git remotes (``origin_url``, compared without credentials); empty: none."""
    sources: tuple[str, ...] | None = None
    """Threads of these kinds of source (see :func:`threadstore.metadata.source_kind`);
    ``subagent`` stands for all kinds of sub-agent, ``custom:NAME`` for one custom source;
    empty: none."""
    exclude_sources: tuple[str, ...] = ()
    """The same words, to leave out."""
    parent_id: str | None = None
    """Children that this thread spawned."""
    ancestor_id: str | None = None
    """Children, their children, and so on."""
    id_prefix: str | None = None
    """Threads whose id begins so: hexadecimal digits, hyphens and letter case do not matter."""
    name: str | None = None
    """Threads with exactly this name."""
    search_term: str | None = None
    """Part of the name, title or preview; letter case does not matter, nothing is a wildcard."""
    only_displayable: bool = False
    """Only threads with a name or a preview."""

    def __post_init__(self) -> None:
        check_limit(self.limit)
        try:
            checked = msgspec.convert(msgspec.structs.asdict(self), _Shape)
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"ThreadQuery: {error}") from error
        if checked.git_origins is not None:
            checked.git_origins = tuple([strip_credentials(url) for url in checked.git_origins])
        for field in _TUPLES:
            # Lists are welcome; kept as tuples, so that a query can be a key.
            msgspec.structs.force_setattr(self, field, getattr(checked, field))
        if self.sort_key is not checked.sort_key:
            raise InvalidRequest("ThreadQuery: sort_key must be a SortKey")
        for parent in (self.parent_id, self.ancestor_id):
            if parent is not None:
                parse_thread_id(parent)
        if self.id_prefix is not None:  # in one spelling, so that cursors fit the others
            msgspec.structs.force_setattr(self, "id_prefix", parse_id_prefix(self.id_prefix))

    def fingerprint(self) -> str:
        """Names order and filters, so that a cursor of another query is recognised."""
        return _fingerprint(self if self.cursor is None else replace(self, cursor=None))

    def matches(self, thread: StoredThread) -> bool:
        """Whether a thread passes the filters that need nothing but the thread itself.

        ``cwds`` are compared as text (stores resolve them first), ``ancestor_id`` is not looked at.
        """
        return (
            (self.archived is None or thread.archived is self.archived)
            and (self.cwds is None or thread.cwd in self.cwds)
            and (self.model_providers is None or thread.model_provider in self.model_providers)
            and (self.models is None or thread.model in self.models)
            and (self.git_origins is None or git_origin(thread) in self.git_origins)
            and (self.sources is None or matches_source(thread, self.sources))
            and not matches_source(thread, self.exclude_sources)
            and (
                self.parent_id is None or thread.parent_thread_id == parse_thread_id(self.parent_id)
            )
            and (self.name is None or thread.name == self.name)
            and (self.id_prefix is None or thread.id.startswith(self.id_prefix))
            and (not self.only_displayable or bool(thread.name or thread.preview))
            and (self.search_term is None or self._finds(thread))
        )

    def _finds(self, thread: StoredThread) -> bool:
        text = searchable_text(thread)
        return bool(text) and (self.search_term or "").casefold() in text


@functools.lru_cache(maxsize=64)
def _fingerprint(query: ThreadQuery) -> str:
    filters = msgspec.structs.asdict(query)
    del filters["limit"], filters["cursor"]
    # Nobody forges a cursor, and hashlib takes as long to import as a list takes.
    return f"{zlib.crc32(msgspec.json.encode(filters)):08x}"


class _Shape(msgspec.Struct, kw_only=True):
    """The types of a query, for checking."""

    limit: int
    cursor: str | None
    sort_key: SortKey
    descending: bool
    archived: bool | None
    cwds: tuple[str, ...] | None
    model_providers: tuple[str, ...] | None
    models: tuple[str, ...] | None
    git_origins: tuple[str, ...] | None
    sources: tuple[str, ...] | None
    exclude_sources: tuple[str, ...]
    parent_id: str | None
    ancestor_id: str | None
    id_prefix: str | None
    name: str | None
    search_term: str | None
    only_displayable: bool


_TUPLES: Final = (
    "cwds",
    "model_providers",
    "models",
    "git_origins",
    "sources",
    "exclude_sources",
)


def matches_source(thread: StoredThread, words: tuple[str, ...]) -> bool:
    """Whether the thread's source is one of *words* (see :class:`ThreadQuery`)."""
    if not words:
        return False
    custom = thread.source.get("custom") if isinstance(thread.source, dict) else None
    return source_matches(source_kind(thread.source), custom, words)


def source_matches(kind: str, custom: object, words: tuple[str, ...]) -> bool:
    """The same for a kind of source and the name of a custom one."""
    return (
        kind in words
        or (kind.startswith("subagent_") and "subagent" in words)
        or (custom is not None and f"custom:{custom}" in words)
    )


def git_origin(thread: StoredThread) -> str | None:
    """What ``ThreadQuery.git_origins`` is compared with: the remote of the thread's repository,
    which :class:`~threadstore.metadata.GitInfo` keeps without credentials."""
    return None if thread.git is None else thread.git.origin_url


def searchable_text(thread: StoredThread) -> str:
    """What ``ThreadQuery.search_term``, case-folded, is looked for in; empty: never found."""
    texts = dict.fromkeys(text for text in (thread.name, thread.title, thread.preview) if text)
    return _BOUNDARY.join(texts).casefold()


def resolve_cwd(cwd: str) -> str:
    """*cwd* as ``ThreadQuery.cwds`` compares it: without links, ``..`` and a final slash; ``""``
    stays ``""``. What cannot be a path stays as it is."""
    try:
        return os.path.realpath(cwd) if cwd else ""
    except ValueError:  # a null character, or half a character
        return cwd


class ThreadPage(msgspec.Struct, frozen=True):
    """One page of threads."""

    items: tuple[StoredThread, ...]
    next_cursor: str | None = None
    """``None`` on the last page."""


CursorKind: TypeAlias = Literal["threads", "turns", "items", "ranked", "occurrences"]


def encode_cursor(kind: CursorKind, query: str, *place: Any) -> str:
    """An opaque cursor: *place* in the results of the query that *query* names."""
    body = msgspec.json.encode([1, kind, query, *place])
    return base64.urlsafe_b64encode(body).rstrip(b"=").decode()


def decode_cursor(kind: CursorKind, query: str, cursor: str) -> list[Any]:
    """The place in a cursor that :func:`encode_cursor` made for the same query."""
    try:
        body = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        version, found_kind, found_query, *place = msgspec.json.decode(body, type=list[Any])
    except (binascii.Error, ValueError, TypeError, RecursionError, msgspec.MsgspecError) as error:
        raise _invalid_cursor(cursor) from error
    if (version, found_kind) != (1, kind) or found_query != query:
        raise InvalidRequest(
            "the cursor belongs to another query",
            hint="keep sort key, direction and filters while paging",
        )
    return place


def thread_cursor(query: ThreadQuery, last: StoredThread) -> str:
    """The cursor that continues *query* after *last*."""
    return encode_cursor("threads", query.fingerprint(), query.sort_key.of(last), last.id)


def thread_place(query: ThreadQuery) -> tuple[int, str] | None:
    """Sort value and id after which *query* continues; ``None`` at its start.

    Raises :class:`InvalidRequest` for a cursor that :func:`thread_cursor` did not make for it.
    """
    if query.cursor is None:
        return None
    match decode_cursor("threads", query.fingerprint(), query.cursor):
        case [int(value), str(thread_id)] if _is_time(value):
            return value, thread_id
    raise _invalid_cursor(query.cursor)


def _is_time(ms: int) -> bool:
    try:
        from_ms(ms)
    except OverflowError:
        return False
    return True


def _invalid_cursor(cursor: str) -> InvalidRequest:
    return InvalidRequest(
        f"invalid cursor: {cursor!r}", hint="pass next_cursor of an earlier page unchanged"
    )
