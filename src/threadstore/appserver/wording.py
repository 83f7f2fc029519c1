"""Small facts in the protocol's words: inputs, usage, limits."""

from __future__ import annotations

from typing import Any, Final

from threadstore.engine import Image, LocalImage, Text
from threadstore.errors import InvalidRequest
from threadstore.protocol.values import camel_keys, snake_keys

__all__ = [
    "protocol_limits",
    "protocol_usage",
    "user_input",
]

Json = dict[str, Any]

_COUNTERS: Final = (
    ("totalTokens", "total_tokens"),
    ("inputTokens", "input_tokens"),
    ("cachedInputTokens", "cached_input_tokens"),
    ("cacheWriteInputTokens", "cache_write_input_tokens"),
    ("outputTokens", "output_tokens"),
    ("reasoningOutputTokens", "reasoning_output_tokens"),
)


def user_input(parts: list[Json]) -> list[Text | Image | LocalImage]:
    """The input of a turn. Skills and mentions are said by their names, as text."""
    said: list[Text | Image | LocalImage] = []
    for part in parts:
        kind = part.get("type")
        if kind == "text":
            said.append(Text(_string(part, "text"), _elements(part)))
        elif kind == "image":
            said.append(Image(_string(part, "url")))
        elif kind == "localImage":
            said.append(LocalImage(_string(part, "path")))
        elif kind in ("mention", "skill"):
            said.append(Text(f"[{_string(part, 'name')}]({_string(part, 'path')})"))
        else:
            raise InvalidRequest(f"no input of type {kind!r} is taken here")
    return said


def _elements(part: Json) -> tuple[Json, ...]:
    elements = part.get("text_elements") or part.get("textElements") or []
    if not isinstance(elements, list) or not all(isinstance(each, dict) for each in elements):
        raise InvalidRequest("text_elements must be a list of objects")
    return tuple(snake_keys(elements))


def _string(part: Json, key: str) -> str:
    value = part.get(key)
    if not isinstance(value, str):
        raise InvalidRequest(f"input of type {part.get('type')!r} needs the text {key!r}")
    return value


def protocol_usage(info: Json) -> Json:
    """The ``info`` of a ``token_count`` event."""
    return {
        "total": _counters(info.get("total_token_usage")),
        "last": _counters(info.get("last_token_usage")),
        "modelContextWindow": info.get("model_context_window"),
    }


def _counters(stored: Any) -> Json:
    known = stored if isinstance(stored, dict) else {}
    return {word: known.get(key) or 0 for word, key in _COUNTERS}


def protocol_limits(limits: Json) -> Json:
    """The ``rate_limits`` of a ``token_count`` event."""
    return {
        "limitId": limits.get("limit_id"),
        "limitName": limits.get("limit_name"),
        "normalModelSlug": None,
        "primary": _window(limits.get("primary")),
        "secondary": _window(limits.get("secondary")),
        "credits": camel_keys(limits.get("credits")),
        "individualLimit": None,
        "spendControlReached": None,
        "planType": limits.get("plan_type"),
        "rateLimitReachedType": limits.get("rate_limit_reached_type"),
    }


def _window(window: Any) -> Json | None:
    if not isinstance(window, dict):
        return None
    return {
        "usedPercent": round(window.get("used_percent") or 0),
        "windowDurationMins": window.get("window_minutes"),
        "resetsAt": window.get("resets_at"),
    }
