"""A clock that only moves when it is told to."""

from __future__ import annotations

import datetime as dt

from threadstore.clock import UTC

__all__ = ["ManualClock"]


class ManualClock:
    """A :class:`threadstore.clock.Clock` for tests; starts on a whole second of 2026."""

    def __init__(self, start: dt.datetime | None = None) -> None:
        self._now = start or dt.datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
        self._monotonic = 1000.0

    def now(self) -> dt.datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float = 1.0) -> dt.datetime:
        """Move both clocks forward; the new time."""
        self._now += dt.timedelta(seconds=seconds)
        self._monotonic += seconds
        return self._now
