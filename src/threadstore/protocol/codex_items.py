"""The items of a turn as Codex's v2 protocol writes them (``ThreadItem``, release 0.169).

Two forms on disk lead to the same items: the events of legacy threads (``user_message``,
``agent_message``, ``patch_apply_end``, …) and the ``item_completed`` events of paginated ones. As
in Codex, model-side ``response_item`` lines are not items.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Callable

    from threadstore.history.items import RolloutItem
    from threadstore.history.turns import StoredTurn

__all__ = ["camel", "thread_item", "turn_items"]

Json = dict[str, Any]


def turn_items(turn: StoredTurn) -> list[Json]:
    """The turn's items in order; a later state of an item replaces the earlier one."""
    items: dict[str, Json] = {}
    last: Json = {}
    for source in turn.items:
        item = thread_item(source)
        if item is None:
            continue
        legacy_reasoning = source.kind in ("agent_reasoning", "agent_reasoning_raw_content")
        if legacy_reasoning and last.get("type") == "reasoning":
            last["summary"] += item["summary"]  # events in a row are the parts of one item
            last["content"] += item["content"]
            continue
        items[item["id"]] = last = item
    return list(items.values())


def thread_item(source: RolloutItem) -> Json | None:
    """The one item that a line of history stands for, or ``None``.

    Items of legacy events have no id on disk; theirs is ``item-`` and the line's position, the
    same on every read. Values of an unexpected shape are left out, never raised.
    """
    payload = source.payload
    if source.type != "event_msg" or not isinstance(payload, dict):
        return None
    kind = source.kind
    if kind == "item_completed":
        return _completed(payload)
    convert = _EVENTS.get(kind or "")
    if convert is None:
        return None
    body = convert(payload)
    call_id = payload.get("call_id")
    body["id"] = call_id if isinstance(call_id, str) else f"item-{source.position or 0}"
    return _finish(body, None, None)


def camel(word: str) -> str:
    """``in_progress`` → ``inProgress``."""
    head, *rest = word.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def _finish(body: Json, started_ms: Any, completed_ms: Any) -> Json:
    """Codex's key order: type, id, facts, times."""
    head = {"type": body.pop("type")}
    if "moderation" in body:
        head["moderation"] = body.pop("moderation")
    times = {"startedAtMs": _count(started_ms), "completedAtMs": _count(completed_ms)}
    return {**head, "id": body.pop("id"), **body, **times}


# Items of paginated threads


def _completed(payload: Json) -> Json | None:
    item = payload.get("item")
    if not isinstance(item, dict) or not isinstance(item.get("type"), str):
        return None
    convert = _COMPLETED.get(item["type"], _any_item)
    body = convert(item)
    body["id"] = _text(item.get("id"))
    return _finish(body, payload.get("started_at_ms"), payload.get("completed_at_ms"))


def _any_item(item: Json) -> Json:
    """A kind without a rule of its own: the same facts under camelCase keys."""
    body = {camel(key): value for key, value in item.items() if key != "type"}
    kind = item["type"]
    status = body.get("status")
    if isinstance(status, str):
        body["status"] = camel(status)
    return {"type": kind[:1].lower() + kind[1:], **body}


def _user_message(item: Json) -> Json:
    content = [_user_input(part) for part in _list(item.get("content")) if isinstance(part, dict)]
    return {"type": "userMessage", "clientId": item.get("client_id"), "content": content}


def _user_input(part: Json) -> Json:
    part = {**part, "type": camel(_text(part.get("type")))}
    if part["type"] == "text":
        return {
            "type": "text",
            "text": _text(part.get("text")),
            "text_elements": _list(part.get("text_elements")),
        }
    if part["type"] == "image":
        return {"type": "image", "url": part.get("image_url"), "detail": part.get("detail")}
    if part["type"] == "localImage":
        return {"type": "localImage", "detail": part.get("detail"), "path": part.get("path")}
    return part


def _agent_message(item: Json) -> Json:
    parts = [part for part in _list(item.get("content")) if isinstance(part, dict)]
    return _agent_text("".join(_text(part.get("text")) for part in parts), item)


def _agent_text(text: str, facts: Json) -> Json:
    return {
        "type": "agentMessage",
        "moderation": None,
        "text": text,
        "phase": facts.get("phase"),
        "memoryCitation": facts.get("memory_citation"),
        "delivery": facts.get("delivery"),
        "questions": facts.get("questions"),
    }


def _reasoning(item: Json) -> Json:
    return _reasoning_texts(_list(item.get("summary_text")), _list(item.get("raw_content")))


def _reasoning_texts(summary: list[Any], content: list[Any]) -> Json:
    return {"type": "reasoning", "summary": list(summary), "content": list(content)}


def _command(item: Json) -> Json:
    command = item.get("command")
    parts = [_text(part) for part in command] if isinstance(command, list) else [_text(command)]
    return {
        "type": "commandExecution",
        "pluginId": item.get("plugin_id"),
        "scriptPath": item.get("script_path"),
        "command": shlex.join(parts) if isinstance(command, list) else parts[0],
        "cwd": _path(item.get("cwd")),
        "processId": item.get("process_id"),
        "source": camel(_text(item.get("source")) or "agent"),
        "status": camel(_text(item.get("status")) or "completed"),
        "commandActions": [
            _command_action(action)
            for action in _list(item.get("parsed_cmd"))
            if isinstance(action, dict)
        ],
        "aggregatedOutput": item.get("aggregated_output"),
        "exitCode": item.get("exit_code"),
        "durationMs": _duration(item.get("duration")),
    }


