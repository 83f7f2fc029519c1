"""Token usage: reading it out of ``token_count`` events."""

from __future__ import annotations

from typing import Any

from threadstore.metadata import TokenUsage

__all__ = ["last_usage", "total_usage"]


def total_usage(payload: Any) -> TokenUsage | None:
    """The counters of the whole thread in a ``token_count`` payload; ``None`` if it has none.

    ``info`` is null in events that only carry rate limits (every Codex release).
    """
    return _usage(payload, "total_token_usage")


def last_usage(payload: Any) -> TokenUsage | None:
    """The counters of the last model response in a ``token_count`` payload; ``None`` if none."""
    return _usage(payload, "last_token_usage")


def _usage(payload: Any, key: str) -> TokenUsage | None:
    info = payload.get("info") if isinstance(payload, dict) else None
    counters = info.get(key) if isinstance(info, dict) else None
    if not isinstance(counters, dict):
        return None
    return TokenUsage(
        **{
            field: value
            for field in TokenUsage.__struct_fields__
            if isinstance(value := counters.get(field), int) and not isinstance(value, bool)
        }
    )
