"""What legacy threads say in events, in the form of paginated threads: ``item_completed``.

A paginated thread has no ``user_message``, ``agent_message`` and the like: readers of Codex 0.150
to 0.169 pass over them. So that nothing is lost of what a caller says in these events, they are
written as the completed items that 0.169 makes of them when it migrates a legacy thread, every
item in a turn that was started. Pure: the state goes in and comes out, ids and time are given.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from threadstore.clock import parse_timestamp, to_ms
from threadstore.history.items import RolloutItem, check_items
from threadstore.ids import new_thread_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["OpenTurn", "bounds_turn", "completed_form"]

Json = dict[str, Any]
_Said: TypeAlias = tuple[str, str, str]
"""A completed item that an event may repeat: turn, type, and text or call id."""

_STARTS: Final = frozenset({"task_started", "turn_started"})
_ENDS: Final = frozenset({"task_complete", "turn_complete", "turn_aborted"})
_REASONING: Final = frozenset({"agent_reasoning", "agent_reasoning_raw_content"})


class OpenTurn(msgspec.Struct, frozen=True, kw_only=True):
    """Where the history of a paginated thread stands between two appends."""

    thread_id: str
    turn_id: str | None = None
    """The turn to which the next item belongs; ``None``: none was started, or it has ended."""
    implied: bool = False
    """Whether nobody started it but a message outside of any turn; the next one starts another."""
    said: tuple[_Said, ...] = ()
    """Its completed items that no event has repeated yet."""

    def after(self, items: Iterable[RolloutItem]) -> OpenTurn:
        """Where it stands after *items*, which were appended as they are."""
        form = _Form(self, 0, new_thread_id)
        for item in items:
            form.note(item)
            form.keep(item)
        return form.turn()


def bounds_turn(item: RolloutItem) -> bool:
    """Whether a turn starts or ends with *item*."""
    return item.type == "event_msg" and item.kind in _STARTS | _ENDS


def completed_form(
    items: Sequence[RolloutItem],
    turn: OpenTurn,
    *,
    now: dt.datetime,
    new_id: Callable[[], str] = new_thread_id,
) -> tuple[list[RolloutItem], OpenTurn]:
    """*items* with the events of legacy threads as completed items, and where the turn stands then.

    Everything else is passed on untouched, so twice is once. An event that repeats a completed item
    of its turn, as Codex's own event stream does, is left out. What is said outside of any turn
    gets one. Events that say nothing that can be read stay; the policy drops them.
    """
    check_items(items)
    form = _Form(turn, to_ms(now), new_id)
    for item in items:
        form.note(item)
    for item in items:
        convert = _FORMS.get(item.kind or "") if item.type == "event_msg" else None
        if convert is None or not isinstance(item.payload, dict):
            form.keep(item)
        else:
            form.convert(item, convert)
    form.end_implied()
    return form.items, form.turn()


class _Form:
    """One batch on its way."""

    def __init__(self, turn: OpenTurn, now_ms: int, new_id: Callable[[], str]) -> None:
        self.items: list[RolloutItem] = []
        self._before = turn
        self._turn_id = self._noted_turn = turn.turn_id
        self._implied = turn.implied
        self._said = Counter(turn.said)
        self._now_ms = now_ms
        self._new_id = new_id
        self._to_end: RolloutItem | None = None  # what the implied turn of this batch said last
        self._reasoning: Json | None = None  # an item that the next event may be a part of

    def turn(self) -> OpenTurn:
        said = tuple(key for key in self._said.elements() if key[0] == self._turn_id)
        after = OpenTurn(
            thread_id=self._before.thread_id,
            turn_id=self._turn_id,
            implied=self._implied,
            said=said,
        )
        return self._before if after == self._before else after

    def note(self, item: RolloutItem) -> None:
        """See what is said in completed items, also after the events that repeat it."""
        if item.type != "event_msg" or not isinstance(item.payload, dict):
            return
        kind = item.kind
        if kind in _STARTS:
            self._noted_turn = _word(item.payload, "turn_id")
        elif kind == "item_completed":
            turn_id = _word(item.payload, "turn_id") or self._noted_turn or ""
            self._said.update((turn_id, *key) for key in _keys(item.payload.get("item")))

    def keep(self, item: RolloutItem) -> None:
        """Pass *item* on."""
        self._reasoning = None
        if bounds_turn(item) and isinstance(item.payload, dict):
            self.end_implied()
            started = item.kind in _STARTS
            self._turn_id = _word(item.payload, "turn_id") if started else None
            self._implied = False
        self.items.append(item)

    def convert(self, item: RolloutItem, convert: Callable[[Json], Json | None]) -> None:
        """Pass on the completed item that the event *item* stands for, unless it was said."""
        body = convert(item.payload)
        if body is None:
            self.keep(item)
            return
        keys = [(self._turn_id or "", *key) for key in _keys(body)]
        if keys and all(self._said[key] > 0 for key in keys):
            self._said.subtract(keys)
            return
        if item.kind in _REASONING and self._reasoning is not None:
            self._reasoning["summary_text"] += body["summary_text"]
            self._reasoning["raw_content"] += body["raw_content"]
            return
        if self._turn_id is None or (self._implied and item.kind == "user_message"):
            self._start_implied(item)
        if self._to_end is not None:
            self._to_end = item
        named = {"type": body["type"], "id": body.get("id") or self._new_id()}
        body = named | {key: value for key, value in body.items() if key not in named}
        self._reasoning = body if item.kind in _REASONING else None
        payload = {
            "type": "item_completed",
            "thread_id": self._before.thread_id,
            "turn_id": self._turn_id,
            "item": body,
            "completed_at_ms": self._moment(item),
        }
        self.items.append(RolloutItem("event_msg", payload, item.timestamp))

    def _start_implied(self, item: RolloutItem) -> None:
        self.end_implied()
        self._turn_id, self._implied, self._to_end = self._new_id(), True, item
        payload = {
            "type": "task_started",
            "turn_id": self._turn_id,
            "started_at": self._moment(item) // 1000,
            "model_context_window": None,
            "collaboration_mode_kind": "default",
        }
        self.items.append(RolloutItem("event_msg", payload, item.timestamp))

    def end_implied(self) -> None:
        """End the implied turn that this batch began: nobody else would, and it would seem to be
        interrupted. What is said later without a turn still goes into it."""
        last, self._to_end = self._to_end, None
        if last is not None:
            payload = {
                "type": "task_complete",
                "turn_id": self._turn_id,
                "last_agent_message": None,
                "completed_at": self._moment(last) // 1000,
            }
            self.items.append(RolloutItem("event_msg", payload, last.timestamp))

    def _moment(self, item: RolloutItem) -> int:
        moment = parse_timestamp(item.timestamp)
        return self._now_ms if moment is None else to_ms(moment)


def _keys(item: Any) -> list[tuple[str, str]]:
    """By what an event repeats a completed item: its texts, else the call, else the kind alone."""
    if not isinstance(item, dict) or not isinstance(item.get("type"), str):
        return []
    kind = item["type"]
    if kind == "Reasoning":
        texts = [*_list(item.get("summary_text")), *_list(item.get("raw_content"))]
        return [(kind, text) for text in texts if isinstance(text, str)]
    if kind in ("UserMessage", "AgentMessage"):
        parts = [part for part in _list(item.get("content")) if isinstance(part, dict)]
        return [(kind, "".join(_text(part, "text") for part in parts))]
    if kind in ("ContextCompaction", "EnteredReviewMode", "ExitedReviewMode"):
        return [(kind, "")]
    return [(kind, _text(item, "id"))]


# The items, as Codex 0.169 migrates them


def _user_message(event: Json) -> Json | None:
    if not isinstance(event.get("message"), str):
        return None
    content: list[Json] = [
        *_media(event, "image", "image_url", "images", "image_details"),
        *_media(event, "image", "file_id", "file_ids", "file_id_details"),
        *_media(event, "local_image", "path", "local_images", "local_image_details"),
        *_media(event, "audio", "audio_url", "audio"),
        *_media(event, "local_audio", "path", "local_audio"),
    ]
    if event["message"] or not content:
        elements = _list(event.get("text_elements"))
        text = {"type": "text", "text": event["message"], "text_elements": elements}
        content.insert(0, text)
    item: Json = {"type": "UserMessage", "content": content}
    client_id = _word(event, "client_id")
    return {**item, "client_id": client_id} if client_id else item


def _media(event: Json, kind: str, key: str, field: str, details: str = "") -> list[Json]:
    found = []
    described = _list(event.get(details))
    for index, value in enumerate(_list(event.get(field))):
        part = {"type": kind, key: value}
        if index < len(described) and described[index] is not None:
            part["detail"] = described[index]
        if isinstance(value, str):
            found.append(part)
    return found


def _agent_message(event: Json) -> Json | None:
    if not isinstance(event.get("message"), str):
        return None
    content = [{"type": "Text", "text": event["message"]}]
    return {"type": "AgentMessage", "content": content, **_some(event, "phase", "memory_citation")}


def _reasoning(event: Json) -> Json | None:
    text = event.get("text")
    if not isinstance(text, str):
        return None
    raw = event["type"] == "agent_reasoning_raw_content"
    summary, content = ([], [text]) if raw else ([text], [])
    return {"type": "Reasoning", "summary_text": summary, "raw_content": content}


def _file_change(event: Json) -> Json | None:
    if not isinstance(event.get("changes"), dict):
        return None
    success = event.get("success") is True
    status = _word(event, "status") or ("completed" if success else "failed")
    output = {key: event[key] for key in ("stdout", "stderr") if _word(event, key)}
    item = {"type": "FileChange", "id": _word(event, "call_id")}
    return {**item, "changes": event["changes"], "status": status, **output}


def _tool_call(event: Json) -> Json | None:
    call, result = event.get("invocation"), event.get("result")
    if not isinstance(call, dict) or not isinstance(result, dict):
        return None
    answer = result.get("Ok")
    failed = not isinstance(answer, dict) or bool(answer.get("isError") or answer.get("is_error"))
    outcome = {"result": answer} if "Ok" in result else {"error": {"message": result.get("Err")}}
    return {
        "type": "McpToolCall",
        "id": _word(event, "call_id"),
        "server": call.get("server"),
        "tool": call.get("tool"),
        "arguments": call.get("arguments"),
        "status": "failed" if failed else "completed",
        **outcome,
        **_some(event, "duration"),
    }


def _web_search(event: Json) -> Json | None:
    item = {"type": "WebSearch", "id": _word(event, "call_id"), "query": _text(event, "query")}
    return {**item, "action": event.get("action") or {"type": "other"}, **_some(event, "results")}


def _image(event: Json) -> Json | None:
    return {
        "type": "Extension",
        "id": _word(event, "call_id"),
        "kind": "image_gen.generation",
        "status": _text(event, "status"),
        "revisedPrompt": event.get("revised_prompt"),
        "result": _text(event, "result"),
        "savedPath": event.get("saved_path"),
    }


def _review_entered(event: Json) -> Json | None:
    hint = _text(event, "user_facing_hint")
    target = event.get("target") or {"type": "custom", "instructions": hint}
    item = {"type": "EnteredReviewMode", "id": _word(event, "item_id"), "target": target}
    return {**item, "user_facing_hint": hint}


def _review_exited(event: Json) -> Json | None:
    item_id = _word(event, "item_id")
    return {"type": "ExitedReviewMode", "id": item_id, "review_output": event.get("review_output")}


def _agent_activity(event: Json) -> Json | None:
    facts = _some(event, "kind", "agent_thread_id", "agent_path", "model", "reasoning_effort")
    return {"type": "SubAgentActivity", "id": _word(event, "event_id"), **facts}


_FORMS: Final[dict[str, Callable[[Json], Json | None]]] = {
    "agent_message": _agent_message,
    "agent_reasoning": _reasoning,
    "agent_reasoning_raw_content": _reasoning,
    "context_compacted": lambda _event: {"type": "ContextCompaction"},
    "entered_review_mode": _review_entered,
    "exited_review_mode": _review_exited,
    "image_generation_end": _image,
    "mcp_tool_call_end": _tool_call,
    "patch_apply_end": _file_change,
    "sub_agent_activity": _agent_activity,
    "user_message": _user_message,
    "web_search_end": _web_search,
}


def _some(event: Json, *keys: str) -> Json:
    return {key: event[key] for key in keys if event.get(key) is not None}


def _text(fields: Json, key: str) -> str:
    value = fields.get(key)
    return value if isinstance(value, str) else ""


def _word(fields: Json, key: str) -> str | None:
    return _text(fields, key) or None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
