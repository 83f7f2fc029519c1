"""What a model says: each output item as the line that is kept and the events that tell of it.

Items that others put into the context are checked here as well.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from threadstore.engine.events import (
    AgentMessage,
    AgentReasoning,
    AgentReasoningRawContent,
    Event,
    WebSearchEnd,
)
from threadstore.errors import InvalidRequest
from threadstore.history.items import RolloutItem
from threadstore.history.messages import content_text
from threadstore.ids import new_thread_id

__all__ = [
    "CALLS",
    "check_injected",
    "kept_item",
    "mended",
    "message_text",
    "partial_message",
    "told_of",
    "turn_item",
]

Json = dict[str, Any]

CALLS: Final = frozenset({"function_call", "custom_tool_call"})
"""Output items that ask for a tool of ours."""

# What the server adds to items of these kinds and Codex 0.131 does not keep: it is never sent back.
_DROPPED: Final = {
    "message": ("id", "status"),
    "reasoning": ("id", "status"),
    "function_call": ("id", "status"),
    "custom_tool_call": ("id",),
    "web_search_call": ("id",),
    "local_shell_call": ("id",),
}

_ROLES: Final = ("user", "assistant", "developer", "system")
_NEEDED_TEXTS: Final = {
    "custom_tool_call": ("call_id", "name", "input"),
    "custom_tool_call_output": ("call_id",),
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("call_id",),
}
_NEEDED_CONTENT: Final = {
    "custom_tool_call_output": "output",
    "function_call_output": "output",
    "message": "content",
    "reasoning": "summary",
}


def check_injected(item: object) -> None:
    """Refuse an item that the API would refuse in every later request (:class:`InvalidRequest`).

    Kinds that no history keeps pass: they are left out, as Codex 0.131 and 0.169 do.
    """
    if not isinstance(item, dict) or not isinstance(kind := item.get("type"), str):
        raise InvalidRequest("an item to inject is an object with a type")
    if kind == "message" and item.get("role") not in _ROLES:
        raise InvalidRequest(
            f"no role of a message: {item.get('role')!r}", hint=f"use one of {', '.join(_ROLES)}"
        )
    for field in _NEEDED_TEXTS.get(kind, ()):
        if not isinstance(item.get(field), str):
            raise InvalidRequest(f"an item of type {kind} needs the text {field}")
    needed = _NEEDED_CONTENT.get(kind)
    for field in ("content", "output", "summary"):
        given = item.get(field)
        if (given is not None or field == needed) and not _is_content(given):
            raise InvalidRequest(
                f"{field} of an item of type {kind} must be text or a list of content parts",
                hint='a part looks like {"type": "input_text", "text": "…"}',
            )


def _is_content(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(part, dict) and isinstance(part.get("type"), str) for part in value)
    return isinstance(value, str)


def mended(item: Json) -> Json:
    """An output item in the shape that the API gives it, whatever a server made of it.

    It could neither be read nor sent back otherwise. Arguments that are no text become the text of
    their JSON, a call without an id gets one.
    """
    match item.get("type"):
        case "message":
            role, parts = item.get("role"), _parts(item.get("content"), "output_text")
            plain = _texts_only(item, "phase")
            return {
                **plain,
                "role": role if isinstance(role, str) else "assistant",
                "content": parts,
            }
        case "reasoning":
            summary = _parts(item.get("summary"), "summary_text")
            content = _parts(item.get("content"), "reasoning_text")
            plain = {key: value for key, value in item.items() if key != "content"}
            return {**plain, "summary": summary, **({"content": content} if content else {})}
        case "function_call":
            return _mended_call(item, "arguments", "{}")
        case "custom_tool_call":
            return _mended_call(item, "input", "")
        case "web_search_call":
            return item if isinstance(item.get("action"), dict) else _texts_only(item, "action")
        case str():
            return item
    return {**item, "type": "unknown"}


def _mended_call(item: Json, field: str, nothing: str) -> Json:
    name, call_id, given = item.get("name"), item.get("call_id"), item.get(field)
    if given is None:
        given = nothing
    return {
        **_texts_only(item, "namespace"),
        "name": name if name and isinstance(name, str) else "unnamed",
        "call_id": call_id if call_id and isinstance(call_id, str) else new_thread_id(),
        field: given if isinstance(given, str) else str(msgspec.json.encode(given), "utf-8"),
    }


def _texts_only(item: Json, field: str) -> Json:
    """*item* without *field* if that is no text."""
    return {key: value for key, value in item.items() if key != field or isinstance(value, str)}


def _parts(given: Any, kind: str) -> list[Json]:
    if isinstance(given, str):
        return [{"type": kind, "text": given}]
    parts = [part for part in given if isinstance(part, dict)] if isinstance(given, list) else []
    return [_part(part, kind) for part in parts]


def _part(part: Json, kind: str) -> Json:
    if part.get("type") == "refusal":
        part = {"text": part.get("refusal")}
    own, text = part.get("type"), part.get("text")
    if not isinstance(own, str):
        part = {**part, "type": kind}
    needs_text = "text" in part or part["type"] == kind
    return {**part, "text": ""} if needs_text and not isinstance(text, str) else part


def kept_item(item: Json) -> RolloutItem:
    """The line of history that keeps a :func:`mended` item, as it is sent back to the model."""
    dropped = _DROPPED.get(item["type"], ())
    kept = {key: value for key, value in item.items() if key not in dropped}
    if item["type"] == "message":
        kept["content"] = [_kept_part(part) for part in item["content"]]
    return RolloutItem("response_item", kept)


def _kept_part(part: Json) -> Json:
    return {key: value for key, value in part.items() if value or key in ("type", "text")}


def message_text(item: Json) -> str:
    """The text of a message, refusals included."""
    return content_text(_parts(item.get("content"), "output_text"))


def partial_message(text: str) -> RolloutItem:
    """The line that keeps what a message said until it was cut off."""
    content = [{"type": "output_text", "text": text}]
    return RolloutItem(
        "response_item", {"type": "message", "role": "assistant", "content": content}
    )


def turn_item(item: Json, item_id: str) -> Json | None:
    """The item of the turn that a :func:`mended` item is shown as; ``None``: it is not shown by
    itself."""
    kind = item.get("type")
    if kind == "message":
        content = [{"type": "Text", "text": message_text(item)}]
        phase = item.get("phase")
        more = {} if phase is None else {"phase": phase}
        return {"type": "AgentMessage", "id": item_id, "content": content, **more}
    if kind == "reasoning":
        return {
            "type": "Reasoning",
            "id": item_id,
            "summary_text": _texts(item.get("summary")),
            "raw_content": _texts(item.get("content")),
        }
    if kind == "web_search_call":
        action = _search(item)
        return {"type": "WebSearch", "id": item_id, "query": _query(action), "action": action}
    return None


def told_of(item: Json, item_id: str, turn_id: str) -> list[Event]:
    """The events by which legacy threads tell of a :func:`mended` item."""
    kind = item.get("type")
    if kind == "message":
        text = message_text(item)
        phase = item.get("phase")
        return [AgentMessage(turn_id=turn_id, message=text, phase=phase)] if text else []
    if kind == "reasoning":
        raw = _texts(item.get("content"))
        return [
            *(AgentReasoning(turn_id=turn_id, text=text) for text in _texts(item.get("summary"))),
            *(AgentReasoningRawContent(turn_id=turn_id, text=text) for text in raw),
        ]
    if kind == "web_search_call":
        action = _search(item)
        query = _query(action)
        return [WebSearchEnd(turn_id=turn_id, call_id=item_id, query=query, action=action)]
    return []


def _search(item: Json) -> Json:
    action = item.get("action")
    return action if isinstance(action, dict) else {"type": "other"}


def _query(action: Json) -> str:
    query = action.get("query")
    return query if isinstance(query, str) else ""


def _texts(parts: Any) -> list[str]:
    found = (part.get("text") for part in parts or ())
    return [text for text in found if isinstance(text, str) and text]
