"""Reads the titles of new threads for search terms, behind whoever uses the store."""

from __future__ import annotations

import threading
from typing import Final

from threadstore.errors import StoreUnavailable
from threadstore.stores.local.index_db import IndexDb

__all__ = ["TitleReader"]

_BATCH: Final = 100  # some ten milliseconds: others wait for that long, and so does the end
_PAUSE: Final = 0.5
"""Seconds: who lists once and ends need not wait for titles."""


class TitleReader:
    """One thread at most, which ends when there is nothing to read. What it could not do, because
    another program was writing or the disk is full, the next list begins again."""

    def __init__(self, index: IndexDb) -> None:
        self._index = index
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, *, after: float = _PAUSE) -> None:
        """Begin in so many seconds, if there is something to read and nobody is at it."""
        if self._thread is not None and self._thread.is_alive():
            return
        if self._index.has_unread_titles():
            self._stopping.clear()
            self._thread = threading.Thread(
                target=self._read, args=(after,), name="titles", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """End, within a batch."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _read(self, after: float) -> None:
        if self._stopping.wait(after):
            return
        try:
            while not self._stopping.is_set() and self._index.read_titles(_BATCH, patience=0.0):
                pass
        except StoreUnavailable:
            return
