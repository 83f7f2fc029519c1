"""What a session needs of a model: one request in, a stream of events out."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import msgspec

from threadstore.metadata import TokenUsage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = [
    "Completed",
    "ItemDone",
    "ItemStarted",
    "Model",
    "ModelError",
    "ModelEvent",
    "ModelRequest",
    "RateLimits",
    "ReasoningDelta",
    "TextDelta",
    "answer",
]

Json = dict[str, Any]


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request. ``input`` and ``tools`` are in the JSON form of OpenAI's Responses API."""

    model: str
    instructions: str
    input: tuple[Json, ...]
    tools: tuple[Json, ...] = ()
    parallel_tool_calls: bool = True
    reasoning_effort: str | None = None
    reasoning_summary: str | None = None
    output_schema: Json | None = None
    """JSON Schema of the final message; ``None``: free text."""
    cache_key: str | None = None
    """Requests with the same key share a prefix; the thread's id."""


class RateLimits(msgspec.Struct, frozen=True):
    """The account's limits, as the server told them with this response."""

    snapshot: Json
    """In the form of ``rate_limits`` in Codex's ``token_count`` events."""


class ItemStarted(msgspec.Struct, frozen=True):
    """An output item began."""

    item: Json


class TextDelta(msgspec.Struct, frozen=True):
    """More text of the message that is being written."""

    item_id: str
    text: str


class ReasoningDelta(msgspec.Struct, frozen=True):
    """More text of the reasoning that is being written."""

    item_id: str
    text: str
    index: int = 0
    """Which part of the summary, or of the content."""
    summary: bool = True
    """Whether it belongs to the summary or to the raw content."""


class ItemDone(msgspec.Struct, frozen=True):
    """An output item is complete."""

    item: Json


class Completed(msgspec.Struct, frozen=True):
    """The response is complete; nothing follows."""

    response_id: str
    usage: TokenUsage | None = None


ModelEvent: TypeAlias = RateLimits | ItemStarted | TextDelta | ReasoningDelta | ItemDone | Completed


class Model(Protocol):
    """Anything that answers requests."""

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Answer *request*, event by event; closing the generator ends the request.

        Raises :class:`ModelError`, and never tries again by itself: the turn does. A stream that
        ends without :class:`Completed` counts as cut.
        """
        ...


class ModelError(RuntimeError):
    """A request that failed, or a stream that broke.

    ``kind`` is the word of Codex's ``codex_error_info``: ``context_window_exceeded``,
    ``usage_limit_exceeded``, ``server_overloaded``, ``bad_request``, ``unauthorized``,
    ``internal_server_error``, ``http_connection_failed``, ``response_stream_connection_failed``,
    ``response_stream_disconnected``, ``response_too_many_failed_attempts`` or ``other``.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str = "other",
        retryable: bool = False,
        retry_after: float | None = None,
        http_status: int | None = None,
        usage: TokenUsage | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.retryable = retryable
        """Whether the same request may succeed later."""
        self.retry_after = retry_after
        """Seconds that the server asks to wait; ``None``: it did not say."""
        self.http_status = http_status
        self.usage = usage
        """What the response used all the same, where the server said so."""

    @property
    def info(self) -> str | Json:
        """Its ``codex_error_info``: the word, with the HTTP status where Codex has it."""
        if self.kind in _WITH_STATUS:
            return {self.kind: {"http_status_code": self.http_status}}
        return self.kind


async def answer(model: Model, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
    """The events of *model*'s answer, up to and with :class:`Completed`.

    Whatever goes wrong is :class:`ModelError`: also an end without :class:`Completed`, and what a
    client raises that should not.
    """
    async with aclosing(model.stream(request)) as stream:
        while True:
            try:
                event = await anext(stream)
            except StopAsyncIteration:
                raise ModelError(
                    "the stream ended before the response was complete",
                    kind="response_stream_disconnected",
                    retryable=True,
                ) from None
            except ModelError:
                raise
            except Exception as error:  # a client is foreign code
                raise ModelError(f"{type(error).__name__}: {error}") from error
            yield _writable(event)
            if isinstance(event, Completed):
                return


def _writable(event: ModelEvent) -> ModelEvent:
    """JSON can say halves of surrogate pairs, which no history can hold."""
    try:
        msgspec.json.encode(event)
    except UnicodeEncodeError:
        return msgspec.convert(_utf8(msgspec.to_builtins(event)), type(event))
    return event


def _utf8(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_utf8(key): _utf8(inner) for key, inner in value.items()}
    return [_utf8(inner) for inner in value] if isinstance(value, list) else value


_WITH_STATUS = frozenset(
    {
        "http_connection_failed",
        "response_stream_connection_failed",
        "response_stream_disconnected",
        "response_too_many_failed_attempts",
    }
)
