"""Pages of turns and items. Apart from queries: who lists threads need not know what a turn is."""

from __future__ import annotations

import msgspec

from threadstore.history.items import RolloutItem
from threadstore.history.turns import StoredTurn

__all__ = ["ItemPage", "TurnPage"]


class TurnPage(msgspec.Struct, frozen=True):
    """One page of turns."""

    items: tuple[StoredTurn, ...]
    next_cursor: str | None = None
    """Continues in the same direction; ``None`` on the last page."""
    backwards_cursor: str | None = None
    """Starts at this page's first turn in the other direction; ``None`` on an empty page."""


class ItemPage(msgspec.Struct, frozen=True):
    """One page of history items."""

    items: tuple[RolloutItem, ...]
    next_cursor: str | None = None
    backwards_cursor: str | None = None
