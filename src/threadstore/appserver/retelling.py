"""Lines of a log as the events that their writer told when it wrote them. Pure.

What is never stored is not told again: deltas, questions, retries. Items that began before they
ended are told when they end.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from threadstore.clock import parse_timestamp, to_ms
from threadstore.engine import (
    ItemCompleted,
    ItemStarted,
    TaskComplete,
    TaskStarted,
    TokenCount,
    TurnAborted,
)
from threadstore.history.shown import ShownItems
from threadstore.protocol.codex_events import completed_item

if TYPE_CHECKING:
    from collections.abc import Sequence

    from threadstore.engine import Event
    from threadstore.history.items import RolloutItem
    from threadstore.history.turns import StoredTurn

__all__ = ["Retelling"]

Json = dict[str, Any]

_STARTS: Final = frozenset({"task_started", "turn_started"})
_COMPLETES: Final = frozenset({"task_complete", "turn_complete"})
_REASONING: Final = frozenset({"agent_reasoning", "agent_reasoning_raw_content"})


class Retelling:
    """Goes on after a history. Items have the ids under which the history shows them."""

    def __init__(self, thread_id: str, turns: Sequence[StoredTurn]) -> None:
        """*turns* are those of the history; the last one may be in progress."""
        self._thread_id = thread_id
        self._ids = ShownItems(1)
        self._reasoning: ItemCompleted | None = None
        self._is_told = False
        self._earlier = {turn.id for turn in turns if turn.status != "in_progress"}
        self.turn_id: str | None = None
        """The turn that goes on."""
        self.started_at: int | None = None
        """When it began, in seconds since the epoch."""
        if turns:
            self._go_on(turns[-1])

    def _go_on(self, last: StoredTurn) -> None:
        self._ids = ShownItems(last.first_item_number)
        for item in last.items:
            self._ids.take(item)
        if last.status == "in_progress":
            self.turn_id = last.id
            if last.started_at is not None:
                self.started_at = to_ms(last.started_at) // 1000

    def events(self, item: RolloutItem) -> list[Event]:
        """What the next line tells."""
        payload = item.payload
        if item.type != "event_msg" or not isinstance(payload, dict):
            return self._settled()
        if item.kind in _STARTS:
            return self._started(payload)
        if self.turn_id is None:
            return []
        if item.kind in _REASONING:
            self._reason(self.turn_id, item, payload)
            return []
        return [*self._settled(), *self._told(self.turn_id, item, payload)]

    def cut(self) -> list[Event]:
        """The end of a turn whose writer went without a word."""
        if self.turn_id is None:
            return []
        told = self._settled()
        now = int(time.time())
        lasted = 0 if self.started_at is None else max(now - self.started_at, 0) * 1000
        told.append(TurnAborted(turn_id=self.turn_id, completed_at=now, duration_ms=lasted))
        self._leave(self.turn_id)
        return told

    def _leave(self, turn_id: str) -> None:
        self._earlier.add(turn_id)
        self.turn_id = None

    def _started(self, payload: Json) -> list[Event]:
        told = self.cut()
        self._ids = ShownItems(self._ids.number)
        self.turn_id = str(payload.get("turn_id") or "")
        self.started_at = payload.get("started_at")
        started: Any = self.started_at
        return [*told, TaskStarted(turn_id=self.turn_id, started_at=started)]

    def _told(self, turn_id: str, item: RolloutItem, payload: Json) -> list[Event]:
        if item.kind in _COMPLETES or item.kind == "turn_aborted":
            return self._ended(turn_id, item, payload)
        if item.kind == "token_count":
            info, limits = payload.get("info"), payload.get("rate_limits")
            return [TokenCount(turn_id=turn_id, info=info, rate_limits=limits)]
        shown = self._shown(turn_id, item, payload)
        if shown is None:
            return []
        if item.kind == "dynamic_tool_call_request":
            started = ItemStarted(
                turn_id=turn_id,
                thread_id=self._thread_id,
                item=shown.item,
                started_at_ms=shown.completed_at_ms,
            )
            return [started]
        return [shown]

    def _ended(self, turn_id: str, item: RolloutItem, payload: Json) -> list[Event]:
        if payload.get("turn_id") in self._earlier:
            return []  # it has ended before, or another began
        self._leave(turn_id)
        ended: Any = payload.get("completed_at")
        lasted: Any = payload.get("duration_ms")
        if item.kind == "turn_aborted":
            return [TurnAborted(turn_id=turn_id, completed_at=ended, duration_ms=lasted)]
        return [
            TaskComplete(
                turn_id=turn_id,
                last_agent_message=payload.get("last_agent_message"),
                completed_at=ended,
                duration_ms=lasted,
                error=payload.get("error", UNSET),
            )
        ]

    def _shown(self, turn_id: str, item: RolloutItem, payload: Json) -> ItemCompleted | None:
        item_id = self._ids.take(item)
        named = payload.get("item") if item.kind == "item_completed" else None
        body = named or completed_item(item.kind, payload)
        if item_id is None or body is None:
            return None
        return ItemCompleted(
            turn_id=turn_id,
            thread_id=self._thread_id,
            item={**body, "id": item_id},
            started_at_ms=payload.get("started_at_ms", UNSET),
            completed_at_ms=payload.get("completed_at_ms") or _moment(item),
        )

    def _reason(self, turn_id: str, item: RolloutItem, payload: Json) -> None:
        """Events in a row are the parts of one item. It is told with the next line of another
        kind, and once more, as what it is then, if more parts come even after that."""
        part, known = self._shown(turn_id, item, payload), self._reasoning
        if part is None:
            return
        if known is not None and known.item["id"] == part.item["id"]:
            for key in ("summary_text", "raw_content"):
                part.item[key] = [*known.item.get(key, ()), *part.item.get(key, ())]
        self._reasoning, self._is_told = part, False

    def _settled(self) -> list[Event]:
        if self._reasoning is None or self._is_told:
            return []
        self._is_told = True
        return [self._reasoning]


def _moment(item: RolloutItem) -> int:
    """When the line was written, in milliseconds since the epoch."""
    moment = parse_timestamp(item.timestamp)
    return time.time_ns() // 1_000_000 if moment is None else to_ms(moment)
