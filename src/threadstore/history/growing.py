"""Turns as they grow, line by line, and as they are handed out."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final, Literal, TypeAlias

import msgspec

from threadstore.clock import from_ms, parse_timestamp
from threadstore.history.items import RolloutItem
from threadstore.history.shown import ShownItems

__all__ = [
    "GrowingTurn",
    "Keep",
    "OpenStatus",
    "StoredTurn",
    "TurnError",
    "TurnStart",
    "TurnStatus",
    "is_preface",
    "text_of",
]

TurnStatus: TypeAlias = Literal["completed", "interrupted", "failed", "in_progress"]
OpenStatus: TypeAlias = Literal["interrupted", "in_progress"]
Keep: TypeAlias = Literal["all", "shown", "nothing"]
"""Which of its items a turn has: a history may be too long to hold what nobody shows."""


_LEFT_OUT: Final = RolloutItem("", None)
"""Stands for items that a turn does not keep."""


class TurnError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a turn failed."""

    message: str
    info: Any = None
    """Codex's machine-readable reason (``codex_error_info``) as it stands on disk."""
    details: str | None = None


class StoredTurn(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of a thread, with the raw items that belong to it."""

    id: str
    """As on disk; ``rollout-<n>`` for an implicit turn, as Codex names it: its place among the
    readable lines, from 0."""
    root_turn_id: str | None = None
    """The turn that this one was started for (Codex 0.155 on; its own id if for none)."""
    status: TurnStatus
    error: TurnError | None = None
    started_at: dt.datetime | None = None
    completed_at: dt.datetime | None = None
    estimated: frozenset[str] = frozenset()
    """Which of the two times no event says: they are those of the lines."""
    duration_ms: int | None = None
    items: tuple[RolloutItem, ...] = ()
    """In the order of the history."""
    first_item_number: int = 1
    """What the first item without an id of its own is called in the thread: ``item-<n>``."""
    first_position: int
    """Position of its first item; never changes while the turn grows."""
    last_position: int
    """Position of its last item."""
    listed_position: int = 0
    """Its place in the order of turns: the position of the line that opened it."""


class TurnStart(msgspec.Struct, frozen=True, kw_only=True, array_like=True, omit_defaults=True):
    """All that the turns behind a place in a history owe to what stands before it."""

    position: int = 0
    """The place: behind the line with this position."""
    index: int = -1
    """Place of that line among the readable ones, from 0."""
    number: int = 1
    """What the next item without an id of its own is called."""
    turns: int = 0
    """Turns before the place, and …"""
    shown: int = 0
    """… how many items they show."""
    bare: bool = False
    """Whether lines are bare (Codex 0.29 and before) up to there."""


class GrowingTurn:
    """A turn that is being built."""

    __slots__ = (
        "_keep",
        "compacted",
        "completed_at",
        "duration_ms",
        "error",
        "estimated",
        "explicit",
        "first",
        "first_number",
        "id",
        "items",
        "opened",
        "places",
        "root_id",
        "shown",
        "started_at",
        "status",
    )

    def __init__(
        self, turn_id: str, *, explicit: bool, opened: int, number: int, keep: Keep
    ) -> None:
        self._keep = keep
        self.id = turn_id
        self.root_id: str | None = None
        self.explicit = explicit
        self.opened = opened
        self.compacted = False
        self.items: list[RolloutItem] = []
        self.places: list[int] = []
        """Positions of the items."""
        self.first = 0
        self.first_number = number
        self.shown = ShownItems(number)
        self.status: TurnStatus | None = None
        self.error: TurnError | None = None
        self.started_at: dt.datetime | None = None
        self.completed_at: dt.datetime | None = None
        self.estimated: set[str] = set()
        self.duration_ms: int | None = None

    def add(self, position: int, item: RolloutItem, kind: str | None = None) -> None:
        shown = item.type == "event_msg" and self.shown.take(item, kind) is not None
        self.first = self.first or position
        if self._keep != "all" and not (shown and self._keep == "shown"):
            # An item that may go over to the next turn stays until it is known.
            if self.explicit or not is_preface(item):
                item = _LEFT_OUT
            if item is _LEFT_OUT and self.items and self.items[-1] is item:
                self.places[-1] = position
                return
        self.items.append(item)
        self.places.append(position)

    def pass_by(self, position: int) -> None:
        """An item that is not kept."""
        if self.items and self.items[-1] is _LEFT_OUT:
            self.places[-1] = position
        else:
            self.items.append(_LEFT_OUT)
            self.places.append(position)

    def start(self, item: RolloutItem, payload: dict[str, Any]) -> None:
        """Take time and root from an event of the turn."""
        self.root_id = text_of(payload, "root_turn_id")
        self.started_at = self._time("started_at", item, payload)

    def end(self, item: RolloutItem, payload: dict[str, Any], status: TurnStatus) -> None:
        """Take status and times from an event that ends the turn; the first status counts."""
        if self.status is None:
            self.status = status
            self.error = _error(payload.get("error"))
            if self.error is not None and status == "completed":
                self.status = "failed"
        self.completed_at = self._time("completed_at", item, payload)
        duration = payload.get("duration_ms")
        if isinstance(duration, int) and not isinstance(duration, bool):
            self.duration_ms = duration

    def _time(self, key: str, item: RolloutItem, payload: dict[str, Any]) -> dt.datetime | None:
        said = _seconds(payload.get(key))
        if said is not None:
            self.estimated.discard(key)
            return said
        self.estimated.add(key)
        return parse_timestamp(item.timestamp)

    def takes_user_messages(self) -> bool:
        """Whether a user message belongs to this turn instead of opening the next."""
        if self.explicit:
            return self.status is None
        return self.compacted and not self.shown

    def let_go(self) -> None:
        """Forget the items."""
        self.items, self.places = [], []

    def stored(self, open_status: TurnStatus) -> StoredTurn:
        return StoredTurn(
            id=self.id,
            root_turn_id=self.root_id,
            status=self.status or (open_status if self.explicit else "completed"),
            error=self.error,
            started_at=self.started_at,
            completed_at=self.completed_at,
            estimated=frozenset(self.estimated),
            duration_ms=self.duration_ms,
            items=self._kept(),
            first_item_number=self.first_number,
            first_position=self.first,
            last_position=self.places[-1],
            listed_position=self.opened,
        )

    def _kept(self) -> tuple[RolloutItem, ...]:
        if self._keep == "all":
            return tuple(self.items)
        if self._keep == "nothing":
            return ()
        return tuple([item for item in self.items if item.type == "event_msg"])


def is_preface(item: RolloutItem) -> bool:
    """Whether the line belongs to a turn that begins right behind it."""
    if item.type != "response_item" or item.kind != "message":
        return False
    return item.payload.get("role") in ("user", "developer")


def text_of(payload: dict[str, Any], key: str) -> str | None:
    """The text under *key* that has a character."""
    value = payload.get(key)
    return value if isinstance(value, str) and value else None


def _error(value: Any) -> TurnError | None:
    if not isinstance(value, dict):
        return None
    message, details = value.get("message"), value.get("additional_details")
    return TurnError(
        message=message if isinstance(message, str) else "",
        info=value.get("codex_error_info"),
        details=details if isinstance(details, str) else None,
    )


def _seconds(value: Any) -> dt.datetime | None:
    """A time in whole seconds since the epoch, as turn events carry it."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    try:
        return from_ms(value * 1000)
    except OverflowError:
        return None