def _command_action(action: Json) -> Json:
    body = {"type": camel(_text(action.get("type"))), "command": _text(action.get("cmd"))}
    rest = {key: value for key, value in action.items() if key not in ("type", "cmd")}
    return {**body, **rest}


def _file_change(item: Json) -> Json:
    changes = item.get("changes")
    listed = changes.items() if isinstance(changes, dict) else ()
    return {
        "type": "fileChange",
        "changes": [_change(path, change) for path, change in listed if isinstance(change, dict)],
        "status": camel(_text(item.get("status")) or "completed"),
    }


def _change(path: str, change: Json) -> Json:
    kind: Json = {"type": _text(change.get("type"))}
    diff = change.get("content")
    if kind["type"] == "update":
        kind["move_path"] = change.get("move_path")
        diff = change.get("unified_diff")
    return {"path": path, "kind": kind, "diff": _text(diff)}


def _mcp_tool_call(event: Json) -> Json:
    invocation = event.get("invocation")
    invocation = invocation if isinstance(invocation, dict) else {}
    result = event.get("result")
    result = result if isinstance(result, dict) else {}
    failed = "Err" in result
    return {
        "type": "mcpToolCall",
        "server": _text(invocation.get("server")),
        "tool": _text(invocation.get("tool")),
        "status": "failed" if failed else "completed",
        "arguments": invocation.get("arguments"),
        "result": result.get("Ok"),
        "error": {"message": _text(result.get("Err"))} if failed else None,
        "durationMs": _duration(event.get("duration")),
    }


def _web_search(item: Json) -> Json:
    return {
        "type": "webSearch",
        "query": _text(item.get("query")),
        "action": item.get("action"),
        "results": item.get("results"),
    }


def _image_view(item: Json) -> Json:
    return {"type": "imageView", "path": _path(item.get("path"))}


def _entered_review(item: Json) -> Json:
    return {"type": "enteredReviewMode", "review": _text(item.get("user_facing_hint"))}


def _exited_review(item: Json) -> Json:
    output = item.get("review_output")
    text = output.get("overall_explanation") if isinstance(output, dict) else None
    return {"type": "exitedReviewMode", "review": _text(text)}


def _compaction(_: Json) -> Json:
    return {"type": "contextCompaction"}


def _collab(item: Json) -> Json:
    states = item.get("agents_states")
    listed = states.items() if isinstance(states, dict) else ()
    return {
        "type": "collabAgentToolCall",
        "tool": camel(_text(item.get("tool"))),
        "status": camel(_text(item.get("status"))),
        "senderThreadId": _text(item.get("sender_thread_id")),
        "receiverThreadIds": _list(item.get("receiver_thread_ids")),
        "prompt": item.get("prompt"),
        "model": item.get("model"),
        "reasoningEffort": item.get("reasoning_effort"),
        "agentsStates": {agent: _agent_state(state) for agent, state in listed},
    }


def _agent_state(state: Any) -> Json:
    """A word on disk, or an object of the word and its message."""
    message = None
    if isinstance(state, dict) and len(state) == 1:
        ((state, message),) = state.items()
    return {"status": camel(_text(state)), "message": message}


# Events of legacy threads


def _user_event(event: Json) -> Json:
    content: list[Json] = []
    if _text(event.get("message")):
        content.append(
            {
                "type": "text",
                "text": event["message"],
                "text_elements": _list(event.get("text_elements")),
            }
        )
    for kind, key in (("image", "image_url"), ("local_image", "path")):
        content += [_user_input({"type": kind, key: at}) for at in _list(event.get(f"{kind}s"))]
    return {"type": "userMessage", "clientId": event.get("client_id"), "content": content}


def _agent_event(event: Json) -> Json:
    return _agent_text(_text(event.get("message")), event)


def _reasoning_event(event: Json) -> Json:
    return _reasoning_texts([_text(event.get("text"))], [])


def _raw_reasoning_event(event: Json) -> Json:
    return _reasoning_texts([], [_text(event.get("text"))])


_COMPLETED: Final[dict[str, Callable[[Json], Json]]] = {
    "UserMessage": _user_message,
    "AgentMessage": _agent_message,
    "Reasoning": _reasoning,
    "CommandExecution": _command,
    "FileChange": _file_change,
    "WebSearch": _web_search,
    "ImageView": _image_view,
    "EnteredReviewMode": _entered_review,
    "ExitedReviewMode": _exited_review,
    "ContextCompaction": _compaction,
    "CollabAgentToolCall": _collab,
}
_EVENTS: Final[dict[str, Callable[[Json], Json]]] = {
    "user_message": _user_event,
    "agent_message": _agent_event,
    "agent_reasoning": _reasoning_event,
    "agent_reasoning_raw_content": _raw_reasoning_event,
    "exec_command_end": _command,
    "patch_apply_end": _file_change,
    "mcp_tool_call_end": _mcp_tool_call,
    "web_search_end": _web_search,
    "view_image_tool_call": _image_view,
    "entered_review_mode": _entered_review,
    "exited_review_mode": _exited_review,
    "context_compacted": _compaction,
}


# Values as they come


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _count(value: Any) -> int | None:
    """Milliseconds; Codex writes 0 for "not known"."""
    return value if isinstance(value, int) and value > 0 else None


def _path(value: Any) -> str:
    """Codex 0.169 writes paths as ``file://`` URLs into items, and plain before."""
    text = _text(value)
    return unquote(text.removeprefix("file://")) if text.startswith("file://") else text


def _duration(value: Any) -> int | None:
    if not isinstance(value, dict):
        return None
    seconds, nanos = value.get("secs"), value.get("nanos")
    if not isinstance(seconds, int) or not isinstance(nanos, int):
        return None
    return seconds * 1000 + nanos // 1_000_000
