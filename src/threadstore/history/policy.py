"""Which items persist: the storage-neutral policy (Codex 0.169, per history mode)."""

from __future__ import annotations

from collections.abc import Iterable

from threadstore.history.items import RolloutItem
from threadstore.metadata import HistoryMode

__all__ = ["affects_metadata", "canonical", "persists"]


def persists(item: RolloutItem, mode: HistoryMode) -> bool:
    """Whether *item* belongs into the history of a thread of this *mode*."""
    raise NotImplementedError


def canonical(items: Iterable[RolloutItem], mode: HistoryMode) -> list[RolloutItem]:
    """The items that persist, in order, as they are stored. Empty: nothing to append."""
    raise NotImplementedError


def affects_metadata(item: RolloutItem) -> bool:
    """Whether *item* can change metadata beyond "touched at"."""
    raise NotImplementedError
