"""The verbs of searching on the store, which load what they need when they are first used."""

from __future__ import annotations

import abc
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from threadstore.store import ThreadStore

if TYPE_CHECKING:
    from threadstore.search import OccurrencePage, SearchPage, SearchQuery
    from threadstore.stores.local.text_verbs import TextVerbs

__all__ = ["SearchedStore"]


class SearchedStore(ThreadStore):
    """A store whose texts can be searched."""

    _texts: TextVerbs | None = None

    @abc.abstractmethod
    def make_search(self) -> TextVerbs:
        """What does the work."""

    def _search(self) -> TextVerbs:
        self._texts = self._texts or self.make_search()
        return self._texts

    async def search_threads(self, query: SearchQuery) -> SearchPage:
        return await self._search().search_threads(query)

    async def search_occurrences(
        self,
        thread_id: str,
        query: SearchQuery,
        *,
        cursor: str | None = None,
        limit: int = 25,
        descending: bool = False,
    ) -> OccurrencePage:
        return await self._search().search_occurrences(
            thread_id, query, cursor, limit, descending=descending
        )

    async def prepare_search(self, on_progress: Callable[[int, int], None] | None = None) -> None:
        await self._search().prepare(on_progress)

    def forget_texts(self, thread_ids: Sequence[str], text_db: str) -> None:
        """Remove what the index in *text_db* has of threads that are deleted. If it cannot be
        written now, the next search does. Blocks."""
        if os.path.exists(text_db):
            self._search().forget(thread_ids)

    async def close_search(self) -> None:
        """Stop what goes on in the background. Twice is once."""
        texts, self._texts = self._texts, None
        if texts is not None:
            await texts.close()
