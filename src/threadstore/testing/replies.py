"""What a scripted model answers, and how that looks as events of the Responses API."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

from threadstore.engine.model import ModelError
from threadstore.metadata import TokenUsage

__all__ = [
    "Bytes",
    "Call",
    "Failed",
    "Incomplete",
    "Pause",
    "Raw",
    "Reply",
    "Say",
    "Script",
    "ScriptExhausted",
    "Think",
    "rate_limits",
]

Json = dict[str, Any]


class Say(msgspec.Struct, frozen=True):
    """A message, streamed in chunks of *chunk* characters."""

    text: str
    chunk: int = 24
    phase: str | None = None
    """``commentary`` or ``final_answer``, as newer models say."""


class Think:
    """A reasoning item with these parts as its summary."""

    def __init__(self, *summaries: str) -> None:
        self.summaries = summaries


class Call(msgspec.Struct, frozen=True):
    """A function call. *arguments* as text go to the caller as they stand, malformed or not."""

    name: str
    arguments: Json | str = msgspec.field(default_factory=dict)
    call_id: str | None = None
    namespace: str | None = None


class Raw(msgspec.Struct, frozen=True):
    """Any output item, e.g. a ``web_search_call``, as it stands."""

    item: Json


class Pause(msgspec.Struct, frozen=True):
    """The stream waits here until *gate* is set: a threading event where a server speaks."""

    gate: asyncio.Event | threading.Event
    reached: asyncio.Event | threading.Event | None = None
    """Set when the stream has come here."""


class Bytes(msgspec.Struct, frozen=True):
    """What a server writes into its stream as it stands: half an event, or garbage."""

    data: bytes


class Failed(msgspec.Struct, frozen=True):
    """``response.failed`` with this code ends the response, e.g. ``context_length_exceeded``."""

    code: str
    message: str = "failed by the script"


class Incomplete(msgspec.Struct, frozen=True):
    """``response.incomplete`` ends the response, with the reply's usage."""

    reason: str = "max_output_tokens"


Part: TypeAlias = Say | Think | Call | Raw | Pause | Bytes | Failed | Incomplete


class Reply:
    """One response: its parts in order, then completion, unless something else is said.

    *usage* ``"auto"`` grows with the number of input items; ``None``: the server does not count.
    *rate_limits* is a snapshot as :func:`rate_limits` makes it. *cut_after* lets the last
    :class:`Say` stop after that many chunks. Then, instead of completion: *error* is raised, or
    with *hang* nothing more ever comes, or with *cut* (implied by *cut_after* alone) the stream
    just ends.
    """

    def __init__(
        self,
        *parts: Part,
        usage: TokenUsage | Literal["auto"] | None = "auto",
        rate_limits: Json | None = None,
        error: ModelError | None = None,
        cut: bool = False,
        cut_after: int | None = None,
        hang: bool = False,
        response_id: str | None = None,
    ) -> None:
        self.parts = parts
        self.usage = usage
        self.rate_limits = rate_limits
        self.error = error
        self.hang = hang
        self.cut = cut or (cut_after is not None and error is None and not hang)
        self.cut_after = cut_after
        self.response_id = response_id

    @property
    def completes(self) -> bool:
        """Whether the parts are followed by completion."""
        return not (self.cut or self.hang or self.error is not None)

    def events(self, number: int, model: str, input_items: int) -> Iterator[Json | Pause | Bytes]:
        """The events of the answer to request *number*, with the pauses and bytes between.

        All ids derive from *response_id*, or else from *number*.
        """
        response_id = self.response_id or f"resp_{number}"
        response: Json = {"id": response_id, "object": "response", "model": model, "output": []}
        started = {**response, "status": "in_progress"}
        yield {"type": "response.created", "response": started}
        yield {"type": "response.in_progress", "response": started}
        usage = _usage(self.usage, input_items)
        last = max((i for i, part in enumerate(self.parts) if isinstance(part, Say)), default=-1)
        for index, part in enumerate(self.parts):
            if isinstance(part, Pause | Bytes):
                yield part
                continue
            if isinstance(part, Failed | Incomplete):
                yield _ending(part, response, usage)
                return
            item = _item(part, f"{response_id.removeprefix('resp_')}_{index}")
            chunks = self.cut_after if index == last else None
            yield from _item_events(part, item, index, chunks)
            if chunks is not None:
                return
        if self.completes:
            response |= {"status": "completed", "usage": usage}
            yield {"type": "response.completed", "response": response}


class ScriptExhausted(AssertionError):
    """A request came for which the script has no reply."""


