"""The stream of OpenAI's Responses API as model events; storage- and transport-neutral.

Lenient: what is unknown is passed over, and items are kept whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from threadstore.engine.model import (
    Completed,
    ItemDone,
    ItemStarted,
    ModelError,
    ModelEvent,
    ReasoningDelta,
    TextDelta,
)
from threadstore.metadata import TokenUsage

__all__ = ["ResponseReader", "error_of", "rate_limits_of", "retry_hint", "usage_of"]

Json = dict[str, Any]

_KINDS: Final = {
    "context_length_exceeded": ("context_window_exceeded", False),
    "insufficient_quota": ("usage_limit_exceeded", False),
    "usage_limit_reached": ("usage_limit_exceeded", False),
    "usage_not_included": ("usage_limit_exceeded", False),
    "invalid_prompt": ("bad_request", False),
    "invalid_request_error": ("bad_request", False),
    "server_is_overloaded": ("server_overloaded", True),
    "slow_down": ("server_overloaded", True),
    "server_error": ("internal_server_error", True),
    "rate_limit_exceeded": ("response_too_many_failed_attempts", True),
}
"""Codes of ``response.failed`` and of error bodies: the kind, and whether to try again."""
_TOO_LONG: Final = re.compile(
    "maximum context length|exceeds? the (?:model's )?context", re.IGNORECASE
)
"""How servers that know no code say that the input is too long for the model."""
_LARGEST: Final = 2**53
"""Beyond it numbers are not the same to everybody who reads JSON."""
_OTHER_FAILURE: Final = ("other", True)
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART: Final = r"(\d+(?:\.\d+)?)\s*(ms|h|s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?)"
_HINT: Final = re.compile(rf"try again in\s+((?:{_PART}\s*)+)", re.IGNORECASE)


class ResponseReader:
    """Reads one response, event by event."""

    def __init__(self) -> None:
        self._item_id = ""

    def read(self, event: Json) -> ModelEvent | None:
        """*event* as a model event, ``None`` if it says nothing that a session needs.

        Raises :class:`ModelError` for ``response.failed``, ``response.incomplete`` and ``error``.
        """
        match event.get("type"):
            case "response.output_item.added":
                item = _object(event.get("item"))
                self._item_id = str(item.get("id") or "")
                return ItemStarted(item)
            case "response.output_item.done":
                return ItemDone(_object(event.get("item")))
            case "response.output_text.delta":
                return TextDelta(self._item_of(event), _delta(event))
            case "response.reasoning_summary_text.delta":
                index = _whole(event.get("summary_index"))
                return ReasoningDelta(self._item_of(event), _delta(event), index)
            case "response.reasoning_text.delta":
                index = _whole(event.get("content_index"))
                return ReasoningDelta(self._item_of(event), _delta(event), index, summary=False)
            case "response.completed":
                response = _object(event.get("response"))
                return Completed(str(response.get("id") or ""), usage_of(response))
            case "response.failed":
                raise _failed(_object(event.get("response")))
            case "response.incomplete":
                raise _incomplete(_object(event.get("response")))
            case "error":
                raise error_of(_object(event.get("error")) or event)
        return None

    def _item_of(self, event: Json) -> str:
        # Some servers leave the id of a delta out; it belongs to the item that is open.
        return str(event.get("item_id") or self._item_id)


def usage_of(response: Json) -> TokenUsage | None:
    """The ``usage`` of a response, or ``None`` where the server counted nothing."""
    usage = response.get("usage")
    if not isinstance(usage, dict):
        return None
    given, made = _whole(usage.get("input_tokens")), _whole(usage.get("output_tokens"))
    return TokenUsage(
        input_tokens=given,
        cached_input_tokens=_whole(
            _object(usage.get("input_tokens_details")).get("cached_tokens"),
        ),
        output_tokens=made,
        reasoning_output_tokens=_whole(
            _object(usage.get("output_tokens_details")).get("reasoning_tokens"),
        ),
        total_tokens=_whole(usage.get("total_tokens")) or given + made,
    )


def error_of(error: Json, *, usage: TokenUsage | None = None) -> ModelError:
    """The ``error`` object of a response, or of an ``error`` event, as a :class:`ModelError`."""
    words = [str(error[name]) for name in ("code", "type") if error.get(name)]
    message = str(error.get("message") or " ".join(words) or "the model's server reports an error")
    known = (_KINDS[word] for word in words if word in _KINDS)
    kind, retryable = next(known, _OTHER_FAILURE)
    if _TOO_LONG.search(message):
        kind, retryable = _KINDS["context_length_exceeded"]
    return ModelError(
        message,
        kind=kind,
        retryable=retryable,
        retry_after=retry_hint(message) if retryable else None,
        usage=usage,
    )


def retry_hint(message: str) -> float | None:
    """Seconds of "Please try again in 1.2s" (also ``350ms``, ``1m30s``, ``2 seconds``)."""
    found = _HINT.search(message)
    if found is None:
        return None
    return sum(
        float(number) * _UNITS["ms" if unit.lower() == "ms" else unit[0].lower()]
        for number, unit in re.findall(_PART, found[1], re.IGNORECASE)
    )


def rate_limits_of(headers: Mapping[str, str]) -> Json | None:
    """Codex's ``rate_limits`` from the ``x-codex-*`` headers of an answer; ``None`` without any.

    The form is that of ``token_count`` events of Codex 0.131.
    """
    primary, secondary = _window(headers, "primary"), _window(headers, "secondary")
    if primary is None and secondary is None:
        return None
    return {
        "limit_id": "codex",
        "limit_name": None,
        "primary": primary,
        "secondary": secondary,
        "credits": None,
        "plan_type": None,
        "rate_limit_reached_type": None,
    }


def _window(headers: Mapping[str, str], name: str) -> Json | None:
    used = _number(headers.get(f"x-codex-{name}-used-percent"))
    if used is None:
        return None
    minutes = _number(headers.get(f"x-codex-{name}-window-minutes"))
    resets_at = _number(headers.get(f"x-codex-{name}-reset-at"))
    if not used and not minutes and resets_at is None:
        return None  # zeros stand for a window that the account does not have
    return {
        "used_percent": used,
        "window_minutes": None if minutes is None else int(minutes),
        "resets_at": None if resets_at is None else int(resets_at),
    }


def _failed(response: Json) -> ModelError:
    return error_of(_object(response.get("error")), usage=usage_of(response))


def _incomplete(response: Json) -> ModelError:
    reason = _object(response.get("incomplete_details")).get("reason") or "unknown"
    return ModelError(f"the response is incomplete: {reason}", usage=usage_of(response))


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _delta(event: Json) -> str:
    delta = event.get("delta")
    return delta if isinstance(delta, str) else ""


def _whole(value: Any) -> int:
    """A count; what can be none counts as nothing."""
    return value if type(value) is int and 0 <= value <= _LARGEST else 0


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if abs(number) < 1e15 else None  # NaN and infinity are no numbers here
