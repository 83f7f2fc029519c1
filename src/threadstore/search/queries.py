"""What searches are asked and what they answer."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Literal

import msgspec

from threadstore.errors import InvalidRequest
from threadstore.metadata import StoredThread
from threadstore.queries import ThreadQuery, decode_cursor, encode_cursor, thread_cursor
from threadstore.search.texts import TextDocument, TextRole
from threadstore.search.wanted import Wanted

__all__ = [
    "Occurrence",
    "OccurrencePage",
    "SearchHit",
    "SearchPage",
    "SearchQuery",
    "TextRole",
    "hit_cursor",
    "occurrence_cursor",
    "occurrence_place",
    "ranked_place",
]


class SearchQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for, in which texts of which threads.

    A *text* is one message, one call of a tool or its output, or a thread's name and title.
    Checked when it is made: a text that cannot be searched for is :class:`InvalidRequest`.
    """

    text: str
    """Words, all of them in one text: ``parser "exact phrase" begin*``; see
    :mod:`threadstore.search.wanted`."""
    literal: bool = False
    """Look for *text* as it stands, whatever its letter case, beginning where a word begins."""
    roles: tuple[TextRole, ...] | None = None
    """Texts of these roles; empty: none."""
    tools: tuple[str, ...] | None = None
    """Calls and outputs of tools with these names; empty: none."""
    since: dt.datetime | None = None
    """Texts from this time on (aware). A name or title has the time at which its thread began."""
    until: dt.datetime | None = None
    """Texts before this time (aware)."""
    threads: ThreadQuery = ThreadQuery()
    """In which threads, in which order unless *ranked*, how many a page, and its cursor."""
    ranked: bool = False
    """The best match first, as the store reckons it; else in the order of ``threads``."""

    def __post_init__(self) -> None:
        try:
            checked = msgspec.convert(msgspec.structs.asdict(self), _Shape)
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"SearchQuery: {error}") from error
        for field in ("roles", "tools"):
            msgspec.structs.force_setattr(self, field, getattr(checked, field))
        if not isinstance(self.threads, ThreadQuery):
            raise InvalidRequest("SearchQuery: threads must be a ThreadQuery")
        for moment in (self.since, self.until):
            if moment is not None and getattr(moment, "tzinfo", None) is None:
                raise InvalidRequest(
                    "SearchQuery: since and until are times with a time zone",
                    hint="pass datetime objects that are aware",
                )
        self.wanted()

    def wanted(self) -> Wanted:
        """What the text means."""
        return Wanted.parse(self.text, literal=self.literal)

    def takes(self, document: TextDocument) -> bool:
        """Whether a text is one of those that are looked through."""
        return (
            (self.roles is None or document.role in self.roles)
            and (self.tools is None or document.tool in self.tools)
            and (self.since is None or document.said_at >= self.since)
            and (self.until is None or document.said_at < self.until)
        )

    def fingerprint(self) -> str:
        """Names the search, so that a cursor of another one is recognised. Its times do not count:
        who asks for the last seven days asks for later ones with each page."""
        asked = msgspec.structs.asdict(self)
        del asked["since"], asked["until"]
        asked["threads"] = self.threads.fingerprint()
        return hashlib.sha256(msgspec.json.encode(asked)).hexdigest()[:16]


class _Shape(msgspec.Struct, kw_only=True):
    """The types of a query, for checking."""

    text: str
    literal: bool
    roles: tuple[TextRole, ...] | None
    tools: tuple[str, ...] | None
    since: dt.datetime | None
    until: dt.datetime | None
    threads: ThreadQuery
    ranked: bool


class Occurrence(msgspec.Struct, frozen=True, kw_only=True):
    """A text in which the search was found."""

    thread_id: str
    role: TextRole
    tool: str | None = None
    """Name of the tool that was called, if the history says it."""
    position: int
    """Position of the line in the thread's log; 0: the thread's name and title."""
    said_at: dt.datetime
    snippet: str
    """One line around the first match."""
    marks: tuple[tuple[int, int], ...]
    """What matches in the snippet: begin and end, by characters."""
    turn_cursor: str | None
    """Where ``list_turns`` (descending) goes on with the turn of this text; ``None``: name and
    title."""


class SearchHit(msgspec.Struct, frozen=True, kw_only=True):
    """A thread that has what was searched for."""

    thread: StoredThread
    found: Occurrence
    """The first text that has it, or the best if ranked; name and title only where no message,
    call or output has it."""


class SearchPage(msgspec.Struct, frozen=True):
    """One page of threads."""

    items: tuple[SearchHit, ...]
    next_cursor: str | None = None
    """``None`` on the last page."""
    degraded: str | None = None
    """Why something may be missing, for people: an index that is being built, say."""


class OccurrencePage(msgspec.Struct, frozen=True):
    """One page of the places in one thread."""

    items: tuple[Occurrence, ...]
    next_cursor: str | None = None
    degraded: str | None = None


def hit_cursor(query: SearchQuery, last: StoredThread, number: int) -> str:
    """The cursor of the page behind *last*, the *number*-th hit (from 1) of all pages so far."""
    if not query.ranked:
        return thread_cursor(query.threads, last)
    return encode_cursor("ranked", query.fingerprint(), number)


def ranked_place(query: SearchQuery) -> int:
    """How many hits the pages of a ranked search before this one had.

    Raises :class:`InvalidRequest` for a cursor that :func:`hit_cursor` did not make for it.
    """
    return _number("ranked", query.fingerprint(), query.threads.cursor)


def occurrence_cursor(
    thread_id: str, query: SearchQuery, position: int, *, descending: bool
) -> str:
    """The cursor of the page behind the text at *position*."""
    return encode_cursor("occurrences", _scope(thread_id, query, descending), position)


def occurrence_place(
    thread_id: str, query: SearchQuery, cursor: str | None, *, descending: bool
) -> int | None:
    """The position behind which a page of occurrences goes on; ``None``: it is the first.

    Raises :class:`InvalidRequest` for a cursor that :func:`occurrence_cursor` did not make for it.
    """
    if cursor is None:
        return None
    return _number("occurrences", _scope(thread_id, query, descending), cursor)


def _scope(thread_id: str, query: SearchQuery, descending: bool) -> str:  # noqa: FBT001
    return f"{thread_id} {query.fingerprint()} {'desc' if descending else 'asc'}"


def _number(kind: Literal["ranked", "occurrences"], scope: str, cursor: str | None) -> int:
    if cursor is None:
        return 0
    match decode_cursor(kind, scope, cursor):
        case [int(number)] if 0 <= number < 1 << 53:
            return number
    raise InvalidRequest(
        f"invalid cursor: {cursor!r}", hint="pass next_cursor of an earlier page unchanged"
    )
