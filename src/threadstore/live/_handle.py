"""What every handle of an active thread says about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from threadstore.metadata import HistoryMode, StoredThread

__all__ = ["Handle"]


class Handle:
    """A thread as it was when it was opened, and whether it still is open."""

    def __init__(self, stored: StoredThread) -> None:
        self._stored = stored
        self._mode = cast("HistoryMode", stored.history_mode)
        self._closed = False

    @property
    def id(self) -> str:
        """The thread's id."""
        return self._stored.id

    @property
    def history_mode(self) -> HistoryMode:
        """``legacy`` or ``paginated``: decides which items persist."""
        return self._mode

    @property
    def parent_thread_id(self) -> str | None:
        """The thread that spawned it, if any."""
        return self._stored.parent_thread_id

    @property
    def closed(self) -> bool:
        """Whether it was shut down or discarded."""
        return self._closed
