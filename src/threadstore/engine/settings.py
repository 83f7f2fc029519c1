"""How a session drives its model."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from threadstore.errors import InvalidRequest
from threadstore.metadata import check_fields

__all__ = ["DEFAULT_INSTRUCTIONS", "SessionSettings"]

Json = dict[str, Any]

DEFAULT_INSTRUCTIONS: Final = (
    "You are a careful assistant. Use the tools you are given where they help, say what you did, "
    "and say so when you do not know."
)

_REPORTED: Final = 0.95
_COMPACT: Final = 0.9
_MOST_TOKENS: Final = 2**53


class SessionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a session; what is ``None`` comes from the thread when it is resumed.

    Checked when they are made: a bad value is :class:`InvalidRequest`.
    """

    model: str | None = None
    """The model's name as its server knows it. A new thread needs one."""
    reasoning_effort: str | None = None
    """``low``, ``medium``, ``high``, …, as the model knows them."""
    reasoning_summary: str | None = "auto"
    """Asked for together with an effort only."""
    instructions: str | None = None
    """What the model is told first in every request. Kept with the thread."""
    developer_instructions: str | None = None
    """A developer's message before the first user message, and again after a compaction."""
    cwd: str | None = None
    """The working directory that the model is told; ``None``: the thread's."""
    environment: bool = True
    """Whether the model is told the working directory and the date before the first message."""
    context_window: int = 272_000
    """Tokens that the model takes in. 95 % of them are reported, as Codex does."""
    compact_at: int | None = None
    """Tokens of the last request at which the context is compacted; ``None``: 90 % of the window,
    0: only on request."""
    tool_output_limit: int = 64 * 1024
    """Bytes of a tool's output that the model and the history get; the middle is left out."""
    parallel_tool_calls: bool = True
    output_schema: Json | None = None
    """JSON Schema of the final message."""
    max_retries: int = 5
    """How often a request that failed or broke is tried again."""
    retry_delay: float = 0.2
    """Seconds before the first retry; doubles each time, up to 10. What the server asks counts."""
    max_retry_after: float = 60.0
    """Seconds; if the server asks for a longer wait, the turn fails at once."""
    approval_policy: str | Json = "on-request"
    """Stands in the history for other programs; the engine itself runs no commands."""
    sandbox_policy: Json = msgspec.field(default_factory=lambda: {"type": "read-only"})

    def __post_init__(self) -> None:
        check_fields(self)
        for field in self.__struct_fields__:
            try:
                msgspec.json.encode(getattr(self, field))
            except UnicodeEncodeError as error:
                raise InvalidRequest(f"SessionSettings.{field} is no text: {error}") from error
        if self.model is not None and not self.model.strip():
            raise InvalidRequest("model must not be empty", hint="name it, or leave it out")
        if not 0 < self.context_window <= _MOST_TOKENS:
            raise InvalidRequest("context_window must be a positive number of tokens")
        if self.compact_at is not None and self.compact_at < 0:
            raise InvalidRequest("compact_at must not be negative", hint="0: only on request")
        if self.tool_output_limit < 256:
            raise InvalidRequest("tool_output_limit must be at least 256 bytes")
        for field in ("max_retries", "retry_delay", "max_retry_after"):
            if not getattr(self, field) >= 0:  # nor is it NaN
                raise InvalidRequest(f"{field} must not be negative")

    @property
    def reported_window(self) -> int:
        """The window that events report: what can be used of it (Codex 0.131 to 0.169)."""
        return int(self.context_window * _REPORTED)

    @property
    def compaction_limit(self) -> int | None:
        """Tokens of the last request from which on the context is compacted; ``None``: never."""
        if self.compact_at is None:
            return int(self.context_window * _COMPACT)
        return self.compact_at or None