class Script(msgspec.Struct):
    """Replies in turn, or a function from request to reply."""

    replies: Sequence[Any] | Callable[[Any], Any]
    asked: int = 0

    def next(self, request: Any) -> tuple[int, Any]:
        """The number of this request, from 1, and the reply to it."""
        self.asked += 1
        if callable(self.replies):
            return self.asked, self.replies(request)
        if self.asked > len(self.replies):
            raise ScriptExhausted(
                f"the script has {len(self.replies)} replies, and this is request {self.asked}"
            )
        return self.asked, self.replies[self.asked - 1]


def rate_limits(
    used_percent: float,
    *,
    secondary: float | None = None,
    window_minutes: int = 300,
    resets_at: int = 1_800_000_000,
) -> Json:
    """A snapshot of rate limits as Codex 0.131 keeps it; the secondary window is a week."""
    week = {"used_percent": secondary, "window_minutes": 10_080, "resets_at": resets_at}
    return {
        "limit_id": "codex",
        "limit_name": None,
        "primary": {
            "used_percent": float(used_percent),
            "window_minutes": window_minutes,
            "resets_at": resets_at,
        },
        "secondary": None if secondary is None else {**week, "used_percent": float(secondary)},
        "credits": None,
        "plan_type": None,
        "rate_limit_reached_type": None,
    }


def _usage(usage: TokenUsage | str | None, input_items: int) -> Json | None:
    if usage is None:
        return None
    if not isinstance(usage, TokenUsage):
        given = 1000 + 10 * input_items
        usage = TokenUsage(
            input_tokens=given,
            cached_input_tokens=100,
            output_tokens=20,
            reasoning_output_tokens=5,
            total_tokens=given + 20,
        )
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_output_tokens},
        "total_tokens": usage.total_tokens,
    }


def _ending(part: Failed | Incomplete, response: Json, usage: Json | None) -> Json:
    if isinstance(part, Failed):
        error = {"code": part.code, "message": part.message}
        return {
            "type": "response.failed",
            "response": {**response, "status": "failed", "error": error},
        }
    details = {"reason": part.reason}
    ended = {**response, "status": "incomplete", "incomplete_details": details, "usage": usage}
    return {"type": "response.incomplete", "response": ended}


def _item(part: Say | Think | Call | Raw, tag: str) -> Json:
    match part:
        case Say():
            content = [{"type": "output_text", "text": part.text, "annotations": []}]
            message = {"type": "message", "role": "assistant", "id": f"msg_{tag}"}
            phase = {"phase": part.phase} if part.phase else {}
            return {**message, "status": "completed", "content": content, **phase}
        case Think():
            summary = [{"type": "summary_text", "text": text} for text in part.summaries]
            return {
                "type": "reasoning",
                "id": f"rs_{tag}",
                "summary": summary,
                "encrypted_content": "c2NyaXB0ZWQ=",
            }
        case Call():
            text = part.arguments if isinstance(part.arguments, str) else _json(part.arguments)
            namespace = {"namespace": part.namespace} if part.namespace else {}
            return {
                "type": "function_call",
                "id": f"fc_{tag}",
                "call_id": part.call_id or f"call_{tag}",
                "name": part.name,
                "arguments": text,
                "status": "completed",
                **namespace,
            }
        case Raw():
            return part.item


_EMPTY: Final[dict[str, Json]] = {
    "message": {"content": []},
    "reasoning": {"summary": []},
    "function_call": {"arguments": ""},
}


def _item_events(part: Part, item: Json, index: int, chunks: int | None) -> Iterator[Json]:
    """One item from its beginning; with *chunks* only that many deltas, and no end."""
    place: Json = {"output_index": index}
    begun = {**item, **_EMPTY.get(str(item.get("type")), {})}
    if "status" in item:
        begun["status"] = "in_progress"
    yield {"type": "response.output_item.added", **place, "item": begun}
    place["item_id"] = item.get("id")
    if isinstance(part, Say):
        starts = range(0, len(part.text), part.chunk)
        for start in starts if chunks is None else starts[:chunks]:
            delta = {"content_index": 0, "delta": part.text[start : start + part.chunk]}
            yield {"type": "response.output_text.delta", **place, **delta}
    if isinstance(part, Think):
        for number, text in enumerate(part.summaries):
            kind = "response.reasoning_summary_part.added"
            empty = {"type": "summary_text", "text": ""}
            yield {"type": kind, **place, "summary_index": number, "part": empty}
            kind = "response.reasoning_summary_text.delta"
            yield {"type": kind, **place, "summary_index": number, "delta": text}
    if chunks is None:
        yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)
