"""The events of legacy threads as the finished items that paginated threads hold instead.

Only names and places change here; :mod:`threadstore.protocol.codex_items` puts both forms into the
words of the protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from threadstore.protocol.values import as_dict, as_list, as_text

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["completed_item"]

Json = dict[str, Any]

_ATTACHED: Final = (
    ("image", "image_url", "images", "image_details"),
    ("local_image", "path", "local_images", "local_image_details"),
    ("audio", "audio_url", "audio", None),
    ("local_audio", "path", "local_audio", None),
)
"""Kind and key of a part, and where the event has them and their details."""
_MCP_FACTS: Final = {
    "mcp_app_resource_uri": "mcpAppResourceUri",
    "mcp_app_ui": "mcpAppUi",
    "plugin_id": "pluginId",
    "read_only_hint": "readOnlyHint",
    "connector_id": "connectorId",
    "link_id": "linkId",
    "app_name": "appName",
    "action_name": "actionName",
}


def completed_item(kind: str | None, event: Json) -> Json | None:
    """The item that an event stands for, without its id; ``None`` if for none."""
    convert = _EVENTS.get(kind or "")
    return None if convert is None else convert(event)


def _user_message(event: Json) -> Json:
    content: list[Json] = []
    text = as_text(event.get("message"))
    if text.strip():
        elements = as_list(event.get("text_elements"))
        content.append({"type": "text", "text": text, "text_elements": elements})
    for kind, key, places, details in _ATTACHED:
        if not event.get(places):
            continue
        detail = as_list(event.get(details)) if details else []
        for number, place in enumerate(as_list(event.get(places))):
            part = {"type": kind, key: place}
            if number < len(detail):
                part["detail"] = detail[number]
            content.append(part)
    return {"type": "UserMessage", "client_id": event.get("client_id"), "content": content}


def _agent_message(event: Json) -> Json:
    text = {"type": "Text", "text": event.get("message")}
    return {**event, "type": "AgentMessage", "content": [text]}


def _reasoning(event: Json) -> Json:
    return {"type": "Reasoning", "summary_text": [as_text(event.get("text"))]}


def _raw_reasoning(event: Json) -> Json:
    return {"type": "Reasoning", "raw_content": [as_text(event.get("text"))]}


def _mcp_tool_call(event: Json) -> Json:
    result = as_dict(event.get("result"))
    done = result.get("Ok")
    failed = "Err" in result or bool(as_dict(done).get("isError"))
    return {
        **as_dict(event.get("invocation")),
        **{new: event.get(old) for old, new in _MCP_FACTS.items()},
        "type": "McpToolCall",
        "status": "failed" if failed else "completed",
        "result": done,
        "error": {"message": as_text(result["Err"])} if "Err" in result else None,
        "duration": event.get("duration"),
    }


def _tool_request(event: Json) -> Json:
    return {**event, "type": "DynamicToolCall", "status": "in_progress"}


def _tool_response(event: Json) -> Json:
    status = "completed" if event.get("success") else "failed"
    return {**event, "type": "DynamicToolCall", "status": status}


def _agent_call(tool: str, receiver: str) -> Callable[[Json], Json]:
    def convert(event: Json) -> Json:
        agent = event.get(receiver)
        states = {agent: event.get("status")} if isinstance(agent, str) else {}
        return _agents(event, tool, states, missing=not states)

    return convert


def _waiting(event: Json) -> Json:
    return _agents(event, "wait", as_dict(event.get("statuses")), missing=False)


def _agents(event: Json, tool: str, states: Json, *, missing: bool) -> Json:
    failed = missing or any(_is_failure(state) for state in states.values())
    return {
        **event,
        "type": "CollabAgentToolCall",
        "tool": tool,
        "status": "failed" if failed else "completed",
        "receiver_thread_ids": sorted(states),
        "agents_states": states,
    }


def _is_failure(state: Any) -> bool:
    return state == "not_found" or "errored" in as_dict(state)


def _as(kind: str) -> Callable[[Json], Json]:
    """An event with the members of the item."""
    return lambda event: {**event, "type": kind}


_EVENTS: Final[dict[str, Callable[[Json], Json]]] = {
    "agent_message": _agent_message,
    "agent_reasoning": _reasoning,
    "agent_reasoning_raw_content": _raw_reasoning,
    "collab_agent_interaction_end": _agent_call("send_input", "receiver_thread_id"),
    "collab_agent_spawn_end": _agent_call("spawn_agent", "new_thread_id"),
    "collab_close_end": _agent_call("close_agent", "receiver_thread_id"),
    "collab_resume_end": _agent_call("resume_agent", "receiver_thread_id"),
    "collab_waiting_end": _waiting,
    "context_compacted": _as("ContextCompaction"),
    "dynamic_tool_call_request": _tool_request,
    "dynamic_tool_call_response": _tool_response,
    "entered_review_mode": _as("EnteredReviewMode"),
    "exec_command_end": _as("CommandExecution"),
    "exited_review_mode": _as("ExitedReviewMode"),
    "image_generation_end": _as("ImageGeneration"),
    "mcp_tool_call_end": _mcp_tool_call,
    "patch_apply_end": _as("FileChange"),
    "sub_agent_activity": _as("SubAgentActivity"),
    "user_message": _user_message,
    "view_image_tool_call": _as("ImageView"),
    "web_search_end": _as("WebSearch"),
}
