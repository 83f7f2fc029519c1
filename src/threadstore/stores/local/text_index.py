"""The text index of one store object: kept in step with the threads by searches and beside them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Final

from threadstore.errors import StoreUnavailable
from threadstore.stores.local.index_db import IndexDb
from threadstore.stores.local.lineage import FindRollout
from threadstore.stores.local.text_db import TextDb, is_locked
from threadstore.stores.local.text_feed import TextFeed

__all__ = ["LARGE", "TextIndex"]

LARGE: Final = 8 << 20
"""Characters of a transaction of those who wait for the whole index: the faster, the larger."""
_MEDIUM: Final = 1 << 20
"""The same in a search, which waits for so long only."""
_SMALL: Final = 1 << 18
"""The same beside other work."""
_FEW: Final = 100
"""Threads that do not need more."""
_REST: Final = 2.0
"""How many times as long as it works the background rests."""
_LOOK: Final = 5.0
"""Seconds between two looks of the background when there is nothing to do."""


class TextIndex:
    """Brings the index up to date, at once or in the background. Blocks; safe from several
    threads."""

    def __init__(
        self,
        path: str,
        index: IndexDb,
        find_rollout: FindRollout,
        is_complete: Callable[[], bool],
        *,
        busy_timeout: float,
    ) -> None:
        self.db = TextDb(path, busy_timeout=busy_timeout)
        self.feed = TextFeed(self.db, index, find_rollout, is_complete)
        self._index = index
        self._closed = threading.Event()
        self._starting = threading.Lock()
        self._background: threading.Thread | None = None

    def notice(self, live: dict[str, str]) -> int:
        """Find out what has changed; how many threads have. *live* are the files of threads that
        are being written here.

        Raises StoreUnavailable where there is no index.
        """
        self.feed.notice()
        self.feed.look_again()
        self.feed.notice_live(live)
        return self.feed.left()

    def work(self, seconds: float, portion: int = LARGE) -> int:
        """Index for so long what has changed; how many threads are left."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.feed.step(portion):
            pass
        return self.feed.left()

    def update(self, live: dict[str, str], patience: float) -> str | None:
        """Both, for a search; why something may be missing then.

        Raises StoreUnavailable where there is no index.
        """
        try:
            few = self.notice(live) < _FEW
            self.work(patience, _SMALL if few else _MEDIUM)
        except StoreUnavailable as error:
            if not is_locked(error):
                raise
            return self._missing(f"the text index cannot follow: {error}")
        return self._missing()

    def update_one(self, thread_id: str, live: str | None, patience: float) -> None:
        """Index what has changed in one thread, for *patience* seconds at most. *live* is its file
        if it is being written here.

        Raises StoreUnavailable where there is no index.
        """
        end = time.monotonic() + patience
        try:
            self.feed.notice()
            if live is not None:
                self.feed.notice_live({thread_id: live})
            if not self.feed.is_current(thread_id):
                self.feed.look_at([thread_id])
            while time.monotonic() < end and not self.feed.is_current(thread_id):
                if not self.feed.step(_SMALL):
                    break
        except StoreUnavailable as error:
            if not is_locked(error):
                raise

    def _missing(self, reason: str | None = None) -> str | None:
        reasons = [] if reason is None else [reason]
        left, unread = self.feed.left(), self.feed.unread()
        if left:
            reasons.append(f"{left:,} of {self._index.count():,} threads are not indexed yet")
        if unread:
            reasons.append(f"{unread:,} threads could not be read")
        return "; ".join(reasons) or None

    def start(self) -> None:
        """Go on in the background until the index is closed. Twice is once."""
        with self._starting:
            if self._background is None and not self._closed.is_set():
                self._background = threading.Thread(
                    target=self._work, name="threadstore-texts", daemon=True
                )
                self._background.start()

    def _work(self) -> None:
        rest = 0.0
        while not self._closed.wait(rest):
            start = time.monotonic()
            try:
                self.feed.notice()
                busy = self.feed.step(_SMALL)
            except StoreUnavailable:  # whoever searches says so
                busy = False
            rest = (time.monotonic() - start) * _REST if busy else _LOOK

    def close(self) -> None:
        """Stop the background and let go of the file. Twice is once."""
        with self._starting:
            self._closed.set()
        if self._background is not None:
            self._background.join()
        with contextlib.suppress(StoreUnavailable):
            self.db.close()
