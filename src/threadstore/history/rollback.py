"""What ``thread_rolled_back`` markers take out of a history, which itself only ever grows.

A marker takes its last turns (see :mod:`threadstore.history.turns`) and whatever stands between
the first of them and itself, unless it belongs to a turn that stays: with a turn goes what was
added to the thread behind it, as Codex 0.131 cuts the model's context at the turn's beginning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from threadstore.history.items import RolloutItem
from threadstore.history.turns import TurnBuilder

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Removal", "Rollbacks", "is_rollback", "removed_by_last_revert", "surviving"]

_DECISIVE: Final = (
    *("type", "turn_id", "num_turns", "error", "codex_error_info"),
    *("call_id", "callId", "event_id", "item_id"),
)
"""What turns are told apart by; texts only matter in so far as there is one."""
_NEVER_AGAIN: Final = frozenset({"session_meta", "token_usage_record"})


class Removal(NamedTuple):
    """What one marker removed, by the places of items in the history, counted from 1."""

    first: int
    """Where it begins; behind the end if nothing was removed."""
    kept: frozenset[int]
    """What stands behind that and belongs to a turn that stays."""

    def keeps(self, place: int) -> bool:
        """Whether the item at this *place* is still there."""
        return place < self.first or place in self.kept


class Rollbacks:
    """Follows a history item by item and says what each marker removes.

    Keeps no texts, only the outlines of the items.
    """

    def __init__(self) -> None:
        self.place = 0
        """The place of the last item that was fed."""
        self._turns = TurnBuilder()

    def feed(self, item: RolloutItem) -> Removal | None:
        """Take the next item; what it removes if it is a marker."""
        self.place += 1
        if not is_rollback(item):
            self._turns.feed(_outline(item, self.place))
            return None
        before = self._turns.turns()
        self._turns.feed(_outline(item, self.place))
        after = self._turns.turns()
        left = {turn.listed_position for turn in after}
        gone = [turn.first_position for turn in before if turn.listed_position not in left]
        first = min(gone, default=self.place + 1)
        places = (entry.position or 0 for turn in after for entry in turn.items)
        return Removal(first, frozenset(place for place in places if place >= first))

    def began_behind(self, place: int) -> bool:
        """Whether a turn began behind that place that is still there."""
        return any(turn.listed_position > place for turn in self._turns.turns())


def surviving(items: Iterable[RolloutItem]) -> list[RolloutItem]:
    """The items without those that markers removed, and without the markers.

    Whatever positions the items have: they count in the order in which they are given. Metadata
    lines (``session_meta``) are never removed.
    """
    rollbacks = Rollbacks()
    alive: list[tuple[int, RolloutItem]] = []
    for item in items:
        removal = rollbacks.feed(item)
        if removal is not None:
            alive = [pair for pair in alive if _stays(removal, pair)]
        elif not is_rollback(item):
            alive.append((rollbacks.place, item))
    return [item for _, item in alive]


def removed_by_last_revert(items: Iterable[RolloutItem]) -> list[RolloutItem]:
    """What has to be appended again to undo the last marker; empty if there is nothing to undo.

    That is so when a turn began after the marker: the conversation went another way. Counters of
    tokens stay out, because what was used is used, and so do headers and markers.
    """
    rollbacks = Rollbacks()
    alive: list[tuple[int, RolloutItem]] = []
    removed: list[RolloutItem] = []
    marked_at = 0
    for item in items:
        removal = rollbacks.feed(item)
        if removal is None:
            alive.append((rollbacks.place, item))
            continue
        removed = [pair[1] for pair in alive if not _stays(removal, pair)]
        alive = [pair for pair in alive if _stays(removal, pair)]
        marked_at = rollbacks.place
    if rollbacks.began_behind(marked_at):
        return []
    return [item for item in removed if not _is_counter(item)]


def is_rollback(item: RolloutItem) -> bool:
    """Whether *item* is a marker (Codex 0.77 to 0.150, and ours)."""
    return item.type == "event_msg" and item.kind == "thread_rolled_back"


def _stays(removal: Removal, pair: tuple[int, RolloutItem]) -> bool:
    return removal.keeps(pair[0]) or pair[1].type == "session_meta"


def _is_counter(item: RolloutItem) -> bool:
    return item.type in _NEVER_AGAIN or (item.type == "event_msg" and item.kind == "token_count")


def _outline(item: RolloutItem, place: int) -> RolloutItem:
    """What :class:`TurnBuilder` looks at, so that a long history does not stay in memory."""
    payload = item.payload
    if not isinstance(payload, dict):
        payload = None
    elif item.type == "event_msg":
        payload = _event(payload)
    elif item.type == "session_meta":
        payload = dict.fromkeys(payload)
    elif item.kind != "message":  # of a message the builder may want the text (Codex 0.29)
        payload = {"type": item.kind}
    return RolloutItem(item.type, payload, position=place)


def _event(payload: dict[str, Any]) -> dict[str, Any]:
    # None of them is ever a list: one that is says nothing.
    short: dict[str, Any] = {
        key: payload[key]
        for key in _DECISIVE
        if key in payload and not isinstance(payload[key], list)
    }
    short["message"], short["text"] = bool(payload.get("message")), bool(payload.get("text"))
    inner = payload.get("item")
    if isinstance(inner, dict):
        short["item"] = {key: inner[key] for key in ("type", "id") if key in inner}
        short["item"]["text"] = bool(inner.get("text"))
    return short
