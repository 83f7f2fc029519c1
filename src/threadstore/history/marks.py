"""Places in a history at which reading its turns may begin.

A *mark* stands right before a turn, where nothing behind it belongs to a turn before it: the turns
between two marks are those that :class:`~threadstore.history.turns.TurnBuilder` makes of the lines
between them, whatever else the history holds. Most turns have such a place before them. What takes
it away is a line that names an earlier turn (its late end, an item of it) or takes turns back
(``thread_rolled_back``): with such a line all marks go that it reaches across. So marks stay true
as long as it is known up to where the history has been looked through (``TurnMarks.reached``).
"""

from __future__ import annotations

import bisect
import zlib
from array import array
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from threadstore.history.growing import TurnStart, is_preface
from threadstore.history.turns import TurnBuilder

if TYPE_CHECKING:
    from collections.abc import Callable

    from threadstore.history.growing import GrowingTurn, Keep, OpenStatus
    from threadstore.history.items import RolloutItem

__all__ = ["SPACING", "MarkFinder", "ReachesBack", "TurnMark", "TurnMarks"]

SPACING: Final = 1 << 18
"""Bytes between two marks, at least. So much is read in a few milliseconds."""
_ITEM: Final = 256
"""Bytes that an item counts for beside its own."""
_CHECKED: Final = 4096


