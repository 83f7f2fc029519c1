"""A turn while it runs: the answer on stdout, the rest on stderr; or everything as JSON lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from threadstore.cli.console import Console, json_bytes
from threadstore.cli.text import cut, one_line
from threadstore.engine import (
    AgentMessageDelta,
    ContextCompacted,
    Event,
    ItemCompleted,
    ItemStarted,
    StreamError,
    TurnResult,
)
from threadstore.errors import StoreUnavailable
from threadstore.history.messages import content_text

if TYPE_CHECKING:
    from threadstore.engine import Session

__all__ = ["JsonLines", "Transcript", "View"]

Json = dict[str, Any]
_COLUMNS: Final = 160


class View(Protocol):
    """What shows a turn."""

    def show(self, event: Event) -> None:
        """Show what happens."""

    def end(self, result: TurnResult) -> None:
        """Show how it ended."""


class JsonLines:
    """For programs: an object for each event, and one of type ``result`` last."""

    def __init__(self, console: Console, thread_id: str) -> None:
        self._console = console
        self._thread_id = thread_id

    def show(self, event: Event) -> None:
        self._write(event.turn_id, event.payload())

    def end(self, result: TurnResult) -> None:
        error = result.error
        ended = {
            "type": "result",
            "status": result.status,
            "last_message": result.last_message,
            "usage": msgspec.to_builtins(result.usage),
            "error": error and {"message": error.message, "codex_error_info": error.info},
        }
        self._write(result.turn_id, ended)

    def _write(self, turn_id: str, payload: Json) -> None:
        line = {"thread_id": self._thread_id, "turn_id": turn_id, **payload}
        self._console.raw(json_bytes(line) + b"\n")
        self._console.flush()


class Transcript:
    """For people: what the model says on stdout, so that it can be piped; the rest as remarks."""

    def __init__(
        self, console: Console, session: Session, *, quiet: bool, again: str | None
    ) -> None:
        """*again* is the command that goes on with the thread."""
        self._console = console
        self._session = session
        self._quiet = quiet
        self._again = again
        self._said = ""  # of the message that is being said
        self._within_line = False
        kept = "" if again else ", not stored"
        self._remark(f"thread {session.id} · {session.settings.model}{kept}")

    def show(self, event: Event) -> None:
        match event:
            case AgentMessageDelta():
                self._said += event.delta
                self._say(event.delta)
            case ItemStarted(item={"type": "DynamicToolCall"} as item):
                self._remark(_cut(f"· {_tool(item)} {_compact(item['arguments'])}"))
            case ItemCompleted():
                self._completed(event.item)
            case ContextCompacted():
                self._remark("· earlier conversation compacted")
            case StreamError():
                self._retry(event)

    def end(self, result: TurnResult) -> None:
        self._break_line()
        if result.error is not None:
            message = f"threadstore: the turn failed: {one_line(result.error.message)}"
            self._console.remark(message)
        elif result.status == "interrupted":
            self._remark("interrupted; what there is is kept")
        used, total = result.usage, self._session.usage.total.total_tokens
        self._remark(
            f"tokens: {used.input_tokens:,} in ({used.cached_input_tokens:,} cached), "
            f"{used.output_tokens:,} out; the thread so far: {total:,}"
        )
        stored = result.error is None or result.error.info != StoreUnavailable.code
        if self._again and stored:
            self._remark(f"go on with: {self._again}")

    def _completed(self, item: Json) -> None:
        match item["type"]:
            case "AgentMessage":
                self._message(content_text(item["content"]))
            case "Reasoning":
                for text in item["summary_text"]:
                    self._remark(text.strip(), dim=True)
            case "DynamicToolCall":
                result = "→" if item["success"] else "failed →"
                text = content_text(item["content_items"]) or "(no text)"
                self._remark(_cut(f"· {_tool(item)} {result} {text}"))
            case "WebSearch":
                self._remark(_cut(f"· search {item['query']}"))

    def _message(self, text: str) -> None:
        """A message is complete: what of it was not said yet, and the end of the line."""
        said, self._said = self._said, ""
        rest = text.removeprefix(said) if text.startswith(said) else ""
        if said or text:
            self._say(rest if (said + rest).endswith("\n") else rest + "\n")

    def _retry(self, event: StreamError) -> None:
        if self._said:  # it will be said again from its beginning
            self._say("\n")
            self._said = ""
        self._remark(f"{event.message}: {one_line(event.additional_details or '')}")

    def _say(self, text: str) -> None:
        self._console.piece(text)
        self._within_line = not text.endswith("\n")

    def _break_line(self) -> None:
        """On a screen nothing else gets onto a line of the answer."""
        if self._within_line and self._console.terminal:
            self._say("\n")

    def _remark(self, text: str, *, dim: bool = False) -> None:
        if text and not self._quiet:
            self._break_line()
            self._console.remark(text, dim=dim)


def _tool(item: Json) -> str:
    return f"{item['namespace']}.{item['tool']}" if item["namespace"] else str(item["tool"])


def _compact(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json_bytes(arguments).decode()


def _cut(text: str) -> str:
    return cut(one_line(text), _COLUMNS)
