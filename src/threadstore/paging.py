"""Pages of turns and items, for every store, over ``iter_history``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from threadstore.queries import ItemPage, TurnPage

if TYPE_CHECKING:
    from threadstore.store import ThreadStore

__all__ = ["list_items", "list_turns"]


async def list_turns(
    store: ThreadStore, thread_id: str, cursor: str | None, limit: int, *, descending: bool
) -> TurnPage:
    """A page of turns after rollback."""
    raise NotImplementedError


async def list_items(
    store: ThreadStore,
    thread_id: str,
    turn_id: str | None,
    cursor: str | None,
    limit: int,
    *,
    descending: bool,
) -> ItemPage:
    """A page of items, of one turn if *turn_id* is given."""
    raise NotImplementedError