class TurnMark(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A place in a history that no line behind it reaches across."""

    start: TurnStart
    check: int
    """Checksum of the first item behind it: whether this is still the same history."""
    names: bytes
    """Checksums of the ids of the turns between the mark before and this one."""
    waiting: tuple[str, ...] = ()
    """Turns of which only finished items are known."""

    def stands_before(self, item: RolloutItem) -> bool:
        """Whether *item*, the first one behind the place, is the one that was there."""
        return _checksum(item) == self.check


class TurnMarks(msgspec.Struct, frozen=True, kw_only=True):
    """The marks of one history, oldest first. Mark 0 is its beginning."""

    marks: tuple[TurnMark, ...] = ()

    def start(self, number: int) -> TurnStart | None:
        """Where the turns behind the mark with this number begin."""
        return self.marks[number - 1].start if number else None

    def before(self, position: int) -> int:
        """The number of the last mark before the line at *position*."""
        return bisect.bisect_left(self.marks, position, key=lambda mark: mark.start.position)

    def without(self, count: int) -> TurnMarks:
        """The same without the last *count* marks: something reaches across them."""
        return TurnMarks(marks=self.marks[: max(len(self.marks) - count, 0)])

    def may_hold(self, number: int, turn_id: str) -> bool:
        """Whether the turn with this id may stand between this mark and the next one."""
        if number >= len(self.marks):
            return True
        mark = self.marks[number]
        return _crc(turn_id) in array("I", mark.names) or turn_id in mark.waiting


class ReachesBack(Exception):
    """A line concerns turns before the place where reading began."""


class _Found(NamedTuple):
    """A mark that was found, before the names of the turns before it are known for good."""

    start: TurnStart
    check: int
    waiting: tuple[str, ...]


class _Run(NamedTuple):
    """The items right before this one that may belong to the next turn."""

    position: int
    place: int
    """Position and place of what stands before the first of them."""
    first: RolloutItem
    first_position: int


class MarkFinder(TurnBuilder):
    """Builds the turns behind the last of *known* marks, and finds further ones.

    Feed everything from there to the end of the history, then :meth:`finish`. On
    :class:`ReachesBack`, also from there: drop some of the known marks, and begin again.
    """

    def __init__(
        self,
        known: TurnMarks,
        *,
        open_status: OpenStatus = "interrupted",
        keep: Keep = "nothing",
        spacing: int = SPACING,
    ) -> None:
        super().__init__(open_status=open_status, start=known.start(len(known.marks)), keep=keep)
        self.position = 0
        """Of the last item that was fed."""
        self._known = known
        self._waiting_before = known.marks[-1].waiting if known.marks else ()
        self._spacing = spacing
        self._names_before: set[int] | None = None
        self._found: list[_Found] = []
        self._size = 0
        self._run: _Run | None = None
        self.whole = keep == "all"
        """Whether all turns behind the last known mark are here, with their items."""

    def feed(self, item: RolloutItem) -> None:
        self._size += _ITEM + item.size
        if item.type == "response_item" and not self._bare:  # most lines: they open no turn
            self._follow(item)
            return
        position, index, number, bare = self._position, self._index, self._number, self._bare
        turns, waiting = len(self._turns), (*self._waiting_before, *self._waiting)
        super().feed(item)
        self.position = self._position
        current = self._current
        if self._size >= self._spacing and len(self._turns) > turns and self._turns[-1] is current:
            run = self._run or _Run(position, index, item, self._position)
            if current.first == self._position:
                run = _Run(position, index, item, self._position)
            if current.first == run.first_position and current.id not in waiting:
                start = TurnStart(position=run.position, index=run.place, number=number, bare=bare)
                self._note(start, _checksum(run.first), waiting, turns)
        self._run = None

    def _follow(self, item: RolloutItem) -> None:
        """Take an item that may belong to the turn that comes next."""
        current = self._current
        if current is not None and current.explicit and self._keep == "nothing":
            self.position = self._position = item.position or self._position + 1
            self._index += 1
            self._run = None
            current.pass_by(self._position)
            return
        position, index = self._position, self._index
        super().feed(item)
        self.position = self._position
        current = self._current
        if (current is not None and current.explicit) or not is_preface(item):
            self._run = None
        elif self._run is None:
            self._run = _Run(position, index, item, self._position)

    def finish(self) -> TurnMarks:
        """The marks that are known now."""
        base = done = self._start.turns
        if not self._turns and base:
            raise ReachesBack  # whoever needs the newest turn would not find it here
        self._forget(lambda mark: mark.start.turns >= base + len(self._turns))
        if not self._found:
            return self._known
        marks = [*self._known.marks]
        for start, check, waiting in self._found:
            names = [_crc(turn.id) for turn in self._turns[done - base : start.turns - base]]
            done = start.turns
            packed = array("I", names).tobytes()
            marks.append(TurnMark(start=start, check=check, names=packed, waiting=waiting))
        return TurnMarks(marks=tuple(marks))

    def _note(self, start: TurnStart, check: int, waiting: tuple[str, ...], turns: int) -> None:
        last = self._found[-1].start if self._found else self._start
        if start.position <= last.position:
            return
        base = self._start.turns
        between = self._turns[last.turns - base : turns]
        start = msgspec.structs.replace(
            start,
            turns=base + turns,
            shown=last.shown + sum(len(turn.shown) for turn in between),
        )
        for turn in between:
            turn.let_go()
        self.whole = False
        self._found.append(_Found(start, check, waiting))
        self._size = 0

    def _forget(self, crossed: Callable[[_Found], bool]) -> None:
        while self._found and crossed(self._found[-1]):
            self._found.pop()

    def _named(self, turn_id: str | None) -> GrowingTurn | None:
        turn = super()._named(turn_id)
        if turn_id is None:
            return None
        if turn is None:
            if turn_id in self._waiting_before or _crc(turn_id) in self._earlier():
                raise ReachesBack
            turn = self._waiting.get(turn_id)
            if turn is not None:
                self._touch(turn)
            return None
        if turn is not self._current:
            self._touch(turn)
        return turn

    def _waited_for(self, turn_id: str | None) -> GrowingTurn | None:
        if turn_id in self._waiting_before:
            raise ReachesBack
        turn = super()._waited_for(turn_id)
        if turn is not None:
            self._touch(turn)
        return turn

    def _take_back(self, count: int) -> None:
        if self._waiting_before or (count > len(self._turns) and self._start.turns):
            raise ReachesBack
        super()._take_back(count)
        left = self._start.turns + len(self._turns)
        self._forget(lambda mark: mark.start.turns > left or bool(mark.waiting))

    def _touch(self, turn: GrowingTurn) -> None:
        """Something belongs to an earlier turn."""
        opened = turn.opened
        self._forget(lambda mark: mark.start.position >= opened)

    def _earlier(self) -> set[int]:
        if self._names_before is None:
            self._names_before = set()
            for mark in self._known.marks:
                self._names_before.update(array("I", mark.names))
        return self._names_before


def _checksum(item: RolloutItem) -> int:
    return zlib.crc32(item.line()[:_CHECKED])


def _crc(turn_id: str) -> int:
    return zlib.crc32(turn_id.encode("utf-8", "replace"))
