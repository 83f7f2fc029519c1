"""From a history to the input of the next request to the model.

Only what stands in the history counts, nothing of how it was read: fed item by item in a live
session or all at once after a restart, the same history gives the same request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from threadstore.history.messages import bare_user_text
from threadstore.history.model_input import request_input, sent_form
from threadstore.history.rollback import Removal, Rollbacks
from threadstore.history.usage import recorded_usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from threadstore.history.items import RolloutItem
    from threadstore.metadata import TokenUsage

__all__ = ["ContextFold", "is_replacement", "request_input"]

Json = dict[str, Any]

_ENDS: Final = ("task_complete", "turn_complete", "turn_aborted")


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
        self.stale = False
        """Whether a rollback reached behind the first item that was fed: load the history again.
        Never so where the whole history was fed."""
        self._overtaken: set[str | None] = set()
        """Turns without an end before which the next began."""
        self.last_turn_context: Json | None = None
        """The payload of the newest ``turn_context``, rolled back or not."""
        self.token_info: Json | None = None
        """The newest ``info`` of a ``token_count`` that had one, rolled back or not."""
        self.unreported: list[TokenUsage] = []
        """What responses used of which no ``token_count`` tells, as their program was killed."""
        self.rate_limits: Json | None = None
        """What the newest ``token_count`` said, rolled back or not."""
        self.open_turn: str | None = None
        """The id of the turn that was started last, if it did not end."""

    @property
    def items(self) -> list[Json]:
        """The input of the next request so far, not paired up yet: see :func:`request_input`."""
        return self._stretches[-1].items

    @property
    def replaced(self) -> int:
        """How many of :attr:`items` a compaction put in the place of what was before."""
        latest = self._stretches[-1]
        return sum(place <= latest.since for place in latest.places) if latest.since else 0

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
        self._stretches[-1].add(self._rollbacks.place, sent_form(payload))

    def _between_agents(self, payload: Json) -> None:
        self._response(_agent_message(payload))

    def _compacted(self, payload: Json) -> None:
        new = _Stretch(self._rollbacks.place)
        replacement = payload.get("replacement_history")
        if not isinstance(replacement, list):
            replacement = _rebuilt(self.items, payload.get("message"))
        for item in replacement:
            new.add(new.since, sent_form(item) if isinstance(item, dict) else None)
        self._stretches.append(new)

    def _turn_context(self, payload: Json) -> None:
        self.last_turn_context = payload
        self._stretches[-1].contexts.append((self._rollbacks.place, payload))

    def _event(self, payload: Json) -> None:
        kind, turn_id = payload.get("type"), payload.get("turn_id")
        turn_id = turn_id if isinstance(turn_id, str) else None
        if kind == "token_count":
            info, limits = payload.get("info"), payload.get("rate_limits")
            if isinstance(info, dict):
                self.token_info = info
                self.unreported = []
            self.rate_limits = limits if isinstance(limits, dict) else None
        elif kind in ("task_started", "turn_started"):
            if self.open_turn not in (None, turn_id):
                self._overtaken.add(self.open_turn)
            self.open_turn = turn_id
        elif kind in _ENDS and turn_id not in self._overtaken:
            # A late end of an earlier turn ends no other; that of an unknown one does, because
            # reviews end under another id than they began.
            self.open_turn = None

    def _usage_record(self, payload: Json) -> None:
        usage = recorded_usage(payload)
        if usage is not None:
            self.unreported.append(usage)

    def _remove(self, removal: Removal) -> None:
        self.open_turn = None
        self._stretches = [s for s in self._stretches if s.since == 0 or removal.keeps(s.since)]
        for stretch in self._stretches:
            stretch.remove(removal)
        if len(self._stretches) == 1 and not self._complete:
            self.stale = True


_HANDLERS: Final = {
    "compacted": ContextFold._compacted,
    "event_msg": ContextFold._event,
    "inter_agent_communication": ContextFold._between_agents,
    "response_item": ContextFold._response,
    "token_usage_record": ContextFold._usage_record,
    "turn_context": ContextFold._turn_context,
}


def is_replacement(item: RolloutItem) -> bool:
    """Whether *item* is a compaction before which nothing needs to be read."""
    if item.type != "compacted" or not isinstance(item.payload, dict):
        return False
    return isinstance(item.payload.get("replacement_history"), list)


def _rebuilt(items: Sequence[Json], message: Any) -> list[Json]:
    """The context after a compaction that does not say what is left: what the user said, and the
    summary as if the user had said it, too (Codex 0.131 and 0.169)."""
    text = message if isinstance(message, str) else ""
    summary = {"type": "input_text", "text": text}
    said = [item for item in items if bare_user_text(item).text is not None]
    return [*said, {"type": "message", "role": "user", "content": [summary]}]


def _agent_message(payload: Json) -> Json:
    content = [{"type": "input_text", "text": payload.get("content") or ""}]
    names = {key: payload.get(key) for key in ("author", "recipient")}
    return {"type": "agent_message", **names, "content": content}
