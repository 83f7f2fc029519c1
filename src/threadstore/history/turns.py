"""Items to turns: what belongs together between a user's message and the agent's last word.

A turn is *explicit* if the history says where it starts (``task_started``, Codex 0.100 on), else
*implicit*: in older histories each ``user_message`` opens one. The rules, after Codex 0.169:

- ``task_complete`` ends a turn: failed if it carries an error, else completed. An interruption or
  an error decides the status too, but what follows still belongs to the turn until the next starts.
- A second start ends the first turn as interrupted. A late end of a turn says when it ended, but
  changes no status that is there; ends of unknown turns (reviews have them) are those of the
  current turn.
- What is shown (see :mod:`threadstore.history.shown`) belongs to the turn that it names, else to
  the current one; outside a turn it opens one. A turn that only finished items of a paginated
  thread name is there from its end on, as in Codex: so the inner turn of a review comes first.
- ``thread_rolled_back n`` ends the current turn and drops the last *n*.
- ``compacted`` outside a turn opens one, which the next user message continues.
- A turn without an end is ``open_status``: interrupted for a cold thread, in progress for a live
  one. Implicit turns never had ends and count as completed.

Headers and what else stands between turns belongs to none, except that response items directly
before a turn (the user's message, in older histories) are part of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from threadstore.clock import parse_timestamp
from threadstore.history.growing import (
    GrowingTurn,
    Keep,
    OpenStatus,
    StoredTurn,
    TurnError,
    TurnStart,
    TurnStatus,
    is_preface,
    text_of,
)
from threadstore.history.header import is_bare_header
from threadstore.history.items import RolloutItem
from threadstore.history.messages import bare_event
from threadstore.history.shown import is_shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "BriefTurnBuilder",
    "Keep",
    "NeedsEveryLine",
    "OpenStatus",
    "StoredTurn",
    "TurnBuilder",
    "TurnError",
    "TurnStart",
    "TurnStatus",
    "build_turns",
]

# Errors of requests beside the turn, which goes on (Codex 0.118 to 0.169).
_HARMLESS_ERRORS: Final = frozenset({"active_turn_not_steerable", "thread_rollback_failed"})

_EXTENDED: Final = frozenset(
    {
        "collab_agent_interaction_end",
        "collab_agent_spawn_end",
        "collab_close_end",
        "collab_resume_end",
        "collab_waiting_end",
        "dynamic_tool_call_request",
        "dynamic_tool_call_response",
        "error",
        "exec_command_end",
        "view_image_tool_call",
    }
)


class TurnBuilder:
    """Builds turns from the items of a history, fed in order. May be asked at any time."""

    def __init__(
        self,
        *,
        open_status: OpenStatus = "interrupted",
        start: TurnStart | None = None,
        keep: Keep = "all",
    ) -> None:
        """*start*: where in the history what is fed begins, if not at its beginning."""
        self._start = start = start or TurnStart()
        self._open_status = open_status
        self._keep: Keep = keep
        self._turns: list[GrowingTurn] = []
        self._current: GrowingTurn | None = None
        self._waiting: dict[str, GrowingTurn] = {}
        """Turns of which only finished items are known."""
        self._between: list[tuple[int, RolloutItem]] = []
        """Outside a turn, what may belong to the next."""
        self._kind: str | None = None
        """Of the event that is being taken."""
        self._position = start.position
        self._index = start.index
        self._number = start.number
        self._bare = start.bare

    def feed(self, item: RolloutItem) -> None:
        """Take the next item. Items without a position are counted."""
        self._position = item.position or self._position + 1
        if item.type == "response_item" and not self._bare:  # most lines, and the long ones
            self._index += 1
            self._add(item)
            return
        kind = item.kind if item.type == "event_msg" else None
        self._index += not _is_forgotten(item, kind)
        self._take(item, kind)
        if self._current is not None:
            self._number = self._current.shown.number

    def feed_all(self, items: Iterable[RolloutItem]) -> None:
        """Take the next items."""
        for item in items:
            self.feed(item)

    def turns(self) -> tuple[StoredTurn, ...]:
        """The turns so far, oldest first; rolled-back ones are left out."""
        return tuple(map(self._stored, self._ordered()))

    @property
    def newest(self) -> GrowingTurn:
        """The turn that opened last, as it grows; there must be one."""
        return self._turns[-1]

    def _ordered(self) -> list[GrowingTurn]:
        if not self._waiting:
            return self._turns
        return sorted([*self._turns, *self._waiting.values()], key=lambda turn: turn.opened)

    def _stored(self, turn: GrowingTurn) -> StoredTurn:
        # Only the newest turn can still be going on.
        newest = bool(self._turns) and turn is self._turns[-1]
        return turn.stored(self._open_status if newest else "interrupted")

    def _take(self, item: RolloutItem, kind: str | None) -> None:
        if self._bare:
            item = self._said(item)
            kind = item.kind
        self._kind = kind
        if item.type == "event_msg":
            handle = _EVENTS.get(kind or "")
            if handle is not None and isinstance(item.payload, dict):
                handle(self, item, item.payload)
            elif is_shown(item, kind):
                self._show(item)
            else:
                self._add(item)
        elif item.type == "session_meta":
            self._bare = self._bare or is_bare_header(item)
            self._between.clear()
        elif item.type == "compacted":
            self._compacted(item)
        else:
            self._add(item)

    def _said(self, item: RolloutItem) -> RolloutItem:
        """A bare line as the event that later releases have beside it: what was said stands there
        only as it went to the model. That ends with the first line that one of them has added."""
        self._bare = item.type not in ("event_msg", "turn_context")
        event = bare_event(item.payload) if item.type == "response_item" else None
        return item if event is None else RolloutItem("event_msg", event, position=self._position)

    def _add(self, item: RolloutItem) -> None:
        if self._current is not None:
            self._current.add(self._position, item, self._kind)
        elif is_preface(item):
            self._between.append((self._position, item))
        else:
            self._between.clear()

    def _open(self, item: RolloutItem, turn_id: str | None, *, explicit: bool) -> GrowingTurn:
        before = self._take_preface()
        waiting = self._waited_for(turn_id)
        turn = GrowingTurn(
            turn_id or f"rollout-{self._index}",
            explicit=explicit,
            opened=self._position,
            number=self._number,
            keep=self._keep,
        )
        early = before
        if waiting is not None:
            early = [*zip(waiting.places, waiting.items, strict=True), *before]
        for position, entry in sorted(early, key=lambda pair: pair[0]):
            turn.add(position, entry)
        self._between.clear()
        self._current = turn
        self._turns.append(turn)
        self._add(item)
        return turn

    def _take_preface(self) -> list[tuple[int, RolloutItem]]:
        """The items directly before a turn that belong to it."""
        current = self._current
        if current is None:
            return self._between[:]
        if current.explicit:
            return []
        first = len(current.items)
        while first > 1 and is_preface(current.items[first - 1]):
            first -= 1
        taken = list(zip(current.places[first:], current.items[first:], strict=True))
        del current.items[first:], current.places[first:]
        return taken

    def _named(self, turn_id: str | None) -> GrowingTurn | None:
        """The turn with this id: the current one, else the newest."""
        if turn_id is None:
            return None
        if self._current is not None and self._current.id == turn_id:
            return self._current
        return next((turn for turn in reversed(self._turns) if turn.id == turn_id), None)

    def _waited_for(self, turn_id: str | None) -> GrowingTurn | None:
        """The turn with this id of which only finished items are known; from now on it is one of
        the others."""
        return self._waiting.pop(turn_id or "", None)

    def _show(self, item: RolloutItem) -> None:
        """An item of the turn that it names, else of the current one, else of a new one."""
        named = self._named(text_of(item.payload, "turn_id"))
        if named is not None:
            named.add(self._position, item, self._kind)
        elif self._current is not None:
            self._add(item)
        else:
            self._open_implicit(item)

    def _open_implicit(self, item: RolloutItem, turn_id: str | None = None) -> GrowingTurn:
        turn = self._open(item, turn_id, explicit=False)
        turn.started_at = parse_timestamp(item.timestamp)
        turn.estimated.add("started_at")
        return turn

    def _started(self, item: RolloutItem, payload: dict[str, Any]) -> None:
        turn_id = text_of(payload, "turn_id")
        current = self._current
        if current is not None and current.status is None and turn_id == current.id:
            self._add(item)
        else:
            self._open(item, turn_id, explicit=True).start(item, payload)

    def _completed(self, item: RolloutItem, payload: dict[str, Any]) -> None:
        if self._end(item, payload, "completed") is self._current:
            self._current = None

    def _aborted(self, item: RolloutItem, payload: dict[str, Any]) -> None:
        self._end(item, payload, "interrupted")

    def _end(
        self, item: RolloutItem, payload: dict[str, Any], status: TurnStatus
    ) -> GrowingTurn | None:
        """End the turn that the event names, else the current one."""
        turn_id = text_of(payload, "turn_id")
        turn = self._named(turn_id) or self._known_by_its_end(turn_id, item, payload)
        turn = turn or self._current
        if turn is None:
            self._add(item)
        else:
            turn.add(self._position, item, self._kind)
            turn.end(item, payload, status)
        return turn

    def _known_by_its_end(
        self, turn_id: str | None, item: RolloutItem, payload: dict[str, Any]
    ) -> GrowingTurn | None:
        """A turn of which finished items were known so far."""
        turn = self._waited_for(turn_id)
        if turn is not None:
            turn.opened = self._position
            turn.start(item, payload)
            self._turns.append(turn)
        return turn

    def _failed(self, item: RolloutItem, payload: dict[str, Any]) -> None:
        """An ``error`` event (Codex 0.118 could be told to write them)."""
        self._add(item)
        info = payload.get("codex_error_info")
        name = next(iter(info), None) if isinstance(info, dict) else info
        harmless = isinstance(name, str) and name in _HARMLESS_ERRORS
        if self._current is not None and not harmless:
            self._current.end(item, {"error": payload}, "failed")

    def _user_message(self, item: RolloutItem, _payload: object = None) -> None:
        current = self._current
        if current is not None and current.takes_user_messages():
            self._add(item)
        else:
            self._open_implicit(item)

    def _item_completed(self, item: RolloutItem, payload: dict[str, Any]) -> None:
        turn_id = text_of(payload, "turn_id")
        if turn_id is None or self._named(turn_id) is not None:
            self._show(item)
            return
        turn = self._waiting.get(turn_id)
        if turn is None:
            turn = self._waiting[turn_id] = GrowingTurn(
                turn_id,
                explicit=False,
                opened=self._position,
                number=self._number,
                keep="all" if self._keep == "all" else "shown",  # they may go to another
            )
        turn.add(self._position, item)

    def _reviewed(self, item: RolloutItem, payload: dict[str, Any]) -> None:
        """Start or end of a review. Since 0.150 it names its turn, which may not be there yet."""
        turn_id = text_of(payload, "turn_id")
        if turn_id is None or self._named(turn_id) is not None:
            self._show(item)
        else:
            self._open_implicit(item, turn_id)

    def _compacted(self, item: RolloutItem) -> None:
        if self._current is None:
            self._open_implicit(item).compacted = True
        else:
            self._add(item)
            self._current.compacted = True

    def _rolled_back(self, _item: RolloutItem, payload: dict[str, Any]) -> None:
        count = payload.get("num_turns")
        self._take_back(count if isinstance(count, int) and count > 0 else 0)

    def _take_back(self, count: int) -> None:
        """Drop the last *count* turns, and what has not found its turn."""
        if count:
            del self._turns[-count:]
        self._current = None
        self._waiting.clear()
        self._between.clear()
        self._number = self._start.shown + sum(len(turn.shown) for turn in self._turns) + 1


class NeedsEveryLine(Exception):
    """What was left out would have counted."""


class BriefTurnBuilder(TurnBuilder):
    """The same turns, with what they show alone, of a history without the lines that are never
    shown (:func:`threadstore.history.lines.parse_telling`).

    :class:`NeedsEveryLine` where such lines count: in histories whose turns have no ids of their
    own, and where what was said stands in no other lines (Codex 0.29).
    """

    def __init__(self, *, open_status: OpenStatus = "interrupted") -> None:
        super().__init__(open_status=open_status, keep="shown")

    def feed(self, item: RolloutItem) -> None:
        super().feed(item)
        if self._bare:
            raise NeedsEveryLine

    def _open(self, item: RolloutItem, turn_id: str | None, *, explicit: bool) -> GrowingTurn:
        if turn_id is None:
            raise NeedsEveryLine
        return super()._open(item, turn_id, explicit=explicit)


def build_turns(
    items: Iterable[RolloutItem], *, open_status: OpenStatus = "interrupted"
) -> tuple[StoredTurn, ...]:
    """The turns of a whole history, oldest first (see :class:`TurnBuilder`)."""
    builder = TurnBuilder(open_status=open_status)
    builder.feed_all(items)
    return builder.turns()


_EVENTS: Final[dict[str, Callable[[TurnBuilder, RolloutItem, dict[str, Any]], None]]] = {
    "entered_review_mode": TurnBuilder._reviewed,
    "error": TurnBuilder._failed,
    "exited_review_mode": TurnBuilder._reviewed,
    "item_completed": TurnBuilder._item_completed,
    "task_complete": TurnBuilder._completed,
    "task_started": TurnBuilder._started,
    "thread_rolled_back": TurnBuilder._rolled_back,
    "turn_aborted": TurnBuilder._aborted,
    "turn_complete": TurnBuilder._completed,
    "turn_started": TurnBuilder._started,
    "user_message": TurnBuilder._user_message,
}


def _is_forgotten(item: RolloutItem, kind: str | None) -> bool:
    """Whether Codex skips the line on loading and does not count it (0.131, 0.169): policies as
    0.57 wrote them, and what 0.118 wrote only if it was told to keep more."""
    if item.type == "event_msg":
        return kind in _EXTENDED
    if item.type != "turn_context" or not isinstance(item.payload, dict):
        return False
    policy = item.payload.get("sandbox_policy")
    return isinstance(policy, dict) and "mode" in policy
