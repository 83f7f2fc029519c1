"""A :class:`SearchQuery` as SQL over the index of texts.

What this finds are candidates: texts with all the words. Whether a phrase or a literal is in one
is seen in the text itself.
"""

from __future__ import annotations

from typing import Any, Final

from threadstore.search.queries import SearchQuery
from threadstore.search.wanted import Wanted
from threadstore.stores.postgres.records import plain_text

__all__ = ["TextQuery", "words_of"]

_COLUMNS: Final = (
    "thread_id::text, position, log_id::text, role, tool,"
    " (extract(epoch FROM said_at) * 1000000)::bigint"
)
_TITLE_COUNTS: Final = 8
"""Texts that a match in name or title is worth."""


class TextQuery:
    """One search: its statements and their values."""

    def __init__(self, query: SearchQuery, tenant: str) -> None:
        self.words = words_of(query.wanted())
        """As the server reads a ``tsquery``."""
        self.values: dict[str, Any] = {"tenant": tenant, "words": self.words}
        where = ["tenant = %(tenant)s", "words @@ %(words)s::text::tsquery"]
        if query.roles is not None:
            self.values["roles"] = [role.value for role in query.roles]
            where.append("role = ANY(%(roles)s)")
        if query.tools is not None:
            self.values["tools"] = [*map(plain_text, query.tools)]
            where.append("tool = ANY(%(tools)s)")
        if query.since is not None:
            self.values["since"] = query.since
            where.append("said_at >= %(since)s")
        if query.until is not None:
            self.values["until"] = query.until
            where.append("said_at < %(until)s")
        self._texts = f"threadstore.thread_texts WHERE {' AND '.join(where)}"

    def threads(self) -> str:
        """The ids of all threads with candidates."""
        return f"SELECT thread_id FROM {self._texts}"

    def scores(self) -> str:
        """Each thread with candidates and how much of what is wanted it has."""
        return (
            f"SELECT thread_id, sum(CASE WHEN position = 0 THEN {_TITLE_COUNTS} ELSE 1 END)"
            f" AS score FROM {self._texts} GROUP BY thread_id"
        )

    def some(self) -> bytes:
        """Candidates, ``most`` of them, in no order."""
        return f"SELECT {_COLUMNS} FROM {self._texts} LIMIT %(most)s".encode()

    def count(self) -> bytes:
        """How many candidates there are, up to ``most``."""
        return f"SELECT count(*) FROM (SELECT FROM {self._texts} LIMIT %(most)s) AS few".encode()

    def of_many(self) -> bytes:
        """Of each of ``threads`` the candidates with the numbers ``first`` to ``last``, in their
        order; names and titles come last."""
        return (
            f"SELECT {_COLUMNS} FROM (SELECT *, row_number() OVER"
            " (PARTITION BY thread_id ORDER BY position = 0, position) AS number"
            f" FROM {self._texts} AND thread_id = ANY(%(threads)s::uuid[])) AS numbered"
            " WHERE number BETWEEN %(first)s AND %(last)s ORDER BY thread_id, number"
        ).encode()

    def of_one(self, *, descending: bool) -> bytes:
        """Candidates of ``thread`` behind position ``after``, in their order, without its title."""
        comparison, direction = ("<", "DESC") if descending else (">", "ASC")
        return (
            f"SELECT {_COLUMNS} FROM {self._texts} AND thread_id = %(thread)s::uuid"
            f" AND position > 0 AND position {comparison} %(after)s"
            f" ORDER BY position {direction} LIMIT %(rows)s"
        ).encode()


def words_of(wanted: Wanted) -> str:
    """All words of all phrases. They are letters and digits, so quotes are enough."""
    terms = [
        f"'{token}':*" if phrase.prefix and number == len(phrase.tokens) else f"'{token}'"
        for phrase in wanted.phrases
        for number, token in enumerate(phrase.tokens, 1)
    ]
    return " & ".join(dict.fromkeys(terms))
