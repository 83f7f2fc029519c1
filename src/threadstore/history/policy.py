"""Which items persist: the policy of every store, per history mode.

It is the superset that Codex 0.169 writes: a *legacy* thread keeps the old events
(``user_message``, ``agent_message``, …), a *paginated* one keeps ``item_completed`` instead.
Deltas, approvals and other progress events never persist. Applied by the live layer only, never to
imports or copies, and idempotent.

What the policy does not know: events and response items of an unknown kind do not persist (Codex
never writes them back either, and could not read them); lines of an unknown *type* do, because
only a caller who means to keep them can have made them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from threadstore.history.items import RolloutItem, all_of_kinds, check_items

if TYPE_CHECKING:
    from collections.abc import Sequence

    from threadstore.metadata import HistoryMode

__all__ = [
    "OUTPUT_LIMIT",
    "RESPONSE_ITEMS",
    "affects_metadata",
    "any_affects_metadata",
    "canonical",
    "cut_middle",
    "persists",
]

OUTPUT_LIMIT: Final = 64 * 1024
"""Bytes of a command's output or of an MCP result in a paginated thread (Codex 0.169)."""

RESPONSE_ITEMS: Final = frozenset(
    {
        "additional_tools",
        "agent_message",
        "compaction",
        "compaction_summary",  # alias of ``compaction`` in older files
        "configuration_update",
        "context_compaction",
        "custom_tool_call",
        "custom_tool_call_output",
        "function_call",
        "function_call_output",
        "image_generation_call",
        "local_shell_call",
        "message",
        "reasoning",
        "tool_search_call",
        "tool_search_output",
        "web_search_call",
    }
)
"""The kinds of response items that are kept."""
_EVENTS: Final = frozenset(
    {
        "task_complete",
        "task_started",
        "thread_goal_updated",
        "thread_rolled_back",
        "thread_settings_applied",
        "token_count",
        "turn_aborted",
        "turn_complete",
        "turn_started",
    }
)
_LEGACY_EVENTS: Final = _EVENTS | {
    "agent_message",
    "agent_reasoning",
    "agent_reasoning_raw_content",
    "context_compacted",
    "entered_review_mode",
    "exited_review_mode",
    "image_generation_end",
    "mcp_tool_call_end",
    "patch_apply_end",
    "sub_agent_activity",
    "user_message",
    "web_search_end",
}
# Completed items that have no old event, so that a legacy thread keeps them as they are.
_LEGACY_COMPLETED: Final = frozenset({"FunctionCallOutput", "Plan", "Sleep", "SubAgentActivity"})
_PAGINATED_ONLY: Final = frozenset({"realtime_item"})

_DESCRIBING_EVENTS: Final = frozenset(
    {
        "task_started",
        "thread_goal_updated",
        "thread_settings_applied",
        "token_count",
        "turn_started",
        "user_message",
    }
)
_SILENT_TYPES: Final = frozenset({"response_item", "compacted"})
_DESCRIBING_ITEMS: Final = frozenset({"FunctionCallOutput", "UserMessage"})

_encode: Final = msgspec.json.Encoder().encode


def persists(item: RolloutItem, mode: HistoryMode) -> bool:
    """Whether *item* belongs into the history of a thread of this *mode*."""
    if item.type == "response_item":
        return item.kind in RESPONSE_ITEMS
    if item.type != "event_msg":
        return mode == "paginated" or item.type not in _PAGINATED_ONLY
    kind = item.kind
    if kind == "item_completed":
        return mode == "paginated" or _persists_in_legacy(item)
    return kind in (_EVENTS if mode == "paginated" else _LEGACY_EVENTS)


def canonical(items: Sequence[RolloutItem], mode: HistoryMode) -> list[RolloutItem]:
    """The items that persist, in order, as they are stored. Empty: there is nothing to append.

    Long outputs in ``item_completed`` lines of a paginated thread lose their middle; every other
    item is passed on untouched. Raises :class:`InvalidRequest` if *items* are no sequence of items.
    """
    if type(items) is not list and type(items) is not tuple:
        check_items(items)
    try:
        if all_of_kinds(items, "response_item", RESPONSE_ITEMS):
            return list(items)  # most batches
        kept = [item for item in items if persists(item, mode)]
    except (AttributeError, TypeError):
        check_items(items)
        raise
    return [_bounded(item) for item in kept] if mode == "paginated" else kept


