"""Orders: a history as one short word per line, and a stream of events likewise.

Words tell what comes and, of token counts, the numbers; ids, times and texts are left out.
"""

from __future__ import annotations

import re
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Json = dict[str, Any]

CONTEXT = frozenset(
    {"ri:developer", "ri:context", "world_state", "thread_settings_applied", "session_meta"}
)
"""Lines of Codex about itself: permissions, environment, skills, settings, later headers."""

_USAGES = ("total_token_usage", "last_token_usage")
_PARTS = (
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "reasoning_output_tokens",
    "total_tokens",
)
_CONTEXT_STARTS = (
    "<environment_context>",
    "<user_instructions>",
    "# AGENTS.md",
    "<recommended_plugins>",
)


def line_word(line_type: str, payload: Json) -> str:
    """The word for one line of a history."""
    if line_type == "event_msg":
        return event_word(payload)
    if line_type == "response_item":
        return _response_item(payload)
    if line_type == "token_usage_record":
        return f"token_usage_record({payload['usage']['total_tokens']})"
    return line_type


def event_word(payload: Json) -> str:
    """The word for the payload of an ``event_msg``."""
    kind = str(payload["type"])
    if kind == "item_completed":
        return f"item_completed({payload['item']['type']})"
    if kind == "token_count":
        return _token_count(payload)
    if kind == "task_complete" and payload.get("error"):
        return "task_complete(error)"
    if kind == "turn_aborted":
        return f"turn_aborted({payload['reason']})"
    return kind


def _token_count(payload: Json) -> str:
    """Thread total / last response, and whether it says the account's limits."""
    info = payload.get("info")
    limits = "+limits" if (payload.get("rate_limits") or {}).get("primary") else ""
    if not info:
        return f"token_count(null{limits})"
    return f"token_count({_used(*(info[name] for name in _USAGES))}{limits})"


def _used(total: Json, last: Json) -> str:
    """Totals of the thread and of the last response, ``~`` where it is an estimate."""
    estimated = last["total_tokens"] and total["input_tokens"] and not last["input_tokens"]
    return f"{total['total_tokens']}/{'~' if estimated else last['total_tokens']}"


def count(payload: Json) -> str:
    """All numbers of a ``token_count``: input, cached, output, reasoning, total; thread | last."""
    info = payload.get("info")
    if not info:
        return "null"
    total, last = (" ".join(str(info[name][part]) for part in _PARTS) for name in _USAGES)
    if _used(*(info[name] for name in _USAGES)).endswith("~"):
        last = "~"
    return f"{total} | {last} | {info['model_context_window']}"


def _response_item(payload: Json) -> str:
    kind = str(payload["type"])
    if kind.endswith("_output"):
        return f"ri:{kind}{'(aborted)' if str(payload['output']).startswith('aborted') else ''}"
    if kind != "message":
        return f"ri:{kind}"
    role = str(payload["role"])
    text = "".join(part.get("text", "") for part in payload["content"]).lstrip()
    if role == "user" and text.startswith("<turn_aborted>"):
        return "ri:user(aborted)"
    if role == "user" and text.startswith(_CONTEXT_STARTS):
        return "ri:context"
    return f"ri:{role}"


def turns(words: Iterable[str], start: str = "task_started") -> list[str]:
    """The words of each turn in a text of their own; the first is what comes before."""
    lines: list[list[str]] = [[]]
    for word in words:
        if word == start:
            lines.append([])
        lines[-1].append(word)
    return [" ".join(line) for line in lines]


def request_words(body: Json) -> str:
    """What the model was sent, in one text."""
    return " ".join(line_word("response_item", item) for item in body["input"])


_OF_TURNS = ("turn/", "item/", "error", "thread/tokenUsage/", "account/rateLimits/")


def notification_word(note: Json) -> str | None:
    """The word for one notification of an app server; ``None``: not about a turn."""
    method, params = str(note["method"]), note.get("params") or {}
    if not method.startswith(_OF_TURNS) or method == "item/reasoning/summaryPartAdded":
        return None
    if method in ("item/started", "item/completed"):
        return f"{method}[{params['item']['type']}]"
    if method == "turn/completed":
        return f"{method}[{params['turn']['status']}]"
    if method == "error":
        info = params["error"]["codexErrorInfo"]
        kind = info if isinstance(info, str) else next(iter(info or {}), None)
        return f"error[{'again' if params.get('willRetry') else 'final'}:{kind}]"
    if method == "thread/tokenUsage/updated":
        usages = (params["tokenUsage"][name] for name in ("total", "last"))
        names = {"total_tokens": "totalTokens", "input_tokens": "inputTokens"}
        plain = ({ours: usage[theirs] for ours, theirs in names.items()} for usage in usages)
        return f"{method}[{_used(*plain)}]"
    if method == "account/rateLimits/updated":
        return method if params["rateLimits"]["primary"] else f"{method}[none]"
    return method


