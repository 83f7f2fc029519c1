"""A turn as people read it: who said what, tools in one line each."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from threadstore.history.header import is_bare_header
from threadstore.history.items import RolloutItem
from threadstore.history.turns import StoredTurn
from threadstore.protocol.codex_items import thread_item

__all__ = ["Entry", "Stream", "entries", "turn_facts"]

_TOOL_COLUMNS: Final = 200


class Entry(NamedTuple):
    """One contribution: ``user``, ``agent``, ``thought``, ``tool`` or ``note``, and its text."""

    role: str
    text: str


def entries(turn: StoredTurn) -> Iterator[Entry]:
    """The turn's contributions in order.

    What Codex shows comes from the events; calls of tools that left no event behind (legacy
    threads write none for commands) come from the model's own items, as do the messages of
    histories that know no events (Codex 0.29 and older).
    """
    told = [(source, thread_item(source)) for source in turn.items]
    ids = {item["id"] for _, item in told if item is not None}
    spoken = any(item["type"] in ("userMessage", "agentMessage") for _, item in told if item)
    for source, item in told:
        if item is not None:
            entry = _from_item(item)
        elif source.type == "response_item":
            entry = _from_model(source, ids, messages=not spoken)
        else:
            entry = None
        if entry is not None and entry.text.strip():
            yield entry


class Stream:
    """The contributions of a history that grows, line by line.

    A call of the model is told when its output comes, unless an event tells it before.
    """

    def __init__(self, header: RolloutItem | None = None) -> None:
        """*header*: the first line of the history, if what is taken begins later."""
        self._bare = header is not None and is_bare_header(header)
        self._calls: dict[str, Entry] = {}

    def take(self, source: RolloutItem) -> Iterator[Entry]:
        """What the next line tells."""
        payload = source.payload if isinstance(source.payload, dict) else {}
        item = thread_item(source)
        if item is not None:
            self._calls.pop(item["id"], None)
            entry = _from_item(item)
        elif source.type == "response_item":
            entry = self._from_model(source, str(payload.get("call_id")))
        else:
            self._bare = self._bare or is_bare_header(source)
            entry = _from_end(source.kind, payload)
            if source.kind in ("task_complete", "turn_aborted"):
                yield from self._calls.values()
                self._calls.clear()
        if entry is not None and entry.text.strip():
            yield entry

    def _from_model(self, source: RolloutItem, call_id: str) -> Entry | None:
        if source.kind in ("function_call_output", "custom_tool_call_output"):
            return self._calls.pop(call_id, None)
        entry = _from_model(source, set(), messages=self._bare)
        if entry is not None and entry.role == "tool" and call_id != "None":
            self._calls[call_id] = entry
            return None
        return entry


def _from_end(kind: str | None, payload: dict[str, Any]) -> Entry | None:
    """What the end of a turn tells, unless all went well."""
    if kind == "turn_aborted":
        return Entry("note", f"turn {payload.get('reason') or 'interrupted'}")
    if kind == "task_complete" and isinstance(payload.get("error"), dict):
        return Entry("note", f"turn failed: {payload['error'].get('message')}")
    if kind == "thread_rolled_back":
        return Entry("note", f"turns taken back: {payload.get('num_turns')}")
    return None


def turn_facts(turn: StoredTurn) -> str:
    """How the turn went: ``completed in 1.2 s``, ``failed: quota exceeded``."""
    text = turn.status.replace("_", " ")
    if turn.error is not None:
        return f"{text}: {turn.error.message}"
    return text if turn.duration_ms is None else f"{text} in {turn.duration_ms / 1000:.1f} s"


def _from_item(item: dict[str, Any]) -> Entry | None:
    kind = item["type"]
    if kind == "userMessage":
        return Entry("user", "\n".join(_input(part) for part in item["content"]))
    if kind == "agentMessage":
        return Entry("agent", item["text"])
    if kind == "reasoning":
        lines = "\n".join(str(part) for part in item["summary"]).split("\n")
        return Entry("thought", "\n".join(line for line in lines if line.strip()))
    if kind == "contextCompaction":
        return Entry("note", "earlier conversation compacted")
    if kind == "enteredReviewMode":
        return Entry("note", f"review started: {item['review']}")
    if kind == "exitedReviewMode":
        return Entry("agent", item["review"])
    return Entry("tool", _tool(kind, item))


def _input(part: dict[str, Any]) -> str:
    if part["type"] == "text":
        return str(part.get("text"))
    kind = "image" if part["type"] == "localImage" else part["type"]
    where = str(part.get("path") or part.get("url") or part.get("name") or "")
    return f"[{kind} {'data' if where.startswith('data:') else where}]"


def _tool(kind: str, item: dict[str, Any]) -> str:
    if kind == "commandExecution":
        code = item["exitCode"]
        return _cut(f"$ {_script(item['command'])}") + (f" (exit {code})" if code else "")
    if kind == "fileChange":
        files = (f"{change['kind']['type']} {change['path']}" for change in item["changes"])
        return ", ".join(files) + ("" if item["status"] == "completed" else f" ({item['status']})")
    if kind == "webSearch":
        return f"search {item['query']}"
    if kind == "imageView":
        return f"view {item['path']}"
    if kind == "mcpToolCall":
        return _cut(f"{item.get('server')}.{item.get('tool')} {_compact(item.get('arguments'))}")
    rest = {key: value for key, value in item.items() if key in ("tool", "prompt", "query", "text")}
    return _cut(f"{kind} {_compact(rest)}" if rest else kind)


def _script(command: str) -> str:
    """What the shell was given, where Codex wrapped the command in ``bash -lc``."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    wrapped = len(words) == 3 and words[1] in ("-lc", "-c") and words[0].endswith("sh")
    return words[2] if wrapped else command


def _from_model(source: RolloutItem, known: set[str], *, messages: bool) -> Entry | None:
    payload = source.payload
    if not isinstance(payload, dict) or str(payload.get("call_id")) in known:
        return None
    kind = source.kind
    if kind == "function_call":
        return Entry("tool", _call(str(payload.get("name")), payload.get("arguments")))
    if kind == "custom_tool_call":
        return Entry("tool", _call(str(payload.get("name")), payload.get("input")))
    if kind == "local_shell_call":
        action = payload.get("action")
        command = action.get("command") if isinstance(action, dict) else None
        return Entry("tool", _call("shell", {"command": command}))
    if kind == "message" and messages:
        return _message(payload)
    return None


def _message(payload: dict[str, Any]) -> Entry | None:
    """What was said, without the context that Codex puts between tags into user messages."""
    content = payload.get("content")
    parts = content if isinstance(content, list) else []
    texts = [
        part["text"]
        for part in parts
        if isinstance(part, dict) and isinstance(part.get("text"), str)
    ]
    text = "\n".join(texts)
    if payload.get("role") == "assistant":
        return Entry("agent", text)
    if payload.get("role") == "user" and not text.startswith("<"):
        return Entry("user", text)
    return None


def _call(name: str, arguments: object) -> str:
    """A call in short: the command where there is one, else the start of the arguments."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            pass
    if isinstance(arguments, dict):
        command = arguments.get("cmd") or arguments.get("command")
        if isinstance(command, list):
            command = _script(shlex.join(str(part) for part in command))
        if isinstance(command, str):
            return _cut(f"$ {command}")
    return _cut(f"{name} {_compact(arguments)}")


def _compact(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value in (None, {}) else json.dumps(value, ensure_ascii=False, default=str)


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _TOOL_COLUMNS else text[: _TOOL_COLUMNS - 1] + "…"
