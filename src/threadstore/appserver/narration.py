"""The events of a session as the notifications of Codex's v2 protocol, in Codex's order.

Where Codex's own order is at fault this one is not: what completes was started, and nothing of a
turn comes after its end. A message that breaks off, since the model did, never completes, as there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from threadstore.appserver.wording import protocol_limits, protocol_usage
from threadstore.engine import (
    AgentMessageDelta,
    ErrorEvent,
    ItemCompleted,
    ItemStarted,
    ReasoningDelta,
    ReasoningRawContentDelta,
    RequestUserInput,
    StreamError,
    TaskComplete,
    TaskStarted,
    TokenCount,
    ToolCallRequest,
    TurnAborted,
)
from threadstore.history.items import RolloutItem
from threadstore.history.turns import TurnError
from threadstore.protocol.codex_items import thread_item
from threadstore.protocol.codex_thread import protocol_error

if TYPE_CHECKING:
    from threadstore.engine import Event

__all__ = ["Narrator", "Notice", "active_status", "new_turn"]

Json = dict[str, Any]

IDLE: Json = {"type": "idle"}
FAILED: Json = {"type": "systemError"}
"""The status of a thread from a failure to its next turn."""


class Notice(NamedTuple):
    """A notification to send."""

    method: str
    params: Json


def active_status(*flags: str) -> Json:
    """The status of a thread in which a turn runs."""
    return {"type": "active", "activeFlags": list(flags)}


def new_turn(turn_id: str, *, started_at: int | None = None) -> Json:
    """A ``Turn`` that has just been started."""
    return {
        "id": turn_id,
        "rootTurnId": turn_id,
        "items": [],
        "itemsView": "notLoaded",
        "status": "inProgress",
        "error": None,
        "startedAt": started_at,
        "completedAt": None,
        "durationMs": None,
    }


class Narrator:
    """Tells one thread's turns. Knows what was told of the current one."""

    def __init__(self, thread_id: str) -> None:
        self._thread_id = thread_id
        self._started_at: int | None = None
        self._summaries: set[tuple[str, int]] = set()
        self._open: dict[str, Json] = {}
        self._last_message: Json | None = None
        self.waiting = 0
        """How many questions wait for the user."""
        self.failed = False
        """Whether the last turn failed."""

    def tell(self, event: Event) -> list[Notice]:
        """The notifications that *event* is, in order; some events are none."""
        match event:
            case TaskStarted():
                return self._turn_started(event)
            case TaskComplete() | TurnAborted():
                return self._turn_completed(event)
            case ItemStarted():
                return self._item_started(event)
            case ItemCompleted():
                return self._item_completed(event)
            case AgentMessageDelta():
                delta = {"itemId": event.item_id, "delta": event.delta}
                return [self._notice("item/agentMessage/delta", event, delta)]
            case ReasoningDelta():
                return self._summary(event)
            case ReasoningRawContentDelta():
                raw = {
                    "itemId": event.item_id,
                    "delta": event.delta,
                    "contentIndex": event.content_index,
                }
                return [self._notice("item/reasoning/textDelta", event, raw)]
            case TokenCount():
                return self._tokens(event)
            case StreamError() | ErrorEvent():
                return self._error(event)
            case RequestUserInput():
                return self.asked(1)
            case ToolCallRequest() | _:
                return []

    def asked(self, change: int) -> list[Notice]:
        """A question was put to the user (1), or settled (-1)."""
        self.waiting += change
        flags = ["waitingOnUserInput"] if self.waiting else []
        return [self._status(active_status(*flags))]

    def _notice(self, method: str, event: Event, params: Json) -> Notice:
        place = {"threadId": self._thread_id, "turnId": event.turn_id}
        return Notice(method, {**place, **params})

    def _status(self, status: Json) -> Notice:
        params = {"threadId": self._thread_id, "status": status}
        return Notice("thread/status/changed", params)

    def _turn_started(self, event: TaskStarted) -> list[Notice]:
        self._started_at = event.started_at
        self._last_message = None
        self._summaries.clear()
        self._open.clear()
        self.failed = False
        turn = new_turn(event.turn_id, started_at=event.started_at)
        started = Notice("turn/started", {"threadId": self._thread_id, "turn": turn})
        return [self._status(active_status()), started]

    def _turn_completed(self, event: TaskComplete | TurnAborted) -> list[Notice]:
        error = None
        if isinstance(event, TurnAborted):
            status = "interrupted"
        else:
            error = protocol_error(_turn_error(event.error))
            status = "completed" if error is None else "failed"
        turn = {
            **new_turn(event.turn_id, started_at=self._started_at),
            "items": [] if self._last_message is None else [self._last_message],
            "itemsView": "summary",
            "status": status,
            "error": error,
            "completedAt": event.completed_at,
            "durationMs": event.duration_ms,
        }
        ended = Notice("turn/completed", {"threadId": self._thread_id, "turn": turn})
        self.waiting = 0
        if status != "failed":
            return [self._status(IDLE), ended]
        told = [] if self.failed else [self._status(FAILED)]
        self.failed = True
        return [*told, ended]

    def _item_started(self, event: ItemStarted) -> list[Notice]:
        item = _item(event.payload())
        if item is None:
            return []
        self._open[item["id"]] = item
        params = {"item": item, "startedAtMs": event.started_at_ms}
        return [self._notice("item/started", event, params)]

    def _item_completed(self, event: ItemCompleted) -> list[Notice]:
        item = _item(event.payload())
        if item is None:
            return []
        began = self._open.pop(item["id"], None)
        told: list[Notice] = []
        if began is None:
            params = {"item": item, "startedAtMs": event.completed_at_ms}
            told.append(self._notice("item/started", event, params))
        elif item["startedAtMs"] is None:
            item["startedAtMs"] = began["startedAtMs"]
        if item["type"] == "agentMessage":
            self._last_message = item
        params = {
            "item": item,
            "contentTokenCount": None,
            "completedAtMs": event.completed_at_ms,
        }
        return [*told, self._notice("item/completed", event, params)]

    def _summary(self, event: ReasoningDelta) -> list[Notice]:
        place = {"itemId": event.item_id, "summaryIndex": event.summary_index}
        told: list[Notice] = []
        if (event.item_id, event.summary_index) not in self._summaries:
            self._summaries.add((event.item_id, event.summary_index))
            told.append(self._notice("item/reasoning/summaryPartAdded", event, place))
        delta = {**place, "delta": event.delta}
        return [*told, self._notice("item/reasoning/summaryTextDelta", event, delta)]

    def _tokens(self, event: TokenCount) -> list[Notice]:
        told: list[Notice] = []
        if event.info is not None:
            usage = {"tokenUsage": protocol_usage(event.info)}
            told.append(self._notice("thread/tokenUsage/updated", event, usage))
        if event.rate_limits is not None:
            limits = {"rateLimits": protocol_limits(event.rate_limits)}
            told.append(Notice("account/rateLimits/updated", limits))
        return told

    def _error(self, event: StreamError | ErrorEvent) -> list[Notice]:
        retries = isinstance(event, StreamError)
        details = event.additional_details if isinstance(event, StreamError) else None
        error = TurnError(message=event.message, info=event.codex_error_info, details=details)
        params = {"error": protocol_error(error), "willRetry": retries}
        notice = self._notice("error", event, params)
        if retries:
            return [notice]
        self.failed = True
        return [self._status(FAILED), notice]


def _item(payload: Json) -> Json | None:
    """The protocol's item of an ``item_started`` or ``item_completed`` event."""
    return thread_item(RolloutItem("event_msg", {**payload, "type": "item_completed"}))


def _turn_error(error: Any) -> TurnError | None:
    if not isinstance(error, dict):
        return None
    return TurnError(message=error.get("message", ""), info=error.get("codex_error_info"))
