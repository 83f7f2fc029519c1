"""The items of a turn as Codex's v2 protocol writes them (``ThreadItem``, release 0.169).

Two forms on disk lead to the same items: the events of legacy threads (``user_message``,
``agent_message``, ``patch_apply_end``, …) and the ``item_completed`` events of paginated ones. As
in Codex, model-side ``response_item`` lines are not items.
"""

from __future__ import annotations

import posixpath
import shlex
from typing import TYPE_CHECKING, Any, Final

from threadstore.history.shown import ShownItems
from threadstore.protocol.codex_events import completed_item
from threadstore.protocol.values import (
    as_dict,
    as_list,
    as_path,
    as_text,
    camel,
    camel_keys,
    count,
    duration,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from threadstore.history.items import RolloutItem
    from threadstore.history.turns import StoredTurn

__all__ = ["placed_items", "thread_item", "turn_items"]

Json = dict[str, Any]

NO_REVIEW: Final = "Reviewer failed to output a response."
"""What a review without a result says."""
REVIEW_REQUESTED: Final = "Review requested."


def turn_items(turn: StoredTurn) -> list[Json]:
    """The turn's items in order; a later state of an item replaces the earlier one."""
    return [item for _, item in placed_items(turn)]


def placed_items(turn: StoredTurn) -> list[tuple[int, Json]]:
    """The turn's items, each with the position of its first line in the log."""
    items: dict[str, tuple[int, Json]] = {}
    ids = ShownItems(turn.first_item_number)
    for source in turn.items:
        kind = source.kind if source.type == "event_msg" else None
        item_id = None if kind is None else ids.take(source, kind)
        item = None if item_id is None else _thread_item(source, kind, item_id)
        if item is None or item_id is None:
            continue
        place, known = items.get(item_id, (source.position or 0, None))
        if known is not None and kind != "item_completed" and known["type"] == "reasoning":
            known["summary"] += item["summary"]  # events in a row are the parts of one item
            known["content"] += item["content"]
        else:
            items[item_id] = place, item
    return list(items.values())


def thread_item(source: RolloutItem, item_id: str | None = None) -> Json | None:
    """The one item that a line of history stands for, or ``None``.

    Items of legacy events have no id on disk, only a number in their thread; *item_id* says it,
    else it is empty. Values of an unexpected shape are left out, never raised.
    """
    return _thread_item(source, source.kind, item_id)


def _thread_item(source: RolloutItem, kind: str | None, item_id: str | None) -> Json | None:
    payload = source.payload if source.type == "event_msg" else None
    if not isinstance(payload, dict):
        return None
    started, ended = payload.get("started_at_ms"), payload.get("completed_at_ms")
    if kind == "item_completed":
        item = payload.get("item")
    else:
        item = completed_item(kind, payload)
        started, ended = None, payload.get("occurred_at_ms")
    if not isinstance(item, dict) or not isinstance(item.get("type"), str):
        return None
    body = _COMPLETED.get(item["type"], _any_item)(item)
    own = item.get("id") or payload.get("call_id")
    body["id"] = item_id or (own if isinstance(own, str) else "")
    body["startedAtMs"], body["completedAtMs"] = count(started), count(ended)
    return body


def _item(kind: str, **facts: Any) -> Json:
    """An item whose id comes first, as in most of Codex's."""
    return {"type": kind, "id": "", **facts}


def _any_item(item: Json) -> Json:
    """A kind without a rule of its own: the same facts under camelCase keys."""
    body = {camel(key): value for key, value in item.items() if key not in ("type", "id")}
    if isinstance(body.get("status"), str):
        body["status"] = camel(body["status"])
    kind = item["type"]
    return {"type": kind[:1].lower() + kind[1:], "id": "", **body}


def _user_message(item: Json) -> Json:
    content = [_user_input(part) for part in as_list(item.get("content")) if isinstance(part, dict)]
    return _item("userMessage", clientId=item.get("client_id"), content=content)


def _user_input(part: Json) -> Json:
    kind = camel(as_text(part.get("type")))
    if kind == "text":
        elements = camel_keys(as_list(part.get("text_elements")))
        return {"type": "text", "text": as_text(part.get("text")), "text_elements": elements}
    part = {**part, "type": kind}
    if kind == "image" and "file_id" not in part:
        return {"type": kind, "url": part.get("image_url"), "detail": part.get("detail")}
    if kind == "localImage":
        return {"type": kind, "detail": part.get("detail"), "path": part.get("path")}
    if kind == "audio" and "audio_url" in part:
        return {"type": kind, "url": part["audio_url"]}
    return camel_keys(part) if kind in ("image", "audio") else part


def _agent_message(item: Json) -> Json:
    parts = [as_dict(part) for part in as_list(item.get("content"))]
    citation = item.get("memory_citation")
    if isinstance(citation, dict):
        citation = {
            "entries": as_list(citation.get("entries")),
            "threadIds": as_list(citation.get("rolloutIds")),
        }
    return {
        "type": "agentMessage",
        "moderation": item.get("moderation"),
        "id": "",
        "text": "".join(as_text(part.get("text")) for part in parts),
        "phase": item.get("phase"),
        "memoryCitation": citation,
        "delivery": item.get("delivery"),
        "questions": item.get("questions"),
    }


def _reasoning(item: Json) -> Json:
    summary, content = as_list(item.get("summary_text")), as_list(item.get("raw_content"))
    return _item("reasoning", summary=[*summary], content=[*content])


def _command(item: Json) -> Json:
    command = item.get("command")
    parts = [as_text(part) for part in command] if isinstance(command, list) else None
    cwd = as_path(item.get("cwd"))
    actions = as_list(item.get("parsed_cmd"))
    return _item(
        "commandExecution",
        pluginId=item.get("plugin_id"),
        scriptPath=item.get("script_path"),
        command=as_text(command) if parts is None else shlex.join(parts),
        cwd=cwd,
        processId=item.get("process_id"),
        source=camel(as_text(item.get("source")) or "agent"),
        status=camel(as_text(item.get("status")) or "completed"),
        commandActions=[_action(part, cwd) for part in actions if isinstance(part, dict)],
        aggregatedOutput=item.get("aggregated_output") or None,
        exitCode=item.get("exit_code"),
        durationMs=duration(item.get("duration")),
    )


def _action(action: Json, cwd: str) -> Json:
    body = {"type": camel(as_text(action.get("type"))), "command": as_text(action.get("cmd"))}
    rest = {key: value for key, value in action.items() if key not in ("type", "cmd")}
    if body["type"] == "read" and isinstance(rest.get("path"), str):
        rest["path"] = posixpath.join(cwd, rest["path"])  # Codex answers an absolute one
    return {**body, **rest}


def _file_change(item: Json) -> Json:
    changes = as_dict(item.get("changes"))
    listed = [_change(path, changes[path]) for path in sorted(changes)]
    status = camel(as_text(item.get("status")) or "completed")
    return _item("fileChange", changes=listed, status=status)


def _change(path: str, value: Any) -> Json:
    change = as_dict(value)
    kind: Json = {"type": as_text(change.get("type"))}
    diff = as_text(change.get("content"))
    if kind["type"] == "update":
        kind["move_path"] = moved = change.get("move_path")
        diff = as_text(change.get("unified_diff")) + (f"\n\nMoved to: {moved}" if moved else "")
    return {"path": path, "kind": kind, "diff": diff}


def _mcp_tool_call(item: Json) -> Json:
    uri = item.get("mcpAppResourceUri")
    result = item.get("result")
    if isinstance(result, dict):
        result = {
            "content": as_list(result.get("content")),
            "structuredContent": result.get("structuredContent"),
            "_meta": result.get("_meta"),
        }
    return _item(
        "mcpToolCall",
        server=as_text(item.get("server")),
        tool=as_text(item.get("tool")),
        status=camel(as_text(item.get("status"))),
        arguments=item.get("arguments"),
        appContext=_app_context(item),
        **({} if uri is None else {"mcpAppResourceUri": uri}),
        mcpAppUi=item.get("mcpAppUi"),
        pluginId=item.get("pluginId"),
        readOnlyHint=item.get("readOnlyHint"),
        result=result,
        error=item.get("error"),
        durationMs=duration(item.get("duration")),
    )


def _app_context(item: Json) -> Json | None:
    """The app that a tool belongs to; only tools of a connector have one."""
    if item.get("connectorId") is None:
        return None
    return {
        "connectorId": item["connectorId"],
        "linkId": item.get("linkId"),
        "resourceUri": item.get("mcpAppResourceUri"),
        "appName": item.get("appName"),
        "actionName": item.get("actionName"),
    }


def _dynamic_tool_call(item: Json) -> Json:
    return _item(
        "dynamicToolCall",
        namespace=item.get("namespace"),
        tool=as_text(item.get("tool")),
        arguments=item.get("arguments"),
        status=camel(as_text(item.get("status"))),
        contentItems=item.get("content_items"),
        success=item.get("success"),
        durationMs=duration(item.get("duration")),
    )


def _call_output(item: Json) -> Json:
    return _item(
        "functionCallOutput",
        name=as_text(item.get("name")),
        namespace=item.get("namespace"),
        output=item.get("output"),
    )


def _web_search(item: Json) -> Json:
    action = item.get("action")
    return _item(
        "webSearch",
        query=as_text(item.get("query")),
        action=_search_action(action) if isinstance(action, dict) else None,
        results=item.get("results"),
    )


def _search_action(action: Json) -> Json:
    kind = camel(as_text(action.get("type")))
    keys = _SEARCH_KEYS.get(kind)
    if keys is None:
        return {"type": "other"}
    return {"type": kind, **{key: action.get(key) for key in keys}}


def _image_view(item: Json) -> Json:
    return _item("imageView", path=as_path(item.get("path")))


def _image_generation(item: Json) -> Json:
    facts = camel_keys(item)
    inputs = as_list(facts.get("inputImages"))
    file = {"fileId": facts["fileId"]} if "fileId" in facts else {"result": facts.get("result")}
    return _item(
        "imageGeneration",
        status=as_text(facts.get("status")),
        revisedPrompt=facts.get("revisedPrompt"),
        **file,
        transparentBackground=facts.get("transparentBackground"),
        failure=facts.get("failure"),
        **({} if facts.get("savedPath") is None else {"savedPath": facts["savedPath"]}),
        generationId=facts.get("generationId"),
        **({"inputImages": inputs} if inputs else {}),
    )


def _extension(item: Json) -> Json:
    kind = item.get("kind")
    if kind == "clock.sleep":
        return _item("sleep", durationMs=item.get("durationMs"))
    if kind == "web.search":
        return _web_search(item)
    return _image_generation(item) if kind == "image_gen.generation" else _any_item(item)


def _entered_review(item: Json) -> Json:
    hint = item.get("user_facing_hint")
    return _item("enteredReviewMode", review=hint if isinstance(hint, str) else REVIEW_REQUESTED)


def _exited_review(item: Json) -> Json:
    output = as_dict(item.get("review_output"))
    findings = [as_dict(finding) for finding in as_list(output.get("findings"))]
    parts = [as_text(output.get("overall_explanation")).strip()]
    if findings:
        title = "Review comment:" if len(findings) == 1 else "Full review comments:"
        parts.append("\n\n".join([title, *("\n".join(_finding(one)) for one in findings)]))
    return _item("exitedReviewMode", review="\n\n".join(filter(None, parts)) or NO_REVIEW)


def _finding(finding: Json) -> Iterator[str]:
    location = as_dict(finding.get("code_location"))
    lines = as_dict(location.get("line_range"))
    file = as_text(location.get("absolute_file_path"))
    where = f"{file}:{lines.get('start')}-{lines.get('end')}"
    yield f"- {as_text(finding.get('title'))} — {where}"
    for line in as_text(finding.get("body")).splitlines():
        yield f"  {line}"


def _compaction(_: Json) -> Json:
    return _item("contextCompaction")


def _agent_call(item: Json) -> Json:
    states = as_dict(item.get("agents_states"))
    return _item(
        "collabAgentToolCall",
        tool=camel(as_text(item.get("tool"))),
        status=camel(as_text(item.get("status"))),
        senderThreadId=as_text(item.get("sender_thread_id")),
        receiverThreadIds=as_list(item.get("receiver_thread_ids")),
        prompt=item.get("prompt"),
        model=item.get("model"),
        reasoningEffort=item.get("reasoning_effort"),
        agentsStates={agent: _agent_state(state) for agent, state in states.items()},
    )


def _agent_state(state: Any) -> Json:
    """A word on disk, or an object of the word and its message."""
    message = None
    if isinstance(state, dict) and len(state) == 1:
        ((state, message),) = state.items()
    return {"status": camel(as_text(state)), "message": message}


def _agent_activity(item: Json) -> Json:
    return {
        "type": "subAgentActivity",
        "model": item.get("model"),
        "reasoningEffort": item.get("reasoning_effort"),
        "id": "",
        "kind": as_text(item.get("kind")),
        "agentThreadId": as_text(item.get("agent_thread_id")),
        "agentPath": as_text(item.get("agent_path")),
    }


_SEARCH_KEYS: Final = {
    "search": ("query", "queries"),
    "openPage": ("url",),
    "findInPage": ("url", "pattern"),
}
_COMPLETED: Final[dict[str, Callable[[Json], Json]]] = {
    "AgentMessage": _agent_message,
    "CollabAgentToolCall": _agent_call,
    "CommandExecution": _command,
    "ContextCompaction": _compaction,
    "DynamicToolCall": _dynamic_tool_call,
    "EnteredReviewMode": _entered_review,
    "ExitedReviewMode": _exited_review,
    "Extension": _extension,
    "FileChange": _file_change,
    "FunctionCallOutput": _call_output,
    "ImageGeneration": _image_generation,
    "ImageView": _image_view,
    "McpToolCall": _mcp_tool_call,
    "Reasoning": _reasoning,
    "SubAgentActivity": _agent_activity,
    "UserMessage": _user_message,
    "WebSearch": _web_search,
}
