"""What was said in a history, as texts that can be searched.

A text is one message of the user or the assistant as it is shown (see
:mod:`threadstore.history.shown`), one call of a tool with its arguments, or one output of a tool.
Reasoning, injected context and what a rollback took back are not searched.
"""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import msgspec

from threadstore.clock import parse_timestamp
from threadstore.history.header import is_bare_header
from threadstore.history.items import RolloutItem
from threadstore.history.messages import bare_event, content_text, user_text
from threadstore.history.rollback import is_rollback, surviving
from threadstore.metadata import StoredThread
from threadstore.search.tokens import composed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["MAX_TEXT", "TextDocument", "TextFold", "TextRole", "documents", "text_of", "title_text"]

MAX_TEXT: Final = 100_000
"""Characters of a text that are searched: its beginning."""


class TextRole(StrEnum):
    """Who said it."""

    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    """A tool was called, or answered."""
    TITLE = "title"
    """The thread's name and title."""


class TextDocument(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One text of a thread."""

    role: TextRole
    tool: str | None = None
    """Name of the tool, if the history says it."""
    position: int
    """Position of its line in the thread's log; 0: name and title."""
    said_at: dt.datetime
    text: str
    """In Unicode's composed form, at most ``MAX_TEXT`` characters."""


class TextFold:
    """Follows a history item by item, from its beginning or from a :class:`FoldState` that was
    kept. A rollback is none of its business: see :func:`documents`."""

    def __init__(self, state: FoldState) -> None:
        self._state = state

    @property
    def state(self) -> FoldState:
        """All that what follows depends on."""
        return self._state

    def feed(self, item: RolloutItem) -> TextDocument | None:
        """The text of the next item, if it has one."""
        state = self._state
        if item.timestamp is not None:
            state.said_at = parse_timestamp(item.timestamp) or state.said_at
        if item.type == "session_meta":
            state.bare = state.bare or is_bare_header(item)
            return None
        bare = state.bare
        state.bare = bare and item.type not in ("event_msg", "turn_context")
        if item.type == "response_item":
            kind = item.kind
            if kind not in _TOOLS and (kind != "message" or not bare):
                return None  # of a message the event beside it says what is shown
        elif item.type != "event_msg" or item.kind not in _EVENTS:
            return None
        found = text_of(item)
        if found is None:
            return None
        role, text = found
        tool = self._tool(item.payload) if role is TextRole.TOOL else None
        return TextDocument(
            role=role, tool=tool, position=item.position or 0, said_at=state.said_at, text=text
        )

    def _tool(self, payload: dict[str, Any]) -> str | None:
        call_id = payload.get("call_id")
        kind = payload["type"]
        if kind.endswith("_output"):
            return self._state.calls.pop(call_id, None) if isinstance(call_id, str) else None
        name = payload.get("name")
        name = name if isinstance(name, str) else _NAMELESS.get(kind)
        if name is not None and isinstance(call_id, str):
            self._state.calls[call_id] = name
        return name


class FoldState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What :class:`TextFold` remembers of the lines so far."""

    bare: bool = False
    """Whether messages stand only as they went to the model (Codex 0.29 and before)."""
    said_at: dt.datetime
    """When the last line was written; at first, when the thread began."""
    calls: dict[str, str] = {}
    """Names of tools that have not answered, by the ids of their calls."""


def documents(items: Iterable[RolloutItem], created_at: dt.datetime) -> Iterator[TextDocument]:
    """The texts of a whole history, without those that were rolled back. A text of which no line
    so far says the time has that of *created_at*."""
    every = list(items)
    if any(is_rollback(item) for item in every):
        every = surviving(every)
    fold = TextFold(FoldState(said_at=created_at))
    for item in every:
        document = fold.feed(item)
        if document is not None:
            yield document


def title_text(thread: StoredThread) -> TextDocument | None:
    """Name and title of a thread, one below the other."""
    text = "\n".join(dict.fromkeys(text for text in (thread.name, thread.title) if text))
    if not text:
        return None
    return TextDocument(
        role=TextRole.TITLE, position=0, said_at=thread.created_at, text=_text(text)
    )


def text_of(item: RolloutItem) -> tuple[TextRole, str] | None:
    """What a line says, whether or not it counts: that depends on the lines before it."""
    payload = item.payload
    if not isinstance(payload, dict):
        return None
    if item.type == "response_item":
        if item.kind == "message":
            payload = bare_event(payload)
            return None if payload is None else _of_event(payload)
        text = _tool_text(payload)
        return (TextRole.TOOL, _text(text)) if text else None
    return _of_event(payload) if item.type == "event_msg" else None


def _of_event(event: dict[str, Any]) -> tuple[TextRole, str] | None:
    kind = event.get("type")
    if kind == "item_completed":
        return _of_completed(event.get("item"))
    if kind == "user_message":
        return _said(TextRole.USER, user_text(event).title)
    if kind == "agent_message":
        return _said(TextRole.ASSISTANT, event.get("message"))
    return None


def _of_completed(item: Any) -> tuple[TextRole, str] | None:
    kind = item.get("type") if isinstance(item, dict) else None
    if kind == "UserMessage":
        return _said(TextRole.USER, user_text(item).title)
    if kind == "AgentMessage":
        return _said(TextRole.ASSISTANT, content_text(item.get("content")))
    if kind == "Plan":
        return _said(TextRole.ASSISTANT, item.get("text"))
    return None


def _said(role: TextRole, text: object) -> tuple[TextRole, str] | None:
    return (role, _text(text)) if isinstance(text, str) and text else None


def _text(text: str) -> str:
    return composed(text[:MAX_TEXT])[:MAX_TEXT]  # composing may lengthen


def _tool_text(payload: dict[str, Any]) -> str:
    """Arguments or output of a tool; names and ids are no text."""
    kind = payload.get("type")
    if kind in _OUTPUTS:
        output = payload.get("output")
        output = output.get("content") if isinstance(output, dict) else output
        return content_text(output)
    if kind == "function_call":
        return "\n".join(_strings(_decoded(payload.get("arguments"))))
    if kind == "custom_tool_call":
        return content_text(payload.get("input"))
    if kind in _NAMELESS:
        return "\n".join(_strings(payload.get("action")))
    return ""


def _decoded(arguments: object) -> object:
    if not isinstance(arguments, str):
        return arguments
    try:
        return msgspec.json.decode(arguments)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return arguments  # as the model wrote them


def _strings(value: object) -> Iterator[str]:
    """The texts in a JSON value, in order, without keys."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict):
            waiting += [each[key] for key in reversed(each) if key != "type"]
        elif isinstance(each, list):
            waiting += reversed(each)


_EVENTS: Final = frozenset({"user_message", "agent_message", "item_completed"})
_OUTPUTS: Final = frozenset({"function_call_output", "custom_tool_call_output"})
_NAMELESS: Final = {"local_shell_call": "local_shell", "web_search_call": "web_search"}
_TOOLS: Final = _OUTPUTS | {"function_call", "custom_tool_call", *_NAMELESS}
