"""The background of a store on a large home: full looks, at a pace that nobody notices."""

from __future__ import annotations

import threading

from threadstore.errors import StoreUnavailable
from threadstore.stores.local.sync import IndexSync

__all__ = ["Healer"]


class Healer:
    """A thread that looks at every file now and then."""

    def __init__(self, sync: IndexSync) -> None:
        self._sync = sync
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, if lists do not look at everything by themselves. Twice is once."""
        if self._thread is None and self._sync.is_large:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="threadstore-heal", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End within some milliseconds, and wait for that. Twice is once."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._sync.interval):
            try:
                self._sync.heal(self._stop.wait)
            except StoreUnavailable as error:
                from logging import getLogger  # here: every start would pay for it

                getLogger(__name__).warning("not every file could be looked at: %s", error)
