"""Turns that are written while a history is read, so that it need not be held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from threadstore.history.growing import GrowingTurn, StoredTurn, TurnStart
from threadstore.history.plain import (
    AgentSaid,
    Completed,
    Finished,
    PlainEvent,
    PlainTurn,
    Reasoned,
    ReasonedRaw,
    Reasoning,
    Said,
    Started,
    UserSaid,
    plain_events,
)
from threadstore.history.turns import BriefTurnBuilder, NeedsEveryLine, TurnBuilder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from threadstore.history.growing import OpenStatus
    from threadstore.history.items import RolloutItem

__all__ = ["WrittenTurns"]

_T = TypeVar("_T")

_GROWING: int = 8
"""Turns to which lines may still belong after they have ended."""


class WrittenTurns(BriefTurnBuilder, Generic[_T]):
    """The turns of :class:`BriefTurnBuilder`, each as *write* makes it, who is given what it
    shows; of plain turns *write_plain*. A turn is written some turns after its end, and its items
    are let go; where something belongs to it after all, it is :class:`NeedsEveryLine`, too.

    The lines of a plain turn wait until its end. Where it turns out not to be one, they are fed as
    those of any other.
    """

    def __init__(
        self,
        write: Callable[[StoredTurn], _T],
        write_plain: Callable[[PlainTurn], _T],
        *,
        open_status: OpenStatus = "interrupted",
    ) -> None:
        super().__init__(open_status=open_status)
        self._write = write
        self._write_plain = write_plain
        self._written: dict[int, _T] = {}
        self._plain: dict[int, PlainTurn] = {}
        """Of those turns that are not written yet."""
        self._begun: Started | None = None
        """How the plain turn began that goes on, …"""
        self._lines: list[RolloutItem] = []
        """… its lines, …"""
        self._texts: list[Said] = []
        """… what was said in it, …"""
        self._ids: set[str] = set()
        """… and what is called otherwise than by a number."""

    def written(self) -> list[_T]:
        """All turns, oldest first. Nothing can be fed any more."""
        self._give_up()
        return [
            self._written.pop(turn.opened) if turn.opened in self._written else self._form(turn)
            for turn in self._ordered()
        ]

    def feed(self, item: RolloutItem) -> None:
        self.feed_all([item])

    def feed_all(self, items: Iterable[RolloutItem]) -> None:
        items = list(items)
        for item, event in zip(items, plain_events(items), strict=True):
            begun = self._begun
            if begun is not None:
                if event is not None and self._goes_on(begun, item, event):
                    continue
                self._give_up()
            if type(event) is Started and self._may_begin(item, event):
                self._begun, self._lines, self._texts, self._ids = event, [item], [], set()
            else:
                super().feed(item)

    def _may_begin(self, item: RolloutItem, event: Started) -> bool:
        """Whether a plain turn can begin: nothing before it may belong to it."""
        if self._waiting or self._between or self._bare or item.position is None:
            return False
        current = self._current
        return current is None or (current.explicit and current.id != event.turn_id)

    def _goes_on(self, begun: Started, item: RolloutItem, event: PlainEvent) -> bool:
        """Take the next event of the plain turn, if it is one."""
        if isinstance(event, (UserSaid, AgentSaid)):
            self._texts.append(event)
        elif isinstance(event, (Reasoned, ReasonedRaw)):
            last = self._texts[-1] if self._texts else None
            if not isinstance(last, Reasoning):
                last = Reasoning()
                self._texts.append(last)
            last.add(event)
        elif isinstance(event, Finished):
            if event.turn_id != begun.turn_id or not self._is_new(event):
                return False
            self._texts.append(item)
        elif isinstance(event, Started):
            return False
        elif isinstance(event, Completed):
            if event.turn_id != begun.turn_id or item.position is None:
                return False
            self._complete(begun, item, event)
            return True
        self._lines.append(item)
        return True

    def _is_new(self, event: Finished) -> bool:
        """Whether it is no later state of an item, and surely one that is shown."""
        known = len(self._ids)
        self._ids.add(event.item.id)
        new = len(self._ids) > known and not event.item.id.startswith("item-")
        return new and event.item.type != "Plan"

    def _complete(self, begun: Started, item: RolloutItem, event: Completed) -> None:
        """The plain turn has ended: the builder knows it as one of its own."""
        lines, said, number = [*self._lines, item], self._texts, self._number
        opened = lines[0].position or 0
        turn = GrowingTurn(begun.turn_id, explicit=True, opened=opened, number=number, keep="shown")
        turn.items, turn.status = lines, "completed"
        counted = len(said) - len(self._ids)
        turn.shown.pass_by(counted, len(self._ids))
        self._plain[opened] = PlainTurn(begun, said, event, number)
        self._begun = self._current = None
        self._turns.append(turn)
        self._position, self._index = item.position or 0, self._index + len(lines)
        self._number = number + counted
        self._write_earlier()

    def _give_up(self) -> None:
        """What goes on is no plain turn."""
        if self._begun is not None:
            self._begun = None
            for line in self._lines:
                super().feed(line)

    def _open(self, item: RolloutItem, turn_id: str | None, *, explicit: bool) -> GrowingTurn:
        opened = super()._open(item, turn_id, explicit=explicit)
        self._write_earlier()
        return opened

    def _write_earlier(self) -> None:
        """Write the turn that has ended long ago."""
        if len(self._turns) > _GROWING:
            turn = self._turns[-1 - _GROWING]
            if turn.status is not None and turn.opened not in self._written:
                self._written[turn.opened] = self._form(turn)
                turn.let_go()

    def _form(self, turn: GrowingTurn) -> _T:
        plain = self._plain.pop(turn.opened, None)
        return self._write(self._stored(turn)) if plain is None else self._write_plain(plain)

    def _named(self, turn_id: str | None) -> GrowingTurn | None:
        turn = super()._named(turn_id)
        if turn is None:
            return None
        if turn.opened in self._written:
            raise NeedsEveryLine
        if self._plain.pop(turn.opened, None) is None:
            return turn
        again = self._turns[self._turns.index(turn)] = _grown(turn)
        return again


def _grown(plain: GrowingTurn) -> GrowingTurn:
    """A plain turn with all that a turn has to which lines may belong."""
    start = TurnStart(position=plain.opened - 1, number=plain.first_number)
    builder = TurnBuilder(start=start, keep="shown")
    builder.feed_all(plain.items)
    return builder.newest
