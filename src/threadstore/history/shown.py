"""Which lines of a history are shown as items of a turn, and the ids that these items have.

Paginated histories name their items. Of the events of legacy ones only tool calls have an id; the
others are counted through the thread: ``item-1``, ``item-2``, … (Codex 0.57 to 0.169).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from threadstore.history.items import RolloutItem

__all__ = ["ShownItems", "is_shown"]

_REASONING: Final = frozenset({"agent_reasoning", "agent_reasoning_raw_content"})
_COUNTED: Final = _REASONING | {
    "agent_message",
    "context_compacted",
    "entered_review_mode",
    "exited_review_mode",
    "user_message",
}
_CALLS: Final = frozenset(
    {
        "collab_agent_interaction_end",
        "collab_agent_spawn_end",
        "collab_close_end",
        "collab_resume_end",
        "collab_waiting_end",
        "dynamic_tool_call_request",
        "dynamic_tool_call_response",
        "exec_command_end",
        "image_generation_end",
        "mcp_tool_call_end",
        "patch_apply_end",
        "sub_agent_activity",
        "view_image_tool_call",
        "web_search_end",
    }
)
_ANY: Final = _COUNTED | _CALLS | {"item_completed"}
_TEXTS: Final = {"agent_message": "message"} | dict.fromkeys(_REASONING, "text")
_ID_KEYS: Final = ("call_id", "callId", "event_id", "item_id")
_NAMED_BY: Final = frozenset(_ID_KEYS) | {"item"}


def is_shown(item: RolloutItem, kind: str | None = None) -> bool:
    """Whether the line is an item, or a part of one. Texts without a character are not. *kind*:
    that of the item, if it has been asked for already."""
    return item.type == "event_msg" and _is_shown(item, kind or item.kind)


def _is_shown(item: RolloutItem, kind: str | None) -> bool:
    """The same for an event of this kind; decodes the payload only where it matters."""
    return kind in _ANY and _says_something(item.payload, kind)


def _says_something(payload: Any, kind: str) -> bool:
    if not isinstance(payload, dict):
        return False
    key = _TEXTS.get(kind)
    if key is not None:
        return bool(payload.get(key))
    return kind != "item_completed" or _is_named(payload.get("item"))


class ShownItems:
    """The ids of a turn's items, given in the order of the history."""

    __slots__ = ("_ids", "_passed", "_reasoning", "number")

    def __init__(self, first: int) -> None:
        self.number = first
        """What the next item without an id of its own is called."""
        self._ids: set[str] = set()
        self._passed = 0
        self._reasoning: str | None = None

    def __len__(self) -> int:
        return len(self._ids) + self._passed

    def pass_by(self, counted: int, named: int) -> None:
        """As many items without and with ids of their own, of which no more lines come."""
        self._passed += counted + named
        self.number += counted

    def take(self, item: RolloutItem, kind: str | None = None) -> str | None:
        """The id of the item that a line is, or belongs to; ``None`` if it is none.

        Lines with the same id are states of one item. Reasoning in a row is one item. *kind*:
        that of the item, if it has been asked for already.
        """
        if item.type != "event_msg":
            return None
        kind = kind or item.kind
        if kind not in _ANY or not _says_something(payload := item.payload, kind):
            return None
        reasons = kind in _REASONING
        if reasons and self._reasoning is not None:
            return self._reasoning
        item_id = None if _NAMED_BY.isdisjoint(payload) else _own_id(payload)
        if item_id is None:
            item_id = f"item-{self.number}"
            self.number += 1
        self._ids.add(item_id)
        self._reasoning = item_id if reasons else None
        return item_id


def _own_id(payload: dict[str, Any]) -> str | None:
    item = payload.get("item")
    if isinstance(item, dict):
        value = item.get("id")
        return value if isinstance(value, str) else ""
    for key in _ID_KEYS:
        if key in payload and isinstance(value := payload[key], str):
            return value
    return None


def _is_named(item: Any) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("type"), str):
        return False
    return item["type"] != "Plan" or bool(item.get("text"))
