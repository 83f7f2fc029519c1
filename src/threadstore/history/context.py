"""From a history to the input of the next request to the model.

Only what stands in the history counts, nothing of how it was read: fed item by item in a live
session or all at once after a restart, the same history gives the same request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from threadstore.history.messages import content_text
from threadstore.history.rollback import Removal, Rollbacks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from threadstore.history.items import RolloutItem

__all__ = ["ContextFold", "is_replacement", "request_input"]

Json = dict[str, Any]

_SENT: Final = frozenset(
    {
        "additional_tools",
        "agent_message",
        "compaction",
        "configuration_update",
        "context_compaction",
        "custom_tool_call",
        "custom_tool_call_output",
        "function_call",
        "function_call_output",
        "image_generation_call",
        "local_shell_call",
        "message",
        "reasoning",
        "tool_search_call",
        "tool_search_output",
        "web_search_call",
    }
)
_OUTPUT_OF: Final = {
    "custom_tool_call": "custom_tool_call_output",
    "function_call": "function_call_output",
    "local_shell_call": "function_call_output",
    "tool_search_call": "tool_search_output",
}
_OUTPUTS: Final = frozenset(_OUTPUT_OF.values())
_BY_MODEL: Final = frozenset(_OUTPUT_OF) | {"image_generation_call", "web_search_call"}
_ENDS: Final = frozenset({"task_complete", "turn_complete", "turn_aborted"})
ABORTED: Final = "aborted"
"""The output of a call that has none."""


class _Stretch:
    """The context since one compaction, or since the beginning."""

    __slots__ = ("contexts", "items", "places", "since")

    def __init__(self, since: int) -> None:
        self.since = since
        self.items: list[Json] = []
        self.places: list[int] = []
        self.contexts: list[tuple[int, Json]] = []

    def add(self, place: int, item: Json | None) -> None:
        if item is not None:
            self.items.append(item)
            self.places.append(place)

    def remove(self, removal: Removal) -> None:
        left = [
            (place, item)
            for place, item in zip(self.places, self.items, strict=True)
            if place <= self.since or removal.keeps(place)
        ]
        self.places = [place for place, _ in left]
        self.items = [item for _, item in left]
        self.contexts = [pair for pair in self.contexts if removal.keeps(pair[0])]


class ContextFold:
    """What the model has been sent, folded from a history item by item, rollbacks included."""

    def __init__(self, *, complete: bool = True) -> None:
        """*complete*: what is fed begins at the beginning of the history."""
        self._rollbacks = Rollbacks()
        self._stretches = [_Stretch(0)]
        self._complete = complete
        self._overtaken: set[str | None] = set()
        """Turns without an end before which the next began."""
        self.last_turn_context: Json | None = None
        """The payload of the newest ``turn_context``, rolled back or not."""
        self.token_info: Json | None = None
        """The newest ``info`` of a ``token_count`` that had one, rolled back or not."""
        self.rate_limits: Json | None = None
        """What the newest ``token_count`` said, rolled back or not."""
        self.open_turn: str | None = None
        """The id of the turn that was started last, if it did not end."""

    @property
    def items(self) -> list[Json]:
        """The input of the next request so far, not paired up yet: see :func:`request_input`."""
        return self._stretches[-1].items

    @property
    def turn_context(self) -> Json | None:
        """The newest ``turn_context`` that the model's context knows of; ``None`` at the beginning
        and after a compaction, when it has to be told anew."""
        contexts = self._stretches[-1].contexts
        return contexts[-1][1] if contexts else None

    @property
    def model(self) -> str | None:
        """The model of the newest turn."""
        model = (self.last_turn_context or {}).get("model")
        return model if isinstance(model, str) else None

    @property
    def stale(self) -> bool:
        """Whether a rollback reached behind the first item that was fed: load the history again.

        Never so where the whole history was fed.
        """
        return not self._complete and len(self._stretches) == 1

    def feed(self, item: RolloutItem) -> None:
        """Take the next item of the history."""
        removal = self._rollbacks.feed(item)
        if removal is not None:
            self._remove(removal)
        elif isinstance(item.payload, dict):
            handle = _HANDLERS.get(item.type)
            if handle is not None:
                handle(self, item.payload)

    def _response(self, payload: Json) -> None:
        self._stretches[-1].add(self._rollbacks.place, _sent_form(payload))

    def _between_agents(self, payload: Json) -> None:
        self._response(_agent_message(payload))

    def _compacted(self, payload: Json) -> None:
        new = _Stretch(self._rollbacks.place)
        replacement = payload.get("replacement_history")
        if not isinstance(replacement, list):
            replacement = _rebuilt(self.items, payload.get("message"))
        for item in replacement:
            new.add(new.since, _sent_form(item) if isinstance(item, dict) else None)
        self._stretches.append(new)

    def _turn_context(self, payload: Json) -> None:
        self.last_turn_context = payload
        self._stretches[-1].contexts.append((self._rollbacks.place, payload))

    def _event(self, payload: Json) -> None:
        kind, turn_id = payload.get("type"), payload.get("turn_id")
        if kind == "token_count":
            info, limits = payload.get("info"), payload.get("rate_limits")
            self.token_info = info if isinstance(info, dict) else self.token_info
            self.rate_limits = limits if isinstance(limits, dict) else None
        elif kind in ("task_started", "turn_started"):
            if self.open_turn not in (None, turn_id):
                self._overtaken.add(self.open_turn)
            self.open_turn = turn_id if isinstance(turn_id, str) else None
        elif kind in _ENDS and turn_id not in self._overtaken:
            # A late end of an earlier turn ends no other; one of an unknown turn (reviews have
            # them) does.
            self.open_turn = None

    def _remove(self, removal: Removal) -> None:
        self.open_turn = None
        while len(self._stretches) > 1 and not removal.keeps(self._stretches[-1].since):
            self._stretches.pop()
        self._stretches[-1].remove(removal)


_HANDLERS: Final = {
    "compacted": ContextFold._compacted,
    "event_msg": ContextFold._event,
    "inter_agent_communication": ContextFold._between_agents,
    "response_item": ContextFold._response,
    "turn_context": ContextFold._turn_context,
}


def is_replacement(item: RolloutItem) -> bool:
    """Whether *item* is a compaction before which nothing needs to be read."""
    if item.type != "compacted" or not isinstance(item.payload, dict):
        return False
    return isinstance(item.payload.get("replacement_history"), list)


def request_input(items: Iterable[Json]) -> list[Json]:
    """What can be sent of *items*: each call with an output, each output with its call.

    A call without an output gets one right behind it that says ``aborted``. Outputs without a call
    and items of kinds that no model takes are left out, and reasoning that led to nothing: the API
    refuses all three. The same input always gives the same request; a request stays as it is.
    """
    known = [item for item in items if item.get("type") in _SENT]
    partners, paired = _pairs(known)
    sent: list[Json] = []
    for index, item in enumerate(known):
        kind = item["type"]
        if kind == "reasoning" and not _leads_somewhere(known, index):
            continue
        if kind in _OUTPUTS and index not in paired:
            continue
        sent.append(item)
        if kind in _OUTPUT_OF and index not in partners and _call_id(item) is not None:
            sent.append(_aborted(item))
    return sent


def _pairs(items: Sequence[Json]) -> tuple[set[int], set[int]]:
    """The indexes of calls with an output, and of outputs with a call."""
    waiting: dict[tuple[str, str], int] = {}
    calls: set[int] = set()
    outputs: set[int] = set()
    for index, item in enumerate(items):
        kind, call_id = item["type"], _call_id(item)
        if call_id is None:
            if kind in _OUTPUTS:
                outputs.add(index)  # of a tool that runs at the server
        elif kind in _OUTPUT_OF:
            waiting[_OUTPUT_OF[kind], call_id] = index
        elif kind in _OUTPUTS:
            call = waiting.pop((kind, call_id), None)
            if call is not None:
                calls.add(call)
                outputs.add(index)
    return calls, outputs


def _leads_somewhere(items: Sequence[Json], index: int) -> bool:
    following = next((i for i in items[index + 1 :] if i["type"] != "reasoning"), None)
    if following is None:
        return False
    return following["type"] in _BY_MODEL or following.get("role") == "assistant"


def _call_id(item: Json) -> str | None:
    call_id = item.get("call_id")
    return call_id if isinstance(call_id, str) else None


def _aborted(call: Json) -> Json:
    output: Json = {"type": _OUTPUT_OF[call["type"]], "call_id": call["call_id"]}
    if call["type"] == "tool_search_call":
        return {**output, "status": "completed", "execution": "client", "tools": []}
    return {**output, "output": ABORTED}


_UNSENT: Final = ("id", "internal_chat_message_metadata_passthrough")


def _sent_form(payload: Json) -> Json | None:
    """A persisted item as it is sent: without what only the history needs."""
    kind = payload.get("type")
    if kind == "compaction_summary":  # older files
        kind = "compaction"
    if kind not in _SENT:
        return None
    left_out = (*_UNSENT, "status") if kind in ("message", "function_call") else _UNSENT
    short = {
        key: value for key, value in payload.items() if key not in left_out and value is not None
    }
    return {**short, "type": kind}


def _rebuilt(items: Sequence[Json], message: Any) -> list[Json]:
    """The context after a compaction that does not say what is left: what the user said, and the
    summary."""
    text = message if isinstance(message, str) else ""
    content = [{"type": "output_text", "text": text}]
    said = [item for item in items if item.get("role") == "user" and content_text(item["content"])]
    return [*said, {"type": "message", "role": "assistant", "content": content}]


def _agent_message(payload: Json) -> Json:
    content = [{"type": "input_text", "text": payload.get("content") or ""}]
    names = {key: payload.get(key) for key in ("author", "recipient")}
    return {"type": "agent_message", **names, "content": content}
