"""Builders of rollout items in the shapes that Codex 0.131 and 0.169 write."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from threadstore.clock import rfc3339_ms
from threadstore.history.items import RolloutItem
from threadstore.metadata import SessionSource, TokenUsage

__all__ = [
    "agent_message",
    "assistant_response",
    "compacted",
    "custom_tool_call",
    "custom_tool_call_output",
    "event",
    "function_call",
    "function_call_output",
    "goal",
    "item_completed",
    "local_shell_call",
    "response",
    "session_meta",
    "task_complete",
    "task_started",
    "thread_rolled_back",
    "token_count",
    "token_usage_record",
    "turn",
    "turn_aborted",
    "turn_context",
    "unknown_item",
    "user_item_completed",
    "user_message",
    "user_response",
]


def event(kind: str, **fields: Any) -> RolloutItem:
    """An ``event_msg`` of any kind."""
    return RolloutItem("event_msg", {"type": kind, **fields})


def response(kind: str, **fields: Any) -> RolloutItem:
    """A ``response_item`` of any kind."""
    return RolloutItem("response_item", {"type": kind, **fields})


def session_meta(
    thread_id: str,
    *,
    created_at: dt.datetime,
    cwd: str = "/repo",
    source: SessionSource = "cli",
    **fields: Any,
) -> RolloutItem:
    """A header, as the first line of a log or as a later record."""
    payload = {
        "id": thread_id,
        "timestamp": rfc3339_ms(created_at),
        "cwd": cwd,
        "originator": "testing",
        "cli_version": "0.131.0",
        "source": source,
        "model_provider": "openai",
        "base_instructions": None,
        **fields,
    }
    return RolloutItem("session_meta", payload)


def user_message(text: str, *, images: Sequence[str] = ()) -> RolloutItem:
    """The event that carries what the user said (legacy threads)."""
    return event(
        "user_message", message=text, images=list(images), local_images=[], text_elements=[]
    )


def user_response(text: str) -> RolloutItem:
    """The same as the model sees it."""
    content = [{"type": "input_text", "text": text}]
    return response("message", role="user", content=content)


def agent_message(text: str) -> RolloutItem:
    """The event that carries what the agent said (legacy threads)."""
    return event("agent_message", message=text, phase=None, memory_citation=None)


def assistant_response(text: str) -> RolloutItem:
    """The same as the model said it."""
    content = [{"type": "output_text", "text": text}]
    return response("message", role="assistant", content=content)


def function_call(call_id: str, name: str, arguments: str = "{}") -> RolloutItem:
    """A tool call of the model."""
    return response("function_call", name=name, arguments=arguments, call_id=call_id)


def function_call_output(call_id: str, output: str) -> RolloutItem:
    """The answer to a tool call."""
    return response("function_call_output", call_id=call_id, output=output)


def custom_tool_call(call_id: str, name: str, text: str) -> RolloutItem:
    """A call of a tool that takes text as it is."""
    return response("custom_tool_call", status="completed", call_id=call_id, name=name, input=text)


def custom_tool_call_output(call_id: str, output: str) -> RolloutItem:
    """The answer to it."""
    return response("custom_tool_call_output", call_id=call_id, output=output)


def local_shell_call(call_id: str, *command: str) -> RolloutItem:
    """A command in the shell of the machine, as models before GPT-5 called it."""
    action = {"type": "exec", "command": list(command), "timeout_ms": None, "env": None}
    return response("local_shell_call", call_id=call_id, status="completed", action=action)


def token_count(total: TokenUsage | None, *, last: TokenUsage | None = None) -> RolloutItem:
    """A ``token_count`` event; without *total* its ``info`` is ``null``. *last*: of the last
    response, if that was not the first."""
    info = None
    if total is not None:
        info = {
            "total_token_usage": msgspec.to_builtins(total),
            "last_token_usage": msgspec.to_builtins(last or total),
            "model_context_window": 258400,
        }
    return event("token_count", info=info, rate_limits=None)


def token_usage_record(
    thread_id: str, usage: TokenUsage, *, total: TokenUsage | None = None, turn_id: str = "turn-1"
) -> RolloutItem:
    """What Codex 0.155 and later write as soon as a response is complete; *total*: of the thread,
    if that was not its first response."""
    payload = {
        "thread_id": thread_id,
        "turn_id": turn_id,
        "session_id": thread_id,
        "response_id": "resp_1",
        "usage": msgspec.to_builtins(usage),
        "turn_token_usage": msgspec.to_builtins(usage),
        "thread_token_usage": msgspec.to_builtins(total or usage),
    }
    return RolloutItem("token_usage_record", payload)


def turn_context(
    *,
    turn_id: str = "turn-1",
    cwd: str = "/repo",
    model: str = "gpt-5.1",
    effort: str | None = "high",
    approval_policy: str | dict[str, Any] = "never",
    sandbox_policy: Mapping[str, Any] | None = None,
) -> RolloutItem:
    """The settings of a turn."""
    payload = {
        "turn_id": turn_id,
        "cwd": cwd,
        "approval_policy": approval_policy,
        "sandbox_policy": dict(sandbox_policy or {"type": "danger-full-access"}),
        "model": model,
        **({} if effort is None else {"effort": effort}),
        "summary": "auto",
    }
    return RolloutItem("turn_context", payload)


def task_started(turn_id: str = "turn-1", *, at: dt.datetime | None = None) -> RolloutItem:
    """The start of a turn."""
    started = {} if at is None else {"started_at": int(at.timestamp())}
    return event(
        "task_started",
        turn_id=turn_id,
        **started,
        model_context_window=258400,
        collaboration_mode_kind="default",
    )


def task_complete(
    turn_id: str = "turn-1", *, message: str | None = None, at: dt.datetime | None = None
) -> RolloutItem:
    """The normal end of a turn."""
    completed = {} if at is None else {"completed_at": int(at.timestamp())}
    return event("task_complete", turn_id=turn_id, last_agent_message=message, **completed)


def turn_aborted(turn_id: str = "turn-1", *, reason: str = "interrupted") -> RolloutItem:
    """The end of a turn that was interrupted."""
    return event("turn_aborted", turn_id=turn_id, reason=reason)


def thread_rolled_back(turns: int) -> RolloutItem:
    """Takes the last *turns* turns back (legacy threads)."""
    return event("thread_rolled_back", num_turns=turns)


def goal(thread_id: str, objective: str) -> RolloutItem:
    """A goal of the thread."""
    body = {"threadId": thread_id, "objective": objective, "status": "active"}
    return event("thread_goal_updated", threadId=thread_id, goal=body)


def compacted(message: str) -> RolloutItem:
    """A compaction of the context."""
    return RolloutItem("compacted", {"message": message})


def item_completed(thread_id: str, turn_id: str, item: Mapping[str, Any]) -> RolloutItem:
    """A finished item of a paginated thread."""
    return event(
        "item_completed", thread_id=thread_id, turn_id=turn_id, item=dict(item), completed_at_ms=0
    )


def user_item_completed(thread_id: str, turn_id: str, text: str) -> RolloutItem:
    """What the user said, in a paginated thread."""
    content = [{"type": "text", "text": text, "text_elements": []}]
    item = {"type": "UserMessage", "id": f"{turn_id}-user", "content": content}
    return item_completed(thread_id, turn_id, item)


def unknown_item(**fields: Any) -> RolloutItem:
    """An item of a type that no release has written."""
    return RolloutItem("item_of_tomorrow", {"novel": True, **fields})


def turn(
    turn_id: str,
    text: str,
    reply: str = "done",
    *,
    at: dt.datetime | None = None,
    usage: TokenUsage | None = None,
    **context: Any,
) -> list[RolloutItem]:
    """A whole turn of a legacy thread, in the order of Codex 0.131."""
    return [
        task_started(turn_id, at=at),
        turn_context(turn_id=turn_id, **context),
        user_response(text),
        user_message(text),
        agent_message(reply),
        assistant_response(reply),
        *([] if usage is None else [token_count(usage)]),
        task_complete(turn_id, message=reply, at=at),
    ]
