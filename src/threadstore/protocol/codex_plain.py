"""Plain turns as Codex's v2 protocol writes them: the bytes that
:func:`~threadstore.protocol.codex_thread.protocol_turn` encodes to, a few times faster."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from threadstore.history.items import RolloutItem
from threadstore.history.plain import AgentSaid, PlainTurn, Reasoning, UserSaid
from threadstore.protocol.codex_items import thread_item

__all__ = ["encode_plain_turn"]


class _Text(msgspec.Struct, tag="text", gc=False):
    text: str
    text_elements: tuple[()] = ()


class _UserMessage(msgspec.Struct, tag="userMessage", rename="camel", gc=False):
    id: str
    client_id: str | None
    content: tuple[_Text, ...]
    started_at_ms: None = None
    completed_at_ms: None = None


class _AgentMessage(msgspec.Struct, tag="agentMessage", rename="camel", gc=False):
    moderation: None
    id: str
    text: str
    phase: str | None
    memory_citation: None = None
    delivery: None = None
    questions: None = None
    started_at_ms: None = None
    completed_at_ms: None = None


class _Reasoning(msgspec.Struct, tag="reasoning", rename="camel", gc=False):
    id: str
    summary: list[str]
    content: list[str]
    started_at_ms: None = None
    completed_at_ms: None = None


class _Turn(msgspec.Struct, rename="camel", gc=False):
    id: str
    root_turn_id: str | None
    items: list[Any]
    items_view: str
    status: str
    error: None
    started_at: int | None
    completed_at: int | None
    duration_ms: int | None


_encode: Final = msgspec.json.Encoder().encode


def encode_plain_turn(turn: PlainTurn) -> bytes:
    """The protocol's ``Turn`` with all its items, as JSON."""
    started, completed = turn.started, turn.completed
    return _encode(
        _Turn(
            started.turn_id,
            started.root_turn_id or None,
            _items(turn),
            "full",
            "completed",
            None,
            started.started_at,
            completed.completed_at,
            completed.duration_ms,
        )
    )


def _items(turn: PlainTurn) -> list[object]:
    number = turn.first_item_number
    items: list[object] = []
    for said in turn.said:
        if isinstance(said, RolloutItem):
            items.append(thread_item(said))
        else:
            items.append(_item(said, f"item-{number}"))
            number += 1
    return items


def _item(said: UserSaid | AgentSaid | Reasoning, item_id: str) -> object:
    if isinstance(said, AgentSaid):
        return _AgentMessage(None, item_id, said.message, said.phase)
    if isinstance(said, UserSaid):
        text = said.message
        content = (_Text(text),) if text.strip() else ()
        return _UserMessage(item_id, said.client_id, content)
    return _Reasoning(item_id, said.summary, said.content)
