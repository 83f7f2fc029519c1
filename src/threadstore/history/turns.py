"""Items to turns: what belongs together between a user's message and the agent's last word.

A turn is *explicit* if the history says where it starts (``task_started``, Codex 0.100 on), else
*implicit*: in older histories each ``user_message`` opens one. The rules, after Codex 0.169:

- ``task_complete`` ends a turn: failed if it carries an error, else completed. An interruption or
  an error decides the status too, but what follows still belongs to the turn until the next starts.
- A second start ends the first turn as interrupted. Ends of turns that ended already change
  nothing; ends of unknown turns (reviews have them) are those of the current turn.
- ``thread_rolled_back n`` ends the current turn and drops the last *n*.
- ``compacted`` outside a turn opens one, which the next user message continues.
- A turn without an end is ``open_status``: interrupted for a cold thread, in progress for a live
  one. Implicit turns never had ends and count as completed.

Headers and what else stands between turns belongs to none, except that response items directly
before a turn (the user's message, in older histories) are part of it.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec

from threadstore.clock import from_ms, parse_timestamp
from threadstore.history.header import is_bare_header
from threadstore.history.items import RolloutItem
from threadstore.history.messages import bare_user_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["OpenStatus", "StoredTurn", "TurnBuilder", "TurnError", "TurnStatus", "build_turns"]

TurnStatus: TypeAlias = Literal["completed", "interrupted", "failed", "in_progress"]
OpenStatus: TypeAlias = Literal["interrupted", "in_progress"]

_SPEAKING: Final = frozenset(
    {"agent_message", "agent_reasoning", "agent_reasoning_raw_content", "plan_update"}
)
# Errors of requests beside the turn, which goes on (Codex 0.118 to 0.169).
_HARMLESS_ERRORS: Final = frozenset({"active_turn_not_steerable", "thread_rollback_failed"})


class TurnError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a turn failed."""

    message: str
    info: Any = None
    """Codex's machine-readable reason (``codex_error_info``) as it stands on disk."""
    details: str | None = None


