"""Searching what was said: the query, what is found, and the rules that all stores share."""

from __future__ import annotations

from threadstore.search.queries import (
    Occurrence,
    OccurrencePage,
    SearchHit,
    SearchPage,
    SearchQuery,
    TextRole,
)

__all__ = [
    "Occurrence",
    "OccurrencePage",
    "SearchHit",
    "SearchPage",
    "SearchQuery",
    "TextRole",
]
