"""What items imply for metadata: the decision table, in one place."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from threadstore.history.items import RolloutItem
from threadstore.metadata import ThreadMetadataPatch

__all__ = ["FactObserver", "UserText", "fold", "user_text"]


class UserText:
    """The text of a user message."""

    preview: str | None
    title: str | None


def user_text(payload: Any) -> UserText:
    """What a ``user_message`` payload says."""
    raise NotImplementedError


class FactObserver:
    """Reads facts out of one thread's items, in order; first-only rules inside."""

    def __init__(
        self,
        thread_id: str,
        *,
        cwd_seen: bool = False,
        preview_seen: bool = False,
        first_user_message_seen: bool = False,
        title_seen: bool = False,
    ) -> None:
        raise NotImplementedError

    def observe(
        self, item: RolloutItem, *, now: dt.datetime | None = None
    ) -> ThreadMetadataPatch | None:
        """What *item* implies; ``None``: nothing."""
        raise NotImplementedError

    def observe_all(
        self, items: Iterable[RolloutItem], *, now: dt.datetime | None = None
    ) -> ThreadMetadataPatch | None:
        """What *items* imply together, as one patch; ``None``: nothing."""
        raise NotImplementedError


def fold(thread_id: str, items: Iterable[RolloutItem]) -> ThreadMetadataPatch:
    """What a whole history implies, as one patch (maybe empty)."""
    raise NotImplementedError