class StoredTurn(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of a thread, with the raw items that belong to it."""

    id: str
    """As on disk; ``turn-<position>`` for an implicit turn."""
    status: TurnStatus
    error: TurnError | None = None
    started_at: dt.datetime | None = None
    completed_at: dt.datetime | None = None
    duration_ms: int | None = None
    items: tuple[RolloutItem, ...] = ()
    """In the order of the history."""
    first_position: int
    """Position of its first item; never changes while the turn grows."""
    last_position: int
    """Position of its last item."""


class _Turn:
    """A turn that is being built."""

    __slots__ = (
        "completed_at",
        "duration_ms",
        "error",
        "explicit",
        "id",
        "items",
        "placeholder",
        "started_at",
        "status",
    )

    def __init__(self, turn_id: str, *, explicit: bool) -> None:
        self.id = turn_id
        self.explicit = explicit
        self.placeholder = False
        self.items: list[tuple[int, RolloutItem]] = []
        self.status: TurnStatus | None = None
        self.error: TurnError | None = None
        self.started_at: dt.datetime | None = None
        self.completed_at: dt.datetime | None = None
        self.duration_ms: int | None = None

    def end(self, item: RolloutItem, payload: dict[str, Any], status: TurnStatus) -> None:
        """Take status and times from an event that ends the turn, unless it has ended already."""
        if self.status is None:
            self.status = status
            self.error = _error(payload.get("error"))
            if self.error is not None and status == "completed":
                self.status = "failed"
        self.started_at = self.started_at or _seconds(payload.get("started_at"))
        self.completed_at = _seconds(payload.get("completed_at")) or parse_timestamp(item.timestamp)
        duration = payload.get("duration_ms")
        if isinstance(duration, int) and not isinstance(duration, bool):
            self.duration_ms = duration

    def takes_user_messages(self) -> bool:
        """Whether a user message belongs to this turn instead of opening the next."""
        return self.status is None and (self.explicit or self.placeholder)

    def stored(self, open_status: TurnStatus) -> StoredTurn:
        return StoredTurn(
            id=self.id,
            status=self.status or (open_status if self.explicit else "completed"),
            error=self.error,
            started_at=self.started_at,
            completed_at=self.completed_at,
            duration_ms=self.duration_ms,
            items=tuple(item for _, item in self.items),
            first_position=self.items[0][0],
            last_position=self.items[-1][0],
        )


class TurnBuilder:
    """Builds turns from the items of a history, fed in order. May be asked at any time."""

    def __init__(self, *, open_status: OpenStatus = "interrupted") -> None:
        self._open_status = open_status
        self._turns: list[_Turn] = []
        self._current: _Turn | None = None
        self._between: list[tuple[int, RolloutItem]] = []
        self._position = 0
        self._bare = False

    def feed(self, item: RolloutItem) -> None:
        """Take the next item. Items without a position are counted."""
        self._position = item.position or self._position + 1
        if item.type == "event_msg":
            handle = _EVENTS.get(item.kind or "")
            if handle is not None and isinstance(item.payload, dict):
                handle(self, item, item.payload)
                return
        elif item.type == "session_meta":
            self._bare = self._bare or is_bare_header(item)
            self._between.clear()
            return
        elif item.type == "compacted":
            self._compacted(item)
            return
        elif self._bare and bare_user_text(item.payload).text is not None:
            self._user_message(item)
            return
        self._add(item)

    def turns(self) -> tuple[StoredTurn, ...]:
        """The turns so far, oldest first; rolled-back ones are left out."""
        last = self._turns[-1] if self._turns else None
        return tuple(
            # Only the newest turn can still be going on.
            turn.stored(self._open_status if turn is last else "interrupted")
            for turn in self._turns
        )

    def _add(self, item: RolloutItem) -> None:
        if self._current is not None:
            self._current.items.append((self._position, item))
        else:
            self._between.append((self._position, item))

    def _open(self, item: RolloutItem, turn_id: str | None, *, explicit: bool) -> _Turn:
        before = self._take_preface()
        turn = _Turn(
            turn_id or f"turn-{before[0][0] if before else self._position}", explicit=explicit
        )
        turn.items = before
        self._between.clear()
        self._current = turn
        self._turns.append(turn)
        self._add(item)
        return turn

    def _take_preface(self) -> list[tuple[int, RolloutItem]]:
        """The items directly before a turn that belong to it."""
        current = self._current
        if current is not None and (current.explicit or len(current.items) < 2):
            return []
        source = self._between if current is None else current.items
        first = len(source)
        floor = 0 if current is None else 1
        while first > floor and _is_preface(source[first - 1][1]):
            first -= 1
        taken = source[first:]
        del source[first:]
        return taken

    def _started(self, item: RolloutItem, payload: dict[str, Any]) -> None:
        turn_id = _turn_id(payload)
        current = self._current
        if current is not None and current.status is None and turn_id == current.id:
            self._add(item)
            return
        turn = self._open(item, turn_id, explicit=True)
        turn.started_at = _seconds(payload.get("started_at")) or parse_timestamp(item.timestamp)

    def _completed(self, item: RolloutItem, payload: dict[str, Any]) -> None:
        turn = self._ended_turn(item, payload)
        if turn is not None:
            turn.end(item, payload, "completed")
            self._current = None

    def _aborted(self, item: RolloutItem, payload: dict[str, Any]) -> None:
        turn = self._ended_turn(item, payload)
        if turn is not None:
            turn.end(item, payload, "interrupted")

    def _failed(self, item: RolloutItem, payload: dict[str, Any]) -> None:
        """An ``error`` event (Codex 0.118 could be told to write them)."""
        self._add(item)
        info = payload.get("codex_error_info")
        name = next(iter(info), None) if isinstance(info, dict) else info
        if self._current is not None and name not in _HARMLESS_ERRORS:
            self._current.end(item, {"error": payload}, "failed")

    def _ended_turn(self, item: RolloutItem, payload: dict[str, Any]) -> _Turn | None:
        """The turn that an end event ends; the event becomes an item of it."""
        turn_id = _turn_id(payload)
        current = self._current
        late = self._finished(turn_id)
        if late is not None and late is not current:
            late.items.append((self._position, item))
            return None
        self._add(item)
        return current

    def _finished(self, turn_id: str | None) -> _Turn | None:
        if turn_id is None:
            return None
        return next((turn for turn in reversed(self._turns) if turn.id == turn_id), None)

    def _user_message(self, item: RolloutItem, _payload: object = None) -> None:
        current = self._current
        if current is not None and current.takes_user_messages():
            current.placeholder = False
            self._add(item)
            return
        turn = self._open(item, None, explicit=False)
        turn.started_at = parse_timestamp(item.timestamp)

    def _item_completed(self, item: RolloutItem, payload: dict[str, Any]) -> None:
        turn_id = _turn_id(payload)
        current = self._current
        named = self._finished(turn_id)
        if named is not None and named is not current:
            named.items.append((self._position, item))
        elif current is not None:
            self._add(item)
        else:
            self._open(item, turn_id, explicit=False)

    def _spoke(self, item: RolloutItem, _payload: object) -> None:
        """Something the agent said: in a turn, late, or (history without a start) opening one."""
        if self._current is None and not self._turns:
            self._open(item, None, explicit=False)
        else:
            self._add(item)

    def _compacted(self, item: RolloutItem, _payload: object = None) -> None:
        if self._current is None or (self._current.explicit and self._current.status is not None):
            self._open(item, None, explicit=False).placeholder = True
        else:
            self._add(item)

    def _rolled_back(self, _item: RolloutItem, payload: dict[str, Any]) -> None:
        count = payload.get("num_turns")
        if isinstance(count, int) and count > 0:
            del self._turns[-count:]
        self._current = None
        self._between.clear()


def build_turns(
    items: Iterable[RolloutItem], *, open_status: OpenStatus = "interrupted"
) -> tuple[StoredTurn, ...]:
    """The turns of a whole history, oldest first (see :class:`TurnBuilder`)."""
    builder = TurnBuilder(open_status=open_status)
    for item in items:
        builder.feed(item)
    return builder.turns()


_EVENTS: Final[dict[str, Callable[[TurnBuilder, RolloutItem, dict[str, Any]], None]]] = {
    "context_compacted": TurnBuilder._compacted,
    "error": TurnBuilder._failed,
    "item_completed": TurnBuilder._item_completed,
    "task_complete": TurnBuilder._completed,
    "task_started": TurnBuilder._started,
    "thread_rolled_back": TurnBuilder._rolled_back,
    "turn_aborted": TurnBuilder._aborted,
    "turn_complete": TurnBuilder._completed,
    "turn_started": TurnBuilder._started,
    "user_message": TurnBuilder._user_message,
    **dict.fromkeys(_SPEAKING, TurnBuilder._spoke),
}


def _is_preface(item: RolloutItem) -> bool:
    if item.type == "event_msg":
        return item.kind == "entered_review_mode"  # stands before the start of its turn
    if item.type != "response_item" or item.kind != "message":
        return False
    role = item.payload.get("role")
    return role in ("user", "developer")


def _turn_id(payload: dict[str, Any]) -> str | None:
    value = payload.get("turn_id")
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
