"""Turns of the plainest form: begun, said, completed, and nothing else that is shown.

Most turns are (Codex 0.100 to 0.169). What they show is read straight into the
types here, a few times faster than by way of JSON objects. An event that holds anything else than
what these types know is no plain event, and its turn no plain turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta

from threadstore.history.items import RolloutItem, typed_payloads

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "AgentSaid",
    "Completed",
    "Finished",
    "PlainEvent",
    "PlainTurn",
    "Reasoned",
    "ReasonedRaw",
    "Reasoning",
    "Said",
    "Settled",
    "Started",
    "UserSaid",
    "plain_events",
]

_Word: TypeAlias = Annotated[str, Meta(min_length=1)]
_Nothing: TypeAlias = Annotated[list[Any], Meta(max_length=0)] | None
_Seconds: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 32)]
_Milliseconds: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 53)]


class Started(msgspec.Struct, tag="task_started", frozen=True, gc=False):
    """A turn begins."""

    turn_id: _Word
    root_turn_id: str | None = None
    started_at: _Seconds | None = None


class Completed(msgspec.Struct, tag="task_complete", frozen=True, gc=False):
    """It is over, without an error."""

    turn_id: _Word
    completed_at: _Seconds | None = None
    duration_ms: _Milliseconds | None = None
    error: None = None


class UserSaid(
    msgspec.Struct, tag="user_message", frozen=True, gc=False, forbid_unknown_fields=True
):
    """A text without images, sounds and marked places."""

    message: str = ""
    client_id: str | None = None
    images: _Nothing = None
    local_images: _Nothing = None
    audio: _Nothing = None
    local_audio: _Nothing = None
    text_elements: _Nothing = None


class AgentSaid(
    msgspec.Struct, tag="agent_message", frozen=True, gc=False, forbid_unknown_fields=True
):
    """A text without citations."""

    message: _Word
    phase: str | None = None
    memory_citation: None = None


class Reasoned(
    msgspec.Struct, tag="agent_reasoning", frozen=True, gc=False, forbid_unknown_fields=True
):
    """A part of a summary."""

    text: _Word


class ReasonedRaw(
    msgspec.Struct,
    tag="agent_reasoning_raw_content",
    frozen=True,
    gc=False,
    forbid_unknown_fields=True,
):
    """A part of the reasoning itself."""

    text: _Word


class _Named(msgspec.Struct, frozen=True, gc=False):
    type: str
    id: _Word


class Finished(msgspec.Struct, tag="item_completed", frozen=True, gc=False):
    """A whole item of a paginated thread."""

    turn_id: _Word
    item: _Named


class Settled(msgspec.Struct, tag="thread_settings_applied", frozen=True, gc=False):
    """Nothing that is shown."""


PlainEvent: TypeAlias = (
    Started | Completed | UserSaid | AgentSaid | Reasoned | ReasonedRaw | Finished | Settled
)


class Reasoning(msgspec.Struct, gc=False):
    """Reasoning in a row: one item."""

    summary: list[str] = []
    content: list[str] = []

    def add(self, part: Reasoned | ReasonedRaw) -> None:
        """Take the next part."""
        (self.summary if type(part) is Reasoned else self.content).append(part.text)


Said: TypeAlias = UserSaid | AgentSaid | Reasoning | RolloutItem
"""One item of a turn; what is :class:`Finished`, as the line that says so."""


class PlainTurn(msgspec.Struct, frozen=True, gc=False):
    """All that is shown of a plain turn."""

    started: Started
    said: list[Said]
    completed: Completed
    first_item_number: int
    """Its items without ids of their own are called ``item-<n>`` from here on."""


_decode: Final = msgspec.json.Decoder(PlainEvent).decode


def plain_events(items: Sequence[RolloutItem]) -> list[PlainEvent | None]:
    """The events that lines are, of those that are plain ones."""
    return typed_payloads(items, "event_msg", _decode)
