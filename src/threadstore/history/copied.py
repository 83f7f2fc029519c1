"""Which lines of a thread's own log were copied from another thread.

A legacy fork begins with a copy of its source's history, a child may begin with a part of its
parent's. Nothing marks the end of the copy, and Codex (0.100 to 0.169) stamps copied lines with the
time of copying. What tells:

- a header of another thread begins a copy: Codex and threadstore copy it along;
- a line that names this thread is not copied, and nothing after it is;
- where copied lines kept their own times, as threadstore copies them, they are not later than the
  header;
- where they did not, neither is a turn copied whose id (UUIDv7 since 0.100) is younger than the
  thread.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import msgspec

from threadstore.clock import parse_timestamp, to_ms
from threadstore.metadata import is_subagent

if TYPE_CHECKING:
    from threadstore.history.header import HeaderView
    from threadstore.history.items import RolloutItem

__all__ = ["CopiedLines"]


class CopiedLines(msgspec.Struct, array_like=True):
    """Tells the copied lines of one thread from its own; fed in order."""

    _over: bool = True
    _copying: bool = False
    _told: bool = False
    _own_times: bool = False
    _began: dt.datetime | None = None
    _start_ordinal: int | None = None

    def begin(self) -> None:
        """What comes now is copied, until :meth:`end`."""
        self._over, self._told = False, True

    def end(self) -> None:
        """What comes now is the thread's own."""
        self._over, self._copying, self._told = True, False, False

    def own_header(self, header: HeaderView) -> None:
        """A header of this thread: the first one, or a later record, which is no copy."""
        if self._told:
            return
        if self._copying or self._began is not None:
            self.end()
            return
        self._began = header.timestamp
        self._start_ordinal = header.subagent_history_start_ordinal
        begun_by_others = (
            header.forked_from_id is not None
            or header.parent_thread_id is not None
            or is_subagent(header.source or "")
        )
        # What a fork by reference takes over stands in another file.
        if begun_by_others and header.history_base is None and self._began is not None:
            self._over, self._own_times = False, True

    def foreign_header(self, item: RolloutItem) -> None:
        """A header of another thread: lines of that thread follow."""
        if self._told:
            return
        if not self._copying:
            moment = parse_timestamp(item.timestamp)
            began = self._began
            self._own_times = began is not None and moment is not None and moment < began
        self._over, self._copying = False, True

    def holds(self, item: RolloutItem, thread_id: str) -> bool:
        """Whether *item* is one of the copied lines."""
        if self._over or self._told:
            return self._told
        if self._start_ordinal is not None and item.ordinal is not None:
            return item.ordinal < self._start_ordinal
        if self._is_own(item, thread_id):
            self.end()
        return not self._over

    def _is_own(self, item: RolloutItem, thread_id: str) -> bool:
        payload: Any = item.payload if isinstance(item.payload, dict) else {}
        if payload.get("thread_id") == thread_id:
            return True
        if self._own_times and self._began is not None:
            moment = parse_timestamp(item.timestamp)
            return moment is None or moment > self._began
        turn, thread = _made_at(payload.get("turn_id")), _made_at(thread_id)
        if turn is None or thread is None:
            return False
        return turn >= (thread if self._began is None else max(thread, to_ms(self._began)))


def _made_at(text: Any) -> int | None:
    """The time in a UUIDv7, in milliseconds; ``None`` for any other id."""
    if not isinstance(text, str) or len(text) != 36 or text[14] != "7":
        return None
    try:
        return int(text[:8] + text[9:13], 16)
    except ValueError:
        return None
