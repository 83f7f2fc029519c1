"""What a session tells while it works: the events of Codex, as typed structs.

Those that belong to the history are written before anybody hears of them. ``turn_id`` says the turn
of every event; on disk only those carry it that do so in Codex (0.131 to 0.169).
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from threadstore.history.items import RolloutItem

__all__ = [
    "AgentMessage",
    "AgentMessageDelta",
    "AgentReasoning",
    "AgentReasoningRawContent",
    "ContextCompacted",
    "ErrorEvent",
    "Event",
    "ItemCompleted",
    "ItemStarted",
    "ReasoningDelta",
    "ReasoningRawContentDelta",
    "RequestUserInput",
    "StreamError",
    "TaskComplete",
    "TaskStarted",
    "ThreadRolledBack",
    "TokenCount",
    "ToolCallRequest",
    "TurnAborted",
    "UserMessage",
    "WebSearchEnd",
]

Json = dict[str, Any]


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    names_turn: ClassVar[bool] = False
    """Whether its form on disk has the ``turn_id``."""

    turn_id: str

    def payload(self) -> Json:
        """The payload of the ``event_msg`` line that it is."""
        fields: Json = msgspec.to_builtins(self)
        if not self.names_turn:
            del fields["turn_id"]
        return fields

    def as_item(self) -> RolloutItem:
        """The line of history that it is."""
        return RolloutItem("event_msg", self.payload())


class TaskStarted(_Event, frozen=True, kw_only=True, tag="task_started"):
    """A turn began."""

    names_turn = True

    started_at: int
    """Seconds since the epoch."""
    model_context_window: int | None = None
    collaboration_mode_kind: str = "default"


class TaskComplete(_Event, frozen=True, kw_only=True, tag="task_complete"):
    """A turn ended by itself: completed, or failed if it has an *error*."""

    names_turn = True

    last_agent_message: str | None
    completed_at: int
    duration_ms: int
    time_to_first_token_ms: int | UnsetType = UNSET
    error: Json | UnsetType = UNSET
    """Why it failed: ``message`` and ``codex_error_info``."""


class TurnAborted(_Event, frozen=True, kw_only=True, tag="turn_aborted"):
    """A turn was interrupted; what it said until then is kept."""

    names_turn = True

    reason: str = "interrupted"
    completed_at: int
    duration_ms: int


class UserMessage(_Event, frozen=True, kw_only=True, tag="user_message"):
    """The user said something."""

    message: str
    images: list[str] = []
    local_images: list[str] = []
    text_elements: list[Json] = []
    client_id: str | UnsetType = UNSET


class AgentMessage(_Event, frozen=True, kw_only=True, tag="agent_message"):
    """The model said something."""

    message: str
    phase: str | None = None
    memory_citation: None = None


class AgentReasoning(_Event, frozen=True, kw_only=True, tag="agent_reasoning"):
    """A part of the summary of the model's reasoning."""

    text: str


class AgentReasoningRawContent(
    _Event, frozen=True, kw_only=True, tag="agent_reasoning_raw_content"
):
    """A part of the reasoning itself, of models that show it."""

    text: str


class WebSearchEnd(_Event, frozen=True, kw_only=True, tag="web_search_end"):
    """The model's server searched the web."""

    call_id: str
    query: str
    action: Json


class ItemStarted(_Event, frozen=True, kw_only=True, tag="item_started"):
    """An item of the turn began. Never stored."""

    names_turn = True

    thread_id: str
    item: Json
    started_at_ms: int


class ItemCompleted(_Event, frozen=True, kw_only=True, tag="item_completed"):
    """An item of the turn is complete."""

    names_turn = True

    thread_id: str
    item: Json
    started_at_ms: int | UnsetType = UNSET
    completed_at_ms: int


class AgentMessageDelta(_Event, frozen=True, kw_only=True, tag="agent_message_content_delta"):
    """More text of the model's message. Never stored."""

    names_turn = True

    thread_id: str
    item_id: str
    delta: str


class ReasoningDelta(_Event, frozen=True, kw_only=True, tag="reasoning_content_delta"):
    """More text of the reasoning's summary. Never stored."""

    names_turn = True

    thread_id: str
    item_id: str
    delta: str
    summary_index: int = 0


class ReasoningRawContentDelta(
    _Event, frozen=True, kw_only=True, tag="reasoning_raw_content_delta"
):
    """More text of the reasoning itself. Never stored."""

    names_turn = True

    thread_id: str
    item_id: str
    delta: str
    content_index: int = 0


class TokenCount(_Event, frozen=True, kw_only=True, tag="token_count"):
    """What the thread used so far, and the account's limits; either may be unknown."""

    info: Json | None
    rate_limits: Json | None


class RequestUserInput(_Event, frozen=True, kw_only=True, tag="request_user_input"):
    """A tool asks the user; whoever owns the session calls ``Session.answer``. Never stored."""

    names_turn = True

    call_id: str
    questions: list[Json]


class ToolCallRequest(_Event, frozen=True, kw_only=True, tag="dynamic_tool_call_request"):
    """The model calls a tool of the session's owner, who calls ``Session.answer``. Never stored."""

    names_turn = True

    call_id: str
    tool: str
    namespace: str | None = None
    arguments: Any = None


class ContextCompacted(_Event, frozen=True, kw_only=True, tag="context_compacted"):
    """The model goes on with a summary; the history stays as it is."""


class ThreadRolledBack(_Event, frozen=True, kw_only=True, tag="thread_rolled_back"):
    """The last turns do not count any more; they stay in the history."""

    num_turns: int


class StreamError(_Event, frozen=True, kw_only=True, tag="stream_error"):
    """A request failed and is tried again. Never stored."""

    message: str
    codex_error_info: str | Json
    additional_details: str | None = None


class ErrorEvent(_Event, frozen=True, kw_only=True, tag="error"):
    """The turn fails. The reason is stored with its end."""

    message: str
    codex_error_info: str | Json


Event: TypeAlias = (
    TaskStarted
    | TaskComplete
    | TurnAborted
    | UserMessage
    | AgentMessage
    | AgentReasoning
    | AgentReasoningRawContent
    | WebSearchEnd
    | ItemStarted
    | ItemCompleted
    | AgentMessageDelta
    | ReasoningDelta
    | ReasoningRawContentDelta
    | TokenCount
    | RequestUserInput
    | ToolCallRequest
    | ContextCompacted
    | ThreadRolledBack
    | StreamError
    | ErrorEvent
)
