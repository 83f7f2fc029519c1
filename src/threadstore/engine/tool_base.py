"""The words of tools: a call, its output, what a tool is and what it may ask of the session."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from typing import Any, Final, Protocol

import msgspec

from threadstore.errors import InvalidRequest

__all__ = ["Tool", "ToolCall", "ToolContext", "ToolOutput", "check_tool", "shown_name"]

Json = dict[str, Any]
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""What the Responses API accepts as the name of a function."""


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a tool by the model."""

    call_id: str
    name: str
    arguments: str
    """JSON text, or the free text of a custom tool, exactly as the model sent it."""
    namespace: str | None = None
    thread_id: str
    turn_id: str
    custom: bool = False
    """Whether it came as a ``custom_tool_call``."""


class ToolOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What the model gets back."""

    output: str | list[Json]
    """Text, or content parts of the Responses API (``input_text``, ``input_image``)."""
    success: bool = True


class ToolContext(Protocol):
    """What a tool can ask of the session that runs it."""

    asks_approval: bool
    """Whether the user is asked before a tool runs that wants it."""

    async def ask_user(self, call: ToolCall, questions: list[Json]) -> Json | ToolOutput:
        """The answers of the user, in the form of Codex's ``request_user_input`` response; a
        ``ToolOutput`` if there are none."""
        ...

    async def ask_client(self, call: ToolCall) -> ToolOutput:
        """The output of whoever owns the session and offered the tool."""
        ...


class Tool(ABC):
    """Base of all tools."""

    name: str
    namespace: str | None = None
    parallel: bool = True
    """Whether it may run beside other calls; if not, it waits for them and they wait for it."""
    timeout: float | None = None
    """Seconds that a call may take, not counting its wait for others; ``None``: any time."""

    @abstractmethod
    def spec(self) -> Json:
        """The function in the form of the Responses API."""

    @abstractmethod
    async def run(self, call: ToolCall, context: ToolContext) -> ToolOutput:
        """Answer *call*. What it raises becomes an error output for the model."""


def check_tool(tool: Tool) -> None:
    """Refuse a tool that no model could be offered (:class:`InvalidRequest`)."""
    name: object = getattr(tool, "name", None)
    namespace: object = tool.namespace
    timeout: object = tool.timeout
    for word in (name,) if namespace is None else (name, namespace):
        if not isinstance(word, str) or _NAME.fullmatch(word) is None:
            raise InvalidRequest(
                f"{word!r} cannot name a tool",
                hint="use 1 to 64 of a-z A-Z 0-9 _ -, as in tool(name=…)",
            )
    if timeout is None:
        return
    if (
        isinstance(timeout, bool)
        or not isinstance(timeout, (int, float))
        or not 0 < timeout < math.inf
    ):
        raise InvalidRequest(
            f"the time-out of {name} must be a number of seconds above 0, not {timeout!r}",
            hint="leave it out for a tool that may take any time",
        )


def shown_name(name: str, namespace: str | None) -> str:
    """How texts for the model and for people name a tool."""
    return f"{namespace}.{name}" if namespace else name