def our_event_words(payload: Json) -> list[str]:
    """The words of the notifications that an app server makes of one event of our engine."""
    kind, item = payload["type"], payload.get("item", {})
    match kind:
        case "task_started":
            return ["turn/started"]
        case "item_started" | "item_completed":
            return [f"{kind.replace('_', '/')}[{item['type'][0].lower()}{item['type'][1:]}]"]
        case "token_count":
            return _our_token_count(payload)
        case "stream_error" | "error":
            info = payload["codex_error_info"]
            error = {"error": {"codexErrorInfo": _camel(info)}}
            note = {**error, "willRetry": kind == "stream_error"}
            return [str(notification_word({"method": "error", "params": note}))]
        case "task_complete":
            return [f"turn/completed[{'failed' if payload.get('error') else 'completed'}]"]
        case "turn_aborted":
            return ["turn/completed[interrupted]"]
    return [_OTHERS[kind]] if kind in _OTHERS else []


_OTHERS = {
    "agent_message_content_delta": "item/agentMessage/delta",
    "reasoning_content_delta": "item/reasoning/summaryTextDelta",
    "dynamic_tool_call_request": "item/tool/call",
}


def _our_token_count(payload: Json) -> list[str]:
    words = []
    if payload["info"]:
        used = _used(*(payload["info"][name] for name in _USAGES))
        words.append(f"thread/tokenUsage/updated[{used}]")
    if payload["rate_limits"]:
        known = "" if payload["rate_limits"]["primary"] else "[none]"
        words.append(f"account/rateLimits/updated{known}")
    return words


def _camel(info: str | Json) -> str:
    word = info if isinstance(info, str) else next(iter(info))
    first, *more = word.split("_")
    return first + "".join(map(str.capitalize, more))


_TOOL_EVENT = re.compile(r"item/\w+\[(dynamicToolCall|commandExecution)\]|item/tool/call")
_TOOL_ITEM = re.compile(r"item_completed\((DynamicToolCall|CommandExecution)\)")
_OF_CALLS = re.compile(rf"ri:\w+_call|token_usage_record|{_TOOL_ITEM.pattern}")


def settled_events(words: Iterable[str]) -> list[str]:
    """Events without what is chance: how many deltas come, and how calls at once mingle.

    What follows itself counts once. In a row of words about tools each of them counts once:
    started, called, completed. 0.131 sometimes says late that a command is done.
    """
    rows: list[list[str]] = []
    tools: list[str] = []
    for of_tools, group in groupby(_of_turns(words), lambda word: bool(_TOOL_EVENT.match(word))):
        row = [*group]
        if not of_tools:
            rows.append(row)
        elif tools and not any("started" in word for word in row):
            tools[:] = sorted({*tools, *row}, key=_stage)
        else:
            tools = sorted(set(row), key=_stage)
            rows.append(tools)
    return [word for word, _ in groupby(word for row in rows for word in row)]


def _limits_first(words: list[str]) -> list[str]:
    """0.131 sometimes tells the limits of an interrupted turn after its end."""
    for place, (word, after) in enumerate(pairwise(words)):
        if word.startswith("turn/completed") and after.startswith("account/"):
            words[place : place + 2] = after, word
    return words


def _of_turns(words: Iterable[str]) -> Iterator[str]:
    """Without what is told between turns, on a fork or a rollback; tools are of the turn before."""
    within = False
    for word in _limits_first([*words]):
        within = within or word == "turn/started"
        if within or _TOOL_EVENT.match(word):
            yield word
        within = within and not word.startswith("turn/completed")


def _stage(word: str) -> tuple[int, str]:
    return 2 if "completed" in word else 1 if "tool/call" in word else 0, word


def settled_lines(words: Iterable[str]) -> list[str]:
    """Lines without what is chance: the item of a call (0.169) comes when its tool is done.

    Here it stands before the first output of its response.
    """
    kept: list[str] = []
    for of_calls, group in groupby(words, lambda word: bool(_OF_CALLS.match(word))):
        row = [*group]
        if of_calls:
            items = [word for word in row if _TOOL_ITEM.match(word)]
            row = [word for word in row if not _TOOL_ITEM.match(word)]
            outputs = (place for place, word in enumerate(row) if "_output" in word)
            place = next(outputs, len(row))
            row[place:place] = items
        kept += row
    return kept