def affects_metadata(item: RolloutItem) -> bool:
    """Whether *item* can change metadata beyond "touched at" (see ``history.facts``)."""
    if item.type == "response_item":
        return False
    if item.type == "event_msg":
        kind = item.kind
        if kind == "item_completed":
            return _completed(item).get("type") in _DESCRIBING_ITEMS
        return kind in _DESCRIBING_EVENTS
    return item.type in ("session_meta", "turn_context", "token_usage_record")


def any_affects_metadata(items: Sequence[RolloutItem]) -> bool:
    """Whether one of *items* does; most batches are answered by their types alone."""
    if _SILENT_TYPES.issuperset({item.type for item in items}):
        return False
    return any(map(affects_metadata, items))


def _completed(item: RolloutItem) -> dict[str, Any]:
    """The item inside an ``item_completed`` event; empty if it is none."""
    inner = item.payload.get("item")
    return inner if isinstance(inner, dict) else {}


def _persists_in_legacy(item: RolloutItem) -> bool:
    inner = _completed(item)
    kind = inner.get("type")
    if kind == "SubAgentActivity":
        return inner.get("kind") == "completed"
    if kind == "Extension":  # how 0.169 writes a sleep
        return inner.get("kind") == "clock.sleep"
    return kind in _LEGACY_COMPLETED


def _bounded(item: RolloutItem) -> RolloutItem:
    if item.type != "event_msg" or item.kind != "item_completed":
        return item
    if item.raw is not None and len(item.raw) <= OUTPUT_LIMIT:
        return item
    inner = _completed(item)
    change: dict[str, Any] = {}
    if inner.get("type") == "CommandExecution":
        output = inner.get("aggregated_output")
        if isinstance(output, str) and len(output) > OUTPUT_LIMIT // 4:
            change["aggregated_output"] = cut_middle(output, OUTPUT_LIMIT)
    elif inner.get("type") == "McpToolCall" and isinstance(inner.get("result"), dict):
        change["result"] = _bounded_result(inner["result"])
    if all(inner[key] is value for key, value in change.items()):
        return item
    payload = {**item.payload, "item": {**inner, **change}}
    return RolloutItem(item.type, payload, item.timestamp, item.ordinal)


def _bounded_result(result: dict[str, Any]) -> dict[str, Any]:
    """An MCP result of at most ``OUTPUT_LIMIT`` bytes of JSON: one text part instead of many."""
    if len(_encode(result)) <= OUTPUT_LIMIT:
        return result
    text = _plain_text(result)
    budget = OUTPUT_LIMIT - 256
    while True:
        short: dict[str, Any] = {"content": [{"type": "text", "text": cut_middle(text, budget)}]}
        if isinstance(result.get("isError"), bool):
            short["isError"] = result["isError"]
        size = len(_encode(short))
        if size <= OUTPUT_LIMIT:
            return short
        budget = budget * OUTPUT_LIMIT // size - 64  # escapes need more room than the text itself


def _plain_text(result: dict[str, Any]) -> str:
    """The text of an MCP result; its JSON if it is more than text."""
    parts = result.get("content")
    parts = parts if isinstance(parts, list) else []
    texts = [part.get("text") if isinstance(part, dict) else None for part in parts]
    if texts and all(isinstance(text, str) for text in texts):
        return "\n".join(text for text in texts if isinstance(text, str))
    body = {key: result[key] for key in ("content", "structuredContent") if key in result}
    return str(_encode(body), "utf-8")


def cut_middle(text: str, limit: int) -> str:
    """*text* if its UTF-8 form has at most *limit* bytes, else its two ends with a note between."""
    data = text.encode("utf-8", "replace")
    if len(data) <= limit:
        return text
    note = f"\n… {len(data) - limit} bytes or more left out …\n"
    half = (limit - len(note.encode())) // 2
    head = data[:half].decode("utf-8", "ignore")
    tail = data[-half:].decode("utf-8", "ignore")
    return head + note + tail
