"""Response items in the form in which a request can carry them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from threadstore.history.policy import RESPONSE_ITEMS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["ABORTED", "request_input", "sent_form"]

Json = dict[str, Any]

_SENT: Final = RESPONSE_ITEMS - {"compaction_summary"}  # an older name of compaction
_OUTPUT_OF: Final = {
    "custom_tool_call": "custom_tool_call_output",
    "function_call": "function_call_output",
    "local_shell_call": "function_call_output",
    "tool_search_call": "tool_search_output",
}
_OUTPUTS: Final = frozenset(_OUTPUT_OF.values())
_NAMED: Final = (frozenset(_OUTPUT_OF) | _OUTPUTS) - {
    "local_shell_call",
    "tool_search_call",
    "tool_search_output",
}
"""Calls and outputs that are of no use without a ``call_id``."""
_UNSENT: Final = frozenset({"id", "internal_chat_message_metadata_passthrough"})
_UNSENT_HERE: Final = dict.fromkeys(
    ("function_call", "function_call_output", "message"), _UNSENT | {"status"}
)
_BY_MODEL: Final = frozenset(_OUTPUT_OF) | {"image_generation_call", "web_search_call"}
ABORTED: Final = "aborted"
"""The output of a call that has none."""


def request_input(items: Iterable[Json]) -> list[Json]:
    """What can be sent of *items*: each call with an output, each output with its call.

    A call without an output gets one right behind it that says ``aborted``. Outputs without a call
    are left out, reasoning that led to nothing, and items that no model takes: the API refuses
    them. The same input always gives the same request, and a request stays as it is.
    """
    known = [item for item in items if _is_sendable(item)]
    answered, answers = _pairs(known)
    idle = _idle_reasoning(known)
    sent: list[Json] = []
    for index, item in enumerate(known):
        kind = item["type"]
        if index in idle or (kind in _OUTPUTS and index not in answers):
            continue
        sent.append(item)
        if kind in _OUTPUT_OF and index not in answered:
            sent.append(_aborted(item))
    return sent


def _is_sendable(item: Json) -> bool:
    kind = item.get("type")
    if not isinstance(kind, str) or kind not in _SENT:
        return False
    return kind not in _NAMED or _call_id(item) is not None


def _pairs(items: Sequence[Json]) -> tuple[set[int], set[int]]:
    """The indexes of calls that need no output any more, and of outputs with a call.

    An output belongs to the nearest call of that id before it: some models count their calls from
    the beginning in every turn.
    """
    waiting: dict[tuple[str, str], int] = {}
    answered: set[int] = set()
    answers: set[int] = set()
    for index, item in enumerate(items):
        kind, call_id = item["type"], _call_id(item)
        if call_id is None:  # of a tool that runs at the server
            answered.add(index)
            answers.add(index)
        elif kind in _OUTPUT_OF:
            waiting[_OUTPUT_OF[kind], call_id] = index
        elif kind in _OUTPUTS and (kind, call_id) in waiting:
            answered.add(waiting.pop((kind, call_id)))
            answers.add(index)
    return answered, answers


def _idle_reasoning(items: Sequence[Json]) -> set[int]:
    """The indexes of reasoning that is not followed by what the model made of it."""
    idle: set[int] = set()
    leads = False
    for index in range(len(items) - 1, -1, -1):
        item = items[index]
        if item["type"] != "reasoning":
            leads = item["type"] in _BY_MODEL or item.get("role") == "assistant"
        elif not leads:
            idle.add(index)
    return idle


def _call_id(item: Json) -> str | None:
    call_id = item.get("call_id")
    return call_id if isinstance(call_id, str) else None


def _aborted(call: Json) -> Json:
    output: Json = {"type": _OUTPUT_OF[call["type"]], "call_id": call["call_id"]}
    if call["type"] == "tool_search_call":
        return {**output, "status": "completed", "execution": "client", "tools": []}
    return {**output, "output": ABORTED}


def sent_form(payload: Json) -> Json | None:
    """A persisted item as it is sent; ``None`` if it never is.

    Ids and nulls stay behind, and the status of what is always complete (Codex 0.131; 0.169 sends
    them). Neither matters to the API as long as it stores nothing.
    """
    kind = payload.get("type")
    if kind == "compaction_summary":  # older files
        kind = "compaction"
    if not isinstance(kind, str) or kind not in _SENT:
        return None
    unsent = _UNSENT_HERE.get(kind, _UNSENT)
    short = {k: value for k, value in payload.items() if k not in unsent and value is not None}
    return {**short, "type": kind}
